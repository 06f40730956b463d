"""Who may drive the ego: a trained policy, its bounds and its baselines, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.controllers.board import WEIGHTS
from ml.controllers.protocol import Controller
from ml.controllers.registry import make_controller
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.policy_interface import PolicyInterface
from ml.envs.truth.lanes import WANDERING_M
from ml.errors import CheckpointError, EvaluationError
from ml.evaluation.records import POLICY_FAMILY, DriverSpec, Variant, sha256_of
from ml.installation import model_file
from ml.onboard.actuation import accel_from_action, action_from_accel
from ml.onboard.board import Board
from ml.onboard.observation.spec import Observation
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

ModelLoader: TypeAlias = "Callable[[str], BaseAlgorithm]"
"""Loads a saved model; importable by a fresh process."""
_ROWS_AT_ONCE = 64
_EAST_DEG = 90.0
SUMO_SPEC = "sumo"
_WRAPPERS = ("off", "truth")

_AS_TOLD: Mapping[str, Any] = MappingProxyType({"action_lag_s": 0.0, "safety_layer": False})
"""The vehicle does what a controller says, whatever stands between a policy and its vehicle."""


def interface_of(model: BaseAlgorithm) -> PolicyInterface:
    """Return how a model is plugged in; the plain way if it does not say."""
    interface: PolicyInterface = getattr(model, "interface", PolicyInterface())
    return interface


class Seats(Protocol):
    """What a driver by the radio sits in: a `ConvoyBatch`, or anything else that fills a board.

    Attributes:
        num_envs: Egos that are driven at once.
        tick: (num_envs,) int64, ticks since each one's episode began.
        board: What their boards hold.
    """

    num_envs: int
    tick: NDArray[np.int64]
    board: Board


class Driver(Protocol):
    """Something that drives the egos of a batch.

    Attributes:
        name: What tables call it.
        ego_control: "sumo" where SUMO's car-following drives and `accel` is not asked.
        needs_observation: Whether it looks at the observation; where False, none is built.
        config_changes: What an `EnvConfig` must say where it drives.
    """

    name: str
    ego_control: Literal["policy", "sumo"]
    needs_observation: bool
    config_changes: Mapping[str, Any]

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Acceleration for the next tick, (num_envs,) float64 m/s² in [−8, 2.6]."""


