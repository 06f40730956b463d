"""An episode that is driven to be looked at: which one, and what happened in it."""

from collections.abc import Callable

import numpy as np

from ml.envs.config import KINDS, EpisodeKind
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.drawn import EpisodePlan
from ml.errors import ConfigError
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.result import EpisodeRow
from ml.evaluation.suites.suite import Suite
from ml.keyed_random import fold
from ml.sumo.scenarios import load_scenario

_MOST_LOOKED_AT = 400
_TELLING_PEERS = range(4, 9)


def find_case(suite: Suite, kind: EpisodeKind, seed: int) -> int:
    """Find a case of a kind that shows something; no case is driven for it.

    It is the first in which a car brakes that is not the one in front, of four to eight: the radio
    knows first. Where there is none, it is the first of the kind.

    Raises:
        ConfigError: The suite has no case of that kind.
    """
    plan = _plans(suite, seed)
    of_kind = plan.kind == KINDS.index(kind)
    telling = of_kind & np.isin(plan.num_peers, _TELLING_PEERS)
    if kind != "free":
        telling &= plan.brake_slot > 1
    for fitting in (telling, of_kind):
        if fitting.any():
            return int(fitting.argmax())
    there = ", ".join(KINDS[k] for k in np.unique(plan.kind).tolist())
    raise ConfigError(f"--episode {kind}: {suite.name} has none; it has {there}, or name a number")


def _plans(suite: Suite, seed: int) -> EpisodePlan:
    """Draw the plans of a suite's cases."""
    cases = np.arange(min(suite.num_cases, _MOST_LOOKED_AT))
    keys = fold(seed, cases, np.zeros_like(cases))
    supply = suite.supply(suite.config, load_scenario(suite.config.scenario).road)
    return supply.draw(keys, cases, None, cases)[0]


def drive_and_record(
    driver: Driver,
    suite: Suite,
    case: int,
    *,
    radio: str,
    seed: int,
    on_tick: Callable[[int, int], None] = lambda *_: None,
) -> tuple[EpisodeRow, Recording]:
    """Drive a case, on a SUMO of its own, and record it.

    The reference ego decides the fate of every packet, so that two drivers meet the same ones.

    Args:
        driver: Who drives.
        suite: Whose case it is.
        case: Its number.
        radio: Preset or parameter file.
        seed: Seed of every draw.
        on_tick: Told (ticks simulated, ticks of the longest episode) after each.

    Raises:
        EvaluationError: The suite does not have the case.
        RoadSenseError: The radio, the model or SUMO is not there.
    """
    recorder = Recorder()

    def watch(batch: ConvoyBatch) -> None:
        recorder.watch(batch)
        on_tick(int(batch.tick[0]), batch.episode_ticks)

    (row,) = run_suite(
        driver,
        suite,
        radio=radio,
        seed=seed,
        cases=[case],
        on_tick=watch,
        on_start=recorder.watch,
    )
    return row, recorder.recording()
