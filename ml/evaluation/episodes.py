"""Run a driver through the cases of a suite, and measure each."""

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np

from ml.controllers.board import ExportedBoard
from ml.controllers.protocol import Controller
from ml.envs.config import KINDS, EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.drawn import HAZARD, EpisodeSource
from ml.envs.scoring.termination import EpisodeStatus
from ml.envs.worlds.world import World
from ml.errors import EvaluationError
from ml.evaluation.drivers import Driver
from ml.evaluation.episode_metrics import CaseFacts, measure
from ml.evaluation.recording import EpisodeTrace, TraceRecorder
from ml.evaluation.result import EpisodeRow
from ml.evaluation.seeds import TEST_SEED
from ml.evaluation.suites.suite import Suite
from ml.sumo.protocol import SumoAccess
from ml.vehicle import DT_S

BATCH = 64


def driven_by(driver: Driver, config: EnvConfig) -> EnvConfig:
    """Return a configuration as a driver needs it."""
    return config.model_copy(update={"ego_control": driver.ego_control, **driver.config_changes})


class CaseRunner:
    """A driver and the batch that it drives through cases.

    Case c is episode 0 of convoy c whatever the batch, so that any of them can be run alone.

    Args:
        config: What decides an episode, the radio among it; its `ego_control` is the driver's.
        world: What carries the batch; None for a SUMO of its own.

    Attributes:
        batch: The batch.
    """

    def __init__(
        self,
        driver: Driver,
        suite: Suite,
        config: EnvConfig,
        *,
        seed: int,
        num_envs: int,
        gui: bool = False,
        world: World | None = None,
    ) -> None:
        self._driver = driver
        self._suite = suite
        self._seed = seed
        self.batch = ConvoyBatch(
            driven_by(driver, config),
            num_envs=num_envs,
            seed=seed,
            supply=suite.supply,
            sumo=SumoAccess(gui=gui),
            world=world,
            observing=driver.needs_observation,
        )
        batch = self.batch
        self._recorder = TraceRecorder(num_envs, batch.num_slots - 1, batch.episode_ticks)

    def run(
        self,
        cases: Sequence[int],
        *,
        on_tick: Callable[[ConvoyBatch], None] | None = None,
        on_start: Callable[[ConvoyBatch], None] | None = None,
    ) -> list[EpisodeRow]:
        """Run cases by their numbers, each once.

        Args:
            cases: Numbers of the cases.
            on_start: Told the batch before its first tick.
            on_tick: Told the batch after every tick, before episodes that ended are replaced.

        Returns:
            A row per case, in the order of `cases`.
        """
        batch, num_envs = self.batch, self.batch.num_envs
        # A convoy whose list is done repeats its last case, unmeasured, until all are done.
        lists = [list(cases[e::num_envs]) or [cases[0]] for e in range(num_envs)]
        measured = [len(cases[e::num_envs]) for e in range(num_envs)]
        turn = np.zeros(num_envs, dtype=np.int64)
        rows: dict[int, EpisodeRow] = {}

        def begin(convoys: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, np.ndarray]:
            numbers = [lists[e][min(int(turn[e]), len(lists[e]) - 1)] for e in convoys]
            first = batch.reset(convoys, cases=np.array(numbers, dtype=np.int64))
            self._recorder.begin(batch, convoys)
            return first

        observation = begin(np.arange(num_envs))
        if on_start is not None:
            on_start(batch)
        while len(rows) < len(cases):
            observation, reward, _, _ = batch.step(self._driver.accel(batch, observation))
            self._recorder.record(batch, reward)
            if on_tick is not None:
                on_tick(batch)
            ended = np.flatnonzero(batch.status)
            if not ended.size:
                continue
            for e in ended.tolist():
                if turn[e] < measured[e]:
                    case = lists[e][int(turn[e])]
                    trace = self._recorder.episode(e, int(batch.tick[e]))
                    rows[case] = self._row(case, e, trace)
                turn[e] += 1
            for name, values in begin(ended).items():
                observation[name][ended] = values
        return [rows[case] for case in cases]

    def _row(self, case: int, e: int, trace: EpisodeTrace) -> EpisodeRow:
        batch, suite = self.batch, self._suite
        labels = suite.labels(case)
        plan, reference = batch.plan, batch.reference
        status = EpisodeStatus(batch.status[e])
        frequency = labels.get("frequency_hz")
        controller: Controller | None = getattr(self._driver, "controller", None)
        standstill_m = None  # of what has no parameters; not a number for who keeps no distance
        if controller is not None and not isinstance(controller, ExportedBoard):
            own_m = controller.standstill_m
            standstill_m = float("nan") if own_m is None else own_m
        facts = CaseFacts(
            hazard=bool(plan.kind[e] == HAZARD),
            num_peers=int(plan.num_peers[e]),
            onset_tick=int(plan.onset_tick[e]),
            avoidable=not bool(reference.collided[e]),
            informed_s=float(reference.informed_us[e]) / 1e6 if reference.informed[e] else None,
            standstill_m=standstill_m,
            frequency_hz=None if frequency is None else float(frequency),
        )
        return EpisodeRow(
            suite=suite.name,
            radio=batch.config.radio,
            controller=self._driver.name,
            case=case,
            seed=self._seed,
            env_index=case,
            episode=0,
            kind=KINDS[int(plan.kind[e])],
            num_peers=facts.num_peers,
            brake_rank=int(plan.brake_slot[e]),
            invalid=status.is_invalid,
            status=status.name.lower(),
            duration_s=trace.ticks * DT_S,
            labels=labels,
            **measure(trace, facts),
        )

    def close(self) -> None:
        """End SUMO; may be called twice."""
        self.batch.close()


