"""Where a tick of the environment goes."""

from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Any, cast

import numpy as np

from ml.bench.workloads import environment
from ml.console import WholeTable
from ml.envs.worlds.live import V2VStack

_WARM_UP, _TICKS = 30, 400
_ALL = "all of a tick"


def profile(num_envs: int, num_peers: int, radio: str) -> WholeTable:
    """Time the parts of a tick, on both backends, and build a table of µs per environment step."""
    spent = {
        backend: _spent(num_envs, num_peers, radio, backend) for backend in ("libsumo", "traci")
    }
    table = WholeTable(
        *("part", *(name for backend in spent for name in (f">{backend}", ">share"))),
        title=f"µs per environment step, {num_envs} convoys of {num_peers} peers",
    )
    parts = list(spent["libsumo"])
    for part in parts:
        cells = []
        for times in spent.values():
            cells += [f"{times[part]:.2f}", f"{times[part] / times[_ALL]:.0%}"]
        table.add_row(part, *cells, end_section=part == parts[-2])
    return table


def _spent(num_envs: int, num_peers: int, radio: str, backend: str) -> dict[str, float]:
    times: dict[str, float] = {}
    with closing(environment(num_envs, num_peers, radio, backend)) as env:
        batch = env.batch
        stack, simulator = cast("V2VStack", batch.stack), batch.simulator
        for owner, method, part in (
            (simulator, "step", "SUMO: commands, step, reading"),
            (stack.sensors, "measure", "sensors"),
            (stack.channel, "transmit", "radio: transmit"),
            (stack.channel, "deliver", "radio: deliver"),
            (batch.board, "observe", "observation"),
            (batch, "judge", "reward, termination, tracking"),
            (batch, "reset", "resets of ended convoys"),
        ):
            setattr(owner, method, _timed(getattr(owner, method), times, part))
        action = np.full((num_envs, 1), 0.01, dtype=np.float32)
        for _ in range(_WARM_UP):
            env.step(action)
        times |= dict.fromkeys(times, 0.0)
        start = perf_counter()
        for _ in range(_TICKS):
            env.step(action)
        total = perf_counter() - start
    times["bookkeeping, poses, episode plans"] = total - sum(times.values())
    times[_ALL] = total
    return {part: seconds / _TICKS / num_envs * 1e6 for part, seconds in times.items()}


def _timed(function: Callable[..., Any], times: dict[str, float], part: str) -> Callable[..., Any]:
    times[part] = 0.0

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        result = function(*args, **kwargs)
        times[part] += perf_counter() - start
        return result

    return timed
