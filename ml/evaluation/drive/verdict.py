"""What a recorded drive says of drivers: figures of each, and one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats
from ml.atomic_files import finite
from ml.envs.scoring.metrics import (
    ANSWERED_S,
    FALSE_BRAKE_MPS2,
    WARNED_S,
)
from ml.espnow_emulator.messages import PayloadField
from ml.evaluation.beside_real import REAL, beside_real
from ml.evaluation.drive.chance import (
    LEAST_EVENTS,
    Beside,
    Chance,
    against_chance,
    beside,
)
from ml.evaluation.drive.decide import Heard
from ml.evaluation.drive.events import (
    Event,
    Spans,
    answer_ticks,
    answering_spans,
    hard_brakings,
    lead_ticks,
    quiet_ticks,
    starts,
    warning_spans,
)
from ml.evaluation.drive.read import RecordedDrive
from ml.evaluation.result import EpisodeRow
from ml.vehicle import DT_S, HEADWAY_SPEED_MPS, REACTION_MPS2, TICK_US

HARD_MPS2 = 3.0
"""Braking from which on one is an event, if nothing else is said."""
Standing = Literal["above chance", "no better than chance", "cannot tell"]
Comparison = Literal["better", "worse", "no different", "cannot tell"]


class Reception(NamedTuple):
    """What was heard of a peer about an event.

    Attributes:
        peer: Whom.
        age_s: Age of its newest message at the onset, NaN where there was none yet.
        sent: Beacons that it sent in the 3 s up to the onset; None where it wrote no log.
        received: Of these, those that came, on any path.
    """

    peer: str
    age_s: float
    sent: int | None
    received: int


class Told(NamedTuple):
    """An event, what was heard, and who fired.

    Attributes:
        event: The hard braking.
        receptions: Of the peers.
        message_delay_s: Of a peer's: from its onset to the reception of the first message that
            shows it; NaN where none came.
        fired_s: By driver, NaN where it did not fire: `lead_s` before the ego's own driver reacts,
            of a peer's braking `answer_s` after its onset.
    """

    event: Event
    receptions: list[Reception]
    message_delay_s: float
    fired_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one driver did; see `OF_RECORDED_DRIVE` in `ml.envs.scoring.metrics`."""

    name: str  # The driver
    firing: Bools  # (T,), in moving ticks
    firing_share: float  # Of moving ticks
    starts_per_km: float  # While nobody brakes; NaN where there is no such way
    warned: Chance  # Held against the ego's own hard brakings
    answered: Chance  # Held against the peers'

    @property
    def standing(self) -> Standing:
        """How it stands to chance, by the ego's own hard brakings."""
        if not self.warned.enough:
            return "cannot tell"
        return "above chance" if self.warned.is_above else "no better than chance"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A drive, judged."""

    drive: RecordedDrive  # What was met
    hard_mps2: float  # Threshold of events
    moving: Bools  # (T,)
    quiet: Bools  # (T,)
    distance_m: float  # Driven by the ego
    quiet_m: float  # Of that, while nobody brakes
    warnings: list[Told]  # The ego's own hard brakings
    answers: list[Told]  # The peers'
    drivers: list[Figures]  # The policy first, the rule among them
    policy: str  # Name of the driver in question
    rule: str  # Name of the rule

    def of(self, name: str) -> Figures:
        """Return a driver's figures."""
        return next(one for one in self.drivers if one.name == name)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the drive: of its boards, of its logs, and what was left out."""
        read = self.drive.drive
        return [*self.drive.notes, *read.notes, *read.left_out()]

    @property
    def is_above_chance(self) -> bool:
        """Whether the policy is shown to be better than chance; another driver does not count."""
        return self.of(self.policy).standing == "above chance"

    def against_rule(self, name: str) -> tuple[Comparison, Beside]:
        """Compare a driver with the rule by the ego's own hard brakings."""
        one, rule = self.of(name).warned, self.of(self.rule).warned
        found = beside(one, rule)
        if not one.enough:
            return "cannot tell", found
        if found.is_better:
            return "better", found
        return ("worse" if found.is_worse else "no different"), found

    @property
    def line(self) -> str:
        """Whether the policy is better than chance and than the rule, in one line."""
        policy, rule = self.of(self.policy), self.of(self.rule)
        count, warned, ruled = len(self.warnings), policy.warned, rule.warned
        if not warned.enough:
            brakings = "hard braking" if count == 1 else "hard brakings"
            return (
                f"Cannot tell: the drive has {count} {brakings} of its own driver, and at least "
                f"{LEAST_EVENTS} are needed. Record more, or lower --brakes-at-mps2."
            )
        than_chance = "better than chance" if warned.is_above else "no better than chance"
        standing = self.against_rule(self.policy)[0]
        than_rule = {
            "better": "better than the rule",
            "worse": "worse than the rule",
            "no different": "not shown to differ from the rule",
        }.get(standing, standing)
        return (
            f"{policy.name} is {than_chance} (it warned of {warned.hits} of {count} hard brakings, "
            f"{warned.expected.sum():.1f} by chance, p = {_p(warned.p_value)}) and {than_rule} "
            f"({ruled.hits}, {ruled.expected.sum():.1f} by chance, p = {_p(ruled.p_value)})."
        )


