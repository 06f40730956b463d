"""The ESP-NOW radio: messages, parameters, channel, emulator.

Shapes: E convoys (K of them at a reset), N nodes of each, R receivers that are recorded, S = N - 1
sources (all nodes but the ego), F fields of a payload.
"""

from ml.espnow_emulator.channel import BroadcastChannel
from ml.espnow_emulator.clock import BEACON_PERIOD_US, BeaconSchedule, NodeClocks
from ml.espnow_emulator.espnow_emulator import ESPNOWEmulator
from ml.espnow_emulator.faults import MessageFaults
from ml.espnow_emulator.messages import PayloadField, ReceivedMessage, V2VMessage
from ml.espnow_emulator.parameters.loss import (
    BlackoutParameters,
    GilbertElliottLoss,
    IndependentLoss,
    LossKnot,
    LossPoint,
    MarginLoss,
)
from ml.espnow_emulator.parameters.radio import (
    BeaconParameters,
    ClockParameters,
    FaultParameters,
    MacParameters,
    RadioParameters,
    RelayParameters,
    WireParameters,
)
from ml.espnow_emulator.peer_table import PeerTable
from ml.espnow_emulator.wire import GeoReference, pack, quantise, unpack

__all__ = [
    "BEACON_PERIOD_US",
    "BeaconParameters",
    "BeaconSchedule",
    "BlackoutParameters",
    "BroadcastChannel",
    "ClockParameters",
    "ESPNOWEmulator",
    "FaultParameters",
    "GeoReference",
    "GilbertElliottLoss",
    "IndependentLoss",
    "LossKnot",
    "LossPoint",
    "MacParameters",
    "MarginLoss",
    "MessageFaults",
    "NodeClocks",
    "PayloadField",
    "PeerTable",
    "RadioParameters",
    "ReceivedMessage",
    "RelayParameters",
    "V2VMessage",
    "WireParameters",
    "pack",
    "quantise",
    "unpack",
]
