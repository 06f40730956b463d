"""Who may drive the ego: a trained policy, its bounds and its baselines, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from ml.envs.actuation import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, accel_from_action

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from stable_baselines3.common.base_class import BaseAlgorithm

    from ml.envs.convoy_batch import ConvoyBatch
    from ml.envs.observation import Observation

_HARDLY_MPS2 = 0.1
"""A leader that brakes less than this takes for ever to stop."""


class Driver(Protocol):
    """Something that drives the egos of a batch.

    Attributes:
        name: What tables call it.
        ego_control: "sumo" where SUMO's car-following drives and `accel` is not asked.
    """

    name: str
    ego_control: Literal["policy", "sumo"]

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Acceleration for the next tick, (num_envs,) float64 m/s² in [−8, 2.6]."""


class ConstantDriver:
    """The same acceleration whatever happens."""

    ego_control: Literal["policy", "sumo"] = "policy"

    def __init__(self, name: str, accel_mps2: float) -> None:
        self.name = name
        self._accel_mps2 = accel_mps2

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return the constant."""
        del observation
        return np.full(batch.num_envs, self._accel_mps2)


class SumoDriver:
    """SUMO's own car-following (Krauss), which sees the car in front perfectly and at once."""

    name = "SUMO's car-following"
    ego_control: Literal["policy", "sumo"] = "sumo"

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return zeros, which nobody reads."""
        del observation
        return np.zeros(batch.num_envs)


class OracleDriver:
    """A bound: perfect, instant knowledge of the car in front, and a calm hand.

    Headway control towards a standstill distance and time gap inside the reward's band, with the
    leader's acceleration fed forward; the braking that it takes to stop behind a leader that goes
    on braking as it does, or to match its speed, overrides that (as the safe distance of Gipps,
    1981, does for the worst case).
    """

    name = "oracle"
    ego_control: Literal["policy", "sumo"] = "policy"
    _STANDSTILL_M, _TIME_GAP_S = 7.0, 1.1
    _GAP_GAIN, _SPEED_GAIN = 0.12, 0.7
    _MARGIN_M = 2.0
    _URGENT_MPS2 = 2.0
    _CALM_STEP_MPS2 = 4.5 * DT_S

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Drive on ground truth."""
        del observation
        truth = batch.truth
        own, lead = truth.speed_mps[:, 0], truth.speed_mps[:, 1]
        error = truth.gap_m - (self._STANDSTILL_M + self._TIME_GAP_S * own)
        wish = self._GAP_GAIN * error + self._SPEED_GAIN * (lead - own) + truth.accel_mps2[:, 1]
        last = truth.accel_mps2[:, 0]
        wish = np.clip(wish, last - self._CALM_STEP_MPS2, last + self._CALM_STEP_MPS2)
        room = truth.gap_m - self._MARGIN_M - own * DT_S
        lead_stops_m = lead**2 / (2.0 * np.maximum(-truth.accel_mps2[:, 1], _HARDLY_MPS2))
        to_stop = own**2 / (2.0 * np.maximum(room + lead_stops_m, 0.1))
        to_match = np.maximum(own - lead, 0.0) ** 2 / (2.0 * np.maximum(room, 0.1))
        needed = np.maximum(to_stop, to_match)
        wish = np.where(needed > self._URGENT_MPS2, np.minimum(wish, -needed), wish)
        return np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)


class PolicyDriver:
    """A trained Stable-Baselines3 policy, without exploration noise."""

    ego_control: Literal["policy", "sumo"] = "policy"

    def __init__(self, model: BaseAlgorithm, name: str = "trained policy") -> None:
        self.name = name
        self._model = model

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Ask the policy."""
        del batch
        action, _ = self._model.predict(dict(observation), deterministic=True)
        return accel_from_action(action[:, 0])


def do_nothing() -> ConstantDriver:
    """Hold the speed: the bound below which nothing was learnt."""
    return ConstantDriver("do-nothing", 0.0)


def always_brake() -> ConstantDriver:
    """Stop and stay: never crashes, never arrives."""
    return ConstantDriver("always-brake", -MAX_BRAKING_MPS2)
