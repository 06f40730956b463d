"""A full rollout to update from."""

from __future__ import annotations

import torch
from support.tiny_convoys import TinyConvoys

from ml.policies.deep_set_policy import create_deep_set_policy_kwargs
from ml.training.checkpoints import ConvoyPPO

NUM_ENVS, TICKS, BATCH = 16, 64, 512


def model_after_rollout(policy_kwargs=None, **changed):
    """Build a model, the same for the same arguments, and let it fill its rollout buffer."""
    settings = {"batch_size": BATCH, "n_epochs": 3, "ent_coef": 0.2, "learning_rate": 1e-3}
    model = ConvoyPPO(
        "MultiInputPolicy",
        TinyConvoys(NUM_ENVS),
        n_steps=TICKS,
        policy_kwargs=policy_kwargs or create_deep_set_policy_kwargs(),
        device="cpu",
        seed=3,
        **settings | changed,
    )
    model.train = lambda: None
    model.learn(NUM_ENVS * TICKS)
    del model.train
    model.logger.name_to_value.clear()
    return model


def weights_of(model):
    """All weights in one tensor."""
    return torch.cat([weight.detach().reshape(-1) for weight in model.policy.parameters()])
