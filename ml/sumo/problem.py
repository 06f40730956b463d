"""What is wrong with a scenario, and what mends it."""

from collections.abc import Sequence
from dataclasses import dataclass

_MOST_TOLD = 8
_MOST_NAMED = 5
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps convoys off a road.

    Attributes:
        what: What is wrong and where, in whole sentences.
        remedy: What to do about it; ends with "." or, before a command, with ":".
        command: A line for a POSIX shell that does it, where there is one.
    """

    what: str
    remedy: str = ""
    command: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.remedy, self.command) if part)


def tell(problems: Sequence[Problem]) -> str:
    """Return the message of an error about all of them; at least one is needed."""
    if len(problems) == 1:
        return str(problems[0])
    told = [f"{number}. {each}" for number, each in enumerate(problems[:_MOST_TOLD], start=1)]
    if len(problems) > _MOST_TOLD:
        told.append(f"And {len(problems) - _MOST_TOLD} more.")
    return "\n".join((f"{len(problems)} things are wrong with this scenario.", *told))


def named(names: Sequence[str]) -> str:
    """Return the first few names, in quotes, and how many more there are."""
    cut = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names]
    listed = ", ".join(repr(name) for name in cut[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed
