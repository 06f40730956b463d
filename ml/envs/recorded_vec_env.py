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
    reset a `ConvoyVecEnv`'s first episodes are recorded, the first `episodes` that its convoys
    begin, and SUMO ends. Each convoy then drives those of its own in their order, just as live;
    beyond them, for ever, episodes that are drawn from all, by a draw that depends on (seed,
    convoy, number) alone. After `seed` with another seed, the next reset records that one's.

    Who drives while it is recorded brakes to a stop at once and is in nobody's way.

    Args:
        num_envs: Convoys in the batch.
        config: What an episode is like, or its values as a mapping.
        episodes: How many to record; at least one for each convoy.
        seed: Seed of every draw.
        first_env_index: Number of the first convoy.
        forced_kind: Draw only episodes of this kind.
        memory_mb: Most memory for the recording, in 10⁶ bytes.
        console: Where to show how far it is; None for standard output.
        access: `sumo_host` and what follows it, for the recording; see `ConvoyVecEnv`.

    Attributes:
        traffic: What is recorded.

    Raises:
        ConfigError: Episodes depend on who drives; there are too few, or too many for the memory,
            with the numbers and a remedy.
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
        per_episode = bytes_per_case(ticks, config.max_convoy_peers)
        most, needed_mb = int(most_bytes // per_episode), episodes * per_episode / _MEGABYTE
        if episodes < num_envs:
            raise ConfigError(
                f"episodes = {episodes}: {num_envs} convoys need one each at least. Record more."
            )
        if episodes > most:
            raise ConfigError(
                f"episodes = {episodes}, of {ticks} ticks and up to {config.max_convoy_peers} "
                f"peers, may take {needed_mb:.1f} MB, and memory_mb = {memory_mb:g}. Record {most} "
                f"or fewer, or give memory_mb = {np.ceil(needed_mb):.0f}."
            )
        self._episodes = episodes
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
        convoys: list[int] = []
        numbers: list[int] = []
        running = np.zeros(self.num_envs, dtype=bool)

        def begin(rows: Ints) -> None:
            live.reset(rows, self.forced_kind)
            taken = rows[: self._episodes - len(numbers)]
            running[rows], running[taken] = False, True
            convoys.extend(taken.tolist())
            numbers.extend(live.episode[taken].tolist())

        with Parts(
            self._console or make_console(),
            "recording traffic",
            total=self._episodes,
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
        self._replaying.offer(np.array(convoys), np.array(numbers), self.forced_kind)
        self._recorded_seed = seed


class RecordedBatch(ConvoyBatch):
    """A batch that begins recorded episodes alone, once it is told of them."""

    def offer(self, convoys: Ints, numbers: Ints, kind: EpisodeKind | None) -> None:
        """Take over what is recorded, (n,) each: places in the batch, and numbers of episodes.

        Each convoy's are its first ones. `kind` is the one that they were forced to be of.
        """
        self._offered = self._env_index[convoys], numbers
        self._own = np.bincount(convoys, minlength=self.num_envs)
        keys = fold(self.seed, *self._offered)
        if self._replay is not None and kind is None:
            keys, _ = self._replay.replace(keys)
        self._episodes = _Kept(EpisodeSource(self.config, self._road), keys, kind)

    def _numbers(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return convoy and number of the recorded episodes that begin in some convoys."""
        own = super()._numbers(rows)
        drawn = uniform(fold(self.seed, *own, Stream.RECORDED_TRAFFIC))
        chosen = (drawn * self._offered[0].size).astype(np.int64)
        again = own[1] >= self._own[rows]
        convoys, numbers = (
            np.where(again, all_[chosen], mine)
            for all_, mine in zip(self._offered, own, strict=True)
        )
        return convoys, numbers


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
