"""The loop over convoys and peers that fills an observation."""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.compiled import inlined
from ml.onboard.estimator import Estimate
from ml.onboard.memory import Memory
from ml.onboard.observation.spec import EGO, EGO_LIMITS, MAX_PEERS, PEER, PEER_LIMITS
from ml.onboard.safety_layer import Demands
from ml.onboard.spacing import wanted_gap_m
from ml.onboard.views import HISTORY, EgoView, PeerView

_SLOWEST_MPS = 2.0
_NOBODY_GAP_M = 150.0
_NOBODY_AGE_S = 10.0

_NUM_EGO, _NUM_PEER = EGO_LIMITS.shape[1], PEER_LIMITS.shape[1]


class ObservationRows(NamedTuple):
    """Observations of n convoys, float32, and room for one row in the features' own units.

    Attributes:
        ego: (n, 21).
        peers: (n, 8, 23), zeros at first.
        peer_mask: (n, 8), zeros at first.
        ego_row: (21,) float64.
        peer_row: (23,) float64.
    """

    ego: NDArray[np.float32]
    peers: NDArray[np.float32]
    peer_mask: NDArray[np.float32]
    ego_row: Floats
    peer_row: Floats

    @classmethod
    def blank(cls, num_rows: int) -> Self:
        """Allocate the rows of so many convoys."""
        return cls(
            ego=np.empty((num_rows, _NUM_EGO), dtype=np.float32),
            peers=np.zeros((num_rows, MAX_PEERS, _NUM_PEER), dtype=np.float32),
            peer_mask=np.zeros((num_rows, MAX_PEERS), dtype=np.float32),
            ego_row=np.zeros(_NUM_EGO),
            peer_row=np.zeros(_NUM_PEER),
        )


@inlined
def fill(
    convoys: Ints,
    ego: EgoView,
    ranging: tuple[Floats, Bools],
    peers: PeerView,
    known: Estimate,
    demands: Demands,
    memory: Memory,
    time_to_live_s: float,
    out: ObservationRows,
) -> tuple[int, int]:
    """Fill the observations of some convoys.

    Args:
        convoys: (n,) which convoys; row i of the output belongs to convoys[i].
        ego: What the egos' sensors say, (E,).
        ranging: (E,) each, the distance by the ranging sensor, m, and whether it sees a car.
        peers: What the boards hold of the peers, (E, S).
        known: What they predict of them.
        demands: What the safety layer finds.
        memory: The past.
        time_to_live_s: Older peers are not shown.
        out: Filled.

    Returns:
        Values clipped and values written.
    """
    num_sources = peers.heard.shape[1]
    clipped = written = 0
    for i in range(convoys.size):
        e = convoys[i]
        speed = ego.speed_mps[e]
        row = out.ego_row
        row[EGO.peers_heard], row[EGO.silence], row[EGO.hardest_braking] = 0.0, _NOBODY_AGE_S, 0.0
        shown = 0
        for s in range(num_sources):
            if not peers.heard[e, s] or peers.age_s[e, s] > time_to_live_s:
                continue
            row[EGO.peers_heard] += 1.0
            row[EGO.silence] = min(row[EGO.silence], peers.age_s[e, s])
            row[EGO.hardest_braking] = max(row[EGO.hardest_braking], -peers.accel_mps2[e, s])
            if known.rank[e, s] >= MAX_PEERS:
                continue
            # With more peers than rows, the nearest are kept; else each keeps its own row.
            at = s if num_sources <= MAX_PEERS else shown
            _write_peer(e, s, speed, peers, known, demands, memory, out.peer_row)
            clipped += _held(out.peer_row, PEER_LIMITS, out.peers[i, at])
            out.peer_mask[i, at] = 1.0
            shown += 1
        _write_lead(e, speed, known, row)
        row[EGO.speed], row[EGO.accel] = speed, ego.accel_mps2[e]
        row[EGO.position_sd] = ego.position_sd_m[e]
        row[EGO.last_command] = memory.commands_mps2[e, 0]
        row[EGO.earlier_command] = memory.commands_mps2[e, 1]
        row[EGO.speed_change] = speed - memory.speeds_mps[e, -1]
        row[EGO.range], row[EGO.range_valid] = ranging[0][e], ranging[1][e]
        row[EGO.nearest_time_gap] = row[EGO.nearest_gap] / max(speed, _SLOWEST_MPS)
        row[EGO.wanted_time_gap] = memory.time_gap_s[e]
        row[EGO.gap_error] = row[EGO.nearest_gap] - wanted_gap_m(speed, memory.time_gap_s[e])
        row[EGO.needed_braking] = demands.needed_mps2[e]
        row[EGO.missing_room] = demands.missing_m[e] if known.num_heard[e] > 0 else 0.0
        clipped += _held(row, EGO_LIMITS, out.ego[i])
        written += _NUM_EGO + shown * _NUM_PEER
    return clipped, written


