"""The radio of a whole batch of convoys: transmit first, then deliver what has arrived by now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.errors import EmulatorError
from ml.espnow_emulator.clock import NodeClocks
from ml.espnow_emulator.in_flight import FrameField, InFlightQueue
from ml.espnow_emulator.latency import LogNormalLatency
from ml.espnow_emulator.loss import BurstLoss
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.peer_table import PeerTable
from ml.keyed_random import Stream, extend_one, fold, uniform_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.espnow_emulator.radio_parameters import RadioParameters

PREFIX = "radio."
_LONG_AGO_MS = -(2**62)
_LONG_AGO_US = np.iinfo(np.int64).min
_REBOOT_MS = 1000
_SEQUENCE, _EPOCH, _TIMESTAMP_MS, _GENERATED_US = (int(field) for field in FrameField)


class BroadcastChannel:
    """Every directed link of every convoy in arrays (E, R, S).

    Each tick: `transmit` all frames, then `deliver`. Loss and latency of a frame are drawn from
    a key of its convoy's episode, receiver, source and sequence number, so neither the batch nor
    the presence of other nodes changes the fate of a frame.

    Args:
        parameters: Of the radio.
        num_envs: E.
        num_sources: S.
        num_receivers: R; their node keys are 0, 1, ... (the ego is slot 0).

    Attributes:
        table: What the receivers know; `deliver` returns it.
        receiver_clocks: (E, R).
    """

    def __init__(
        self,
        parameters: RadioParameters,
        *,
        num_envs: int,
        num_sources: int,
        num_receivers: int = 1,
    ) -> None:
        links = (num_envs, num_receivers, num_sources)
        frames = (num_envs, num_sources)
        self._links = links
        self._shapes = {
            "sending": frames,
            "t_generated_us": frames,
            "timestamp_ms": frames,
            "payload": (*frames, len(PayloadField)),
            "sender_xy_m": (*frames, 2),
            "receiver_xy_m": (num_envs, num_receivers, 2),
        }
        self.receiver_clocks = NodeClocks(parameters, num_envs=num_envs, num_nodes=num_receivers)
        self.table = PeerTable(self.receiver_clocks, num_sources)
        self._queue = InFlightQueue(num_envs, num_receivers, num_sources)
        self._loss = BurstLoss(parameters.loss, links)
        latency = parameters.latency
        self._defaults = {
            "latency.base_ms": latency.base_ms,
            "latency.tail_median_ms": latency.tail_median_ms,
            "latency.tail_sigma": latency.tail_sigma,
            "loss.odds_factor": parameters.loss.odds_factor,
            "loss.burst_factor": parameters.loss.burst_factor,
        }
        self._latency = LogNormalLatency(latency, num_envs)
        self._keys = np.zeros((2, *links), dtype=np.uint64)
        self._next_sequence = np.zeros(frames, dtype=np.int64)
        self._epoch = np.zeros(frames, dtype=np.int64)
        # Of the frames of this tick, filled anew by each `transmit`.
        self._numbers = np.zeros((len(FrameField), *frames), dtype=np.int64)
        self._first = np.zeros((num_envs, 1, num_sources), dtype=bool)
        self._draw, self._distance_m = np.zeros(links), np.zeros(links)
        self._newest_sent_ms = np.full(frames, _LONG_AGO_MS)
        self._now_us = np.full(num_envs, _LONG_AGO_US)
        self._sent = self._lost = 0
        everything = np.arange(num_envs)
        self.reset(everything, fold(0, everything))

    @property
    def num_sources(self) -> int:
        """S."""
        return self._links[2]

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        *,
        source_keys: NDArray[np.int64] | None = None,
        overrides: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Begin an episode in the given convoys; the others are not touched.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64, `fold(seed, env_index, episode)`.
            source_keys: (S,) or (K, S) integers that name the sources; 1, 2, ... (the vehicle
                slots of the peers) if left out.
            overrides: Dotted names of randomisable parameters, each with its (K,) values for
                this episode; names outside `radio.` are for others. What is not named has the
                value of the file.

        Raises:
            EmulatorError: An override that the channel does not know, or that cannot be.
        """
        values = self._episode_values(len(env_indices), overrides or {})
        self._latency.reset(
            env_indices,
            values["latency.base_ms"],
            values["latency.tail_median_ms"],
            values["latency.tail_sigma"],
        )
        self._loss.reset(env_indices, values["loss.odds_factor"], values["loss.burst_factor"])
        if source_keys is None:
            source_keys = np.arange(1, self.num_sources + 1)
        receivers = np.arange(self._links[1])
        episode = episode_keys[:, None, None]
        link = (receivers[:, None], np.atleast_2d(source_keys)[:, None, :])
        self._keys[0, env_indices] = fold(episode, Stream.RADIO_LOSS, *link)
        self._keys[1, env_indices] = fold(episode, Stream.RADIO_LATENCY, *link)
        self.receiver_clocks.reset(env_indices, episode_keys, node_keys=receivers)
        self._next_sequence[env_indices] = 0
        self._epoch[env_indices] = 0
        self._newest_sent_ms[env_indices] = _LONG_AGO_MS
        self.clear(env_indices)

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Switch the receivers of the given convoys off and on again.

        Pending frames, tables and the memory of time are gone, so time may start anywhere.
        Sequence numbers, burst states and boot epochs go on, so no draw is repeated.
        """
        self._queue.clear(env_indices)
        self.table.clear(env_indices)
        self._now_us[env_indices] = _LONG_AGO_US

    def transmit(
        self,
        *,
        sending: NDArray[np.bool_],
        t_generated_us: NDArray[np.int64],
        timestamp_ms: NDArray[np.int64],
        payload: NDArray[np.float64],
        sender_xy_m: NDArray[np.float64],
        receiver_xy_m: NDArray[np.float64],
    ) -> None:
        """Send at most one frame per source; nothing becomes visible through it.

        Args:
            sending: (E, S) bool.
            t_generated_us: (E, S) int64, true time of sampling, which is when the frame is sent.
            timestamp_ms: (E, S) int64, the same in the source's clock. A jump back by more than
                1 s against the newest sent since the source's last start is a new start.
            payload: (E, S, F) float64, indexed by `PayloadField`.
            sender_xy_m: (E, S, 2), where the sources are.
            receiver_xy_m: (E, R, 2), where the receivers are.

        Raises:
            EmulatorError: A wrong shape, a value that is not finite, or a frame from before the
                last delivery.
        """
        self._check_frames(
            sending, t_generated_us, timestamp_ms, payload, sender_xy_m, receiver_xy_m
        )
        loss_keys, latency_keys = self._keys
        sequence = self._numbers[FrameField.SEQUENCE]
        sent = _number_frames(
            sending,
            t_generated_us,
            timestamp_ms,
            self._next_sequence,
            self._epoch,
            self._newest_sent_ms,
            self._numbers,
            self._first,
        )
        _draws_and_distances(
            loss_keys, sequence, sender_xy_m, receiver_xy_m, self._draw, self._distance_m
        )
        lost = self._loss.lost(
            self._draw, self._distance_m, first=self._first, sending=sending[:, None]
        )
        arrival_us = self._latency.arrivals_us(latency_keys, sequence, t_generated_us, lost)
        self._queue.put(sending, arrival_us, self._numbers, payload)
        self._sent += sent * self._links[1]
        self._lost += int(np.count_nonzero(lost))

    def deliver(self, now_us: NDArray[np.int64]) -> PeerTable:
        """Hand over what has arrived by now, in every convoy.

        Args:
            now_us: (E,) int64, true time; it may not run back.

        Returns:
            The channel's own table, up to date.

        Raises:
            EmulatorError: Time ran back.
        """
        if (now_us < self._now_us).any():
            env = int(np.argmax(now_us < self._now_us))
            raise EmulatorError(
                f"time ran back in convoy {env}: deliver was called for {now_us[env] / 1000:g} ms "
                f"after {self._now_us[env] / 1000:g} ms, allowed is the same time or later: "
                "call reset or clear before a new beginning."
            )
        self._now_us[:] = now_us
        self.table.receive(self._queue, now_us)
        return self.table

    def drain_counters(self) -> dict[str, float]:
        """Return the share of frames that were not lost since the last call, if any was sent."""
        sent, lost = self._sent, self._lost
        self._sent = self._lost = 0
        return {"radio/delivery_ratio": 1.0 - lost / sent} if sent else {}

    def pending(self) -> list[tuple[int, int, int, int]]:
        """Return (convoy, receiver, source, sequence) of every frame that has yet to arrive."""
        return self._queue.pending()

    def _episode_values(
        self, count: int, overrides: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        values = {name: np.full(count, value) for name, value in self._defaults.items()}
        for name, drawn in overrides.items():
            if not name.startswith(PREFIX):
                continue
            known = name.removeprefix(PREFIX)
            if known not in values or np.shape(drawn) != (count,) or not np.isfinite(drawn).all():
                raise EmulatorError(
                    f"override {name!r} with shape {np.shape(drawn)}: allowed are ({count},) "
                    f"finite values of one of {', '.join(PREFIX + n for n in values)}."
                )
            values[known] = np.asarray(drawn, dtype=np.float64)
        return values

    def _check_frames(
        self,
        sending: NDArray[np.bool_],
        t_generated_us: NDArray[np.int64],
        timestamp_ms: NDArray[np.int64],
        payload: NDArray[np.float64],
        sender_xy_m: NDArray[np.float64],
        receiver_xy_m: NDArray[np.float64],
    ) -> None:
        arrays = (sending, t_generated_us, timestamp_ms, payload, sender_xy_m, receiver_xy_m)
        for (name, shape), array in zip(self._shapes.items(), arrays, strict=True):
            if array.shape != shape:
                raise EmulatorError(f"{name} has shape {array.shape}, allowed is {shape}.")
        if _faultless(sending, t_generated_us, payload, sender_xy_m, receiver_xy_m, self._now_us):
            return
        for name, array in (
            ("payload", payload),
            ("sender_xy_m", sender_xy_m),
            ("receiver_xy_m", receiver_xy_m),
        ):
            if not np.isfinite(array).all():
                place = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(array)))
                raise EmulatorError(
                    f"{name}{list(place)} is {array[place]}, allowed are finite numbers: correct "
                    "it where the message is made."
                )
        early = sending & (t_generated_us < self._now_us[:, None])
        env, source = (int(i[0]) for i in np.nonzero(early))
        raise EmulatorError(
            f"source {source} of convoy {env} transmits at "
            f"{t_generated_us[env, source] / 1000:g} ms, but messages were delivered up to "
            f"{self._now_us[env] / 1000:g} ms already; allowed is that time or later: "
            "transmit first, then deliver."
        )


@compiled
def _draws_and_distances(
    keys: NDArray[np.uint64],
    sequence: NDArray[np.int64],
    sender_xy_m: NDArray[np.float64],
    receiver_xy_m: NDArray[np.float64],
    draw: NDArray[np.float64],
    distance_m: NDArray[np.float64],
) -> None:
    """Fill each frame's draw, uniform in [0, 1), and how far it has to go, (E, R, S)."""
    for e in range(keys.shape[0]):
        for r in range(keys.shape[1]):
            for s in range(keys.shape[2]):
                draw[e, r, s] = uniform_one(extend_one(keys[e, r, s], sequence[e, s]))
                east_m = sender_xy_m[e, s, 0] - receiver_xy_m[e, r, 0]
                north_m = sender_xy_m[e, s, 1] - receiver_xy_m[e, r, 1]
                distance_m[e, r, s] = math.sqrt(east_m * east_m + north_m * north_m)


