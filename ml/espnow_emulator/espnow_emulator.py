"""The radio one message at a time, for replay, calibration and everyone who wants no arrays."""

import math
from operator import attrgetter
from typing import NamedTuple, Protocol

import numpy as np

from ml.errors import EmulatorError
from ml.espnow_emulator.channel import BroadcastChannel
from ml.espnow_emulator.message_store import DEPTH, MAX_NODES
from ml.espnow_emulator.messages import PayloadField, ReceivedMessage, V2VMessage
from ml.espnow_emulator.parameters.loss import MarginLoss
from ml.espnow_emulator.parameters.radio import RadioParameters
from ml.keyed_random import fold, text_key

_ONLY = np.zeros(1, dtype=np.int64)
_FARTHEST_M = 1e7
_LATEST_MS = 1e12


class HasRadio(Protocol):
    """A set of parameters that has a radio in it, as `ml.parameters.Parameters` does."""

    @property
    def radio(self) -> RadioParameters:
        """The radio's parameters."""


class _Offer(NamedTuple):
    """A message that was handed to `transmit` and has not had its slot."""

    t_us: int
    message: V2VMessage
    sender_xy_m: tuple[float, float]
    receiver_xy_m: tuple[float, float]


class ESPNOWEmulator:
    """One receiver that hears up to 31 vehicles; a view on one `BroadcastChannel`.

    The receiver is node 0; every vehicle that transmits becomes a node, keyed by its name, so that
    the order in which vehicles appear changes no draw. They share the medium, and may collide.
    Nobody stands between two vehicles here, for it is not known who drives where.

    Args:
        params: Of the radio, or a whole parameter set.
        seed: Of all random draws.
        relays: Let vehicles relay, as the parameters say; default: off.

    Raises:
        EmulatorError: What was given as params is neither.
    """

    def __init__(
        self, params: RadioParameters | HasRadio, seed: int = 0, *, relays: bool = False
    ) -> None:
        radio = params if isinstance(params, RadioParameters) else getattr(params, "radio", None)
        if not isinstance(radio, RadioParameters):
            raise EmulatorError(
                f"params is {params!r}, allowed are RadioParameters or what has them as `radio`: "
                "load a preset or file with ml.parameters.load_parameters."
            )
        # Who stands between whom is unknown, so no car costs anything.
        changes: dict[str, object] = {}
        if isinstance(radio.loss, MarginLoss):
            changes["loss"] = radio.loss.model_copy(update={"cars_cap_db": 0.0})
        if not relays:
            changes["relay"] = radio.relay.model_copy(update={"max_hops": 0})
        self._parameters = radio.model_copy(update=changes)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget everything, sequence numbers and link states included, and begin with a seed."""
        self._channel = BroadcastChannel(self._parameters, num_envs=1, num_nodes=MAX_NODES)
        present = np.zeros(MAX_NODES, dtype=bool)
        present[0] = True
        self._channel.reset(_ONLY, fold(seed, 0, 0), present=present)
        self._nodes: dict[str, int] = {}
        self._xy_m = np.zeros((1, MAX_NODES, 2))
        self._sent = [0] * MAX_NODES
        self.clear()

    def clear(self) -> None:
        """Switch the receiver off and on again.

        What is pending and what was received are gone, and time may start anywhere. The random
        draws go on where they were: each vehicle's sequence number, which keys them, and the
        states of the links stay.
        """
        self._channel.clear(_ONLY)
        self._offers: list[_Offer] = []
        self._messages: dict[str, dict[int, V2VMessage]] = {name: {} for name in self._nodes}
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
            EmulatorError: A value that is not finite or out of range, a time before the last
                poll, or one vehicle too many.
        """
        now_us = self._check_time(current_time_ms, "transmit")
        sender_msg.check()
        positions_m = (
            _checked_position("sender_pos", sender_pos),
            _checked_position("receiver_pos", receiver_pos),
        )
        name = sender_msg.vehicle_id
        if name not in self._nodes:
            if len(self._nodes) == MAX_NODES - 1:
                raise EmulatorError(
                    f"{name!r} is vehicle number {MAX_NODES}, allowed are {MAX_NODES - 1}: use an "
                    "emulator for each group of vehicles, or call reset."
                )
            self._nodes[name] = 1 + len(self._nodes)
            self._messages[name] = {}
        self._offers.append(_Offer(now_us, sender_msg, *positions_m))

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
        due = sorted((o for o in self._offers if o.t_us <= now_us), key=attrgetter("t_us"))
        self._offers = [offer for offer in self._offers if offer.t_us > now_us]
        for offer in due:
            self._channel.deliver(np.array([offer.t_us]))
            self._send(offer)
        table = self._channel.deliver(np.array([now_us]))
        received = {}
        for name, node in self._nodes.items():
            if table.heard[0, 0, node - 1]:
                received[name] = ReceivedMessage(
                    message=self._messages[name][int(table.sequence[0, 0, node - 1])],
                    received_at_ms=int(table.received_us[0, 0, node - 1]) / 1000.0,
                    age_ms=float(table.age_at_reception_ms[0, 0, node - 1]),
                )
        return received

    def _send(self, offer: _Offer) -> None:
        """Offer a message to the channel at its time, up to which all was delivered."""
        message, name = offer.message, offer.message.vehicle_id
        node = self._nodes[name]
        if self._sent[node] == 0:
            self._channel.admit(0, node, text_key(name))
        self._xy_m[0, 0], self._xy_m[0, node] = offer.receiver_xy_m, offer.sender_xy_m
        sending = np.zeros((1, MAX_NODES), dtype=bool)
        sending[0, node] = True
        payload = np.zeros((1, MAX_NODES, len(PayloadField)))
        payload[0, node] = message.payload()
        self._channel.transmit(
            sending=sending,
            t_generated_us=np.full((1, MAX_NODES), offer.t_us),
            timestamp_ms=np.full((1, MAX_NODES), message.timestamp_ms),
            payload=payload,
            node_xy_m=self._xy_m,
            now_us=np.array([offer.t_us]),
        )
        kept, sequence = self._messages[name], self._sent[node]
        kept[sequence] = message
        self._sent[node] = sequence + 1
        if len(kept) > 2 * DEPTH:
            # The radio forgets older ones as well; the newest received one is held by the table.
            table = self._channel.table
            shown = int(table.sequence[0, 0, node - 1]) if table.heard[0, 0, node - 1] else -1
            self._messages[name] = {n: kept[n] for n in kept if n > sequence - DEPTH or n == shown}

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


def _checked_position(name: str, position: tuple[float, float]) -> tuple[float, float]:
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
    return x_m, y_m