def judge(
    drive: RecordedDrive,
    decided_mps2: Mapping[str, Floats],
    heard: Heard,
    *,
    policy: str,
    rule: str,
    hard_mps2: float = HARD_MPS2,
) -> Verdict:
    """Judge drivers by what they decided on a drive.

    Args:
        drive: The drive.
        decided_mps2: (T,) of each driver, as `decide` returns it.
        heard: What was heard.
        policy: Name of the driver in question.
        rule: Name of the rule that it is compared with.
        hard_mps2: Braking from which on one is an event.
    """
    moving = drive.known & (drive.own.speed_mps > HEADWAY_SPEED_MPS)
    quiet = quiet_ticks(drive.accel_mps2, moving)
    own = hard_brakings(drive.ego, drive.accel_mps2[drive.ego], moving, hard_mps2)
    theirs = [
        event
        for name, accel in drive.accel_mps2.items()
        if name != drive.ego
        for event in hard_brakings(name, accel, moving, hard_mps2)
    ]
    theirs.sort(key=lambda event: (event.tick, event.who))
    warning, answering = warning_spans(own), answering_spans(theirs, drive.accel_mps2[drive.ego])
    open_to_answers = Spans(*(at[answering.end > answering.begin] for at in answering))
    speed = drive.own.speed_mps
    # A tick's share of the way, by trapezia.
    way_m = np.concatenate([[0.0], 0.5 * (speed[1:] + speed[:-1]) * DT_S])
    quiet_m = float(way_m[quiet].sum())
    drivers = []
    for name, values in decided_mps2.items():
        firing = (values < -FALSE_BRAKE_MPS2) & moving
        begun = int((starts(firing) & quiet).sum())
        drivers.append(
            Figures(
                name=name,
                firing=firing,
                firing_share=float(firing.sum() / max(int(moving.sum()), 1)),
                starts_per_km=1000.0 * begun / quiet_m if quiet_m else float("nan"),
                warned=against_chance(firing, moving, warning),
                answered=against_chance(firing, moving, open_to_answers),
            )
        )
    return Verdict(
        drive=drive,
        hard_mps2=hard_mps2,
        moving=moving,
        quiet=quiet,
        distance_m=float(way_m.sum()),
        quiet_m=quiet_m,
        warnings=[_told(event, drive, heard, drivers) for event in own],
        answers=[
            _told(event, drive, heard, drivers, end)
            for event, end in zip(theirs, answering.end.tolist(), strict=True)
        ],
        drivers=drivers,
        policy=policy,
        rule=rule,
    )


class Closed(NamedTuple):
    """What came of it where a driver really drove, over the cases of a drive.

    Attributes:
        name: The driver; "" for the real one.
        cases: How many, invalid ones left out.
        crashes: In how many the ego crashed.
        min_gap_m: Smallest gap of all.
        headway_s: Mean over cases of their mean time headway; NaN where none has one.
        max_decel_mps2: Hardest braking of all; NaN of the real driver.
    """

    name: str
    cases: int
    crashes: int
    min_gap_m: float
    headway_s: float
    max_decel_mps2: float


def closed_figures(rows: Sequence[EpisodeRow]) -> list[Closed]:
    """Sum up what `closed_loop` returns: a line per driver, and the real follower's last.

    Invalid rows are left out. A headway that nobody has, since nobody moves, is NaN.
    """
    hardest: dict[str, float] = {}
    for row in rows:
        if not row.invalid:
            hardest[row.controller] = max(hardest.get(row.controller, 0.0), row.max_decel_mps2)
    return [
        Closed(
            name="" if one.driver == REAL else one.driver,
            cases=one.cases,
            crashes=one.crashes,
            min_gap_m=one.least_gap_m,
            headway_s=one.headway_s,
            max_decel_mps2=hardest.get(one.driver, float("nan")),
        )
        for one in beside_real(rows)
    ]