def checked_cases(suite: Suite, cases: Sequence[int] | None) -> Sequence[int]:
    """Return the cases that are asked for; None stands for all.

    Raises:
        EvaluationError: A case is asked for that the suite does not have, or none.
    """
    wanted: Sequence[int] = range(suite.num_cases) if cases is None else cases
    for case in wanted:
        if not 0 <= case < suite.num_cases:
            raise EvaluationError(
                f"suite {suite.name} has no case {case}; allowed is 0 … {suite.num_cases - 1}"
            )
    if not wanted:
        raise EvaluationError(f"suite {suite.name}: no case was asked for")
    return wanted


def run_suite(
    driver: Driver,
    suite: Suite,
    *,
    radio: str,
    seed: int = TEST_SEED,
    radio_position: str = "reference",
    cases: Sequence[int] | None = None,
    num_envs: int = BATCH,
    gui: bool = False,
    on_tick: Callable[[ConvoyBatch], None] | None = None,
    on_start: Callable[[ConvoyBatch], None] | None = None,
) -> list[EpisodeRow]:
    """Run a driver through a suite, on a SUMO of its own.

    Args:
        driver: Who drives.
        suite: What it is put through.
        radio: Preset or parameter file.
        seed: Seed of every draw.
        radio_position: Whose position decides packets' fates; see `EnvConfig.radio_position`.
        cases: Which cases; None for all.
        num_envs: Largest batch.
        gui: Open sumo-gui, over TraCI; the figures are the same.
        on_tick: See `CaseRunner.run`.
        on_start: See `CaseRunner.run`.

    Returns:
        A row per case.

    Raises:
        EvaluationError: A case is asked for that the suite does not have, or none.
    """
    wanted = checked_cases(suite, cases)
    rounds = -(-len(wanted) // num_envs)
    changes = {"radio": radio, "radio_position": radio_position}
    if gui:
        changes["backend"] = "traci"
    runner = CaseRunner(
        driver,
        suite,
        suite.config.model_copy(update=changes),
        seed=seed,
        num_envs=-(-len(wanted) // rounds),
        gui=gui,
    )
    with closing(runner):
        return runner.run(wanted, on_tick=on_tick, on_start=on_start)


def run_drawn(
    driver: Driver,
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    cases: Sequence[int] | None = None,
    on_tick: Callable[[ConvoyBatch], None] | None = None,
) -> list[EpisodeRow]:
    """Run a driver through episodes drawn as training draws them; see `run_suite`.

    The radio, and whose position decides packets' fates, are the configuration's. No critical case
    is replayed (`EnvConfig.cases`), no recorded convoy driven (`EnvConfig.episodes_from`).
    """
    config = config.model_copy(update={"cases": "", "cases_share": 0.0, "episodes_from": ""})
    return run_suite(
        driver,
        Suite("drawn", config, episodes, EpisodeSource, lambda _: {}),
        radio=config.radio,
        radio_position=config.radio_position,
        seed=seed,
        cases=cases,
        on_tick=on_tick,
    )


def run_validation(
    driver: Driver,
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    cases: Sequence[int] | None = None,
    on_tick: Callable[[ConvoyBatch], None] | None = None,
) -> list[EpisodeRow]:
    """Drive the cases that choices are made on: which checkpoint is kept, what a search tries next.

    They are drawn episodes of the configuration that is trained in, driven past a crash on an
    embedded SUMO, on seeds that the card never sees (`seeds.VALIDATION_SEED`, or another), with the
    fate of every packet decided along the reference ego's way: every model and every controller
    meets the same ones, and only what that driver could avoid counts as a crash.

    Raises:
        RoadSenseError: SUMO failed, or no case was asked for.
    """
    fixed = {"backend": "libsumo", "stop_at_collision": False, "radio_position": "reference"}
    changed = config.model_copy(update=fixed)
    return run_drawn(driver, changed, episodes=episodes, seed=seed, cases=cases, on_tick=on_tick)
