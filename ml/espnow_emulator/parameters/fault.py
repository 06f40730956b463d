"""What can go wrong in a node, or be done to it on purpose; everything is off by default.

Each fault begins at random, at most once at a time in a node. Intervals and durations are
judgement: field logs hold too few of them for statistics.
"""

from __future__ import annotations

from pydantic import Field

from ml.espnow_emulator.parameters.section import RadioSection

_INTERVAL = "Mean time between two beginnings in a node that works, exponential; null: never."


class RebootFault(RadioSection):
    """A node falls silent, then starts with its clock at 0: its timestamps jump back."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    silent_s: float = Field(
        default=3.0, ge=0.1, le=600.0, description="From the reboot to its first message. [J]"
    )


class FrozenSenderFault(RadioSection):
    """A node repeats one old state under fresh timestamps, as a program does whose input hangs."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    duration_s: float = Field(default=3.0, ge=0.1, le=600.0, description="Of the repetition. [J]")


class ClockJumpFault(RadioSection):
    """A node's clock is set anew: all later timestamps are shifted, forward or back."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    largest_ms: float = Field(
        default=2000.0,
        ge=1.0,
        le=1e7,
        description="The shift is uniform between minus and plus so much. [J]",
    )


class SpoofedBrakeFault(RadioSection):
    """Messages under a node's name report a hard braking that does not take place."""

    mean_interval_s: float | None = Field(default=None, ge=1.0, le=1e6, description=_INTERVAL)
    duration_s: float = Field(default=2.0, ge=0.1, le=600.0, description="Of the lie. [J]")
    accel_mps2: float = Field(
        default=-8.0, ge=-100.0, le=0.0, description="Acceleration that is reported. [J]"
    )


class FaultParameters(RadioSection):
    """Faults of messages; those of sensors stand in `sensors`."""

    reboot: RebootFault = RebootFault()
    frozen_sender: FrozenSenderFault = FrozenSenderFault()
    clock_jump: ClockJumpFault = ClockJumpFault()
    spoofed_brake: SpoofedBrakeFault = SpoofedBrakeFault()
