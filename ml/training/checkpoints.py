"""Checkpoints: whole or absent, the newest named by a pointer that moves last.

A checkpoint is a file of Stable-Baselines3 (`PPO.load` reads it). To continue a run we take only
its tensors (`torch.load(weights_only=True)`) and its counters (JSON): nothing is unpickled, so a
checkpoint from a stranger runs no code of theirs. The configuration comes from `config.yaml`.
The version of the observation that the weights were learnt on is in it as well.
"""

import errno
import io
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from ml.atomic_files import PARTIAL_SUFFIX, write_atomically
from ml.controllers.registry import names_controller
from ml.envs.policy_interface import PolicyInterface
from ml.envs.spaces import observation_space
from ml.errors import CheckpointError
from ml.installation import model_file
from ml.onboard.observation.spec import OBSERVATION_VERSION
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied
from ml.training.rollouts import RolloutMemory, collect
from ml.training.update import Gradients, update
from ml.training.workers import WorkersVecEnv

POINTER_NAME = "latest"

_FILE_NAME = re.compile(r"step_\d{9,}\.zip")
_PARTS = {"data", "policy.pth", "policy.optimizer.pth"}
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_INTERFACE = "policy_interface"
_VERSION = "observation_version"
_LARGEST_BYTES = 2**31
_EMBEDDING = "features_extractor.phi.2.weight"
_STUDIED_EMBEDDING = "features_extractor.network.phi.2.weight"
_WIDEST_EMBEDDING = 1024
_BALLAST_MARGIN_BYTES = 2**18  # an optimiser's state appears with the first update
_NOT_SAVED = ["_last_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer"]
"""State of the running episodes, which a resumed run begins anew."""


class ConvoyPPO(PPO):
    """PPO whose files say how its policy is plugged into a vehicle, whoever saves them.

    Attributes:
        gradients: Who computes the gradients of an update; None for this process.
    """

    gradients: Gradients | None = None

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Collect a rollout; where the environment's workers can, they do."""
        if isinstance(env, WorkersVecEnv) and isinstance(rollout_buffer, RolloutMemory):
            return collect(self, env, callback, rollout_buffer)
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """Update the policy from the rollout buffer, by Stable-Baselines3 for a policy not ours."""
        if not update(self, self.gradients):
            super().train()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "gradients"]

    @property
    def interface(self) -> PolicyInterface:
        """How the policy is plugged into a vehicle; may be set."""
        return interface_of(self)

    @interface.setter
    def interface(self, interface: PolicyInterface) -> None:
        describe(self, interface)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that has been read and found whole.

    Attributes:
        source: Its file, or its content.
        step: Environment steps before it.
        counters: SB3's counters by attribute name.
        interface: How its policy is plugged into a vehicle.
    """

    source: Path | BinaryIO
    step: int
    counters: dict[str, int]
    interface: PolicyInterface


def model_bytes(model: BaseAlgorithm) -> bytes:
    """Return the model as the content of a zip file that `PPO.load` reads."""
    buffer = io.BytesIO()
    describe(model, interface_of(model))
    model.save(buffer, exclude=_NOT_SAVED)
    return buffer.getvalue()


def describe(model: BaseAlgorithm, interface: PolicyInterface) -> None:
    """Let a model say how its policy is plugged into a vehicle, in every file that it is saved to.

    Args:
        model: Any algorithm of Stable-Baselines3. Its own `save` writes attributes of plain data
            as JSON, which can be read without running code.
        interface: For whom drives with it later; `PolicyInterface.of(config)` for a model that
            learns in an environment of that configuration.
    """
    vars(model)[_VERSION] = OBSERVATION_VERSION
    vars(model)[_INTERFACE] = interface.model_dump(mode="json")


def interface_of(model: BaseAlgorithm) -> PolicyInterface:
    """Return how a model's policy is plugged into a vehicle, also of one from `PPO.load`."""
    return PolicyInterface.model_validate(vars(model).get(_INTERFACE, {}))


