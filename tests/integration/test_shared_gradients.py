"""Another process shares in the work of an update."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import torch
from stable_baselines3.common.utils import set_random_seed
from support.shared_work import model_after_rollout, serve_one_update, weights_of

from ml.policies.gradient import Layout
from ml.training.update import Exchange, Rollout, SharedGradients, exchange_bytes


def test_a_process_shares_the_work_and_changes_no_bit():
    """Two processes over shared memory, or one alone: the weights after an update are equal."""
    alone, model = model_after_rollout(), model_after_rollout()
    layout, rollout = Layout.of(model.policy), Rollout.of(model.rollout_buffer)
    assert layout is not None
    context = get_context("spawn")
    barrier = context.Barrier(2, timeout=120.0)
    memory = SharedMemory(create=True, size=exchange_bytes(layout, rollout))
    shapes = [array.shape for array in rollout]
    served = context.Process(
        target=serve_one_update, args=(memory.name, layout, shapes, barrier), daemon=True
    )
    served.start()
    try:
        exchange = Exchange.over(memory.buf, layout, rollout)
        exchange.gradients[:] = np.nan
        model.gradients = SharedGradients(layout, exchange, 2, barrier)
        for each in (alone, model):
            set_random_seed(7)
            each.train()
        served.join(120.0)
        assert served.exitcode == 0
        assert not barrier.broken  # its parts were not computed here instead
        assert torch.equal(weights_of(model), weights_of(alone))
    finally:
        served.kill()
        del exchange
        model.gradients = None
        memory.close()
        memory.unlink()
