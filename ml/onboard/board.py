"""The board: all that an ESP32 in the ego would hold and compute, for a batch of convoys.

It hears (`hear`), keeps what it needs of the past, predicts its peers (`estimate`), says what the
safety layer lets pass (`bounds`), shows a policy what it observes (`observe`), and turns a wish
into a command (`command`). What nobody asks for in a tick is not computed.
"""

import math

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import inlined
from ml.espnow_emulator.peer_table import PeerTable
from ml.onboard.actuation import command_egos
from ml.onboard.cars_ahead import find_cars_ahead
from ml.onboard.estimator import Estimate, predict
from ml.onboard.memory import Memory, remember
from ml.onboard.observation.kernel import ObservationRows, fill
from ml.onboard.observation.spec import Observation
from ml.onboard.peer_order import compare_pairs
from ml.onboard.safety_layer import Bounds, Demands, bound
from ml.onboard.silent_cars import follow_on
from ml.onboard.views import EgoView, Measurement, PeerView, Ranging
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

_NOBODY = np.zeros(0, dtype=np.int64)


class Board:
    """The boards of the egos of a batch; arrays (E,) and (E, S), of egos and their peers.

    Args:
        table: The egos' peer table, (E, 1, S); the radio writes it. One that stays empty is a
            radio that is off.
        ranging: The egos' ranging sensors.
        time_to_live_ms: A peer whose newest message is older is not shown to a policy.
        lag_s: Time constant of a low-pass between a wish and the command, s; 0 for none.
        safety_layer: Hold commands to `bounds`.
        common_share: Share of a position's error variance that it takes to be common to the
            convoy, 0 to 1; 0, the cautious value, for independent errors. One for all, or (E,).

    Attributes:
        peers: What is held of the peers; the arrays change with each tick.
        ego: What the own sensors say.
        memory: The past of the running episodes.
        clipped: Values of observations held to their bounds so far.
        built: Values of observations computed so far.
    """

    ego: EgoView

    def __init__(
        self,
        table: PeerTable,
        ranging: Ranging,
        *,
        time_to_live_ms: float,
        lag_s: float = 0.0,
        safety_layer: bool = False,
        common_share: float | Floats = 0.0,
    ) -> None:
        num_envs, _, num_sources = table.heard.shape
        self._everyone = np.arange(num_envs)
        self._in_table = table.heard[:, 0]
        self._sequence, self._timestamp_ms = table.sequence[:, 0], table.timestamp_ms[:, 0]
        self._ranging = ranging
        self._time_to_live_s = time_to_live_ms / 1000.0
        self._share = 1.0 if lag_s == 0.0 else 1.0 - math.exp(-DT_S / lag_s)
        self._safety_layer = safety_layer
        self._common_share = np.full(num_envs, common_share)
        age_s, *moved = np.zeros((4, num_envs, num_sources))
        ahead_m = np.zeros((num_envs, num_sources, num_sources))
        sent = np.moveaxis(table.payload[:, 0], -1, 0)  # in the order of both, `PayloadField`
        self.peers = PeerView._make(
            (np.zeros_like(self._in_table), age_s, *sent, table.hops[:, 0], ahead_m, *moved)
        )
        self.memory = Memory.blank(num_envs, num_sources)
        self._known = Estimate.room_for(self.peers)
        needed_mps2, missing_m = np.zeros((2, num_envs))
        self._demands = Demands(needed_mps2, missing_m, np.zeros((num_envs, num_sources)))
        self._bounds = Bounds(*np.full((3, num_envs), MAX_ACCEL_MPS2))
        unbounded = np.full(num_envs, np.inf)
        self._no_bounds = Bounds(unbounded, unbounded, -unbounded)
        self._thought = False
        self.clipped = 0
        self.built = 0

    def start(self, rows: Ints, measured: Measurement, time_gap_s: Floats) -> None:
        """Begin episodes in some convoys, (n,): forget the past, and see their first tick.

        Args:
            rows: Which.
            measured: What all nodes believe of themselves, (E, V); the ego is slot 0.
            time_gap_s: (n,), the time gap that each driver has set.
        """
        self.memory.forget(rows, measured.speed_mps[rows, 0], time_gap_s)
        self.peers.ahead_m[rows] = 0.0
        self.peers.heard[rows] = False
        self._bounds.hard[rows] = MAX_ACCEL_MPS2
        self.ego = self._look(measured)
        self._think(rows)

    def hear(self, age_ms: Floats, measured: Measurement) -> None:
        """Take in what a tick has brought to the peer table and the own sensors.

        Args:
            age_ms: (E, 1, S), estimated ages of the newest messages.
            measured: What all nodes believe of themselves, (E, V); the ego is slot 0.
        """
        self.ego = self._look(measured)
        np.divide(age_ms[:, 0], 1000.0, out=self.peers.age_s)
        _take_in(
            self._in_table,
            self.ego,
            self.peers,
            self._sequence,
            self._timestamp_ms,
            self.memory,
        )
        self._thought = False

    def estimate(self) -> Estimate:
        """Where the peers are by now."""
        self._think_once()
        return self._known

    def bounds(self) -> Bounds:
        """What the safety layer lets pass until the next tick."""
        self._think_once()
        return self._bounds

    def demands(self) -> Demands:
        """What the peers' messages demand until the next tick; of a peer not heard, anything."""
        self._think_once()
        return self._demands

    def observe(self, rows: Ints | None = None) -> Observation:
        """Build the observation of some convoys, (n,); None for all."""
        rows = self._everyone if rows is None else rows
        out = ObservationRows.blank(rows.size)
        think, self._thought = not self._thought, True
        clipped, built = _observe(
            self._everyone if think else _NOBODY,
            rows,
            self.ego,
            (self._ranging.range_m, self._ranging.is_valid),
            self.peers,
            self._known,
            self.memory,
            self._demands,
            self._bounds,
            self._time_to_live_s,
            out,
        )
        self.clipped += clipped
        self.built += built
        return {"ego": out.ego, "peers": out.peers, "peer_mask": out.peer_mask}

    def command(self, wish_mps2: Floats, speed_mps: Floats, command_mps: Floats) -> Floats:
        """Command each ego the speed that it shall have at the end of the tick.

        Args:
            wish_mps2: (E,) float64, accelerations within the vehicle's limits.
            speed_mps: (E, V) float64, speeds as the vehicles know them; the ego is slot 0.
            command_mps: (E, V) float64, column 0 is filled.

        Returns:
            (E,) float64, by how much each wish was above what the safety layer lets pass, m/s².
        """
        bounds = self.bounds() if self._safety_layer else self._no_bounds
        withheld_mps2 = np.empty(wish_mps2.size)
        command_egos(
            wish_mps2,
            self._share,
            bounds,
            speed_mps,
            self.memory.commands_mps2,
            command_mps,
            withheld_mps2,
        )
        return withheld_mps2

    def note_driven(self, accel_mps2: Floats) -> None:
        """Take note of what the egos did in a tick in which somebody else drove, as in a recording.

        In the place of `command`: the last command is what the vehicle really did.

        Args:
            accel_mps2: (E,) float64, held to what a vehicle can do.
        """
        commands = self.memory.commands_mps2
        commands[:, 1] = commands[:, 0]
        commands[:, 0] = np.clip(accel_mps2, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)

    def _look(self, measured: Measurement) -> EgoView:
        return EgoView(
            x_m=measured.x_m[:, 0],
            y_m=measured.y_m[:, 0],
            speed_mps=measured.speed_mps[:, 0],
            heading_deg=measured.heading_deg[:, 0],
            accel_mps2=measured.accel_mps2[:, 0],
            position_sd_m=measured.position_sd_m[:, 0],
            last_command_mps2=self.memory.commands_mps2[:, 0],
            common_share=self._common_share,
        )

    def _think_once(self) -> None:
        """Predict and bound, if that was not yet done in this tick: both keep a memory."""
        if not self._thought:
            self._think(self._everyone)
            self._thought = True

    def _think(self, rows: Ints) -> None:
        # In a convoy that begins, where nobody is heard, to think twice in a tick is the same.
        _predict_and_bound(
            rows, self.peers, self.ego, self._known, self.memory, self._demands, self._bounds
        )


