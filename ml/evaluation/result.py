"""What an evaluation leaves behind: a folder that explains itself, and the rows in it.

    result.json     the manifest: what ran, with what, made by which command
    parts/          one episode per line: a driver's rows of some cases (`store`)
    summary.json    figures with intervals, made from the parts alone

`roadsense targets` and `roadsense ablate` keep the same parts, and `origin.json` instead of a
manifest.
"""

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ValidationError

from ml.atomic_files import write_atomically
from ml.errors import ConfigError, ResultError
from ml.evaluation.records import DriverSpec, RadioPosition, RadioRecord, Record

PARTS_FOLDER = "parts"
LABEL_PREFIX = "label_"
_MOST_DIFFERENCES = 6

CrashClass = Literal["", "informed", "blackout", "unavoidable"]
"""Why a crash happened. `unavoidable`: the reference ego crashes, too. `blackout`: the message
that showed the braking came later than the case's delay budget. `informed`: it came in time."""


class Origin(Record):
    """Where and with what episodes are driven: what decides rows beside a part's name."""

    FILE: ClassVar[str] = "origin.json"

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
    """Seeds of the cases."""

    def decides(self) -> dict[str, Any]:
        """Return what decides the figures: not command, time, nor where a file lies."""
        return self.model_dump(mode="json", exclude={"command", "created_utc"})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from a folder.

        Raises:
            ResultError: It is missing, cannot be read, or is of another version.
        """
        file = folder / cls.FILE
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ResultError(
                f"{folder} holds no result: {file.name} cannot be read ({error.strerror}). Name a "
                "folder that `roadsense evaluate --out` has written."
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ResultError(
                f"{file}: {where or 'the file'}: {first['msg']}. It was written by another "
                "version, or changed by hand; evaluate again into another --out."
            ) from error

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        write_atomically(folder / self.FILE, self.model_dump_json(indent=2) + "\n")

    def open(self, folder: Path, *, force: bool = False) -> Self:
        """Make a folder ready for driving, or for going on with it.

        With `force`, parts that another evaluation left there are removed.

        Returns:
            The record that stands there now: an older one of the same content keeps its time.

        Raises:
            ConfigError: The folder holds something else, and `force` is off.
        """
        if (folder / self.FILE).exists():
            found = self.read(folder)
            before, after = found.decides(), self.decides()
            if before == after:  # perhaps with files that lie elsewhere now
                kept = {"command": found.command, "created_utc": found.created_utc}
                return self.model_copy(update=kept)
            if not force:
                names = [name for name in before if before[name] != after[name]]
                raise ConfigError(
                    f"{folder} holds the result of another evaluation; it differs in "
                    f"{', '.join(names[:_MOST_DIFFERENCES])}. Use another --out, or --force to "
                    "replace it."
                )
            for file in (folder / PARTS_FOLDER).glob("*.jsonl"):
                file.unlink()
        elif folder.exists() and any(folder.iterdir()) and not force:
            raise ConfigError(f"{folder} is not empty and holds no result. Use another --out.")
        (folder / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
        self.write(folder)
        return self


class PartRecord(Record):
    """One driver's episodes of some cases of a suite on a radio."""

    suite: str
    radio: str
    controller: str
    """Name of the driver."""
    seed: int
    episodes: int
    """Lines of the file."""
    file: str
    """Path inside the result's folder."""