class ControllerDriver:
    """A controller at the wheel: shows it what it may know, once per tick.

    Args:
        controller: The controller; its memory belongs to the one batch that is being driven.
    """

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = False

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.name = controller.name
        changes = {**_AS_TOLD, "ego_receives": controller.knows != "nothing"}
        self.config_changes: Mapping[str, Any] = changes

    def accel(self, batch: Seats, observation: Observation) -> NDArray[np.float64]:
        """Begin the episodes that are at their first tick, then ask the controller.

        Raises:
            EvaluationError: It drives by ground truth, and there is none.
        """
        del observation
        begun = np.flatnonzero(batch.tick == 0)
        if begun.size:
            self.controller.reset(begun, batch.num_envs)
        if self.controller.knows == "truth":
            if not isinstance(batch, ConvoyBatch):
                raise EvaluationError(
                    f"{self.name} drives by ground truth, which only a simulation has. Name one "
                    "that drives by the radio."
                )
            peers, ego = _of_truth(batch)
        else:
            peers, ego = batch.board.peers, batch.board.ego
        wish_mps2 = np.clip(self.controller.act(peers, ego), -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
        # An action is a float32: all drivers have its resolution, so that none is finer than a
        # policy, and a controller drives the same bits here and through an environment's actions.
        return accel_from_action(action_from_accel(wish_mps2))


def _of_truth(batch: ConvoyBatch) -> tuple[PeerView, EgoView]:
    """View ground truth as a perfect board would hold it, of age 0 and without error.

    The road is unrolled into a straight line to the east, so that distances along it are exact.
    Cars in another lane are not shown until they leave it.
    """
    truth = batch.truth
    # Who drives beside the lane and does not come over is not in the way.
    coming = truth.lateral_m <= np.maximum(batch.lane_offset_m - WANDERING_M, 0.0)
    peers, straight = (truth.present & coming)[:, 1:], np.full(truth.present.shape, _EAST_DEG)
    still = np.zeros(truth.present.shape)
    return (
        PeerView(
            heard=peers,
            age_s=still[:, 1:],
            x_m=truth.route_pos_m[:, 1:],
            y_m=still[:, 1:],
            speed_mps=truth.speed_mps[:, 1:],
            heading_deg=straight[:, 1:],
            accel_mps2=truth.accel_mps2[:, 1:],
            position_sd_m=still[:, 1:],
            hops=np.zeros(peers.shape, dtype=np.int64),
            ahead_m=np.zeros((*peers.shape, peers.shape[1])),
            travelled_m=still[:, 1:],
            now_mps=truth.speed_mps[:, 1:],
            now_mps2=truth.accel_mps2[:, 1:],
        ),
        EgoView(
            x_m=truth.route_pos_m[:, 0],
            y_m=still[:, 0],
            speed_mps=truth.speed_mps[:, 0],
            heading_deg=straight[:, 0],
            accel_mps2=truth.accel_mps2[:, 0],
            position_sd_m=still[:, 0],
            last_command_mps2=batch.commanded_accel_mps2,
            common_share=still[:, 0],
        ),
    )


class SumoDriver:
    """SUMO's own car-following (Krauss), which sees the car in front perfectly and at once."""

    name = "SUMO's car-following"
    ego_control: Literal["policy", "sumo"] = "sumo"
    needs_observation = False
    config_changes: Mapping[str, Any] = _AS_TOLD

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return zeros, which nobody reads."""
        del observation
        return np.zeros(batch.num_envs)


class PolicyDriver:
    """A trained Stable-Baselines3 policy, without exploration noise; also one with a memory.

    Args:
        model: The policy.
        name: What tables call it.
        radio_off: Show it nobody: what the radio is worth to it is the difference.
        interface: How it is plugged in; None as its file says.

    Attributes:
        model: The policy.
    """

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = True

    def __init__(
        self,
        model: BaseAlgorithm,
        name: str = "trained policy",
        *,
        radio_off: bool = False,
        interface: PolicyInterface | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self._memory: dict[int, Any] = {}  # of recurrent policies, by the first row of a part
        interface = interface or interface_of(model)
        if radio_off:  # a safety layer that hears others would drive in its place
            interface = interface.model_copy(update={"safety_layer": False})
        self.config_changes: Mapping[str, Any] = {
            **interface.config_changes(),
            "ego_receives": not radio_off,
        }

    @property
    def remembers(self) -> bool:
        """Whether it has shown a memory of its own: its ticks must be asked for one by one."""
        return any(memory is not None for memory in self._memory.values())

    def accel(self, batch: Seats, observation: Observation) -> NDArray[np.float64]:
        """Ask the policy, always for the same number of convoys at once.

        A matrix product's last bits depend on how many rows it has: padded, a convoy's action is
        the same alone and in any batch, so that an episode can be run again bit for bit.
        """
        num_envs = batch.num_envs
        actions = np.empty(num_envs, dtype=np.float32)
        for start in range(0, num_envs, _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, num_envs))
            padding = _ROWS_AT_ONCE - (rows.stop - start)
            begun = np.pad(batch.tick[rows] == 0, (0, padding))
            asked = {
                name: np.concatenate(
                    [values[rows], np.zeros_like(values, shape=(padding, *values.shape[1:]))]
                )
                for name, values in observation.items()
            }
            answer, self._memory[start] = self.model.predict(
                asked, self._memory.get(start), begun, deterministic=True
            )
            actions[rows] = answer[: rows.stop - start, 0]
        return accel_from_action(actions)


def model_spec(
    path: str,
    name: str,
    interface: PolicyInterface,
    *,
    time_gap_s: float | None = None,
    variant: Variant = "",
) -> DriverSpec:
    """Describe a trained policy.

    It is told to keep `time_gap_s`, or where that is None the gap of its interface.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        digest = sha256_of(model_file(path))
    except OSError as error:
        raise CheckpointError(
            f"model {path} cannot be read ({error.strerror}). Name a .zip that `roadsense train` "
            "saved."
        ) from error
    return DriverSpec(
        name=name,
        spec=path,
        family=POLICY_FAMILY,
        knows="nothing" if variant == "radio off" else "radio",
        time_gap_s=interface.time_gap_s if time_gap_s is None else time_gap_s,
        file=str(model_file(path).absolute()),
        sha256=digest,
        variant=variant,
    )


def controller_spec(spec: str) -> DriverSpec:
    """Describe "sumo", SUMO's car-following, or a controller as `make_controller` takes it.

    Raises:
        ConfigError: There is no such controller, or its file cannot be read.
    """
    if spec == SUMO_SPEC:
        return DriverSpec(name="SUMO's car-following", spec=spec, family=spec, knows="truth")
    controller = make_controller(spec)
    law, tuned, file = spec.partition("@")
    label = Path(file).stem
    if tuned and Path(file).is_dir():  # an exported board: what decides how it drives
        file = str(Path(file) / WEIGHTS)
    first, *more = law.split(":")
    family = f"{first}:{more[0]}" if first in _WRAPPERS else first
    return DriverSpec(
        name=controller.name,
        spec=spec,
        family=family + (f", {label}" if tuned else ""),
        knows=controller.knows,
        standstill_m=controller.standstill_m,
        time_gap_s=controller.time_gap_s,
        file=str(Path(file).absolute()) if tuned else "",
        sha256=sha256_of(Path(file)) if tuned else "",
    )


def driver_files(spec: DriverSpec) -> list[Path]:
    """List what a driver is made from: its file, and of an exported board all of the folder."""
    if not spec.file:
        return []
    file = Path(spec.file)
    if file.name != WEIGHTS:
        return [file]
    return [path for path in sorted(file.parent.rglob("*")) if path.is_file()]


def make_driver(spec: DriverSpec | str, load_model: ModelLoader | None = None) -> Driver:
    """Build a driver; a string stands for a controller, as `controller_spec` takes it.

    Raises:
        ConfigError: There is no such controller.
        EvaluationError: The file of a model or of parameters is not what it was.
        CheckpointError: The model cannot be loaded.
    """
    if isinstance(spec, str):
        spec = controller_spec(spec)
    spec.require_same_file()
    driver: Driver
    if spec.spec == SUMO_SPEC:
        driver = SumoDriver()
    elif not spec.is_model:
        driver = ControllerDriver(make_controller(spec.source))
    elif load_model is None:
        raise EvaluationError(f"{spec.name}: a trained policy needs `load_model`")
    else:
        model = load_model(spec.source)
        changes: dict[str, object] = {"time_gap_s": spec.time_gap_s}
        if spec.variant == "no safety layer":
            changes["safety_layer"] = False
        interface = interface_of(model).model_copy(update=changes)
        off = spec.variant == "radio off"
        driver = PolicyDriver(model, spec.name, radio_off=off, interface=interface)
    driver.name = spec.name
    return driver