def read_checkpoint(source: Path | BinaryIO) -> Checkpoint:
    """Read a file, or its content, to the end and check that it is a whole checkpoint.

    Raises:
        CheckpointError: It is missing, truncated, damaged, for another version of the observation,
            or something else.
    """
    name = _name(source)
    advice = "Name a model that `roadsense train` saved (.zip), or `convoy`, the shipped one."
    try:
        with zipfile.ZipFile(source) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > _LARGEST_BYTES:
                raise CheckpointError(
                    f"{name} holds {size / 2**30:.1f} GB, far more than a checkpoint. {advice}"
                )
            missing = _PARTS - set(archive.namelist())
            damaged = archive.testzip()
            if missing or damaged:
                absent = ", ".join(sorted(missing))
                why = f"it has no {absent}" if missing else f"{damaged} is damaged"
                raise CheckpointError(f"{name} is not a whole checkpoint: {why}. {advice}")
            data = json.loads(archive.read("data"))
        counters = {key: data[key] for key in _COUNTERS}
        if any(not isinstance(value, int) or value < 0 for value in counters.values()):
            raise ValueError(f"{counters}: not counts")  # noqa: TRY301 (told as the others below)
        version = data.get(_VERSION)
    except OSError as error:
        raise _unreadable(name, error, advice) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{name} is truncated or no checkpoint at all ({error}). {advice}"
        ) from error
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise CheckpointError(f"{name} holds no PPO checkpoint ({error!r}). {advice}") from error
    if version is None:
        raise CheckpointError(
            f"{name} does not say for which version of the observation it was made; this RoadSense "
            f"has version {OBSERVATION_VERSION}. If it is a model of your own for this one, call "
            "ml.training.checkpoints.describe(model, PolicyInterface.of(config)) and save it "
            "again; if RoadSense made it, use the version that did."
        )
    if version != OBSERVATION_VERSION:
        raise CheckpointError(
            f"{name} was made for version {version!r} of the observation; this RoadSense has "
            f"version {OBSERVATION_VERSION}, so its weights would misread it. Use the version of "
            "RoadSense that made it (see versions.json in its run directory), or train anew."
        )
    try:
        interface = PolicyInterface.model_validate(data[_INTERFACE])
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{name} does not say how its policy is plugged into a vehicle ({error!r}). {advice}"
        ) from error
    return Checkpoint(source, counters["num_timesteps"], counters, interface)


def restore(model: BaseAlgorithm, checkpoint: Checkpoint) -> None:
    """Give a fresh model the weights, the optimiser's state and the counters of a checkpoint.

    Raises:
        CheckpointError: It was made for another network or another observation.
    """
    try:
        source: Any = checkpoint.source
        model.set_parameters(source, exact_match=True, device=model.device)
    except Exception as error:  # torch and pickle raise what they like on foreign content
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(
            f"{_name(checkpoint.source)} does not fit this policy: {first} It was made with "
            "another network, or for another version of the observation. Use the configuration and "
            "the version of RoadSense that made it (see versions.json)."
        ) from error
    for name, value in checkpoint.counters.items():
        setattr(model, name, value)


