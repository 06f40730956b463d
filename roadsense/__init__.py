"""RoadSense, by the name that it is installed under: importing it registers the environment.

    import gymnasium as gym
    import roadsense

    env = gym.make("RoadSense-Convoy-v0", radio="bursty")
    model = roadsense.load_model("convoy")

`gym.make("roadsense:RoadSense-Convoy-v0")` imports it by itself, also in another process. The code
is in the package `ml`, whose folders are the project's rooms.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml import __version__
from ml.envs import ENV_ID, EnvConfig, RewardWeights

if TYPE_CHECKING:
    from ml.controllers.registry import make_controller
    from ml.envs.convoy_env import ConvoyEnv
    from ml.envs.convoy_vec_env import ConvoyVecEnv
    from ml.envs.convoy_vector_env import ConvoyVectorEnv
    from ml.parameters import load_parameters
    from ml.training.checkpoints import load_model

__all__ = [
    "ENV_ID",
    "ConvoyEnv",
    "ConvoyVecEnv",
    "ConvoyVectorEnv",
    "EnvConfig",
    "RewardWeights",
    "__version__",
    "load_model",
    "load_parameters",
    "make_controller",
]
_FROM = {  # what takes seconds to import
    "ConvoyEnv": "ml.envs.convoy_env",
    "ConvoyVecEnv": "ml.envs.convoy_vec_env",
    "ConvoyVectorEnv": "ml.envs.convoy_vector_env",
    "load_model": "ml.training.checkpoints",
    "load_parameters": "ml.parameters",
    "make_controller": "ml.controllers.registry",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FROM[name]), name)
