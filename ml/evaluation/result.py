"""What an evaluation leaves behind: a folder that explains itself, and the rows in it.

    result.json     the manifest: what ran, with what, made by which command
    cells/          <suite>__<radio>__<controller>.jsonl, one episode per line
    summary.json    figures with intervals per cell, made from the cells alone

A cell is one controller in one suite on one radio. Its file is there whole or not at all, so that
an evaluation that was killed goes on where it stood.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ml.atomic_files import write_atomically
from ml.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MANIFEST_FILE = "result.json"
SUMMARY_FILE = "summary.json"
CELLS_FOLDER = "cells"
_LONGEST_PART = 40
POLICY_FAMILY = "policy"
"""Family of the trained policies; other drivers have the name that builds them."""
LABEL_PREFIX = "label_"

CrashClass = Literal["", "informed", "blackout", "unavoidable"]
"""Why a crash happened. `unavoidable`: the reference driver crashes, too. `blackout`: the message
that showed the braking came later than the case's delay budget. `informed`: it came in time."""


Variant = Literal["", "time gap", "no safety layer", "radio off"]
"""How a trained policy may be driven to see what its parts are worth."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RadioRecord(_Model):
    """A radio, by name and by content."""

    name: str
    """Preset, or the file's path as it was given."""
    sha256: str
    """Of the effective parameters as canonical JSON."""
    file: str = ""
    """The file's absolute path; empty for a preset."""


class ControllerRecord(_Model):
    """A controller, by what it is made from."""

    name: str
    """What tables call it; unique in a result."""
    spec: str
    """What makes it again: a controller's specification, or a model's path."""
    family: str
    """Curve of a frontier that it is a point of, such as `cth`; `policy` for trained ones."""
    slug: str
    """Its part of a file's name."""
    knows: Literal["radio", "truth", "nothing"]
    """Where its knowledge of the others comes from."""
    standstill_m: float | None = None
    """The gap that it keeps at standstill, m; None where it has no such parameter."""
    time_gap_s: float | None = None
    """The time gap that it keeps beside that, s."""
    model_sha256: str | None = None
    """Of the model's file, for a trained policy."""
    file: str = ""
    """Absolute path of the model, or of the parameters of NAME@FILE; empty for others."""
    file_sha256: str | None = None
    """Of that file of parameters."""
    variant: Variant = ""
    """What of a trained policy is changed; nothing where it drives as it is meant to."""


class CellRecord(_Model):
    """One controller in one suite on one radio."""

    suite: str
    radio: str
    controller: str
    """Name of the controller."""
    file: str
    """Path inside the result's folder."""
    episodes: int
    """Lines of the file."""


class Manifest(_Model):
    """What a result was made from; whatever changes a figure stands here."""

    schema_version: Literal[1] = 1
    version: str
    """Of RoadSense."""
    git_commit: str | None
    """With `+changes` where the work tree differed; None without git."""
    packages: dict[str, str | None]
    """Versions of what computes: SUMO, numpy, torch and so on; Python and the machine among
    them."""
    command: str
    """As it was typed."""
    created_utc: str
    """ISO 8601, to the second."""
    seeds: tuple[int, ...]
    """Seeds of the episodes; a cell holds every seed's."""
    suites: dict[str, dict[str, float | int | str]]
    """Suite to its options, its number of cases per seed among them (`cases`)."""
    radios: tuple[RadioRecord, ...]
    controllers: tuple[ControllerRecord, ...]
    radio_position: Literal["reference", "own"]
    """Whose position decides a packet's fate: the reference driver's, or the controller's own."""
    cells: tuple[CellRecord, ...]

    def key(self) -> str:
        """Canonical text of what decides the figures: not command, time, nor where a file lies."""
        content = self.model_dump(mode="json", exclude={"command", "created_utc"})
        for record in (*content["radios"], *content["controllers"]):
            del record["file"]
        return json.dumps(content, sort_keys=True)

    def controller(self, name: str) -> ControllerRecord:
        """Return a controller's record by its name.

        Raises:
            EvaluationError: There is none of that name.
        """
        for record in self.controllers:
            if record.name == name:
                return record
        known = ", ".join(record.name for record in self.controllers)
        raise EvaluationError(f"the result holds no controller {name!r}; it holds: {known}")