@compiled
def _number_frames(
    sending: NDArray[np.bool_],
    t_generated_us: NDArray[np.int64],
    timestamp_ms: NDArray[np.int64],
    next_sequence: NDArray[np.int64],
    epochs: NDArray[np.int64],
    newest_sent_ms: NDArray[np.int64],
    numbers: NDArray[np.int64],
    first: NDArray[np.bool_],
) -> int:
    """Fill what each frame carries, `numbers` (4, E, S), and notice who was started anew.

    `first` (E, 1, S) says which is its source's first of the episode; the rest is (E, S).

    Returns:
        How many frames are sent.
    """
    sent = 0
    for e in range(sending.shape[0]):
        for s in range(sending.shape[1]):
            if not sending[e, s]:
                continue
            if timestamp_ms[e, s] < newest_sent_ms[e, s] - _REBOOT_MS:
                epochs[e, s] += 1
                newest_sent_ms[e, s] = timestamp_ms[e, s]
            newest_sent_ms[e, s] = max(newest_sent_ms[e, s], timestamp_ms[e, s])
            numbers[_SEQUENCE, e, s] = next_sequence[e, s]
            numbers[_EPOCH, e, s] = epochs[e, s]
            numbers[_TIMESTAMP_MS, e, s] = timestamp_ms[e, s]
            numbers[_GENERATED_US, e, s] = t_generated_us[e, s]
            first[e, 0, s] = next_sequence[e, s] == 0
            next_sequence[e, s] += 1
            sent += 1
    return sent


@compiled
def _faultless(
    sending: NDArray[np.bool_],
    t_generated_us: NDArray[np.int64],
    payload: NDArray[np.float64],
    sender_xy_m: NDArray[np.float64],
    receiver_xy_m: NDArray[np.float64],
    now_us: NDArray[np.int64],
) -> bool:
    """Tell whether all values are finite and no frame is from before the last delivery (E,)."""
    for e in range(sending.shape[0]):
        for s in range(sending.shape[1]):
            if sending[e, s] and t_generated_us[e, s] < now_us[e]:
                return False
            for field in range(payload.shape[2]):
                if not math.isfinite(payload[e, s, field]):
                    return False
            if not math.isfinite(sender_xy_m[e, s, 0]) or not math.isfinite(sender_xy_m[e, s, 1]):
                return False
        for r in range(receiver_xy_m.shape[1]):
            x_m, y_m = receiver_xy_m[e, r, 0], receiver_xy_m[e, r, 1]
            if not math.isfinite(x_m) or not math.isfinite(y_m):
                return False
    return True
