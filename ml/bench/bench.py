"""`roadsense bench`: what is compared runs in turn, so that the ratios mean something."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from itertools import product
from statistics import median
from time import perf_counter

import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from ml.bench.naive_baseline import NaiveEnv
from ml.bench.radio_alone import radios_alone
from ml.bench.report import SECTIONS, BenchReport, Goal, Measured, Section, ratio
from ml.bench.workloads import (
    STEPS_PER_ENV,
    BareSumo,
    Driving,
    DrivingWorkers,
    Learning,
    NoOpVecEnv,
    Workload,
    environment,
    plain_config,
    plain_learner,
    preset_config,
    sized_config,
    vector_environment,
)
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.recorded_vec_env import RecordedVecEnv
from ml.installation import usable_cores
from ml.parameters import load_parameters
from ml.training.config import TrainConfig
from ml.training.deployment import read_deployment
from ml.training.environment import build_environment, build_learner
from ml.training.workers import MOST_BY_DEFAULT

BATCH_SIZES = (1, 16, 64, 256)
PEER_COUNTS = (2, 5, 8)
_GRID_TICKS = 60
_RESETS = 30
_PARTS: dict[Section, int] = {
    "comparison": 8,
    "training": 2,
    "workers": 0,
    "recorded": 2,
    "radio": 2,
    "sizes": len(BATCH_SIZES) * len(PEER_COUNTS),
}
_RADIO_GOAL_US, _RELAY_GOAL_US = 10.0, 12.0
_MOST_WORKERS = 32


def worker_counts() -> list[int]:
    """Return 1, 2, 4 … workers, up to one for each core."""
    return [2**k for k in range(6) if 2**k <= min(usable_cores(), _MOST_WORKERS)]


def _training_on(stack: ExitStack, config: TrainConfig, name: str) -> Learning:
    """Open workers and a learner on them, as `roadsense train` does.

    Two at least where it does not say how many: this process may have a SUMO of its own.
    """
    if config.workers == 0:
        usual = min(max(usable_cores(), 2), MOST_BY_DEFAULT)
        config = config.model_copy(update={"workers": usual})
    env = stack.enter_context(closing(build_environment(config, read_deployment({}), config.seed)))
    return Learning(build_learner(config, env, config.seed), name)


def count_parts(sections: Collection[Section], rounds: int) -> int:
    """Count how often `on_part` of `bench` is called; a radio without relays is a part less."""
    parts = _PARTS | {"workers": 2 * len(worker_counts())}
    return (rounds + 1) * sum(parts[section] for section in sections)


def bench(
    report: BenchReport,
    rounds: int,
    on_part: Callable[[str], None],
    sections: Collection[Section] = SECTIONS,
) -> None:
    """Measure the sections one after the other; within each, all workloads in turn, round by round.

    Args:
        report: Says how many convoys and peers on which radio; gets what is measured.
        rounds: How often each is measured; one more round warms up.
        on_part: Told what is measured next.
        sections: What to measure.
    """
    torch.set_num_threads(1)
    for section, measure in (
        ("comparison", _compare), ("training", _train), ("workers", _scale),
        ("recorded", _replay), ("radio", _send), ("sizes", _grid),
    ):  # fmt: skip
        if section in sections:
            measure(report, rounds, on_part)


def _compare(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure SUMO, environment, training, its ceiling, TraCI and the naive baseline."""
    size = (report.num_envs, report.num_peers, report.radio)
    ticks_s: list[float] = []
    resets_s: list[float] = []
    with ExitStack() as stack:
        vector = stack.enter_context(closing(vector_environment(*size)))
        env = vector.convoys  # one SUMO for both: there is one in a process
        over_traci = stack.enter_context(closing(environment(*size, backend="traci")))
        naive = stack.enter_context(closing(DummyVecEnv([lambda: NaiveEnv(report.num_peers)])))

        ceiling = plain_learner(NoOpVecEnv(report.num_envs), STEPS_PER_ENV, 1024, 4)
        workloads: list[Workload] = [
            BareSumo(env),
            Driving(env),
            Driving(vector, "l: the environment by gymnasium.make_vec"),
            _training_on(stack, plain_config(*size, "libsumo"), "c: training"),
            Learning(ceiling, "d: SB3's PPO on an environment that does nothing"),
            Driving(over_traci, "e: the environment over TraCI"),
            _training_on(stack, plain_config(*size, "traci"), "e: training over TraCI"),
            Learning(plain_learner(naive, 2048, 64, 10), "f: the naive baseline", rollouts=1),
        ]

        def after_round(rates: list[float]) -> None:
            ticks_s.append(env.num_envs / rates[1])
            resets_s.append(_reset_s(env))

        runs = _interleave(workloads, rounds, on_part, after_round)
    report.workloads.extend(runs)
    a, b, vectored, c, d, e_env, e_ppo, f = (run.values for run in runs)
    goals = [
        ratio("l / b: gymnasium.make_vec to ConvoyVecEnv", vectored, b, 0.9),
        ratio("b / a: environment to SUMO with its necessary traffic", b, a, 0.4),
        ratio("c / d: training to SB3's serial ceiling", c, d, 1.0),
        ratio("e / b: environment over TraCI to embedded", e_env, b, 0.6),
        ratio("e / d: training over TraCI to SB3's serial ceiling", e_ppo, d, 0.9),
        ratio("c / f: training to the naive baseline", c, f, 150.0),
        ratio("one convoy's reset to one batch tick", resets_s, ticks_s, 1.0, at_most=True),
    ]
    report.ratios.extend(goals)


