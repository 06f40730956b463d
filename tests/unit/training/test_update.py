"""PPO's update is Stable-Baselines3's, and the same to the bit whoever shares in its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from support.full_rollout import BATCH, model_after_rollout, weights_of
from torch import nn

from ml.envs.policy_interface import PolicyInterface
from ml.errors import NotLearningError
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied
from ml.policies.gradient import Layout
from ml.training.checkpoints import ConvoyPPO, load_model
from ml.training.update import Exchange, GradientParts, Rollout, SharedGradients, update

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

TOLERANCE = 1e-3
"""Of the largest change of a weight in the update."""
_WIDE = create_deep_set_policy_kwargs(48)
_STUDY = studied(
    create_deep_set_policy_kwargs(), hidden_ego=(1, 4), hidden_peers=(2,), pooling="mean"
)
_LONE_HEADS = create_deep_set_policy_kwargs() | {"net_arch": {"pi": [16], "vf": [24, 8, 8]}}


def _difference(model: ConvoyPPO, other: ConvoyPPO, before: torch.Tensor) -> float:
    """The largest between weights, as a share of the largest change from `before`."""
    move = (weights_of(other) - before).abs().max()
    return float((weights_of(model) - weights_of(other)).abs().max() / move)


def _after(train: Callable[[ConvoyPPO], Any], updates: int = 1, **settings: Any) -> ConvoyPPO:
    model = model_after_rollout(**settings)
    for _ in range(updates):
        set_random_seed(7)
        train(model)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"policy_kwargs": _WIDE, "ent_coef": 0.3},
        {"policy_kwargs": _STUDY},
        {"policy_kwargs": _LONE_HEADS},
        {"clip_range_vf": 0.02, "clip_range": 0.01},
        {"target_kl": 1e-6},
        {"batch_size": 384},
        {"batch_size": 64, "normalize_advantage": False, "n_epochs": 1},
        {"max_grad_norm": 0.01},
    ],
    ids=lambda settings: ",".join(settings) or "plain",
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_an_update_is_that_of_stable_baselines3(settings: dict[str, Any]):
    """Weights within a thousandth of their change; the optimiser's state and all figures, too."""
    before = weights_of(model_after_rollout(**settings))
    theirs, ours = _after(PPO.train, **settings), _after(ConvoyPPO.train, **settings)
    assert _difference(ours, theirs, before) < TOLERANCE
    expected, found = (model.logger.name_to_value for model in (theirs, ours))
    assert found == pytest.approx(dict(expected), rel=1e-4, abs=1e-6)
    assert len(expected) > 10  # the test would pass with none
    for weight, other in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        states = ours.policy.optimizer.state[weight], theirs.policy.optimizer.state[other]
        assert set(states[0]) == set(states[1])
        for name, state in states[0].items():
            torch.testing.assert_close(state, states[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"ent_coef": 0.0},
        {"normalize_advantage": False},
        {"vf_coef": 0.45},
        {"clip_range": 0.02},
        {"clip_range_vf": 0.05},
        {"max_grad_norm": 0.4},
        {"n_epochs": 2},
        {"learning_rate": 1.01e-3},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_comparison_sees_every_term(changed: dict[str, Any]):
    """An update with any one setting left out or altered differs by more than the tolerance."""
    before = weights_of(model_after_rollout())
    theirs, other = _after(PPO.train), _after(ConvoyPPO.train, **changed)
    assert _difference(other, theirs, before) > TOLERANCE


def test_a_second_update_goes_on_with_the_optimisers_state():
    """Ours after Stable-Baselines3's is as Stable-Baselines3's after its own."""
    theirs, ours = (model_after_rollout() for _ in range(2))
    for model in (theirs, ours):
        set_random_seed(7)
        PPO.train(model)
        _fill_again(model)
    between = weights_of(ours)
    for model, train in ((theirs, PPO.train), (ours, ConvoyPPO.train)):
        set_random_seed(8)
        train(model)
    assert _difference(ours, theirs, between) < TOLERANCE
    steps = {int(state["step"]) for state in ours.policy.optimizer.state.values()}
    assert steps == {12}  # of 2 updates, 3 epochs, 2 minibatches


def _fill_again(model: ConvoyPPO) -> None:
    """Give a model the rollout that every fresh one starts with."""
    model.rollout_buffer = model_after_rollout().rollout_buffer


def test_what_stands_in_masked_rows_is_never_read():
    """Not a number in each row of a peer that was not heard, and the weights are the same bits."""
    clean, filled = model_after_rollout(), model_after_rollout()
    seen = filled.rollout_buffer.observations
    assert (seen["peer_mask"] == 0.0).any()
    seen["peers"][seen["peer_mask"] == 0.0] = np.nan
    for model in (clean, filled):
        set_random_seed(7)
        model.train()
    assert torch.equal(weights_of(clean), weights_of(filled))


class _Team:
    """Helpers that work when the others have; the last is lost at the minibatches `losing`."""

    def __init__(self, model: ConvoyPPO, members: int, losing: Collection[int] = ()) -> None:
        layout = Layout.of(model.policy)
        assert layout is not None
        exchange = Exchange.alone(layout, Rollout.of(model.rollout_buffer))
        exchange.gradients[:] = np.nan
        self.members, self.minibatches = members, 0
        self.gradients = SharedGradients(layout, exchange, self)
        self._parts, self._losing = GradientParts(layout, exchange), losing

    def begin(self) -> None:
        """Count."""
        self.minibatches += 1

    def end(self) -> list[int]:
        """Compute, but for who is lost."""
        lost = [self.members - 1] if self.minibatches in self._losing else []
        for member in range(1, self.members):
            if member not in lost:
                self._parts.compute(member, self.members)
        return lost


@pytest.mark.parametrize("losing", [(), (1, 3, 4)])
@pytest.mark.parametrize("members", [2, 3, 4, 5])
def test_members_share_the_work_and_change_no_bit(members: int, losing: tuple[int, ...]):
    """However many, and also where one is lost now and then: the weights are equal."""
    alone = _after(ConvoyPPO.train)
    model = model_after_rollout()
    team = _Team(model, members, losing)
    model.gradients = team.gradients
    set_random_seed(7)
    model.train()
    assert team.minibatches == 6
    assert torch.equal(weights_of(model), weights_of(alone))


@pytest.mark.parametrize(("batch", "parts"), [(BATCH, 4), (BATCH // 2, 1)])
def test_the_minibatch_is_cut_into_parts(batch: int, parts: int):
    """Four that hold each of its rows once; one where they would be too small."""
    model = model_after_rollout(n_epochs=1, batch_size=batch)
    layout, rollout = Layout.of(model.policy), Rollout.of(model.rollout_buffer)
    assert layout is not None
    whole = SharedGradients(layout, Exchange.alone(layout, rollout))
    seen: list[tuple[int, ...]] = []
    part = whole._parts._compute
    whole._parts._compute = lambda *given: (seen.append(tuple(given[1])), part(*given))  # type: ignore[method-assign,assignment]
    model.gradients = whole
    model.train()
    assert {len(rows) for rows in seen} == {batch // parts}
    assert sorted(sum(seen, ())) == list(range(len(rollout.ego)))


@pytest.mark.parametrize("bad", ["reward", "observation"])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: str):
    """The run is ended with the policy as it was, not with one of numbers that are none."""
    model = model_after_rollout()
    buffer = model.rollout_buffer
    if bad == "reward":
        buffer.returns[0, 0] = np.nan
    else:
        buffer.observations["ego"][0, 0, 0] = np.nan
    before = weights_of(model)
    with pytest.raises(NotLearningError, match="not finite"):
        model.train()
    assert torch.equal(weights_of(model), before)


@pytest.mark.parametrize(
    "changed",
    [
        {"activation_fn": nn.ReLU},
        {"optimizer_kwargs": {"weight_decay": 0.1}},
        {"optimizer_class": torch.optim.RMSprop},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_policy_is_left_to_stable_baselines3(changed: dict[str, Any]):
    """One with other activations or another optimiser, by the code of its library."""
    settings = {"policy_kwargs": create_deep_set_policy_kwargs() | changed}
    theirs, ours = (_after(train, **settings) for train in (PPO.train, ConvoyPPO.train))
    assert not update(model_after_rollout(**settings))
    assert torch.equal(weights_of(ours), weights_of(theirs))


def test_a_model_that_shares_its_work_can_be_saved(tmp_path: Path):
    """The file holds the weights, and nothing of who computed them."""
    model = model_after_rollout()
    model.interface = PolicyInterface()
    model.gradients = _Team(model, 2).gradients
    model.train()
    model.save(tmp_path / "model.zip")
    loaded = load_model(tmp_path / "model.zip")
    assert loaded.gradients is None
    assert torch.equal(weights_of(loaded), weights_of(model))
