"""`roadsense bench`: everything interleaved in one run, so that the ratios mean something."""

from __future__ import annotations

import contextlib
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from ml.bench.report import BenchReport, Ratio, Throughput
from ml.bench.usual_way import UsualWay
from ml.bench.workloads import BareSumo, Driving, Learning, Workload, ceiling, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml.envs.convoy_vec_env import ConvoyVecEnv

BATCH_SIZES = (1, 16, 64, 256)
PEER_COUNTS = (2, 5, 8)
_GRID_TICKS = 60
_RESETS = 30


def bench(
    *,
    num_envs: int,
    num_peers: int,
    radio: str,
    rounds: int,
    grid: bool = True,
    on_part: Callable[[str], None],
) -> BenchReport:
    """Measure all workloads in turn, round after round, then the environment over its sizes.

    Args:
        num_envs: Convoys of the main comparison.
        num_peers: Cars ahead of each ego in the main comparison.
        radio: Preset or parameter file.
        rounds: How often each is measured; one more round warms up.
        grid: Whether to measure the environment over batch sizes and peers, too.
        on_part: Told what is measured next.
    """
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        env = environment(num_envs, num_peers, radio)
        stack.callback(env.close)
        over_traci = environment(num_envs, num_peers, radio, backend="traci")
        stack.callback(over_traci.close)
        usual = UsualWay(num_peers)
        stack.callback(usual.close)
        workloads: list[Workload] = [
            BareSumo(env),
            Driving(env),
            Learning(env, "c: PPO on the environment"),
            ceiling(num_envs),
            Driving(over_traci, "e: the environment over TraCI"),
            Learning(over_traci, "e: PPO over TraCI"),
            usual,
        ]
        rates, ticks_s, resets_s = _interleave(workloads, env, rounds, on_part)
    a, b, c, d, e_env, e_ppo, f = rates
    ratios = [
        Ratio.of("b / a: environment to SUMO with its necessary traffic", b, a, 0.4),
        Ratio.of("c / d: training to the learner's ceiling", c, d, 0.65),
        Ratio.of("e / b: environment over TraCI to embedded", e_env, b, 0.6),
        Ratio.of("e / d: training over TraCI to the ceiling", e_ppo, d, 0.55),
        Ratio.of("c / f: training to the field's usual way", c, f, 60.0),
        Ratio.of("one convoy's reset to one batch tick", resets_s, ticks_s, 1.0, at_most=True),
    ]
    names = [workload.name for workload in workloads]
    cost_us: dict[tuple[int, int], float] = {}
    if grid:
        costs = _grid(radio, rounds, on_part)
        cost_us = {size: median(values) for size, values in costs.items()}
        ratios += _grid_ratios(costs)
    return BenchReport(
        num_envs=num_envs,
        num_peers=num_peers,
        radio=radio,
        workloads=[Throughput(n, r) for n, r in zip(names, rates, strict=True)],
        ratios=ratios,
        cost_us=cost_us,
    )


def _interleave(
    workloads: Sequence[Workload],
    env: ConvoyVecEnv,
    rounds: int,
    on_part: Callable[[str], None],
) -> tuple[list[list[float]], list[float], list[float]]:
    """Return steps per second (workload, round), and seconds per batch tick and per reset."""
    rates: list[list[float]] = [[] for _ in workloads]
    ticks_s: list[float] = []
    resets_s: list[float] = []
    for number in range(rounds + 1):  # the first warms up and is not counted
        for i, workload in enumerate(workloads):
            on_part(f"round {number} of {rounds}, {workload.name}" if number else "warming up")
            workload.prepare()
            start = perf_counter()
            steps = workload.run()
            elapsed = perf_counter() - start
            if number:
                rates[i].append(steps / elapsed)
        if number:
            ticks_s.append(env.num_envs / rates[1][-1])
            resets_s.append(_reset_s(env))
    return rates, ticks_s, resets_s


def _reset_s(env: ConvoyVecEnv) -> float:
    """Median time of resetting one convoy of the batch."""
    times = []
    for row in np.arange(_RESETS) % env.num_envs:
        start = perf_counter()
        env.batch.reset(np.array([row]))
        times.append(perf_counter() - start)
    return median(times)


def _grid(
    radio: str, rounds: int, on_part: Callable[[str], None]
) -> dict[tuple[int, int], list[float]]:
    """µs per environment step by (batch size, peers), a value per round."""
    costs: dict[tuple[int, int], list[float]] = {}
    for number in range(rounds + 1):
        for size in BATCH_SIZES:
            for peers in PEER_COUNTS:
                on_part(f"sizes, round {number} of {rounds}: {size} convoys of {peers} peers")
                env = environment(size, peers, radio)
                try:
                    cost = _cost_us(env)
                finally:
                    env.close()
                if number:
                    costs.setdefault((size, peers), []).append(cost)
    return costs


def _cost_us(env: ConvoyVecEnv) -> float:
    action = np.full((env.num_envs, 1), 0.01, dtype=np.float32)
    env.step(action)
    start = perf_counter()
    for _ in range(_GRID_TICKS):
        env.step(action)
    return (perf_counter() - start) / _GRID_TICKS / env.num_envs * 1e6


def _grid_ratios(costs: dict[tuple[int, int], list[float]]) -> list[Ratio]:
    return [
        Ratio.of("cost, 8 peers to 2 (64 convoys)", costs[64, 8], costs[64, 2], 2.5, at_most=True),
        Ratio.of("cost, 64 convoys to 16 (5 peers)", costs[64, 5], costs[16, 5], 0.8, at_most=True),
        Ratio.of(
            "cost, 256 convoys to 64 (5 peers)", costs[256, 5], costs[64, 5], 1.1, at_most=True
        ),
    ]