def _train(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure a training with everything on, as its preset has it, beside its ceiling."""
    config = preset_config(report.num_envs, report.radio)
    ppo, per_env = config.ppo, config.steps_per_env
    ceiling = plain_learner(NoOpVecEnv(config.num_envs), per_env, ppo.batch_size, ppo.n_epochs)
    with ExitStack() as stack:
        workloads = [
            _training_on(stack, config, "g: training, preset `ppo` with everything on"),
            Learning(ceiling, "h: SB3's PPO so on an environment that does nothing"),
        ]
        runs = _interleave(workloads, rounds, on_part)
    report.workloads.extend(runs)
    g, h = (run.values for run in runs)
    report.ratios.append(ratio("g / h: the same with everything on", g, h, 0.9))


def _scale(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure the environment and a run by 1, 2, 4 … workers, as many as there are cores."""
    config = plain_config(report.num_envs, report.num_peers, report.radio, "libsumo")
    counts = worker_counts()
    with ExitStack() as stack:
        workloads: list[Workload] = []
        for count in counts:
            so_many = f"{count} worker{'s' if count > 1 else ''}"
            trained = config.model_copy(update={"workers": count})
            training = _training_on(stack, trained, f"k: training, {so_many}")
            workloads.append(DrivingWorkers(training.env, f"k: the environment, {so_many}"))
            workloads.append(training)
        runs = _interleave(workloads, rounds, on_part)
    report.workloads.extend(runs)
    for place, count in enumerate(counts):
        driven, trained_on = runs[2 * place], runs[2 * place + 1]
        report.workers[count] = driven.typical, trained_on.typical
    if len(counts) > 1:
        two, one = runs[2].values, runs[0].values
        report.ratios.append(ratio("k: the environment, two workers to one", two, one, 1.7))


def _replay(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure recorded traffic beside the environment that it is a recording of."""
    config = sized_config(report.num_peers, report.radio, radio_position="reference")
    recorded = RecordedVecEnv(report.num_envs, config, episodes=report.num_envs)
    recorded.reset()  # which ends its SUMO: there is one in a process
    with closing(ConvoyVecEnv(report.num_envs, config)) as live:
        workloads = [
            Driving(live, "i: the environment, its radio by the reference ego"),
            Driving(recorded, "j: the same, recorded"),
        ]
        runs = _interleave(workloads, rounds, on_part)
    report.workloads.extend(runs)
    i, j = (run.values for run in runs)
    report.ratios.append(ratio("j / i: recorded traffic to the environment", j, i, 5.0))


def _send(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure the radio alone, with and without relays."""
    radio = load_parameters(report.radio).radio
    radios = radios_alone(radio, report.num_envs, report.num_peers + 1)
    for number, run in enumerate(_interleave(radios, rounds, on_part)):
        wanted_us = _RELAY_GOAL_US if number else _RADIO_GOAL_US
        costs_us = [1e6 / rate for rate in run.values]
        report.radio_costs.append(Goal(run.name, costs_us, wanted_us, at_most=True))


def _interleave(
    workloads: Sequence[Workload],
    rounds: int,
    on_part: Callable[[str], None],
    after_round: Callable[[list[float]], None] = lambda _rates: None,
) -> list[Measured]:
    """Run all in turn, round after round; `after_round` is told each round's steps per second."""
    runs = [Measured(workload.name, []) for workload in workloads]
    for number in range(rounds + 1):  # the first warms up and is not counted
        for workload, run in zip(workloads, runs, strict=True):
            name = workload.name
            on_part(f"round {number} of {rounds}, {name}" if number else f"warming up, {name}")
            workload.prepare()
            start = perf_counter()
            steps = workload.run()
            elapsed = perf_counter() - start
            if number:
                run.values.append(steps / elapsed)
        if number:
            after_round([run.values[-1] for run in runs])
    return runs


def _reset_s(env: ConvoyVecEnv) -> float:
    """Median time of resetting one convoy of the batch."""
    times = []
    for row in np.arange(_RESETS) % env.num_envs:
        start = perf_counter()
        env.batch.reset(np.array([row]))
        times.append(perf_counter() - start)
    return median(times)


def _grid(report: BenchReport, rounds: int, on_part: Callable[[str], None]) -> None:
    """Measure µs per environment step by batch size and number of peers."""
    costs: dict[tuple[int, int], list[float]] = defaultdict(list)
    for number, size, peers in product(range(rounds + 1), BATCH_SIZES, PEER_COUNTS):
        on_part(f"sizes, round {number} of {rounds}: {size} convoys of {peers} peers")
        action = np.full((size, 1), 0.01, dtype=np.float32)
        with closing(environment(size, peers, report.radio)) as env:
            env.step(action)
            start = perf_counter()
            for _ in range(_GRID_TICKS):
                env.step(action)
            elapsed = perf_counter() - start
        if number:
            costs[size, peers].append(elapsed / _GRID_TICKS / size * 1e6)
    report.cost_us.update({size: median(values) for size, values in costs.items()})
    for name, above, below, wanted in (
        ("cost, 8 peers to 2 (64 convoys)", (64, 8), (64, 2), 2.5),
        ("cost, 64 convoys to 16 (5 peers)", (64, 5), (16, 5), 0.8),
        ("cost, 256 convoys to 64 (5 peers)", (256, 5), (64, 5), 1.1),
    ):
        report.ratios.append(ratio(name, costs[above], costs[below], wanted, at_most=True))