@inlined
def _take_in(
    in_table: Bools,
    ego: EgoView,
    peers: PeerView,
    sequence: Ints,
    timestamp_ms: Ints,
    memory: Memory,
) -> None:
    """Move peers and memory on by a tick; in one loop, since a call with many arrays takes long."""
    find_cars_ahead(in_table, ego, peers, memory)
    follow_on(peers, sequence, memory.followed, memory.usual_mps2)
    compare_pairs(peers)
    remember(peers, sequence, timestamp_ms, ego.speed_mps, memory)


@inlined
def _predict_and_bound(
    convoys: Ints,
    peers: PeerView,
    ego: EgoView,
    known: Estimate,
    memory: Memory,
    demands: Demands,
    bounds: Bounds,
) -> None:
    """Predict the peers of some convoys, (n,), and find what they oblige the egos to do."""
    predict(convoys, peers, ego, known)
    bound(convoys, ego.speed_mps, known, memory, demands, bounds)


@inlined
def _observe(
    thinking: Ints,
    convoys: Ints,
    ego: EgoView,
    ranging: tuple[Floats, Bools],
    peers: PeerView,
    known: Estimate,
    memory: Memory,
    demands: Demands,
    bounds: Bounds,
    time_to_live_s: float,
    out: ObservationRows,
) -> tuple[int, int]:
    """Predict and bound for some convoys, and fill the observations of some; see `fill`.

    In one loop, as `_take_in` is.
    """
    _predict_and_bound(thinking, peers, ego, known, memory, demands, bounds)
    return fill(convoys, ego, ranging, peers, known, demands, memory, time_to_live_s, out)