@inlined
def _write_lead(e: int, own_mps: float, known: Estimate, row: Floats) -> None:
    """Write what the ego's features (21,) say of the car in front."""
    row[EGO.nearest_gap], row[EGO.nearest_closing], row[EGO.nearest_accel] = _NOBODY_GAP_M, 0.0, 0.0
    row[EGO.nearest_age], row[EGO.nearest_sd] = _NOBODY_AGE_S, 0.0
    if known.num_heard[e] > 0:
        s = known.order[e, 0]
        row[EGO.nearest_gap] = known.gap_m[e, s]
        row[EGO.nearest_closing] = -(known.speed_mps[e, s] - own_mps)
        row[EGO.nearest_accel] = known.accel_mps2[e, s]
        row[EGO.nearest_age] = known.age_s[e, s]
        row[EGO.nearest_sd] = known.position_sd_m[e, s]


@inlined
def _write_peer(
    e: int,
    s: int,
    own_mps: float,
    peers: PeerView,
    known: Estimate,
    demands: Demands,
    memory: Memory,
    row: Floats,
) -> None:
    """Write the features (23,) of a peer, in their own units."""
    row[PEER.gap] = known.gap_m[e, s]
    row[PEER.time_gap] = known.gap_m[e, s] / max(own_mps, _SLOWEST_MPS)
    row[PEER.lateral] = known.lateral_m[e, s]
    row[PEER.relative_speed] = known.speed_mps[e, s] - own_mps
    row[PEER.speed], row[PEER.accel] = peers.speed_mps[e, s], peers.accel_mps2[e, s]
    row[PEER.heading_sin] = math.sin(known.turn_rad[e, s])
    row[PEER.heading_cos] = math.cos(known.turn_rad[e, s])
    row[PEER.age], row[PEER.hops] = peers.age_s[e, s], peers.hops[e, s]
    row[PEER.position_sd] = peers.position_sd_m[e, s]
    row[PEER.cars_between], row[PEER.room] = known.rank[e, s], known.room_m[e, s]
    row[PEER.needed_braking] = demands.of_peer_mps2[e, s]
    for back in range(1, HISTORY + 1):
        at = PEER.accel_1_before + 3 * (back - 1)
        row[at] = memory.sent[e, s, back, 0]
        row[at + 1] = memory.sent[e, s, back, 1] - row[PEER.speed]
        row[at + 2] = (memory.sent_ms[e, s, 0] - memory.sent_ms[e, s, back]) / 1000.0


@inlined
def _held(values: Floats, limits: Floats, out: NDArray[np.float32]) -> int:
    """Scale a row (n,), hold it to its bounds, write it, and return how many values were clipped.

    `limits` (3, n) are scale, low and high.
    """
    clipped = 0
    for i in range(values.size):
        value = values[i] / limits[0, i]
        if value < limits[1, i]:
            value = limits[1, i]
            clipped += 1
        elif value > limits[2, i]:
            value = limits[2, i]
            clipped += 1
        out[i] = value
    return clipped
