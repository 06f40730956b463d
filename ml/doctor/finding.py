"""One line of the doctor's table."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what mends it.

    Attributes:
        name: What was looked at.
        verdict: "ok"; "note" where something is missing that training in this process does not
            need; "wrong" where something would fail.
        found: What is there.
        remedy: A command, or what to do; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", found)


def note(name: str, found: str, remedy: str) -> Finding:
    """Something to know, which does not keep anything from running without Docker or a display."""
    return Finding(name, "note", found, remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    """Something that has to be mended."""
    return Finding(name, "wrong", found, remedy)