class Manifest(Origin):
    """What a result was made from; whatever changes a figure stands here."""

    FILE: ClassVar[str] = "result.json"

    suites: dict[str, dict[str, float | int | str]]
    """Suite to its options, its number of cases per seed among them (`cases`)."""
    radios: tuple[RadioRecord, ...]
    controllers: tuple[DriverSpec, ...]
    radio_position: RadioPosition
    parts: tuple[PartRecord, ...]

    def decides(self) -> dict[str, Any]:
        """Return what decides the figures: not command, time, nor where a file lies."""
        content = super().decides()
        for record in (*content["radios"], *content["controllers"]):
            del record["file"]
        return content

    def controller(self, name: str) -> DriverSpec:
        """Return a driver by its name.

        Raises:
            ResultError: There is none of that name.
        """
        specs = {spec.name: spec for spec in self.controllers}
        if name not in specs:
            known = ", ".join(specs)
            raise ResultError(f"the result holds no controller {name!r}; it holds: {known}")
        return specs[name]

    @property
    def first_policy(self) -> str:
        """Name of the first trained policy, or of the first driver where there is none."""
        policies = [spec.name for spec in self.controllers if spec.is_model]
        return (policies or [self.controllers[0].name])[0]

    def in_every_suite(self) -> list[str]:
        """Return the drivers that ran in every suite, for a table that fits on a screen."""
        ran = {(part.suite, part.controller) for part in self.parts}
        names = [spec.name for spec in self.controllers]
        return [name for name in names if all((suite, name) in ran for suite in self.suites)]


@dataclass(slots=True)
class EpisodeRow:
    """One episode of one controller; a line of a part's file.

    Episode `case` of a suite is run again, alone and bit for bit, as convoy `env_index`, episode
    `episode` of a batch with `seed`. What is not defined in an episode (a reaction where nobody
    braked) is not a number, `null` in the file. Figures of the ego end at its crash; `avoidable`,
    `informed` and what the radio did are the whole case's. The other columns are defined in
    `ml.envs.scoring.metrics` (docs/metrics.md).

    Attributes:
        kind: `hazard`, `benign` or `free`.
        num_peers: Cars ahead of the ego.
        brake_rank: Rank of the peer that brakes, 1 being directly ahead; 0 for nobody.
        invalid: Peers collided or a vehicle went missing: left out of all figures, and counted.
        status: How it ended, as `EpisodeStatus` names it.
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

    @property
    def is_hazard(self) -> bool:
        """Whether a peer brings a hazard, rather than a benign slowing or nothing."""
        return self.kind == "hazard"

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
        }
        start = len(LABEL_PREFIX)
        labels = {name[start:]: v for name, v in row.items() if name.startswith(LABEL_PREFIX)}
        return cls(**values, labels=labels)


COLUMNS = tuple(f.name for f in fields(EpisodeRow) if f.name != "labels")
"""Columns of a row, in the file's order; labels follow."""
FLOAT_COLUMNS = frozenset(f.name for f in fields(EpisodeRow) if f.type is float)


def slug(text: str) -> str:
    """Make a part of a file's name out of any name: letters, digits, `.` and `-`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def named_by_content(label: str, content: object) -> str:
    """Name a file or folder by a digest of all that decides what is in it, behind a label."""
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return f"{label}__{digest}"


def write_part(file: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write rows, one episode per line, whole or not at all.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row.flat(), ensure_ascii=False, allow_nan=False) for row in rows)
    write_atomically(file, "".join(f"{line}\n" for line in lines))


def read_part(file: Path) -> list[EpisodeRow]:
    """Read what `write_part` wrote.

    Raises:
        ResultError: It is missing, or not such a file.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [EpisodeRow.from_flat(json.loads(line)) for line in lines]
    except OSError as error:
        raise ResultError(
            f"{file} cannot be read ({error.strerror}). The evaluation was not finished: run the "
            "same command with the same --out again to resume it."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(
            f"{file} is not a part of this version ({type(error).__name__}: {error}). Delete it "
            "and run the same command with the same --out again."
        ) from error


def read_rows(folder: Path) -> list[EpisodeRow]:
    """Read every part of a result, in the order of its manifest.

    Raises:
        ResultError: A file is missing or damaged.
    """
    manifest = Manifest.read(folder)
    return [row for part in manifest.parts for row in read_part(folder / part.file)]


def write_csv(file: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write rows as a table with a header; labels that a row lacks stay empty.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    flat = [row.flat() for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(flat)