@dataclass(slots=True)
class EpisodeRow:
    """One episode of one controller; a line of a cell's file.

    Episode `case` of a suite is run again, alone and bit for bit, as convoy `env_index`, episode
    `episode` of a batch with `seed`. What is not defined in an episode (a reaction where nobody
    braked) is not a number, `null` in the file. Figures of the ego end at its crash; `avoidable`,
    `informed` and what the radio did are the whole case's.

    Attributes:
        suite: Name of the suite.
        radio: Name of the radio.
        controller: Name of the controller.
        case: Number of the case in its suite.
        seed: Seed of the episode.
        env_index: Part of the episode's key.
        episode: Part of the episode's key.
        kind: `hazard`, `benign` or `free`.
        num_peers: Cars ahead of the ego.
        brake_rank: Rank of the peer that brakes, 1 being directly ahead; 0 for nobody.
        invalid: Peers collided or a vehicle went missing: left out of all figures, and counted.
        status: How it ended, as `EpisodeStatus` names it.
        duration_s: Length of the record.
        crash: The ego touched the car in front.
        crash_class: Why; see `CrashClass`.
        avoidable: The reference driver does not crash.
        informed: A message that shows the braking was delivered before the record's end.
        delay_budget_s: Longest delay from the onset to full braking that avoids the crash.
        message_delay_s: From the onset to the arrival of the first message that shows it.
        impact_speed_mps: Closing speed at the crash.
        min_gap_m: Smallest bumper-to-bumper gap.
        min_ttc_s: Smallest time to collision (Hayward, 1972), at most 60.
        max_drac_mps2: Largest deceleration rate to avoid a crash (Cooper and Ferguson, 1976).
        tet_s: Time exposed to a time to collision below 1.5 s (Minderhoud and Bovy, 2001).
        tit_s2: Integral of 1.5 s less the time to collision over that time.
        share_below_rss: Share of time with a gap below RSS's safe distance.
        reaction_after_onset_s: From the onset to the ego's first braking of more than 1 m/s².
        reaction_after_message_s: From the message's arrival to the same.
        false_brakes: Events of braking harder than 2 m/s² without cause.
        distance_m: Driven by the ego.
        progress: That over the distance of the car in front.
        braking_share: Share of time with more than 0.2 m/s² of deceleration.
        jerk_p95_mps3: 95th percentile of the jerk's magnitude.
        max_decel_mps2: Hardest braking.
        headway_s: Mean of gap / speed above 5 m/s.
        headway_net_s: The same, of the gap less the standstill distance.
        string_gain_l2: ‖a_ego‖₂ / ‖a_ahead‖₂ over the episode.
        gain_at_fundamental: Ratio of the speeds' amplitudes at a sinusoidal leader's frequency.
        speed_dip_ratio: Ratio of the ego's to the car in front's largest drop in speed.
        delivery_ratio: Beacons that became the newest of their peer, over beacons sent.
        age_p50_s: Median true age of the newest message of the car in front.
        age_p95_s: 95th percentile.
        age_max_s: Largest.
        longest_blackout_s: Longest time without a new message of the car in front.
        mean_return: Sum of the reward, up to a crash.
        overreaction_mps2: The ego's hardest braking after the onset, less that of the peer that
            brakes; not a number where none does, or in a file older than this column.
        labels: What the suite says of the case; `label_…` in the file.
    """

    suite: str
    radio: str
    controller: str
    case: int
    seed: int
    env_index: int
    episode: int
    kind: str
    num_peers: int
    brake_rank: int
    invalid: bool
    status: str
    duration_s: float
    crash: bool
    crash_class: CrashClass
    avoidable: bool
    informed: bool
    delay_budget_s: float
    message_delay_s: float
    impact_speed_mps: float
    min_gap_m: float
    min_ttc_s: float
    max_drac_mps2: float
    tet_s: float
    tit_s2: float
    share_below_rss: float
    reaction_after_onset_s: float
    reaction_after_message_s: float
    false_brakes: int
    distance_m: float
    progress: float
    braking_share: float
    jerk_p95_mps3: float
    max_decel_mps2: float
    headway_s: float
    headway_net_s: float
    string_gain_l2: float
    gain_at_fundamental: float
    speed_dip_ratio: float
    delivery_ratio: float
    age_p50_s: float
    age_p95_s: float
    age_max_s: float
    longest_blackout_s: float
    mean_return: float
    overreaction_mps2: float = float("nan")
    labels: dict[str, float | int | str] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Return the columns in order, labels last; what is not a number is None."""
        row = {name: getattr(self, name) for name in COLUMNS}
        row |= {LABEL_PREFIX + name: value for name, value in self.labels.items()}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }

    @classmethod
    def from_flat(cls, row: dict[str, Any]) -> Self:
        """Invert `flat`.

        Raises:
            KeyError: A column is missing.
        """
        values: dict[str, Any] = {
            name: float("nan") if row[name] is None and name in FLOAT_COLUMNS else row[name]
            for name in COLUMNS
            if name in row or name not in LATER_COLUMNS
        }
        start = len(LABEL_PREFIX)
        labels = {name[start:]: v for name, v in row.items() if name.startswith(LABEL_PREFIX)}
        return cls(**values, labels=labels)


COLUMNS = tuple(f.name for f in fields(EpisodeRow) if f.name != "labels")
"""Columns of a row, in the file's order; labels follow."""
LATER_COLUMNS = frozenset({"overreaction_mps2"})
"""Columns that files of older versions lack; they stay readable."""
FLOAT_COLUMNS = frozenset(f.name for f in fields(EpisodeRow) if f.type == "float")


