"""`roadsense compile`: the environment's loops, ahead of the first run."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml.options import read_options

_TICKS = 15  # more than an episode, so that resets are compiled, too


@dataclass(frozen=True)
class CompileOptions:
    """Compile the environment's loops now; otherwise the first run does, in some ten seconds."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    read_options(CompileOptions, "roadsense compile", arguments)
    import numpy as np  # noqa: PLC0415 (slow to import)

    from ml.envs.config import EnvConfig  # noqa: PLC0415
    from ml.envs.convoy_vec_env import ConvoyVecEnv  # noqa: PLC0415

    env = ConvoyVecEnv(2, EnvConfig(episode_s=1.0, domain_randomisation=True))
    try:
        env.reset()
        for _ in range(_TICKS):
            env.step(np.zeros((2, 1), dtype=np.float32))
    finally:
        env.close()
    return 0
