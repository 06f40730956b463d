"""Many drivers through one world: what they share is simulated once, recorded, and replayed.

The rows are those of `run_suite` bit for bit, whatever the company.
"""

from collections.abc import Sequence
from contextlib import closing

from ml.envs.config import EnvConfig
from ml.envs.worlds.recorded import RecordedTraffic, bytes_per_case, is_shared
from ml.envs.worlds.replayed import replayed_world
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import CaseRunner, checked_cases, driven_by, run_suite
from ml.evaluation.result import EpisodeRow
from ml.evaluation.suites.suite import Suite
from ml.vehicle import DT_S

MOST_CONVOYS = 192
"""A tick of replayed traffic costs much the same for 64 as for 192."""
RECORDING_BYTES = 160_000_000
"""Most memory for a recording, and with it for a process beyond what a single driver takes."""


def run_together(
    drivers: Sequence[Driver],
    suite: Suite,
    *,
    radio: str,
    seed: int,
    radio_position: str = "reference",
    cases: Sequence[int] | None = None,
) -> list[list[EpisodeRow]]:
    """Run drivers through a suite as `run_suite` does, each case together where that is possible.

    It is not where the radio goes by each driver's own position, and for SUMO's own car-following;
    such a driver runs on its own. The drivers are distinct objects.

    Returns:
        Per driver a row per case.

    Raises:
        EvaluationError: A case is asked for that the suite does not have, or none.
    """
    changes = {"radio": radio, "radio_position": radio_position}
    config = suite.config.model_copy(update=changes)
    wanted = checked_cases(suite, cases)
    sharing = [k for k, driver in enumerate(drivers) if is_shared(driven_by(driver, config))]
    rows: dict[int, list[EpisodeRow]] = {}
    if len(sharing) > 1:
        shared = _run_shared([drivers[k] for k in sharing], suite, config, seed, wanted)
        rows = dict(zip(sharing, shared, strict=True))
    for k, driver in enumerate(drivers):
        if k not in rows:
            rows[k] = run_suite(
                driver, suite, radio=radio, seed=seed, radio_position=radio_position, cases=wanted
            )
    return [rows[k] for k in range(len(drivers))]


def _run_shared(
    drivers: Sequence[Driver],
    suite: Suite,
    config: EnvConfig,
    seed: int,
    wanted: Sequence[int],
) -> list[list[EpisodeRow]]:
    """Let the first drive in the full world, and the others after it, part by part of the cases."""
    first, *others = drivers
    rows: list[list[EpisodeRow]] = [[] for _ in drivers]
    ticks, num_peers = round(config.episode_s / DT_S), config.max_convoy_peers
    room = max(min(MOST_CONVOYS, RECORDING_BYTES // bytes_per_case(ticks, num_peers)), 1)
    num_envs = -(-len(wanted) // -(-len(wanted) // room))
    traffic = RecordedTraffic(ticks, num_envs, num_peers)
    live = CaseRunner(first, suite, config, seed=seed, num_envs=num_envs)
    road = live.batch.simulator.road
    world = replayed_world(traffic, config, road, num_envs=num_envs)
    with closing(live):
        for start in range(0, len(wanted), num_envs):
            cases = wanted[start : start + num_envs]
            traffic.clear()
            rows[0] += live.run(cases, on_tick=traffic.record)
            for k, driver in enumerate(others, start=1):
                runner = CaseRunner(
                    driver, suite, config, seed=seed, num_envs=num_envs, world=world
                )
                rows[k] += runner.run(cases)
    return rows
