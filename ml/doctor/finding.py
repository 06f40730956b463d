"""One line of the doctor's table."""

from dataclasses import dataclass
from functools import partial
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what mends it.

    Attributes:
        name: What was looked at.
        found: What is there.
        remedy: A command, or what to do; empty where nothing is to be done.
        verdict: "ok"; "note" where something is missing that training in this process does not
            need; "wrong" where something would fail.
    """

    name: str
    found: str
    remedy: str = ""
    verdict: Literal["ok", "note", "wrong"] = "ok"


ok = Finding
note = partial(Finding, verdict="note")
wrong = partial(Finding, verdict="wrong")
