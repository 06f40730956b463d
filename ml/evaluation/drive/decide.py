"""Let drivers decide on a recorded drive, tick by tick, open loop: nobody does what they say.

Their board hears what the ego's board heard, and believes what that one believed. The last command
that it remembers is what the ego really did. So all of them meet the same observations, and one
board in memory serves all that are plugged in alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.controllers.board import ExportedBoard
from ml.controllers.protocol import Knows
from ml.envs.config import EnvConfig
from ml.envs.worlds.received import arrive
from ml.envs.worlds.world import empty_table
from ml.evaluation.drivers import ControllerDriver, PolicyDriver
from ml.onboard.board import Board
from ml.onboard.safety_layer import Bounds
from ml.onboard.views import Measurement
from ml.sensors import RangingSensor
from ml.vehicle import MAX_BRAKING_MPS2, TICK_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.arrays import Floats, Ints
    from ml.evaluation.drive.read import RecordedDrive
    from ml.onboard.observation.spec import Observation
    from ml.onboard.views import EgoView, PeerView
    from ml.parameters import Parameters

RULE_MPS2 = 2.5
_TOGETHER = 64
"""Ticks whose observations a policy without a memory is shown at once."""
_TOLD_EVERY = 200


class AnyPeerBrakes:
    """The one-line rule: brake while the newest message of any peer reports ≤ −2.5 m/s².

    A message counts for as long as a policy is shown its sender.
    """

    name = f"rule: any peer ≤ −{RULE_MPS2:g} m/s²"
    knows: Knows = "radio"
    standstill_m = None
    time_gap_s = None

    def __init__(self, time_to_live_s: float) -> None:
        self._time_to_live_s = time_to_live_s

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Do nothing: there is no past."""

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Brake fully, or do nothing."""
        del ego
        counts = peers.heard & (peers.age_s <= self._time_to_live_s)
        brakes = (counts & (peers.accel_mps2 <= -RULE_MPS2)).any(axis=1)
        return np.where(brakes, -MAX_BRAKING_MPS2, 0.0)


class Plug(NamedTuple):
    """What a driver's board is told; drivers with the same share one.

    Attributes:
        receives: Whether it is handed what the radio receives.
        time_gap_s: Time gap that the driver has set, s.
        common_share: See `Board`.
    """

    receives: bool
    time_gap_s: float
    common_share: float

    @classmethod
    def of(cls, driver: PolicyDriver | ControllerDriver) -> Plug:
        """Read it from what the driver asks of an environment."""
        config = EnvConfig().model_copy(update=dict(driver.config_changes))
        return cls(config.ego_receives, config.time_gap_s[0], config.position_common_share)


@dataclass(slots=True)
class Seat:
    """`Seats` of some egos of a board, or of one ego in some ticks."""

    num_envs: int
    tick: Ints
    board: Board


@dataclass(frozen=True, slots=True)
class Heard:
    """What the ego's board held of each peer at each tick; (T, S), NaN where nothing was heard.

    Attributes:
        age_s: Age of the newest message, by the clocks of the logs.
        age_est_s: The same as the board could estimate it.
    """

    age_s: Floats
    age_est_s: Floats


def decide(
    drive: RecordedDrive,
    drivers: Sequence[PolicyDriver | ControllerDriver],
    parameters: Parameters,
    on_part: Callable[[str, float], None] = lambda _what, _share: None,
) -> tuple[Floats, Heard]:
    """Ask drivers in every tick of a recorded drive.

    Args:
        drive: The drive.
        drivers: Who decides; distinct objects, and none that goes by ground truth.
        parameters: Give the time to live of a peer.
        on_part: Told what is being done, and how far it is in [0, 1].

    Returns:
        (D, T) float64 m/s², what each would command, within its safety layer if it has one, ahead
        of the low-pass of its action; and what was heard.
    """
    plugs = sorted({Plug.of(driver) for driver in drivers}, reverse=True)
    rows = [plugs.index(Plug.of(driver)) for driver in drivers]
    replay = _Replay(drive, plugs, parameters)
    # A policy with and without its safety layer wishes the same.
    wishes: dict[tuple[int, int], _Wishes] = {}
    for driver, row in zip(drivers, rows, strict=True):
        wishes.setdefault(_key(driver, row), _Wishes(driver, row, replay))
    held = sorted({row for driver, row in zip(drivers, rows, strict=True) if _is_held(driver)})
    bounds = np.zeros((drive.ticks, len(plugs), 3))
    on_part("driving", 0.0)
    for tick in range(drive.ticks):
        if tick % _TOLD_EVERY == 0:
            on_part("driving", tick / drive.ticks)
        replay.advance(tick)
        for row in held:
            bounds[tick, row] = [values[row] for values in replay.board.bounds()]
        for one in wishes.values():
            one.ask(tick)
    decided = np.empty((len(drivers), drive.ticks))
    for place, (driver, row) in enumerate(zip(drivers, rows, strict=True)):
        wish = wishes[_key(driver, row)].finish()
        decided[place] = Bounds(*bounds[:, row].T).hold(wish) if _is_held(driver) else wish
    return decided, replay.heard


def _key(driver: PolicyDriver | ControllerDriver, row: int) -> tuple[int, int]:
    return id(driver.model if isinstance(driver, PolicyDriver) else driver), row


def _is_held(driver: PolicyDriver | ControllerDriver) -> bool:
    return bool(driver.config_changes.get("safety_layer", False))


class _Replay:
    """A board for each plug, all at the wheel of the recorded ego."""

    def __init__(self, drive: RecordedDrive, plugs: Sequence[Plug], parameters: Parameters) -> None:
        num, peers = len(plugs), len(drive.peers)
        self._drive, self._everyone = drive, np.arange(num)
        self._listening = np.array([k for k, plug in enumerate(plugs) if plug.receives], np.int64)
        self._table = empty_table(parameters, num, 1 + peers)
        self.plugs = plugs
        self.board = Board(
            self._table,
            RangingSensor(parameters.sensors.ranging, num_envs=num),
            time_to_live_ms=parameters.radio.time_to_live_ms,
            common_share=np.array([plug.common_share for plug in plugs]),
        )
        self._own = np.stack([getattr(drive.own, name) for name in Measurement.__slots__])
        self._next = 0
        self.observation: Observation = {}
        self.heard = Heard(*np.full((2, drive.ticks, peers), np.nan))

    def advance(self, tick: int) -> None:
        """Let the boards hear and see what the ego's board did, up to the end of a tick."""
        drive, num = self._drive, self._everyone.size
        measured = Measurement(*np.repeat(self._own[:, tick, None, None], num, axis=1))
        if tick == 0:
            gaps_s = np.array([plug.time_gap_s for plug in self.plugs])
            self.board.start(self._everyone, measured, gaps_s)
        else:
            now_us = tick * TICK_US
            self._next = arrive(drive.receptions, self._next, now_us, self._listening, self._table)
            age_ms = self._table.poll(np.full(num, now_us))
            self.board.note_driven(np.full(num, drive.driven_mps2[tick]))
            self.board.hear(age_ms, measured)
            if self._listening.size:
                row = self._listening[0]
                got = self._table.heard[row, 0]
                generated_us = self._table.t_generated_us[row, 0]
                self.heard.age_s[tick, got] = (now_us - generated_us[got]) / 1e6
                self.heard.age_est_s[tick, got] = age_ms[row, 0, got] / 1000.0
        self.observation = self.board.observe()


