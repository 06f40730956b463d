"""A board at the wheel of an ego: what it answers, and what the vehicle does where it does not."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ml.envs.config import KINDS
from ml.envs.convoy_batch import ConvoyBatch
from ml.errors import EvaluationError
from ml.hil.inputs import EgoInputs
from ml.hil.protocol import TICK, Answer
from ml.hil.record import Car, Note, Record, done_body, truth_body
from ml.hil.session import Session
from ml.onboard.actuation import accel_from_action, action_from_accel
from ml.onboard.observation.spec import Observation
from ml.onboard.safety_layer import SILENCE_MPS2
from ml.onboard.silent_cars import SILENT_S
from ml.sumo.scenarios import load_scenario
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

_HELD_TICKS: Final = round(SILENT_S / DT_S)
_MILLISECONDS: Final = 1e3


class SafeState:
    """What a vehicle does whose board has not answered in time.

    It does as it was last told, but does not accelerate; from 0.3 s on it brakes by 1.5 m/s², or as
    hard as it was braking, until the board answers. A board that is silent says as little as a
    convoy that is: both numbers are those by which the safety layer takes silence for a danger. To
    brake at once would make a false brake of every answer that is lost on the way.
    """

    def __init__(self) -> None:
        self._last_mps2 = 0.0
        self._missed = 0

    def command(self, answer: Answer | None) -> float:
        """Return what to command in a tick, m/s², with its answer or without one."""
        if answer is not None:
            self._missed, self._last_mps2 = 0, answer.accel_mps2
            return self._last_mps2
        self._missed += 1
        limit = 0.0 if self._missed < _HELD_TICKS else -SILENCE_MPS2
        return min(self._last_mps2, limit)


def as_commanded(commanded_mps2: float) -> NDArray[np.float64]:
    """Return a command as the vehicle takes it; (1,) float64, m/s²."""
    wish_mps2 = np.clip([commanded_mps2], -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
    # As fine as any other driver's command; see `ControllerDriver.accel`.
    return accel_from_action(action_from_accel(wish_mps2))


class LoopDriver:
    """A board in the loop, as a driver of one convoy; see `ml.evaluation.drivers.Driver`.

    Args:
        session: With the board.
        record: Of it.
        deadline_s: By when the board must have decided, by its own clock.
        name: What tables call it.

    Attributes:
        answers: Of the ticks of the present episode; None where none came in time.
    """

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = False
    # It bounds and smooths its own wishes.
    config_changes: Mapping[str, Any] = MappingProxyType(
        {"action_lag_s": 0.0, "safety_layer": False, "ego_receives": True}
    )

    def __init__(self, session: Session, record: Record, *, deadline_s: float, name: str) -> None:
        self.name = name
        self._session, self._record = session, record
        self._deadline_us = round(deadline_s * 1e6)
        self._began = time.monotonic()
        self.answers: list[Answer | None] = []

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Let the board decide a tick; (1,) float64, m/s².

        Raises:
            EvaluationError: There is more than one convoy: a board has one car.
            BoardError: The board is gone, or has been silent for a second.
        """
        del observation
        if batch.num_envs != 1:
            raise EvaluationError(f"{self.name} is one board, and drives one convoy at a time")
        session, record = self._session, self._record
        if batch.tick[0] == 0:
            self._begin(batch)
        inputs = self._inputs.tick()
        self.note_truth(batch)
        for frame in inputs.frames:
            session.hear(frame)
        if inputs.fix is not None:
            session.take_fix(inputs.fix)
        tick = session.tick
        decided = session.decide(TICK.pack(*inputs.sample, self._deadline_us))
        self.answers.append(decided.answer)
        commanded_mps2 = self._safe.command(decided.answer)
        record.note(
            Note.DONE, tick, done_body(commanded_mps2, is_safe_state=decided.answer is None)
        )
        record.flush()
        return as_commanded(commanded_mps2)

    def note_truth(self, batch: ConvoyBatch) -> None:
        """Write down where the cars are."""
        truth, road = batch.truth, self._road
        x_m, y_m, _ = road.pose(truth.route_pos_m)
        columns = (truth.route_pos_m, truth.lateral_m, x_m, y_m, truth.speed_mps, truth.accel_mps2)
        rows = np.where(truth.present[0], [column[0] for column in columns], np.nan).T
        last = int(np.flatnonzero(truth.present[0])[-1]) if truth.present[0].any() else -1
        wall_ms = int((time.monotonic() - self._began) * _MILLISECONDS)
        body = truth_body(wall_ms, (Car(*row) for row in rows[: last + 1].tolist()))
        self._record.note(Note.TRUTH, self._session.tick, body)

    def _begin(self, batch: ConvoyBatch) -> None:
        """Begin an episode; what is planned in it stands in the record."""
        self._inputs, self._safe, self.answers = EgoInputs(batch), SafeState(), []
        self._road = load_scenario(batch.config.scenario).road
        plan = batch.plan
        content = {
            "kind": KINDS[int(plan.kind[0])],
            "num_peers": int(plan.num_peers[0]),
            "brake_slot": int(plan.brake_slot[0]),
            "onset_tick": int(plan.onset_tick[0]),
        }
        self._record.note_json(Note.EPISODE, self._session.tick, content)
        self._session.begin(self._inputs.begin(self._session.hello.time_gap_s))