def load_model(source: Path | str | BinaryIO) -> ConvoyPPO:
    """Load a saved model for use, without running any code from its file.

    Unlike `PPO.load`, this takes nothing but tensors and counters from the file; spaces and
    network are this version's own.

    Args:
        source: A file, with or without its `.zip`, or its content. What the model's `save` writes
            can be loaded again.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network or observation.
    """
    checkpoint = read_checkpoint(_found(source) if isinstance(source, str | Path) else source)
    name = _name(checkpoint.source)
    try:
        with zipfile.ZipFile(checkpoint.source) as archive:
            content = io.BytesIO(archive.read("policy.pth"))
        weights = dict(torch.load(content, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and pickle raise what they like on foreign content
        raise CheckpointError(f"{name}: its weights cannot be read ({error!r}).") from error
    study = _EMBEDDING not in weights and _STUDIED_EMBEDDING in weights
    embedding = weights.get(_STUDIED_EMBEDDING if study else _EMBEDDING)
    width = embedding.shape[0] if isinstance(embedding, torch.Tensor) and embedding.dim() else 0
    if not 1 <= width <= _WIDEST_EMBEDDING:
        raise CheckpointError(
            f"{name} holds no Deep Sets policy (nothing fitting is called {_EMBEDDING}). Use a "
            "model that `roadsense train` has made."
        )
    policy_kwargs = create_deep_set_policy_kwargs(width)
    model = ConvoyPPO(
        "MultiInputPolicy",
        env=None,  # type: ignore[arg-type]
        n_steps=2,
        batch_size=2,
        device="cpu",
        policy_kwargs=studied(policy_kwargs) if study else policy_kwargs,
        _init_setup_model=False,
    )
    model.observation_space = observation_space()
    model.action_space = spaces.Box(-1.0, 1.0, (1,))
    model.n_envs = 1
    model._setup_model()  # noqa: SLF001 (as PPO.load does)
    restore(model, checkpoint)
    model.interface = checkpoint.interface
    return model


class CheckpointStore:
    """The checkpoints of one run, of which the `keep` newest stay when another is saved."""

    def __init__(self, directory: Path, keep: int = 1) -> None:
        self.directory = directory
        self._keep = keep
        self._pointer = directory / POINTER_NAME
        self._ballast = directory / ".reserve"

    def save(self, model: BaseAlgorithm, step: int) -> Path:
        """Write a checkpoint, then point to it, then remove those that are too old.

        On a full disk the room that was set aside (`reserve`) is given up for it.

        Raises:
            OSError: The disk is full or the directory is gone; the earlier ones are untouched.
        """
        path = self.directory / f"step_{step:09d}.zip"
        content = model_bytes(model)
        try:
            write_atomically(path, content)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self._ballast.exists():
                raise
            self._ballast.unlink()
            write_atomically(path, content)
        write_atomically(self._pointer, path.name + "\n")
        for old in self._by_step()[: -self._keep]:
            if old != path:
                old.unlink()
        for partial in self.directory.glob(f".*{PARTIAL_SUFFIX}"):
            partial.unlink()
        return path

    def reserve(self, model: BaseAlgorithm) -> None:
        """Set room aside for one more checkpoint, should the disk become full.

        Raises:
            OSError: It is full already.
        """
        room = 2 * len(model_bytes(model)) + _BALLAST_MARGIN_BYTES
        write_atomically(self._ballast, os.urandom(room))  # a file of zeros may take no room

    def release(self) -> None:
        """Give up the room that was set aside."""
        self._ballast.unlink(missing_ok=True)

    def newest(self) -> tuple[Checkpoint, list[str]]:
        """Find the newest whole checkpoint.

        Returns:
            The checkpoint, and a line for each newer one that could not be used.

        Raises:
            CheckpointError: None can be used, with the reasons.
        """
        problems: list[str] = []
        for path in self._candidates():
            try:
                return read_checkpoint(path), problems
            except CheckpointError as error:
                problems.append(str(error))
        reasons = " ".join(problems) or "there are no checkpoints."
        raise CheckpointError(f"nothing to resume in {self.directory}: {reasons}")

    def set_aside_after(self, step: int) -> list[Path]:
        """Rename checkpoints beyond a step, which another continuation is about to replace."""
        later = [path for path in self._by_step() if _step_of(path) > step]
        return [path.replace(path.with_name(f"{path.name}.superseded")) for path in later]

    def _candidates(self) -> list[Path]:
        """The one pointed to, then all others from the newest to the oldest."""
        paths = self._by_step()[::-1]
        try:
            named = self.directory / self._pointer.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return paths
        if named in paths:
            paths.remove(named)
            paths.insert(0, named)
        return paths

    def _by_step(self) -> list[Path]:
        """All checkpoints, the oldest first."""
        found = [p for p in self.directory.glob("step_*.zip") if _FILE_NAME.fullmatch(p.name)]
        return sorted(found, key=_step_of)


def _found(name: Path | str) -> Path:
    """Return the file of that name, a shipped model's included.

    `PPO.save` adds `.zip` to a name without a suffix.
    """
    path = model_file(name)
    with_suffix = Path(f"{path}.zip")
    return with_suffix if not path.suffix and not path.exists() and with_suffix.exists() else path


def _unreadable(name: str, error: OSError, advice: str) -> CheckpointError:
    """Say that a file cannot be read, or that its name is a controller's."""
    if names_controller(name):
        return CheckpointError(
            f"{name} is a controller, not a model. Give it as --controllers {name}."
        )
    return CheckpointError(f"cannot read {name}: {error.strerror}. {advice}")


def _name(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "the model"


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))
