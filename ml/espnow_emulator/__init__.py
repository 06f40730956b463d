"""The ESP-NOW radio: messages, parameters, channel, emulator."""

from ml.espnow_emulator.beacons import BEACON_PERIOD_US, BeaconSchedule
from ml.espnow_emulator.channel import BroadcastChannel
from ml.espnow_emulator.clock import NodeClocks
from ml.espnow_emulator.emulator import ESPNOWEmulator
from ml.espnow_emulator.messages import PayloadField, ReceivedMessage, V2VMessage
from ml.espnow_emulator.peer_table import PeerTable
from ml.espnow_emulator.radio_parameters import (
    BeaconParameters,
    ClockParameters,
    LatencyParameters,
    LossKnot,
    LossParameters,
    RadioParameters,
)

__all__ = [
    "BEACON_PERIOD_US",
    "BeaconParameters",
    "BeaconSchedule",
    "BroadcastChannel",
    "ClockParameters",
    "ESPNOWEmulator",
    "LatencyParameters",
    "LossKnot",
    "LossParameters",
    "NodeClocks",
    "PayloadField",
    "PeerTable",
    "RadioParameters",
    "ReceivedMessage",
    "V2VMessage",
]
