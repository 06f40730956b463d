"""The parameters of the radio, validated; every number says where it comes from.

A field marked `randomisable` may be drawn anew for each episode (domain randomisation); the
channel then holds one value per convoy. Tags: [F] published fact, [R] computed from field
recordings, [J] judgement.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ml.espnow_emulator.parameters.fault import FaultParameters
from ml.espnow_emulator.parameters.loss import LossModel, MarginLoss
from ml.espnow_emulator.parameters.randomisable import RANDOMISABLE
from ml.espnow_emulator.parameters.section import RadioSection
from ml.espnow_emulator.parameters.wire import WireParameters

_PREAMBLE_US = 192
_OVERHEAD_BYTES = 43


class BeaconParameters(RadioSection):
    """When a node samples its state and sends it, within each interval of 100 ms."""

    phase_ms: float | None = Field(
        default=None,
        ge=0.0,
        lt=100.0,
        description=(
            "Offset of every beacon into its 100 ms interval. null: uniform in [0, 100) per node "
            "and episode, as boards that were switched on independently; the phase of a pair was "
            "nearly constant over whole drives, and it dominates the age of what a car hears. [R]"
        ),
    )
    jitter_ms: float = Field(
        default=1.0,
        ge=0.0,
        le=50.0,
        description="Each beacon comes later by up to so much, uniformly: the board's loop. [J]",
    )


class MacParameters(RadioSection):
    """Between a node's wish to send and the frame's end: the board, contention, time on the air.

    Times fit round trips of field logs: within 1 ms per quantile [R]. Contention constants are
    assumed; they are undocumented for these boards [J].
    """

    enabled: bool = Field(
        default=True,
        description="false: no contention, no collisions; every frame takes fixed_latency_ms.",
    )
    fixed_latency_ms: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Latency while enabled is false."
    )
    payload_bytes: int = Field(
        default=90, ge=1, le=1470, description="Of a message; 250 at most in version 1 [F]."
    )
    rate_kbps: float = Field(
        default=1000.0, ge=250.0, le=54_000.0, description="Rate on the air; 1 Mb/s by default [F]."
    )
    h_tx_ms: float = Field(
        default=1.1,
        ge=0.0,
        le=50.0,
        description="From sampling to the MAC, in the sender. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    h_rx_ms: float = Field(
        default=0.15,
        ge=0.0,
        le=50.0,
        description="From the end on the air to the receiver's program. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    wait_probability: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="Share of frames that wait in the sender for something else. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    wait_mean_ms: float = Field(
        default=1.5,
        ge=0.0,
        le=100.0,
        description="Mean of that wait, exponential. [R]",
        json_schema_extra=RANDOMISABLE,
    )
    slot_us: int = Field(default=20, ge=1, le=1000, description="One slot of the backoff. [J]")
    difs_us: int = Field(
        default=50, ge=0, le=10_000, description="The medium must be idle so long first. [J]"
    )
    cw: int = Field(
        default=31, ge=0, le=1023, description="The backoff is uniform in 0 to so many slots. [J]"
    )
    vulnerable_us: int = Field(
        default=15,
        ge=0,
        le=10_000,
        description=(
            "Frames that start closer together collide: so long a station of IEEE 802.11 listens "
            "to notice a busy channel; also what the contention table wants. [R]"
        ),
    )

    @property
    def airtime_us(self) -> int:
        """Time of one frame on the air: preamble, then header, payload and checksum at the rate."""
        bits = 8 * (_OVERHEAD_BYTES + self.payload_bytes)
        return round(_PREAMBLE_US + 1000.0 * bits / self.rate_kbps)

    @model_validator(mode="after")
    def _check_vulnerable(self) -> Self:
        if self.vulnerable_us > self.difs_us:
            raise ValueError(
                f"vulnerable_us = {self.vulnerable_us}, allowed is difs_us = {self.difs_us} or "
                "less: a node that listens so long hears whoever started before"
            )
        return self


class RelayParameters(RadioSection):
    """Each node sends on what it hears, in its own next slot, after its own frame."""

    max_hops: int = Field(
        default=3, ge=0, le=3, description="A message is relayed so often at most; 0: no relays."
    )
    front_cone: bool = Field(
        default=True, description="Relay only what comes from ahead, as the boards do. [R]"
    )
    cone_half_angle_deg: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Half the opening of that cone. [J]"
    )


class ClockParameters(RadioSection):
    """Each board counts milliseconds since its own start, a little too fast or too slow."""

    offset_range_s: float = Field(
        default=600.0,
        ge=0.0,
        le=1e6,
        description="Boards were started up to so long before the episode: offsets of minutes.",
    )
    drift_sd_ppm: float = Field(
        default=8.0,
        ge=0.0,
        le=1000.0,
        description="Spread of the clocks' rates; measured between -17.6 and +13 ppm. [R]",
    )
    drift_limit_ppm: float = Field(
        default=20.0, ge=0.0, le=1000.0, description="Drawn drifts are cut off here."
    )


class RadioParameters(RadioSection):
    """Everything the channel needs; see `ml.parameters` for files and presets."""

    beacon: BeaconParameters = BeaconParameters()
    mac: MacParameters = MacParameters()
    relay: RelayParameters = RelayParameters()
    loss: LossModel = MarginLoss()
    clock: ClockParameters = ClockParameters()
    wire: WireParameters = WireParameters()
    faults: FaultParameters = FaultParameters()
    time_to_live_ms: float = Field(
        default=10_000.0,
        gt=0.0,
        le=1e7,
        description=(
            "A peer whose newest message is older is no longer shown to the policy. Judgement. "
            "The rule is applied by the environment; the radio itself forgets nothing."
        ),
    )
