"""The ESP-NOW radio: messages, parameters, channel, emulator."""

from ml.espnow_emulator.beacons import BEACON_PERIOD_US, BeaconSchedule
from ml.espnow_emulator.channel import BroadcastChannel
from ml.espnow_emulator.clock import NodeClocks
from ml.espnow_emulator.emulator import ESPNOWEmulator
from ml.espnow_emulator.fault_parameters import FaultParameters
from ml.espnow_emulator.faults import MessageFaults
from ml.espnow_emulator.loss_parameters import (
    BlackoutParameters,
    GilbertElliottLoss,
    IndependentLoss,
    LossKnot,
    LossPoint,
    MarginLoss,
)
from ml.espnow_emulator.messages import PayloadField, ReceivedMessage, V2VMessage
from ml.espnow_emulator.peer_table import PeerTable
from ml.espnow_emulator.radio_parameters import (
    BeaconParameters,
    ClockParameters,
    MacParameters,
    RadioParameters,
    RelayParameters,
)
from ml.espnow_emulator.wire import GeoReference, pack, quantise, unpack
from ml.espnow_emulator.wire_parameters import WireParameters

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
