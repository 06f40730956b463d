"""Processes that simulate, each a share of the convoys on a SUMO of its own, in shared memory.

What a convoy meets depends on the seed, its number and its episode's alone, so any number of
workers gives the same rollouts bit for bit. A worker is asked to run a function on its share, once
for a whole rollout; a worker that dies or hangs is replaced, and its episodes end.
"""

import logging
import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from multiprocessing.reduction import DupFd
from traceback import format_exc
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ml.envs import EnvConfig
from ml.envs.arguments import read_actions, read_config
from ml.envs.config import RewardWeights
from ml.envs.convoy_vec_env import BatchVecEnv, ConvoyVecEnv
from ml.envs.spaces import observation_space
from ml.errors import ConfigError, EnvironmentStateError, RoadSenseError, WorkerLostError
from ml.installation import usable_cores
from ml.onboard.observation.spec import Observation
from ml.training.child import Child
from ml.training.deployment import Address

MOST_BY_DEFAULT = 4
_PATIENCE_S, _FIRST_PATIENCE_S = 120.0, 900.0
"""How long a worker may be still: usually; and at first, when loops are compiled."""
_GLANCE_S = 0.2
_MOST_LOSSES = 5
"""In a row, with no answer in between."""

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class SharedArrays(dict[str, NDArray[Any]]):
    """Arrays by name, zeros at first, in memory that child processes share.

    They can be handed to a child as it starts, and not later. The memory goes with the last process
    that has it. Each array starts at the beginning of a page.

    Args:
        kinds: Shape and dtype of each.

    Raises:
        ConfigError: There is not enough memory to share.
    """

    def __init__(self, kinds: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        super().__init__()
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._files: dict[str, int] = {}
        self.add(kinds)

    def add(self, kinds: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        """Add further arrays; only before a child has been given these.

        Raises:
            ConfigError: There is not enough memory to share.
        """
        for name, (shape, dtype) in kinds.items():
            self._kinds[name] = shape, np.dtype(dtype)
            size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
            self._files[name] = file = _nameless_file(size)
            weakref.finalize(self, os.close, file)
        self._view()

    def _view(self) -> None:
        for name, (shape, dtype) in self._kinds.items():
            if name not in self:
                self[name] = np.ndarray(shape, dtype, mmap.mmap(self._files[name], 0))

    def __reduce__(self) -> tuple[Any, ...]:
        files = {name: DupFd(file) for name, file in self._files.items()}
        return _received, (self._kinds, files)


def _received(kinds: dict[str, Any], files: Mapping[str, Any]) -> SharedArrays:
    """Make shared arrays again, in a child."""
    arrays = SharedArrays({})
    arrays._kinds = kinds  # noqa: SLF001 (its own, on the other side)
    for name, file in files.items():
        arrays._files[name] = file.detach()  # noqa: SLF001
    arrays._view()  # noqa: SLF001
    return arrays


def _nameless_file(size: int) -> int:
    """Return a descriptor of a file of so many zeros, in memory if there is room."""
    error: OSError | None = None
    for folder in ("/dev/shm", tempfile.gettempdir()):  # noqa: S108 # nosec B108 (nameless)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                # Written out now: a page that cannot be had later ends a process without a word.
                file.write(bytes(size))
                file.flush()
                return os.dup(file.fileno())
        except OSError as why:
            error = why
    raise ConfigError(
        f"no room for {size / 1e6:.0f} MB that the workers share, neither in /dev/shm nor in "
        f"{tempfile.gettempdir()} ({error.strerror if error else ''}). Use fewer --num-envs, a "
        "shorter --ppo.n-steps, or give the container more (shm_size)."
    )


class Share:
    """A worker's part of the convoys, inside the worker.

    Args:
        number: The worker's.
        convoys: Which of the whole.
        make: Makes their environment; None for a worker that simulates none.
        arrays: Those that all workers share.
        lost: Another worker had this share and was lost.

    Attributes:
        kept: What functions want to find again when they are called again.
        lost: That is so, and the next step is the one that was lost; see `step`.
        seen: The newest observation.
        starts: (convoys,) bool, whether each is about to make the first step of an episode.
    """

    def __init__(
        self,
        number: int,
        convoys: slice,
        make: Callable[[], ConvoyVecEnv] | None,
        arrays: SharedArrays,
        *,
        lost: bool,
    ) -> None:
        self.number, self.convoys, self.arrays = number, convoys, arrays
        self.kept: dict[str, Any] = {}
        self.seen: Observation = {}
        self.starts = np.ones(convoys.stop - convoys.start, dtype=bool)
        self._make, self.lost = make, lost
        self._env: ConvoyVecEnv | None = None

    @property
    def env(self) -> ConvoyVecEnv:
        """The environment of these convoys."""
        if self._env is None:
            if self._make is None:
                raise EnvironmentStateError(f"worker {self.number} simulates no convoys")
            self._env = self._make()
            if self.lost:
                self._env.batch.episode[:] = self.arrays["episode"][self.convoys]
        return self._env

    @property
    def progress(self) -> int:
        """Steps that are done of what was asked for; may be set, as a sign of life.

        Not 0 at first where another worker was lost in the middle of it.
        """
        return int(self.arrays["progress"][self.number])

    @progress.setter
    def progress(self, steps: int) -> None:
        if self._env is not None:
            self.arrays["episode"][self.convoys] = self._env.batch.episode
        self.arrays["progress"][self.number] = steps

    def reset(self, seed: int | None, options: Sequence[dict[str, Any]]) -> Observation:
        """Begin each convoy's next episode; see `ConvoyVecEnv.reset`."""
        env, self.lost = self.env, False
        if seed is not None:
            env.seed(seed)
        env.set_options(list(options))
        first: Observation = env.reset()  # type: ignore[assignment]
        self.seen = first
        self.starts[:] = True
        self.arrays["episode"][self.convoys] = env.batch.episode
        return first

    def step(
        self, actions: NDArray[Any], last: Observation
    ) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step as `ConvoyVecEnv.step` does.

        After the loss of the worker before, this is the step that was lost: nothing is earned in
        it, all episodes are truncated at the observation `last`, and the next ones begin.
        """
        if not self.lost:
            seen, rewards, ended, infos = self.env.step(actions)
            self.seen, self.starts = seen, ended  # type: ignore[assignment]
            return self.seen, rewards, ended, infos
        self.lost = False
        first: Observation = self.env.reset()  # type: ignore[assignment]
        self.seen = first
        rows = range(self.starts.size)
        infos = [
            {
                "terminal_observation": {k: v[row].copy() for k, v in last.items()},
                "TimeLimit.truncated": True,
            }
            for row in rows
        ]
        self.starts = np.ones(len(rows), dtype=bool)
        return first, np.zeros(len(rows), dtype=np.float32), self.starts, infos

    def close(self) -> None:
        """End SUMO."""
        if self._env is not None:
            self._env.close()


class _Serving:
    """What a worker process does: run functions on its share, which it makes at the first."""

    def __init__(self, make_share: Callable[[], Share]) -> None:
        self._make_share = make_share
        self._share: Share | None = None

    def __call__(self, question: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
        if self._share is None:
            # The workers are the threads.
            import torch  # noqa: PLC0415 (in the process that needs it)

            torch.set_num_threads(1)
            self._share = self._make_share()
        function, arguments = question
        try:
            return function(self._share, *arguments), None
        except RoadSenseError as error:
            return None, error
        except MemoryError:
            raise  # another worker may have room
        except Exception:  # noqa: BLE001 (a fault of ours, which another worker would have, too)
            return None, RuntimeError(f"in worker {self._share.number}:\n{format_exc()}")


class WorkersVecEnv(BatchVecEnv):
    """Convoys in several processes, as one vectorised environment; see `ConvoyVecEnv`.

    With one worker everything happens in this process. Its rows, and what they meet, are those of a
    `ConvoyVecEnv` of the same seed, bit for bit.

    Args:
        num_envs: Convoys in all.
        config: What an episode is like, or its values as a mapping; None for the defaults.
        make: Makes a share of them, and takes what `ConvoyVecEnv` does.
        workers: Processes; 0 for as many as there are cores, at most 4.
        seed: Seed of every draw.
        sumo: Addresses of running SUMOs, of which each worker takes one; further workers simulate
            nothing, but learn. None: each worker starts its own.
        sumo_deadline_s: Longest wait for SUMO (backend `traci`).
        embedded_spare: Go on with an embedded SUMO where one that was lost does not come back.
        patience_s: How long a worker may be still before it counts as hung.

    Attributes:
        arrays: All that are shared: `ego`, `peers`, `peer_mask`, `actions`, `rewards`, `ended`,
            `episode`, each (num_envs, …), and `progress`. Others may be added before the first
            reset.
        replaced: How many workers were lost and replaced.
        truncated_episodes: How many episodes ended with them.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: EnvConfig | Mapping[str, Any] | None = None,
        *,
        make: Callable[..., ConvoyVecEnv] = ConvoyVecEnv,
        workers: int = 0,
        seed: int = 0,
        sumo: Sequence[Address] | None = None,
        sumo_deadline_s: float = 30.0,
        embedded_spare: bool = False,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        super().__init__(num_envs)
        self.config = read_config(config)
        wanted = workers or min(usable_cores(), MOST_BY_DEFAULT)
        simulating = min(wanted, num_envs, len(sumo) if sumo else wanted)
        self.num_workers = wanted if sumo else simulating
        self.replaced = self.truncated_episodes = 0
        self._patience_s, self._proven = patience_s, False
        bounds = np.linspace(0, num_envs, simulating + 1).astype(int).tolist()
        bounds += [num_envs] * (self.num_workers - simulating)
        self.arrays = SharedArrays(
            {
                **{
                    name: ((num_envs, *(box.shape or ())), np.float32)
                    for name, box in observation_space().spaces.items()
                },
                "actions": ((num_envs, 1), np.float64),
                "rewards": ((num_envs,), np.float32),
                "ended": ((num_envs,), np.bool_),
                "episode": ((num_envs,), np.int64),
                "progress": ((self.num_workers,), np.int64),
            }
        )
        self.arrays["episode"][:] = -1  # none yet
        self._makers: list[Callable[..., Share]] = []
        for number in range(self.num_workers):
            first, behind = bounds[number], bounds[number + 1]
            made = None
            if behind > first:
                host, port = sumo[number] if sumo else (None, None)
                made = partial(
                    make,
                    behind - first,
                    self.config,
                    seed=seed,
                    first_env_index=first,
                    sumo_host=host,
                    sumo_port=port,
                    sumo_deadline_s=sumo_deadline_s,
                    embedded_spare=embedded_spare,
                )
            self._makers.append(partial(Share, number, slice(first, behind), made, self.arrays))
        self._shares_in_use = range(simulating)
        self._here: Share | None = None
        self._children: list[Child[Any, Any] | None] = [None] * self.num_workers

    def __str__(self) -> str:
        """Say how many of each there are."""
        sumos = len(self._shares_in_use)
        return f"convoys: {self.num_envs}, SUMOs: {sumos}, processes: {self.num_workers}"

    def run(self, function: Callable[..., Answer], *arguments: object) -> list[Answer]:
        """Have each worker that simulates call `function(share, *arguments)`; wait for all.

        A worker that is lost meanwhile is replaced, and the new one is asked the same: see
        `Share.step` and `Share.progress`.

        Args:
            function: That a fresh process can import.
            arguments: Pickled once for each worker.

        Returns:
            Their answers in the order of their convoys.

        Raises:
            RoadSenseError: What a worker raised.
            WorkerLostError: Workers are lost again and again.
        """
        self.arrays["progress"][:] = 0
        if self.num_workers == 1:
            if self._here is None:
                self._here = self._makers[0](lost=False)
            return [function(self._here, *arguments)]
        question = function, arguments
        numbers = list(self._shares_in_use)
        self.begin(numbers, question)
        answers = [self._answer(number, question) for number in numbers]
        self._proven = True
        return answers

    def begin(self, numbers: Iterable[int], question: tuple[Callable[..., Any], Any]) -> None:
        """Ask workers, by number, a function and its arguments, and do not wait."""
        for number in numbers:
            self._child(number).ask("a worker", question)

    def end(self, number: int) -> bool:
        """Wait for what `begin` has asked a worker; False where it was lost, and is replaced.

        Raises:
            RoadSenseError: What it raised.
        """
        try:
            _, failure = self._wait(number)
        except WorkerLostError as error:
            self._replace(number, error)
            return False
        if failure is not None:
            raise failure
        return True

    def _child(self, number: int, *, lost: bool = False) -> Child[Any, Any]:
        child = self._children[number]
        if child is None:
            make = partial(self._makers[number], lost=lost)
            child = self._children[number] = Child(_Serving(make), error=WorkerLostError)
        return child

    def _answer(self, number: int, question: tuple[Callable[..., Any], Any]) -> Any:
        """Wait for a worker's answer, with another one in its place where it is lost."""
        losses = 0
        while True:
            try:
                answer, failure = self._wait(number)
            except WorkerLostError as error:
                losses += 1
                if losses > _MOST_LOSSES:
                    raise WorkerLostError(
                        f"worker {number} of {self.num_workers} was lost {losses} times in a row, "
                        f"the last time so: {error} If it was killed, memory may have run out: use "
                        "fewer --workers or --num-envs, then continue with --resume latest."
                    ) from error
                self._replace(number, error)
                self.begin([number], question)
            else:
                if failure is not None:
                    raise failure
                return answer

    def _wait(self, number: int) -> Any:
        child, seen, since = self._child(number), -1, time.monotonic()
        patience_s = self._patience_s if self._proven else max(self._patience_s, _FIRST_PATIENCE_S)
        while (answer := child.poll(_GLANCE_S)) is None:
            progress = int(self.arrays["progress"][number])
            if progress != seen:
                seen, since = progress, time.monotonic()
            elif time.monotonic() - since > patience_s:
                child.close(patience_s=0.0)
                raise WorkerLostError(f"a worker has done nothing for {patience_s:.0f} s.")
        return answer

    def _replace(self, number: int, error: Exception) -> None:
        child = self._children[number]
        if child is not None:
            child.close(patience_s=0.0)
        convoys = self._makers[number].args[1]  # type: ignore[attr-defined]
        count = convoys.stop - convoys.start
        self.replaced += 1
        self.truncated_episodes += count
        _log.warning(
            "worker %d of %d is lost: %s %d episodes end here (truncated), and another worker goes "
            "on in its place.",
            number,
            self.num_workers,
            error,
            count,
        )
        self._children[number] = None
        self._child(number, lost=True)

    def reset(self) -> VecEnvObs:
        """Begin the next episode of every convoy; see `ConvoyVecEnv.reset`."""
        try:
            if len(self._options) != self.num_envs:
                raise ConfigError(
                    f"set_options was given {len(self._options)} mappings for {self.num_envs} "
                    "convoys; give one for all, or a list of one for each."
                )
            self.run(_reset, self._seeds[0], list(self._options))
        finally:
            self._reset_options()
        self._reset_seeds()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._seen()

    def _seen(self) -> dict[str, NDArray[Any]]:
        return {name: self.arrays[name].copy() for name in observation_space().spaces}

    def step_async(self, actions: object) -> None:
        """Take the actions, (num_envs, 1) numbers in [−1, 1], for the next `step_wait`.

        Raises:
            EnvironmentStateError: They are wrong.
        """
        read_actions(actions, (self.num_envs, 1))
        self.arrays["actions"][:] = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Simulate a tick; convoys whose episode ends begin their next one."""
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for ends in self.run(_step):
            for row, info in ends:
                infos[row] = info
        return self._seen(), self.arrays["rewards"].copy(), self.arrays["ended"].copy(), infos

    def set_reward_weights(self, weights: RewardWeights) -> None:
        """Weigh the reward's terms in another way from now on, as a curriculum does."""
        self.run(_set_reward_weights, weights)

    def tick_metrics(self) -> dict[str, float]:
        """Means over all convoys since the last call, named as in TensorBoard.

        Counts are sums. Percentiles of ages are means of the workers' percentiles.
        """
        figures = self.run(_tick_metrics)
        merged = {}
        for name in dict.fromkeys(name for of, _ in figures for name in of):
            values = [of[name] for of, _ in figures if name in of]
            sizes = [size for of, size in figures if name in of]
            if name.endswith(("_max_s", "burst_max")):
                merged[name] = max(values)
            elif name in _COUNTS:
                merged[name] = sum(values)
            else:
                merged[name] = float(np.average(values, weights=sizes))
        if self.num_workers > 1:
            merged["workers/replaced"] = float(self.replaced)
            merged["workers/truncated_episodes"] = float(self.truncated_episodes)
        return merged

    def close(self) -> None:
        """End the workers and their SUMOs; may be called twice."""
        if self._here is not None:
            self._here.close()
            self._here = None
        for child in self._children:
            if child is not None:
                child.close()
        self._children = [None] * self.num_workers


_COUNTS = frozenset(
    f"{group}/{name}"
    for group, names in {
        "radio": ("queue_drops", "duplicates", "expired"),
        "simulator": ("teleports", "restarts", "truncated_episodes"),
    }.items()
    for name in names
)


def _keep(share: Share, seen: Observation) -> None:
    for name, rows in seen.items():
        share.arrays[name][share.convoys] = rows


def _reset(share: Share, seed: int | None, options: Sequence[dict[str, Any]]) -> None:
    _keep(share, share.reset(seed, options[share.convoys]))


def _step(share: Share) -> list[tuple[int, dict[str, Any]]]:
    """Step with the actions that are there; return the infos of convoys whose episode ended."""
    arrays, convoys = share.arrays, share.convoys
    last = {name: arrays[name][convoys] for name in observation_space().spaces}
    seen, rewards, ended, infos = share.step(arrays["actions"][convoys], last)
    _keep(share, seen)
    arrays["rewards"][convoys], arrays["ended"][convoys] = rewards, ended
    share.progress = 1
    return [(convoys.start + int(row), infos[row]) for row in np.flatnonzero(ended)]


def _set_reward_weights(share: Share, weights: RewardWeights) -> None:
    share.env.set_reward_weights(weights)


def _tick_metrics(share: Share) -> tuple[dict[str, float], int]:
    return share.env.tick_metrics(), share.starts.size
