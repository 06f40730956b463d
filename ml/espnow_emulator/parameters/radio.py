"""The parameters of the radio, validated; tags say what a number rests on, see `ml.section`."""

from typing import Self

from pydantic import Field, model_validator

from ml.espnow_emulator.parameters.loss import LossParameters, MarginLoss
from ml.section import Section, drawn, number

_PREAMBLE_US = 192
_OVERHEAD_BYTES = 43
_INTERVAL = "Mean time between two beginnings in a node that works, exponential; null: never."


class BeaconParameters(Section):
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
    jitter_ms: float = number(
        1.0, 0.0, 50.0, "Each beacon comes later by up to so much, uniformly: the board's loop. [J]"
    )


class MacParameters(Section):
    """Between a node's wish to send and the frame's end: the board, contention, time on the air.

    Times fit round trips of field logs: within 1 ms per quantile [R]. Contention constants are
    assumed; they are undocumented for these boards [J].
    """

    enabled: bool = Field(
        default=True,
        description="false: no contention, no collisions; every frame takes fixed_latency_ms.",
    )
    fixed_latency_ms: float = number(0.0, 0.0, 1000.0, "Latency while enabled is false.")
    payload_bytes: int = number(90, 1, 1470, "Of a message; 250 at most in version 1 [F].")
    rate_kbps: float = number(1000.0, 250.0, 54_000.0, "Rate on the air; 1 Mb/s by default [F].")
    h_tx_ms: float = drawn(1.1, 0.0, 50.0, "From sampling to the MAC, in the sender. [R]")
    h_rx_ms: float = drawn(
        0.15, 0.0, 50.0, "From the end on the air to the receiver's program. [R]"
    )
    wait_probability: float = drawn(
        0.9, 0.0, 1.0, "Share of frames that wait in the sender for something else. [R]"
    )
    wait_mean_ms: float = drawn(1.5, 0.0, 100.0, "Mean of that wait, exponential. [R]")
    slot_us: int = number(20, 1, 1000, "One slot of the backoff. [J]")
    difs_us: int = number(50, 0, 10_000, "The medium must be idle so long first. [J]")
    cw: int = number(31, 0, 1023, "The backoff is uniform in 0 to so many slots. [J]")
    vulnerable_us: int = number(
        15,
        0,
        10_000,
        "Frames that start closer together collide: so long a station of IEEE 802.11 listens "
        "to notice a busy channel; also what the contention table wants. [R]",
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


class RelayParameters(Section):
    """Each node sends on what it hears, in its own next slot, after its own frame, or forgets it.

    Node j is at work or idle for `forward_time_s` T at a time, each time drawn anew::

        p_j       = p + U(-1, 1) min(s, p, 1 - p)     once per node and episode; its mean is p
        works(t)  = U(j, floor((t + U_j T) / T)) < p_j

    In a slot while it works it sends on all that waits; in one while it is idle it forgets that.
    What keeps a real board from relaying is not known: a full queue of 32 does not happen to three
    cars. But it comes in spells, of half a second at least: drawn anew for each frame, as many
    forgotten ones leave a receiver without news for half a second at a third of the recorded
    frequency.
    """

    max_hops: int = number(3, 0, 3, "A message is relayed so often at most; 0: no relays.")
    front_cone: bool = Field(
        default=True, description="Relay only what comes from ahead, as the boards do. [R]"
    )
    cone_half_angle_deg: float = number(90.0, 0.0, 180.0, "Half the opening of that cone. [J]")
    forward_probability: float = drawn(
        0.63,
        0.0,
        1.0,
        "Share p of the time in which a relay sends on what it hears: of one recording. [R]",
    )
    forward_spread: float = drawn(
        0.2, 0.0, 1.0, "Relays have shares of their own, uniformly up to s away from it. [J]"
    )
    forward_time_s: float = drawn(
        0.7, 0.05, 3600.0, "A relay works, or is idle, for so long at a time. [R]"
    )


class ClockParameters(Section):
    """Each board counts milliseconds since its own start, a little too fast or too slow."""

    offset_range_s: float = number(
        600.0, 0.0, 1e6, "Boards were started up to so long before the episode: offsets of minutes."
    )
    drift_sd_ppm: float = number(
        8.0, 0.0, 1000.0, "Spread of the clocks' rates; measured between -17.6 and +13 ppm. [R]"
    )
    drift_limit_ppm: float = number(20.0, 0.0, 1000.0, "Drawn drifts are cut off here.")


class WireParameters(Section):
    """What the 90 bytes on the air do to a message.

    The coarsest error is that of the position: degrees as float32 have steps of 3.8e-6 between
    32 and 64 degrees, 0.42 m along a meridian.
    """

    quantise: bool = Field(
        default=True,
        description="Round every message to what its bytes can carry. false: nothing is lost.",
    )
    reference_lat_deg: float = number(
        32.8,
        -80.0,
        80.0,
        "Latitude of the simulated road's origin. At the default place the steps are 0.42 m "
        "north and 0.36 m east, as coarse as between 32 and 64 degrees. Judgement.",
    )
    reference_lon_deg: float = number(
        35.0,
        -178.0,
        178.0,
        "Longitude of the origin; the steps double beyond 64 degrees. Judgement.",
    )


class RebootFault(Section):
    """A node falls silent, then starts with its clock at 0: its timestamps jump back."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    silent_s: float = number(3.0, 0.1, 600.0, "From the reboot to its first message. [J]")


class FrozenSenderFault(Section):
    """A node repeats one old state under fresh timestamps, as a program does whose input hangs."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    duration_s: float = number(3.0, 0.1, 600.0, "Of the repetition. [J]")


class ClockJumpFault(Section):
    """A node's clock is set anew: all later timestamps are shifted, forward or back."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    largest_ms: float = number(
        2000.0, 1.0, 1e7, "The shift is uniform between minus and plus so much. [J]"
    )


class SpoofedBrakeFault(Section):
    """Messages under a node's name report a hard braking that does not take place."""

    mean_interval_s: float | None = number(None, 1.0, 1e6, _INTERVAL)
    duration_s: float = number(2.0, 0.1, 600.0, "Of the lie. [J]")
    accel_mps2: float = number(-8.0, -100.0, 0.0, "Acceleration that is reported. [J]")


class FaultParameters(Section):
    """Faults of messages, all off by default; those of sensors stand in `sensors`.

    Each begins at random, at most once at a time in a node. Intervals and durations are judgement:
    field logs hold too few faults for statistics.
    """

    reboot: RebootFault = RebootFault()
    frozen_sender: FrozenSenderFault = FrozenSenderFault()
    clock_jump: ClockJumpFault = ClockJumpFault()
    spoofed_brake: SpoofedBrakeFault = SpoofedBrakeFault()


class RadioParameters(Section):
    """Everything the channel needs; see `ml.parameters` for files and presets."""

    beacon: BeaconParameters = BeaconParameters()
    mac: MacParameters = MacParameters()
    relay: RelayParameters = RelayParameters()
    loss: LossParameters = MarginLoss()
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