def _told(
    event: Event,
    drive: RecordedDrive,
    heard: Heard,
    drivers: Sequence[Figures],
    answered_until: int = 0,
) -> Told:
    ego = event.who == drive.ego
    fired = {
        one.name: lead_ticks(one.firing, event)
        if ego
        else answer_ticks(one.firing, event, answered_until)
        for one in drivers
    }
    seconds = {
        name: float("nan") if ticks is None else ticks * TICK_US / 1e6
        for name, ticks in fired.items()
    }
    names = drive.peers if ego else (event.who,)
    receptions = [_reception(event, name, drive, heard) for name in names if name in drive.peers]
    delay_s = float("nan") if ego else _message_delay_s(event, drive)
    return Told(event, receptions, delay_s, seconds)


def _reception(event: Event, peer: str, drive: RecordedDrive, heard: Heard) -> Reception:
    of, source = drive.receptions, drive.peers.index(peer)
    end_us = event.tick * TICK_US
    begin_us = end_us - round(WARNED_S * 1e6)
    mine = (of.source == source) & (of.generated_us > begin_us) & (of.generated_us <= end_us)
    sent = drive.sent_us.get(peer)
    return Reception(
        peer=peer,
        age_s=float(heard.age_s[event.tick, source]),
        sent=None if sent is None else int(((sent > begin_us) & (sent <= end_us)).sum()),
        received=int(mine.sum()),
    )


def _message_delay_s(event: Event, drive: RecordedDrive) -> float:
    if event.who not in drive.peers:
        return float("nan")
    of, onset_us = drive.receptions, event.tick * TICK_US
    # The onset is somewhere in its tick: a message of that tick may be the one that shows it.
    shows = (of.source == drive.peers.index(event.who)) & (of.generated_us > onset_us - TICK_US)
    shows &= of.payload[:, PayloadField.ACCEL_MPS2] <= -REACTION_MPS2
    received_us = of.received_us[shows]
    if received_us.size == 0 or received_us.min() > event.end * TICK_US + ANSWERED_S * 1e6:
        return float("nan")
    return max(float(received_us.min() - onset_us) / 1e6, 0.0)


def as_json(
    verdict: Verdict, closed: Sequence[Closed] = (), refused: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return all that the page shows, in SI units; None where something is not a number.

    Args:
        verdict: The drive, judged open loop.
        closed: What came of it in closed loop.
        refused: How many cases could not be driven there, by reason; None: it was not asked for.
    """
    drivers = []
    for one in verdict.drivers:
        standing, found = verdict.against_rule(one.name)
        drivers.append(
            {
                "name": one.name,
                "standing": one.standing,
                "firing_share": one.firing_share,
                "starts_per_km": one.starts_per_km,
                "own_brakings": _chance(one.warned),
                "peers_brakings": _chance(one.answered),
                "against_rule": {"standing": standing, "more": found.more, **found._asdict()},
            }
        )
    drive = verdict.drive
    content: dict[str, Any] = {
        "verdict": verdict.line,
        "above_chance": verdict.is_above_chance,
        "policy": verdict.policy,
        "rule": verdict.rule,
        "ego": drive.ego,
        "peers": list(drive.peers),
        "notes": verdict.notes,
        "hard_mps2": verdict.hard_mps2,
        "duration_s": drive.ticks * DT_S,
        "moving_s": float(verdict.moving.sum()) * DT_S,
        "distance_m": verdict.distance_m,
        "quiet_m": verdict.quiet_m,
        "drivers": drivers,
        "own_brakings": [_event(told, "lead_s") for told in verdict.warnings],
        "peers_brakings": [_event(told, "answer_s") for told in verdict.answers],
    }
    if refused is not None:
        content["closed_loop"] = {
            "drivers": [one._asdict() for one in closed if one.name],
            "real_follower": [one._asdict() for one in closed if not one.name],
            "refused": dict(refused),
        }
    figures: dict[str, Any] = finite(content, 6)
    return figures


def _chance(chance: Chance) -> dict[str, Any]:
    return {
        "events": int(chance.hit.size),
        "hits": chance.hits,
        "expected_hits": float(chance.expected.sum()),
        "shifts": max(int(chance.hits_of_shifts.size) - 1, 0),
        "p_value": chance.p_value,
    }


def _event(told: Told, name: str) -> dict[str, Any]:
    event = told.event
    said = {
        "who": event.who,
        "reacts_s": event.reacts * DT_S,
        "onset_s": event.tick * DT_S,
        "lasts_s": (event.end - event.tick) * DT_S,
        "hardest_mps2": event.hardest_mps2,
        "heard": [reception._asdict() for reception in told.receptions],
        name: told.fired_s,
    }
    return said if name == "lead_s" else said | {"message_delay_s": told.message_delay_s}


def _p(value: float) -> str:
    return f"{value:.1e}" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 (digits)
