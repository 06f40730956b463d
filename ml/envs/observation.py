"""From the peer table to the policy's input: only what the board could compute itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.config import MAX_PEERS
from ml.envs.observation_spec import (
    EGO_FEATURES,
    EGO_HIGH,
    EGO_INDEX,
    EGO_LOW,
    EGO_SCALE,
    HISTORY,
    PEER_FEATURES,
    PEER_HIGH,
    PEER_INDEX,
    PEER_LOW,
    PEER_SCALE,
)
from ml.espnow_emulator import PayloadField
from ml.sumo.road import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator import PeerTable
    from ml.sensors import Measurement

Observation = dict[str, "NDArray[np.float32]"]

_SPEED_TICKS = 5
_SLOWEST_MPS = 2.0
_NOBODY_GAP_M = 150.0
_NOBODY_AGE_S = 10.0
_ACCEL_HORIZON_S = 1.0
_HISTORY_START = PEER_INDEX["accel_1_before"]


class ObservationBuilder:
    """Builds observations for a batch and keeps the short memory that they need.

    Attributes:
        clipped: Values held to their bounds so far.
        built: Values computed so far.
    """

    def __init__(self, num_envs: int, num_sources: int, time_to_live_ms: float) -> None:
        self._time_to_live_s = time_to_live_ms / 1000.0
        self._commands = np.zeros((num_envs, 2))
        self._speeds = np.zeros((num_envs, _SPEED_TICKS))
        self._all = np.arange(num_envs)
        shape = (num_envs, num_sources)
        self._sequence = np.full(shape, -1, dtype=np.int64)
        # What a peer said before: acceleration, speed, timestamp; the newest first.
        self._said = np.zeros((*shape, HISTORY + 1, 2))
        self._said_ms = np.zeros((*shape, HISTORY + 1), dtype=np.int64)
        self.clipped = 0
        self.built = 0

    def start(self, rows: NDArray[np.int64], measured: Measurement) -> Observation:
        """Forget the past of the given convoys and see their first tick, when nobody is heard yet.

        Args:
            rows: (n,) convoys.
            measured: What their egos believe of themselves; slot 0 of (n, num_slots) arrays.

        Returns:
            The observation's rows, (n, …).
        """
        self._commands[rows] = 0.0
        self._speeds[rows] = measured.speed_mps[:, :1]
        self._sequence[rows] = -1
        self._said[rows] = 0.0
        self._said_ms[rows] = 0
        nobody = np.zeros((rows.size, MAX_PEERS), dtype=bool)
        peers = np.zeros((*nobody.shape, len(PEER_FEATURES)))
        age_s = np.full(nobody.shape, _NOBODY_AGE_S)
        ego = self._ego_features(peers, age_s, nobody, rows, measured)
        return self._bounded(ego, peers, nobody)

    def remember_command(self, accel_mps2: NDArray[np.float64]) -> None:
        """Note the acceleration (num_envs,) that the ego was last told to have."""
        self._commands[:, 1] = self._commands[:, 0]
        self._commands[:, 0] = accel_mps2

    def build(
        self, table: PeerTable, measured: Measurement, now_us: NDArray[np.int64]
    ) -> Observation:
        """Build the batch's observation and move the memory on by one tick.

        Args:
            table: The ego's peer table, (num_envs, 1, num_sources).
            measured: What the nodes believe of themselves; the ego is slot 0.
            now_us: (num_envs,) int64, true time since reset.

        Returns:
            `ego (num_envs, 12)`, `peers (num_envs, 8, 21)`, `peer_mask (num_envs, 8)`, float32.
        """
        age_s = table.age_est_ms(now_us)[:, 0] / 1000.0
        mask = table.heard[:, 0] & (age_s <= self._time_to_live_s)
        self._remember_messages(table)
        peers = self._peer_features(table.payload[:, 0], age_s, mask, measured)
        gap = np.where(mask, peers[:, :, PEER_INDEX["gap"]], np.inf)
        if mask.shape[1] > 1:
            order = np.argsort(gap, axis=1, kind="stable")
            rank = np.argsort(order, axis=1, kind="stable")
        else:
            order = rank = np.zeros(mask.shape, dtype=np.int64)
        peers[:, :, PEER_INDEX["cars_between"]] = rank
        ego = self._ego_features(peers, age_s, mask, self._all, measured, order[:, 0])
        if mask.shape[1] > MAX_PEERS:
            keep = order[:, :MAX_PEERS]
            peers = np.take_along_axis(peers, keep[:, :, None], axis=1)
            mask = np.take_along_axis(mask, keep, axis=1)
        return self._bounded(ego, peers, mask)

    def _remember_messages(self, table: PeerTable) -> None:
        fresh = table.heard[:, 0] & (table.sequence[:, 0] != self._sequence)
        if not fresh.any():
            return
        env, source = np.nonzero(fresh)
        said, said_ms = self._said[env, source], self._said_ms[env, source]
        said[:, 1:] = said[:, :-1]
        said_ms[:, 1:] = said_ms[:, :-1]
        payload = table.payload[env, 0, source]
        said[:, 0, 0] = payload[:, PayloadField.ACCEL_MPS2]
        said[:, 0, 1] = payload[:, PayloadField.SPEED_MPS]
        said_ms[:, 0] = table.timestamp_ms[env, 0, source]
        first = self._sequence[env, source] < 0
        # Before a peer's second message its past is its present.
        said[first] = said[first, :1]
        said_ms[first] = said_ms[first, :1]
        self._said[env, source], self._said_ms[env, source] = said, said_ms
        self._sequence[env, source] = table.sequence[env, 0, source]

    def _peer_features(
        self,
        payload: NDArray[np.float64],
        age_s: NDArray[np.float64],
        mask: NDArray[np.bool_],
        measured: Measurement,
    ) -> NDArray[np.float64]:
        """(num_envs, num_sources, 21) float64 in the features' own units; masked rows are zero."""
        ego_speed = measured.speed_mps[:, :1]
        speed = payload[:, :, PayloadField.SPEED_MPS]
        accel = payload[:, :, PayloadField.ACCEL_MPS2]
        age = np.where(mask, age_s, 0.0)

        # Prediction to now: the reported acceleration for at most a second, never backwards.
        fading = np.minimum(age, _ACCEL_HORIZON_S)
        speed_now = np.maximum(speed + accel * fading, 0.0)
        travelled = 0.5 * (speed + speed_now) * fading + speed_now * (age - fading)
        stops = (speed_now == 0.0) & (accel < 0.0)
        np.copyto(travelled, speed**2 / np.maximum(-2.0 * accel, 1e-6), where=stops)

        east = payload[:, :, PayloadField.X_M] - measured.x_m[:, :1]
        north = payload[:, :, PayloadField.Y_M] - measured.y_m[:, :1]
        heading = np.radians(payload[:, :, PayloadField.HEADING_DEG])
        own_heading = np.radians(measured.heading_deg[:, :1])
        turn = (heading - own_heading + np.pi) % (2.0 * np.pi) - np.pi
        # On an arc the chord points along the mean of the two headings, whatever the noise across.
        mean = own_heading + 0.5 * turn
        sin_mean, cos_mean = np.sin(mean), np.cos(mean)
        chord = east * sin_mean + north * cos_mean
        half_turn = np.clip(0.5 * turn, -1.0, 1.0)
        ahead = chord / np.sinc(half_turn / np.pi)
        gap = ahead + travelled - CAR_LENGTH_M

        out = np.empty((*mask.shape, len(PEER_FEATURES)))
        columns = {
            "gap": gap,
            "time_gap": gap / np.maximum(ego_speed, _SLOWEST_MPS),
            "lateral": north * sin_mean - east * cos_mean,
            "relative_speed": speed_now - ego_speed,
            "speed": speed,
            "accel": accel,
            "heading_sin": np.sin(turn),
            "heading_cos": np.cos(turn),
            "age": age,
            "position_sd": payload[:, :, PayloadField.POSITION_SD_M],
            "hops": 0.0,
            "cars_between": 0.0,
        }
        for name, values in columns.items():
            out[:, :, PEER_INDEX[name]] = values
        past, past_ms = self._said[:, :, 1:], self._said_ms[:, :, 1:]
        out[:, :, _HISTORY_START::3] = past[:, :, :, 0]
        out[:, :, _HISTORY_START + 1 :: 3] = past[:, :, :, 1] - speed[:, :, None]
        out[:, :, _HISTORY_START + 2 :: 3] = (self._said_ms[:, :, :1] - past_ms) / 1000.0
        out[~mask] = 0.0
        return out

    def _ego_features(
        self,
        peers: NDArray[np.float64],
        age_s: NDArray[np.float64],
        mask: NDArray[np.bool_],
        rows: NDArray[np.int64],
        measured: Measurement,
        nearest: NDArray[np.int64] | int = 0,
    ) -> NDArray[np.float64]:
        """(n, 12) float64 in the features' own units, for the convoys `rows`."""
        here = np.arange(rows.size)
        speed = measured.speed_mps[:, 0]
        anyone = mask[here, nearest]
        closest = peers[here, nearest]
        gap = np.where(anyone, closest[:, PEER_INDEX["gap"]], _NOBODY_GAP_M)
        columns = {
            "speed": speed,
            "accel": measured.accel_mps2[:, 0],
            "last_command": self._commands[rows, 0],
            "earlier_command": self._commands[rows, 1],
            "speed_change": speed - self._speeds[rows, -1],
            "position_sd": measured.position_sd_m[:, 0],
            "peers_heard": mask.sum(axis=1),
            "silence": np.where(mask, age_s, _NOBODY_AGE_S).min(axis=1),
            "nearest_gap": gap,
            "nearest_closing": np.where(anyone, -closest[:, PEER_INDEX["relative_speed"]], 0.0),
            "nearest_time_gap": gap / np.maximum(speed, _SLOWEST_MPS),
            "hardest_braking": np.maximum(-peers[:, :, PEER_INDEX["accel"]], 0.0).max(axis=1),
        }
        out = np.empty((mask.shape[0], len(EGO_FEATURES)))
        for name, values in columns.items():
            out[:, EGO_INDEX[name]] = values
        self._speeds[rows, 1:] = self._speeds[rows, :-1]
        self._speeds[rows, 0] = speed
        return out

    def _bounded(
        self, ego: NDArray[np.float64], peers: NDArray[np.float64], mask: NDArray[np.bool_]
    ) -> Observation:
        """Scale, hold to the declared bounds (counting) and pad to `MAX_PEERS` rows."""
        ego /= EGO_SCALE
        peers /= PEER_SCALE
        held_ego = np.clip(ego, EGO_LOW, EGO_HIGH)
        held_peers = np.clip(peers, np.minimum(PEER_LOW, 0.0), np.maximum(PEER_HIGH, 0.0))
        self.clipped += int((held_ego != ego).sum() + (held_peers != peers).sum())
        self.built += ego.size + int(mask.sum()) * len(PEER_FEATURES)
        rows, sources = mask.shape
        padded = np.zeros((rows, MAX_PEERS, len(PEER_FEATURES)), dtype=np.float32)
        padded[:, :sources] = held_peers
        padded_mask = np.zeros((rows, MAX_PEERS), dtype=np.float32)
        padded_mask[:, :sources] = mask
        return {"ego": held_ego.astype(np.float32), "peers": padded, "peer_mask": padded_mask}