def slug(text: str) -> str:
    """Make a part of a file's name out of any name: letters, digits, `.` and `-`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def cell_file(suite: str, radio: str, controller: str) -> str:
    """Return the path of a cell inside the result's folder; the controller is given by its slug.

    Names that the file's cannot say in full, such as paths, are told apart by a digest.
    """
    return f"{CELLS_FOLDER}/{_file_part(suite)}__{_file_part(radio)}__{controller}.jsonl"


def _file_part(name: str) -> str:
    short = slug(name)
    if name.replace(":", "-") == short and len(short) <= _LONGEST_PART:
        return short
    return f"{short[-_LONGEST_PART:]}-{sha256(name.encode()).hexdigest()[:8]}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `result.json`.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    write_atomically(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read `result.json`.

    Raises:
        EvaluationError: It is missing, cannot be read, or is of another version.
    """
    file = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{folder} holds no result: {file.name} cannot be read ({error.strerror}). Name a "
            "folder that `roadsense evaluate --out` has written."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(
            f"{file}: {where or 'the file'}: {first['msg']}. It was written by another version, "
            "or changed by hand; evaluate again into another --out."
        ) from error


def write_cell(file: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write a cell, one episode per line, whole or not at all.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row.flat(), ensure_ascii=False, allow_nan=False) for row in rows)
    write_atomically(file, "".join(f"{line}\n" for line in lines))


def read_cell(file: Path) -> list[EpisodeRow]:
    """Read a cell.

    Raises:
        EvaluationError: It is missing, or not such a file.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [EpisodeRow.from_flat(json.loads(line)) for line in lines]
    except OSError as error:
        raise EvaluationError(
            f"{file} cannot be read ({error.strerror}). The evaluation was not finished: run the "
            "same command with the same --out again, and it goes on."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{file} is not a cell of this version ({type(error).__name__}: {error}). Delete it "
            "and run the evaluation again with the same --out."
        ) from error


def read_rows(folder: Path) -> list[EpisodeRow]:
    """Read every cell of a result, in the order of its manifest.

    Raises:
        EvaluationError: A file is missing or damaged.
    """
    manifest = read_manifest(folder)
    return [row for cell in manifest.cells for row in read_cell(folder / cell.file)]
