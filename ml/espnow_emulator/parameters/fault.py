"""What can go wrong in a node, or be done to it on purpose; everything is off by default.

Each fault begins at random, at most once at a time in a node. Intervals and durations are
judgement: field logs hold too few of them for statistics.
"""

from ml.section import Section, number

_INTERVAL = "Mean time between two beginnings in a node that works, exponential; null: never."


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
    """Faults of messages; those of sensors stand in `sensors`."""

    reboot: RebootFault = RebootFault()
    frozen_sender: FrozenSenderFault = FrozenSenderFault()
    clock_jump: ClockJumpFault = ClockJumpFault()
    spoofed_brake: SpoofedBrakeFault = SpoofedBrakeFault()
