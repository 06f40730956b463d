"""The radio one message at a time, for replay, calibration and everyone who wants no arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ml.errors import EmulatorError
from ml.espnow_emulator.channel import BroadcastChannel
from ml.espnow_emulator.messages import ReceivedMessage, V2VMessage
from ml.espnow_emulator.radio_parameters import RadioParameters
from ml.keyed_random import fold, text_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONLY = np.zeros(1, dtype=np.int64)
_SENDING = np.ones((1, 1), dtype=bool)
_FARTHEST_M = 1e7
_LATEST_MS = 1e12
_REMEMBERED = 16


class HasRadio(Protocol):
    """A set of parameters that has a radio in it, as `ml.parameters.Parameters` does."""

    @property
    def radio(self) -> RadioParameters:
        """The radio's parameters."""


class ESPNOWEmulator:
    """One receiver that hears any number of vehicles; a view on `BroadcastChannel`.

    Each vehicle that ever transmits gets a channel of one convoy, one receiver and one source,
    keyed by its name. So neither the order in which vehicles appear nor who else is there
    changes the fate of a message, and a batch with the same keys has the same fates.

    Args:
        params: Of the radio, or a whole parameter set.
        seed: Of all random draws.

    Raises:
        EmulatorError: What was given as params is neither.
    """

    def __init__(self, params: RadioParameters | HasRadio, seed: int = 0) -> None:
        radio = params if isinstance(params, RadioParameters) else getattr(params, "radio", None)
        if not isinstance(radio, RadioParameters):
            raise EmulatorError(
                f"params is {params!r}, allowed are RadioParameters or what has them as `radio`: "
                "load a preset or file with ml.parameters.load_parameters."
            )
        self._parameters = radio
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget everything, sequence numbers and burst states included, and begin with a seed."""
        self._episode_key = fold(seed, 0, 0)
        self._links: dict[str, _Link] = {}
        self._now_us = -math.inf

    def clear(self) -> None:
        """Switch the receiver off and on again.

        What is pending and what was received are gone, and time may start anywhere. The random
        draws go on where they were: each vehicle's sequence number, which keys them, and its
        burst state stay.
        """
        for link in self._links.values():
            link.clear()
        self._now_us = -math.inf

    def transmit(
        self,
        sender_msg: V2VMessage,
        sender_pos: tuple[float, float],
        receiver_pos: tuple[float, float],
        current_time_ms: float,
    ) -> None:
        """Send a message: fire and forget. Whether and when it arrives is decided and not told.

        Args:
            sender_msg: What is sent; it comes out as it went in.
            sender_pos: (x, y) of the sender in metres.
            receiver_pos: (x, y) of the receiver in metres.
            current_time_ms: When it is sent, not before the last poll.

        Raises:
            EmulatorError: A value that is not finite or out of range, or a time before the last
                poll.
        """
        now_us = self._check_time(current_time_ms, "transmit")
        sender_msg.check()
        sender_xy_m = _checked_position("sender_pos", sender_pos)
        receiver_xy_m = _checked_position("receiver_pos", receiver_pos)
        name = sender_msg.vehicle_id
        if name not in self._links:
            self._links[name] = _Link(self._parameters, self._episode_key, name)
        self._links[name].transmit(sender_msg, sender_xy_m, receiver_xy_m, now_us)

    def sync_and_get_messages(self, current_time_ms: float) -> dict[str, ReceivedMessage]:
        """Take in what has arrived by now.

        Args:
            current_time_ms: Now, not before the last poll.

        Returns:
            The newest message of each vehicle heard so far, by vehicle_id, however old; a new
            dict at each call. How old is too old is for the caller to say.

        Raises:
            EmulatorError: Time ran back.
        """
        now_us = self._check_time(current_time_ms, "sync_and_get_messages")
        self._now_us = now_us
        received = {name: link.deliver(now_us) for name, link in self._links.items()}
        return {name: message for name, message in received.items() if message is not None}

    def _check_time(self, time_ms: float, call: str) -> int:
        if not -_LATEST_MS <= time_ms <= _LATEST_MS:
            raise EmulatorError(
                f"{call}: current_time_ms is {time_ms!r}, allowed is a finite number in "
                f"[{-_LATEST_MS:g}, {_LATEST_MS:g}]."
            )
        time_us = round(time_ms * 1000.0)
        if time_us < self._now_us:
            raise EmulatorError(
                f"{call}: current_time_ms is {time_ms!r}, allowed is {self._now_us / 1000.0!r} "
                "(the last poll) or later: call reset or clear before a new beginning."
            )
        return time_us


class _Link:
    """One vehicle's channel to the receiver, and its messages beside it as they were given."""

    def __init__(
        self, parameters: RadioParameters, episode_key: NDArray[np.uint64], vehicle_id: str
    ) -> None:
        self._channel = BroadcastChannel(parameters, num_envs=1, num_sources=1)
        self._channel.reset(_ONLY, episode_key, source_keys=np.array([text_key(vehicle_id)]))
        self._messages: dict[int, V2VMessage] = {}
        self._sequence = 0

    def clear(self) -> None:
        self._channel.clear(_ONLY)
        self._messages.clear()

    def transmit(
        self,
        message: V2VMessage,
        sender_xy_m: NDArray[np.float64],
        receiver_xy_m: NDArray[np.float64],
        now_us: int,
    ) -> None:
        self._channel.transmit(
            sending=_SENDING,
            t_generated_us=np.array([[now_us]]),
            timestamp_ms=np.array([[message.timestamp_ms]]),
            payload=np.array([[message.payload()]], dtype=np.float64),
            sender_xy_m=sender_xy_m,
            receiver_xy_m=receiver_xy_m,
        )
        self._messages[self._sequence] = message
        self._sequence += 1

    def deliver(self, now_us: int) -> ReceivedMessage | None:
        table = self._channel.deliver(np.array([now_us]))
        heard = bool(table.heard[0, 0, 0])
        newest = int(table.sequence[0, 0, 0])
        if len(self._messages) > _REMEMBERED:
            # Lost and superseded messages; those on their way may still become the newest.
            wanted = {sequence for _, _, _, sequence in self._channel.pending()}
            if heard:
                wanted.add(newest)
            self._messages = {n: self._messages[n] for n in sorted(wanted)}
        if not heard:
            return None
        return ReceivedMessage(
            message=self._messages[newest],
            received_at_ms=int(table.received_us[0, 0, 0]) / 1000.0,
            age_ms=float(table.age_at_reception_ms[0, 0, 0]),
        )


def _checked_position(name: str, position: tuple[float, float]) -> NDArray[np.float64]:
    try:
        x_m, y_m = (float(value) for value in position)
    except (TypeError, ValueError) as error:
        raise EmulatorError(
            f"{name} is {position!r}, allowed are two numbers (x, y) in metres."
        ) from error
    if not (abs(x_m) <= _FARTHEST_M and abs(y_m) <= _FARTHEST_M):
        raise EmulatorError(
            f"{name} is {position!r}, allowed are two finite numbers (x, y) in "
            f"[{-_FARTHEST_M:g}, {_FARTHEST_M:g}] metres."
        )
    return np.array([[[x_m, y_m]]])
