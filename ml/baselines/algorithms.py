"""Algorithms of Stable-Baselines3 and SB3-Contrib as they come, on a preset's environment.

They keep the libraries' defaults but for `Algorithm.arguments`, which many convoys at once ask for,
and see what the preset's network sees: features that it hides are hidden from them, too.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.vec_env import VecEnv

from ml.errors import CheckpointError, ConfigError, did_you_mean
from ml.onboard.observation.spec import columns_of
from ml.training.config import TrainConfig
from ml.training.defaults import N_STEPS

CONTRIB = "sb3_contrib"
_OFF_POLICY = {"buffer_size": 200_000, "train_freq": 1, "gradient_steps": 4}


class Algorithm(NamedTuple):
    """An algorithm as it is used here.

    Attributes:
        package: That its class is imported from.
        policy: What its constructor calls the policy.
        arguments: Of the constructor, by the number of convoys: those that are not its defaults.
        step_s: About how long a step takes, learning included, on one core that does nothing else.
    """

    package: str
    policy: str
    arguments: Callable[[int], dict[str, Any]]
    step_s: float


ALGORITHMS: Mapping[str, Algorithm] = {
    # A rollout of 2,048 steps altogether, not of each convoy: as many updates as with one.
    "PPO": Algorithm(
        "stable_baselines3",
        "MultiInputPolicy",
        lambda num_envs: {"n_steps": max(N_STEPS // num_envs, 2)},
        6e-4,
    ),
    # After each tick of all convoys, so many gradient steps; the buffer holds all of them together.
    "SAC": Algorithm("stable_baselines3", "MultiInputPolicy", lambda _: dict(_OFF_POLICY), 1.5e-3),
    "TQC": Algorithm(CONTRIB, "MultiInputPolicy", lambda _: dict(_OFF_POLICY), 2e-3),
    # Whole sequences at once, and fewer passes: its defaults take several times as long.
    "RecurrentPPO": Algorithm(
        CONTRIB,
        "MultiInputLstmPolicy",
        lambda _: {"batch_size": 1024, "n_epochs": 4},
        2e-3,
    ),
}


class ShownExtractor(CombinedExtractor):
    """SB3's extractor of `Dict` observations, which takes some columns for 0.

    Args:
        observation_space: Of `ego` (EGO_F,), `peers` (max_peers, PEER_F) and `peer_mask`.
        hidden: Features as `ego.silence` or `peers.age`.
    """

    def __init__(self, observation_space: spaces.Dict, hidden: Sequence[str] = ()) -> None:
        super().__init__(observation_space)
        for part in ("ego", "peers"):
            factors = torch.ones((observation_space[part].shape or (0,))[-1])
            factors[list(columns_of(part, hidden))] = 0.0
            self.register_buffer(part, factors)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features of shape (batch, features_dim) float32, of observations as they come."""
        shown = {part: observations[part] * self.get_buffer(part) for part in ("ego", "peers")}
        return super().forward(observations | shown)


def require_algorithms(names: Sequence[str]) -> None:
    """Refuse algorithms that do not exist, or whose package is not installed.

    Raises:
        ConfigError: With what there is, or the command that installs it.
    """
    for name in names:
        if name not in ALGORITHMS:
            raise ConfigError(
                f"--algorithms {name!r}: there is no such algorithm."
                f"{did_you_mean(name, ALGORITHMS)} There are: {', '.join(ALGORITHMS)}"
            )
        _class_of(name)


def create(name: str, environment: VecEnv, config: TrainConfig, seed: int) -> BaseAlgorithm:
    """Build an algorithm with fresh weights, on the CPU.

    Args:
        name: Of `ALGORITHMS`.
        environment: Where it learns.
        config: The preset's; of it count the number of convoys and the hidden features.
        seed: Of weights, actions and samples.
    """
    algorithm = ALGORITHMS[name]
    extractor = {
        "features_extractor_class": ShownExtractor,
        "features_extractor_kwargs": {"hidden": config.policy.hidden},
    }
    model: BaseAlgorithm = _class_of(name)(
        algorithm.policy,
        environment,
        **algorithm.arguments(environment.num_envs),
        policy_kwargs=extractor,
        seed=seed,
        device="cpu",
    )
    return model


def load(name: str, file: Path) -> BaseAlgorithm:
    """Load a model of an algorithm for driving. It unpickles: only for files of one's own.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        model: BaseAlgorithm = _class_of(name).load(file, device="cpu")
    except Exception as error:  # torch and pickle raise what they like on foreign content
        raise CheckpointError(
            f"{file} is no model of {name} ({error!r}). Remove its folder {file.parent}, and run "
            "the same command again: it is trained anew."
        ) from error
    return model


def _class_of(name: str) -> Any:
    package = ALGORITHMS[name].package
    try:
        return getattr(import_module(package), name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is of the package sb3-contrib, which cannot be imported ({error}). Install "
            "it: pip install -r requirements-baselines.txt, in a checkout, or pip install "
            "'roadsense[baselines]'. Or leave it out: "
            f"--algorithms {' '.join(a for a, it in ALGORITHMS.items() if it.package != package)}"
        ) from error
