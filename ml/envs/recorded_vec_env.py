"""`RecordedVecEnv`: traffic and radio recorded once, driven through many times."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from ml.arrays import Ints, Words
from ml.console import make_console
from ml.envs.arguments import read_config
from ml.envs.config import EnvConfig, EpisodeKind
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.episodes.drawn import EpisodePlan, EpisodeSource
from ml.envs.worlds.recorded import RecordedTraffic, bytes_per_case, is_shared
from ml.envs.worlds.replayed import replayed_world
from ml.errors import ConfigError
from ml.keyed_random import Stream, fold, uniform
from ml.progress import Parts
from ml.sumo.protocol import DriverParameters, Placement
from ml.vehicle import MAX_BRAKING_MPS2

_MEGABYTE = 10**6


class RecordedVecEnv(ConvoyVecEnv):
    """Convoys whose traffic and radio were recorded, so that only their egos have to be simulated.

    To the learner it is a `ConvoyVecEnv`: the same spaces, infos and bits. It needs
    `radio_position = "reference"`, where nothing but the ego depends on who drives. At its first
    reset a `ConvoyVecEnv`'s first episodes are recorded, as many of each convoy, and SUMO ends.
    Each convoy then drives its own in their order, just as live, and after them, for ever, one of
    its own that is drawn by (seed, convoy, number) alone: what a convoy meets does not depend on
    the others. After `seed` with another seed, the next reset records that one's.

    Who drives while it is recorded brakes to a stop at once and is in nobody's way.

    Args:
        num_envs: Convoys in the batch.
        config: What an episode is like, or its values as a mapping.
        episodes: How many to record in all, rounded up to as many for each convoy.
        seed: Seed of every draw.
        first_env_index: Number of the first convoy.
        forced_kind: Draw only episodes of this kind.
        memory_mb: Most memory for the recording, in 10⁶ bytes.
        console: Where to show how far it is; None for standard output.
        access: `sumo_host` and what follows it, for the recording; see `ConvoyVecEnv`.

    Attributes:
        traffic: What is recorded.

    Raises:
        ConfigError: Episodes depend on who drives, or there are too many for the memory, with the
            numbers and a remedy.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: EnvConfig | Mapping[str, Any] | None = None,
        *,
        episodes: int = 512,
        seed: int = 0,
        first_env_index: int = 0,
        forced_kind: EpisodeKind | None = None,
        memory_mb: float = 1000.0,
        console: Console | None = None,
        **access: Any,
    ) -> None:
        config = read_config(config)
        live = config.model_copy(update={"stop_at_collision": False})
        if not is_shared(live):
            raise ConfigError(
                f'radio_position = "{config.radio_position}", ego_control = '
                f'"{config.ego_control}": traffic can be recorded for another ego only where none '
                'of it goes by the ego. Use radio_position = "reference" (on the command line: '
                '--radio-position reference) and ego_control = "policy".'
            )
        super().__init__(
            num_envs,
            live,
            seed=seed,
            first_env_index=first_env_index,
            forced_kind=forced_kind,
            **access,
        )
        self._live, self._console = self.batch, console
        ticks, most_bytes = self.batch.episode_ticks, memory_mb * _MEGABYTE
        self._each = -(-episodes // num_envs)
        episodes = self._each * num_envs
        per_episode = bytes_per_case(ticks, config.max_convoy_peers)
        most, needed_mb = int(most_bytes // per_episode), episodes * per_episode / _MEGABYTE
        if episodes < 1:
            raise ConfigError(f"episodes = {episodes}: there must be one to record at least.")
        if episodes > most:
            raise ConfigError(
                f"episodes = {episodes}, of {ticks} ticks and up to {config.max_convoy_peers} "
                f"peers, may take {needed_mb:.1f} MB, and memory_mb = {memory_mb:g}. Record {most} "
                f"or fewer, or give memory_mb = {np.ceil(needed_mb):.0f}."
            )
        self.traffic = RecordedTraffic(ticks, episodes, config.max_convoy_peers)
        road = self.batch.simulator.road
        self.batch = self._replaying = RecordedBatch(
            config,
            num_envs=num_envs,
            seed=seed,
            first_env_index=first_env_index,
            world=replayed_world(self.traffic, config, road, num_envs=num_envs),
        )
        self._recorded_seed: int | None = None

    def reset(self) -> VecEnvObs:
        """Begin the next episode of every convoy; see `ConvoyVecEnv.reset`.

        Raises:
            ConfigError: An option asks for another kind of episode than was recorded.
            SimulatorError: SUMO failed while it was recorded.
        """
        seed = self.batch.seed if self._seeds[0] is None else int(self._seeds[0])
        if seed != self._recorded_seed:
            self._record(seed)
        return super().reset()

    def _asked_kinds(self) -> list[EpisodeKind | None]:
        kinds = super()._asked_kinds()
        if any(kind != self.forced_kind for kind in kinds):
            raise ConfigError(
                f"set_options asks for episodes of a kind, and {self.forced_kind or 'all kinds'} "
                "were recorded: give forced_kind to RecordedVecEnv instead."
            )
        return kinds

    def _record(self, seed: int) -> None:
        """Record a seed's first episodes in place of what is recorded."""
        live, traffic, self._recorded_seed = self._live, self.traffic, None
        traffic.clear()
        live.reseed(seed)
        braking = np.full(self.num_envs, -MAX_BRAKING_MPS2)
        running = np.zeros(self.num_envs, dtype=bool)

        def begin(rows: Ints) -> None:
            live.reset(rows, self.forced_kind)
            running[rows] = live.episode[rows] < self._each

        with Parts(
            self._console or make_console(),
            "recording traffic",
            total=self._each * self.num_envs,
            unit="episodes",
        ) as shown:
            try:
                live.mend()
                begin(np.arange(self.num_envs))
                while running.any():
                    live.step(braking)
                    traffic.record(live, np.flatnonzero(running))
                    ended = np.flatnonzero(live.status)
                    if ended.size:
                        shown.advance(int(running[ended].sum()))
                        begin(ended)
            finally:
                live.close()
        self._replaying.reseed(seed)
        self._replaying.offer(self._each, self.forced_kind)
        self._recorded_seed = seed


class RecordedBatch(ConvoyBatch):
    """A batch that begins recorded episodes alone, once it is told of them."""

    def offer(self, each: int, kind: EpisodeKind | None) -> None:
        """Take over what is recorded: the first episodes of each convoy, all forced to a kind."""
        self._each = each
        keys = fold(self.seed, self._env_index[:, None], np.arange(each)).reshape(-1)
        if self._replay is not None and kind is None:
            keys, _ = self._replay.replace(keys)
        self._episodes = _Kept(EpisodeSource(self.config, self._road), keys, kind)

    def _numbers(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return convoy and number of the recorded episodes that begin in some convoys."""
        convoys, numbers = super()._numbers(rows)
        drawn = uniform(fold(self.seed, convoys, numbers, Stream.RECORDED_TRAFFIC))
        again = (drawn * self._each).astype(np.int64)
        return convoys, np.where(numbers >= self._each, again, numbers)


class _Kept:
    """`EpisodeSupply`: plans and places that were drawn before, all at once.

    Args:
        source: Draws them.
        keys: (n,) uint64, of the episodes.
        kind: The one that they are forced to be of.
    """

    def __init__(self, source: EpisodeSource, keys: Words, kind: EpisodeKind | None) -> None:
        self.script_mps = source.script_mps
        self._plan, self._placement = source.draw(keys, np.arange(keys.size), kind)
        self._place_of = {key: place for place, key in enumerate(keys.tolist())}

    def draw(
        self, keys: Words, env_indices: Ints, forced_kind: EpisodeKind | None, cases: Ints
    ) -> tuple[EpisodePlan, Placement]:
        """Return the plan and the placement of some episodes; see `EpisodeSupply.draw`."""
        del forced_kind, cases
        at = [self._place_of[key] for key in keys.tolist()]
        there, drivers = self._placement, self._placement.drivers
        plan = EpisodePlan._make(values[at] for values in self._plan)
        return plan, Placement(
            env_indices,
            there.present[at],
            there.route_pos_m[at],
            there.speed_mps[at],
            there.controlled[at],
            DriverParameters(*(getattr(drivers, name)[at] for name in drivers.__slots__)),
        )
