"""The batch: many convoys on one SUMO, stepped together, in arrays.

`ConvoyVecEnv`, `ConvoyEnv` and the evaluation drive it by `ConvoyBatch.step`, which is the tick.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.envs.arguments import read_kind, read_seed
from ml.envs.config import EnvConfig, EpisodeKind, RewardWeights
from ml.envs.episodes.critical_cases import CaseReplay
from ml.envs.episodes.drawn import EpisodePlan, EpisodeSource
from ml.envs.episodes.peer_director import PeerDirector
from ml.envs.episodes.recorded import RecordedMix
from ml.envs.episodes.source import SupplyMaker
from ml.envs.scoring.judge import Judge
from ml.envs.scoring.termination import EpisodeStatus
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import lateral_m
from ml.envs.truth.reference_driver import ReferenceDriver
from ml.envs.worlds.world import World, empty_table, live_world
from ml.errors import EnvironmentStateError, SimulatorLostError
from ml.espnow_emulator import PeerTable
from ml.keyed_random import Stream, fold, uniform
from ml.onboard.board import Board
from ml.onboard.observation.spec import Observation
from ml.parameters import load_parameters
from ml.sumo.protocol import OWN_SUMO, Simulator, SumoAccess, TickCommands
from ml.sumo.scenarios import load_scenario
from ml.vehicle import CAR_WIDTH_M, DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, TICK_US

# Numbers, not members: numpy asks a member for attributes that it does not have, which runs Python
# code, and drops whatever is raised in there. A Ctrl-C would be lost.
_RUNNING, _SIMULATOR_LOST = int(EpisodeStatus.RUNNING), int(EpisodeStatus.SIMULATOR_LOST)


class Tick(NamedTuple):
    """What a tick has brought.

    Attributes:
        observation: What the egos' boards see at its end; empty where the batch does not observe.
        reward: (num_envs,) float64.
        status: (num_envs,) int64 of `EpisodeStatus`.
        withheld_mps2: (num_envs,) float64, by how much each wish was above what the safety layer
            let pass; 0 without one.
    """

    observation: Observation
    reward: Floats
    status: Ints
    withheld_mps2: Floats


class ConvoyBatch:
    """Many convoys, each with its own episode, on one SUMO process.

    SUMO starts at the first reset.

    Args:
        config: What an episode is like.
        num_envs: Convoys in the batch.
        seed: Seed of every draw; episode k of convoy i depends on (seed, i, k) alone, critical
            cases in its place included.
        first_env_index: Number of the first convoy, so that a convoy of a batch can be run alone.
        sumo: How to get SUMO, with the backend `traci`.
        supply: Makes the source of episodes, for a road; None draws them as `config` says.
        world: What carries the batch; None for a SUMO of its own with all cars and their radio.
        observing: Build observations. False, for drivers that look at none, saves their time.

    Attributes:
        truth: Ground truth after the last tick.
        status: (num_envs,) int64 of `EpisodeStatus`.
        keys: (num_envs,) uint64, of the running episodes.
        replayed: (num_envs,) bool, they are critical cases (see `EnvConfig.cases`).
        wrecked: (num_envs,) bool, the ego has crashed and its episode goes on without it; only
            where `stop_at_collision` is off.
        needless: (num_envs,) bool, the ego braked hard without cause in the last tick.
        cost: (num_envs,) float64 in [0, 2], how dangerous the last tick was (see `Judge`).
        tick: (num_envs,) int64, ticks since reset.
        recorded: Recorded convoys that are mixed in (see `EnvConfig.episodes_from`); None without.
        keeper: Starts SUMO, and starts it again where it was lost.
        stack: Sensors and radio.
        reference: The egos that decide what was avoidable, independent of who drives.
        board: What the egos' boards hold and compute.
        age_est_ms: (num_envs, 1, num_peers) float64, as boards estimate the age of each peer's
            newest message, as of the last delivery.
        wish_mps2: (num_envs,) float64, what each ego's driver wished in the last tick.
        withheld_mps2: (num_envs,) float64, by how much each wish in the last tick was above what
            the safety layer let pass; 0 without one.
        lane_offset_m: To the centre of the lane on the left; 0.0 on a road without one.
    """

    def __init__(
        self,
        config: EnvConfig,
        *,
        num_envs: int,
        seed: int = 0,
        first_env_index: int = 0,
        sumo: SumoAccess = OWN_SUMO,
        supply: SupplyMaker | None = None,
        world: World | None = None,
        observing: bool = True,
    ) -> None:
        if not isinstance(num_envs, int | np.integer) or isinstance(num_envs, bool) or num_envs < 1:
            raise EnvironmentStateError(
                f"num_envs = {num_envs!r}; a batch holds a whole number of convoys, at least one"
            )
        num_envs = int(num_envs)
        self._again = partial(
            type(self),
            config,
            num_envs=num_envs,
            first_env_index=first_env_index,
            sumo=sumo,
            supply=supply,
            world=world,
            observing=observing,
        )
        self.config = config
        self._observing = observing
        self.num_envs = num_envs
        self.num_slots = 1 + config.max_convoy_peers
        self.episode_ticks = round(config.episode_s / DT_S)
        scenario = load_scenario(config.scenario)
        self._road = scenario.road
        self.lane_offset_m = self._road.left_m
        parameters = load_parameters(config.radio)
        shape = (num_envs, self.num_slots)
        world = world or live_world(config, scenario, parameters, num_envs=num_envs, sumo=sumo)
        self.keeper, self.stack = world.keeper, world.stack
        silent = None if config.ego_receives else empty_table(parameters, num_envs, self.num_slots)
        self.board = Board(
            silent or self.stack.table,
            self.stack.ranging,
            time_to_live_ms=parameters.radio.time_to_live_ms,
            lag_s=config.action_lag_s,
            safety_layer=config.safety_layer,
            common_share=config.position_common_share,
        )
        self.age_est_ms = np.zeros((num_envs, 1, self.num_slots - 1))
        self._episodes = (supply or EpisodeSource)(config, self._road)
        self.recorded = RecordedMix(config, self._road) if config.episodes_from else None
        script_mps = self._episodes.script_mps(np.zeros(num_envs, dtype=np.int64))
        if self.recorded is not None:
            script_mps = self.recorded.no_script_mps(num_envs, self.num_slots)
        self._director = PeerDirector(self._road.fastest_mps, script_mps)
        self.reference = ReferenceDriver(num_envs, config.reference_gap)
        self._judge = Judge(config, num_envs, self._road.length_m)
        self.wrecked, self.needless = self._judge.wrecked, self._judge.needless
        self.cost = self._judge.cost

        self.seed = read_seed(seed)
        self._begun = False
        self._whole = True
        self._env_index = np.arange(first_env_index, first_env_index + num_envs)
        self.episode = np.full(num_envs, -1, dtype=np.int64)
        self.keys = np.zeros(num_envs, dtype=np.uint64)
        self.replayed = np.zeros(num_envs, dtype=bool)
        self._replay = CaseReplay(config) if config.cases else None
        self.plan = EpisodePlan.empty(num_envs)
        self.tick = np.zeros(num_envs, dtype=np.int64)
        self._ticks_simulated = 0
        self.status = np.full(num_envs, EpisodeStatus.TIME_LIMIT, dtype=np.int64)
        self.truth = GroundTruth.start(np.zeros(shape, dtype=bool), *np.zeros((2, *shape)))
        self._before = self.truth
        self._expected = np.zeros(shape, dtype=bool)
        self._controlled = np.zeros(shape, dtype=bool)
        self._command_mps = np.full(shape, np.nan)
        self.wish_mps2 = self.withheld_mps2 = np.zeros(num_envs)
        self._drive_ego = config.ego_control == "policy"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.keeper.running or self._begun:
            raise EnvironmentStateError(
                "An environment that has been reset cannot be copied or pickled: its SUMO goes on "
                "in one place only. Copy it before its first reset, or build another of the same "
                "configuration and seed, which drives the same episodes."
            )
        # As an argument: a copy has a world of its own.
        return operator.call, (partial(self._again, seed=self.seed),)

    @property
    def simulator(self) -> Simulator:
        """The SUMO that carries the batch."""
        return self.keeper.simulator

    @property
    def peer_table(self) -> PeerTable:
        """What the ego's radio has received by the last tick."""
        return self.stack.table

    @property
    def commanded_accel_mps2(self) -> Floats:
        """(num_envs,) float64, what each ego was last told, within the vehicle's limits."""
        return self.board.memory.commands_mps2[:, 0]

    @property
    def wanted_time_gap_s(self) -> Floats:
        """(num_envs,) float64, the time gap that each ego's driver has set."""
        return self.board.memory.time_gap_s

    @property
    def natural_weight(self) -> Floats:
        """(num_envs,) float64, natural probability of the running episodes over that of sampling.

        See `CaseReplay`; 1 where no critical cases are replayed.
        """
        if self._replay is None:
            return np.ones(self.num_envs)
        return self._replay.weights[self.replayed.astype(np.int64)]

    @property
    def now_us(self) -> Ints:
        """(num_envs,) int64, true time since reset in µs."""
        return self.tick * TICK_US

    @property
    def braking_now(self) -> Bools:
        """(num_envs,) bool: a planned braking was commanded in the last tick."""
        return self._director.braking_now(self.plan, self.tick - 1)

    def reseed(self, seed: int) -> None:
        """Start the sequence of episodes of another seed at the next reset.

        Raises:
            ConfigError: It is no seed.
        """
        self.seed = read_seed(seed)
        self.episode[:] = -1

    def reset(
        self, rows: Ints | None = None, kind: EpisodeKind | None = None, cases: Ints | None = None
    ) -> Observation:
        """Begin the next episode of some convoys; the others are not disturbed.

        Args:
            rows: (n,) convoys; None for all.
            kind: Force the kind of episode; no critical case is replayed then, nor for `cases`, and
                no recorded convoy driven.
            cases: (n,) int64, which case each of them runs: it is then episode 0 of the convoy of
                that number, whatever its place in the batch. None: each convoy's own next.

        Returns:
            Their first observations, rows in the order given; empty where the batch does not
            observe.

        Raises:
            SimulatorError: SUMO could not be started, was lost (see `lose`) or did not come back.
        """
        if kind is not None:
            kind = read_kind(kind, "kind")
        if rows is None:
            self.mend()
            rows = np.arange(self.num_envs)
        was_whole, self._whole = self._whole, False
        if not self.keeper.running:
            self.keeper.start()
        self._begun = True
        if cases is None:
            self.episode[rows] += 1
        else:
            self._env_index[rows] = cases
            self.episode[rows] = 0
        keys = fold(self.seed, *self._numbers(rows))
        self.replayed[rows] = False
        if self._replay is not None and cases is None and kind is None:
            keys, self.replayed[rows] = self._replay.replace(keys)
        self.keys[rows] = keys
        plan, placement = self._episodes.draw(keys, rows, kind, self._env_index[rows])
        script_mps = self._episodes.script_mps(self._env_index[rows])
        if self.recorded is not None:
            may = ~self.replayed[rows] & (cases is None and kind is None)
            placement, script_mps = self.recorded.replace(keys, may, plan, placement)
        self.simulator.place(placement)
        self.plan.write(rows, plan)
        self._expected[rows] = placement.present
        self.tick[rows] = 0
        self.status[rows] = _RUNNING
        aside_m = lateral_m(plan, self.tick[rows], self.num_slots, self._road.left_m)
        start = GroundTruth.start(
            placement.present, placement.route_pos_m, placement.speed_mps, aside_m
        )
        self.truth.write(rows, start)
        self._director.reset(rows, keys, script_mps)
        self.reference.reset(rows, start)
        if self.config.radio_position == "reference":
            self.reference.require_road(rows)
        self._judge.reset(rows, start)
        low_s, high_s = self.config.time_gap_s
        drawn = uniform(fold(keys, Stream.WANTED_TIME_GAP))
        self.stack.reset(rows, keys, placement.present, start)
        self.board.start(rows, self.stack.measured, low_s + (high_s - low_s) * drawn)
        first = self.board.observe(rows) if self._observing else {}
        self._whole = was_whole
        return first

    def _numbers(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return convoy and number of the episodes that begin in some convoys, (n,) each."""
        return self._env_index[rows], self.episode[rows]

    def mend(self) -> None:
        """End a SUMO whose last tick was broken off; all convoys must be reset, on another."""
        if not self._whole:
            self.keeper.close()
            self._whole = True

    def step(
        self,
        accel_mps2: Floats,
        communicate: Callable[[GroundTruth, Ints], Observation] | None = None,
    ) -> Tick:
        """Drive for a tick: act, simulate, transmit, receive, observe, judge.

        Args:
            accel_mps2: (num_envs,) float64, what each ego's driver wishes, within the vehicle's
                limits.
            communicate: Called in the place of `communicate`, by whoever wants a hook there.

        Raises:
            EnvironmentStateError: A wish is wrong, or an episode that has ended was not reset.
                Nothing has changed.
            SimulatorLostError: SUMO went away, or the last tick was broken off; `lose` it and begin
                all episodes anew.
            SimulatorTimeoutError: SUMO did not answer; `lose` it, too.
            SimulatorError: It failed in another way.
        """
        self._require_ready(accel_mps2)
        self._whole = False
        self.wish_mps2 = accel_mps2
        self.withheld_mps2 = self.board.command(accel_mps2, self.truth.speed_mps, self._command_mps)
        commands, aside_m = self._direct_traffic()
        state = self.simulator.step(commands)
        self.tick += 1
        self._ticks_simulated += 1
        self._before, self.truth = self.truth, self.truth.advance(state, aside_m)
        self.reference.advance(self.plan, self.tick, self._before, self.truth)
        observation = (communicate or self.communicate)(self.truth, self.now_us)
        reward = self.judge()
        self._whole = True
        return Tick(observation, reward, self.status, self.withheld_mps2)

    def communicate(self, traffic: GroundTruth, now_us: Ints) -> Observation:
        """Let the radio work for a tick: transmit, receive, observe.

        Args:
            traffic: Where the cars really are, for the distances on the air.
            now_us: (num_envs,) int64, up to when what arrives is delivered.
        """
        from_reference = self.config.radio_position == "reference"
        receiver_pos_m = self.reference.route_pos_m if from_reference else None
        self.stack.transmit(self.tick, self._before, traffic, receiver_pos_m)
        self.age_est_ms = self.stack.receive(now_us)
        self.reference.listen(self.plan, self.tick, self.peer_table)
        self.board.hear(self.age_est_ms, self.stack.measured)
        return self.board.observe() if self._observing else {}

    def _require_ready(self, accel_mps2: Floats) -> None:
        """Check that a tick can begin; see `step` for the errors."""
        if not self._whole:
            raise SimulatorLostError("The last tick was broken off half-way (Ctrl-C, or an error).")
        if accel_mps2.shape != (self.num_envs,):
            raise EnvironmentStateError(
                f"accel_mps2 has shape {accel_mps2.shape}; expected ({self.num_envs},)"
            )
        possible = (accel_mps2 >= -MAX_BRAKING_MPS2) & (accel_mps2 <= MAX_ACCEL_MPS2)
        if np.count_nonzero(possible) < self.num_envs:  # NaN is not possible either
            wrong = int(np.flatnonzero(~possible)[0])
            raise EnvironmentStateError(
                f"accel_mps2[{wrong}] = {accel_mps2[wrong]}; the vehicle can do "
                f"{-MAX_BRAKING_MPS2:g} to {MAX_ACCEL_MPS2:g} m/s²"
            )
        if np.count_nonzero(self.status):
            if not self._begun:
                raise EnvironmentStateError("No episode has begun; call reset() before step().")
            over = int(np.flatnonzero(self.status)[0])
            raise EnvironmentStateError(
                f"convoy {over} has ended ({EpisodeStatus(self.status[over]).name.lower()}); "
                "reset it before stepping on"
            )
        if not self.keeper.running:
            raise EnvironmentStateError("The environment is closed; reset() starts it again.")

    def _direct_traffic(self) -> tuple[TickCommands, Floats | None]:
        """Return all cars' commands, and how far aside they will be; None where all keep lane."""
        factor = self._director.command(
            self.plan, self.tick, self.truth.speed_mps, self._controlled, self._command_mps
        )
        self._controlled[:, 0] = self._drive_ego
        if np.count_nonzero(self.wrecked):
            # It stands where it crashed, and nobody behind the peers drives into their way.
            self._controlled[self.wrecked, 0] = True
            self._command_mps[self.wrecked, 0] = 0.0
        aside_m = None
        if np.count_nonzero(self.plan.cut_in_slot):
            aside_m = lateral_m(self.plan, self.tick + 1, self.num_slots, self._road.left_m)
        commands = TickCommands(
            controlled=self._controlled,
            speed_mps=self._command_mps,
            speed_factor=factor,
            left=None if aside_m is None else aside_m >= CAR_WIDTH_M,
        )
        return commands, aside_m

    def judge(self) -> Floats:
        """Decide who has ended and return the rewards, (num_envs,) float64."""
        self.status, reward = self._judge.tick(
            self.truth,
            self._expected,
            self.tick,
            self.plan,
            self.reference.arrays,
            self.wanted_time_gap_s,
            self.withheld_mps2,
        )
        return reward

    def set_reward_weights(self, weights: RewardWeights) -> None:
        """Weigh the reward's terms in another way from now on, as a curriculum does."""
        self._judge.set_reward_weights(weights)

    def lose(self, error: Exception) -> Ints:
        """Truncate the running episodes of a SUMO that is lost; the next reset starts another.

        Args:
            error: What was raised when it was lost.

        Returns:
            The convoys whose episodes have ended just so.

        Raises:
            SimulatorError: SUMO is lost again and again.
        """
        rows = np.flatnonzero(self.status == _RUNNING)
        self.status[rows] = _SIMULATOR_LOST
        self.keeper.lose(error, episodes=rows.size, ticks=self._ticks_simulated)
        self._whole = True
        return rows

    def summary(self, row: int) -> dict[str, float | int | str | bool]:
        """Describe the episode that has just ended in a convoy."""
        summary = self._judge.tracker.summary(
            row, self.plan, int(self.status[row]), int(self.tick[row]), int(self.episode[row])
        )
        if self._replay is not None:
            summary["replayed"] = bool(self.replayed[row])
        return summary

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Draw a convoy as it is, (200, 800, 3) uint8; see `ml.envs.picture`.

        Raises:
            EnvironmentStateError: No episode has begun, or the environment is closed.
        """
        if not self._begun:
            raise EnvironmentStateError("No episode has begun; call reset() before render().")
        if not self.keeper.running:
            raise EnvironmentStateError("The environment is closed; reset() starts it again.")
        from ml.envs.picture import draw_convoy  # noqa: PLC0415 (Pillow, which few need)

        truth, cars = self.truth, slice(0, 1 + int(self.plan.num_peers[row]))
        return draw_convoy(
            truth.route_pos_m[row, cars],
            truth.lateral_m[row, cars],
            truth.accel_mps2[row, cars],
            brake_slot=int(self.plan.brake_slot[row]),
            words=(
                f"{self.tick[row] * DT_S:.1f} s   gap {truth.gap_m[row]:.1f} m   "
                f"{truth.speed_mps[row, 0]:.1f} m/s   {truth.accel_mps2[row, 0]:.1f} m/s2"
            ),
        )

    def drain_metrics(self) -> dict[str, float]:
        """Means over the batch since the last call: reward terms, radio, clipped features."""
        board = self.board
        clipped = {"observation/clipped_share": board.clipped / max(board.built, 1)}
        board.clipped = board.built = 0
        simulator = {
            "simulator/teleports": float(self.simulator.teleport_count()),
            "simulator/restarts": float(self.keeper.restarts),
            "simulator/truncated_episodes": float(self.keeper.truncated_episodes),
        }
        return self._judge.tracker.drain() | self.stack.drain() | clipped | simulator

    def close(self) -> None:
        """End SUMO; may be called twice."""
        self.keeper.close()