class _Wishes:
    """What a driver on one of the boards wishes, (T,), asked tick by tick."""

    def __init__(self, driver: PolicyDriver | ControllerDriver, row: int, replay: _Replay) -> None:
        self._driver, self._row, self._replay = driver, row, replay
        self._wish_mps2 = np.zeros(replay.heard.age_s.shape[0])
        self._waiting: list[Observation] = []
        if isinstance(driver, ControllerDriver) and isinstance(driver.controller, ExportedBoard):
            driver.controller.smooths = False  # nobody does what it says

    def ask(self, tick: int) -> None:
        """Ask it, or keep what it is to be shown together with later ticks."""
        row = self._row
        if isinstance(self._driver, ControllerDriver):
            num = len(self._replay.plugs)
            seat = Seat(num, np.full(num, tick), self._replay.board)
            self._wish_mps2[tick] = self._driver.accel(seat, {})[row]
            return
        seen = self._replay.observation
        self._waiting.append({name: values[row : row + 1] for name, values in seen.items()})
        if tick == 0 or self._driver.remembers or len(self._waiting) == _TOGETHER:
            self._ask_waiting(tick)

    def finish(self) -> Floats:
        """Ask it about what still waits, and return all, (T,) m/s²."""
        self._ask_waiting(self._wish_mps2.size - 1)
        return self._wish_mps2

    def _ask_waiting(self, last: int) -> None:
        if not self._waiting or not isinstance(self._driver, PolicyDriver):
            return
        together = {
            name: np.concatenate([seen[name] for seen in self._waiting])
            for name in self._waiting[0]
        }
        ticks = np.arange(last + 1 - len(self._waiting), last + 1)
        seat = Seat(ticks.size, ticks, self._replay.board)
        self._wish_mps2[ticks] = self._driver.accel(seat, together)
        self._waiting = []
