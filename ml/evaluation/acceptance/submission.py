"""A submission: the acceptance tests of a recipe as one file, to be listed and to be rerun.

`roadsense targets` writes it, `docs/leaderboard` holds those that the leaderboard lists, and
`roadsense verify` runs one again. It comes from a stranger: what it says is checked when
it is read, its words are plain (no markup), and of its models it holds digests alone.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict
from math import inf, isfinite, nan
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ml.envs.scoring.targets import Level
from ml.errors import SubmissionError
from ml.evaluation.acceptance.benchmarks import BenchmarkResult
from ml.evaluation.acceptance.sizes import Asked
from ml.evaluation.acceptance.table import Found, Row, Summary, count_verdicts, summary_of
from ml.evaluation.acceptance.verdicts import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Verdict,
    at_most,
    together,
)
from ml.evaluation.records import DriverSpec, Record
from ml.evaluation.result import EpisodeRow, Origin
from ml.evaluation.summary import Figure
from ml.onboard.observation.spec import OBSERVATION_VERSION

SUBMISSION_FILE = "submission.json"
CONVOY_FIGURES = (
    "crash_rate",
    "quiet_crash_rate",
    "headway_s",
    "false_brakes_per_km",
    "braking_share",
    "braking_share_all",
    "jerk_p95_mps3",
    "overreaction_rate",
)
MANOEUVRE_FIGURES = ("crash_rate", "gain_at_fundamental", "string_gain_l2_p95")
"""What is said of a driver on a benchmark; names of `ml.envs.scoring.metrics`."""
_MOST_CRASHES = 12
"""Listed of a model on a benchmark; how many there are is said."""
_DIGITS = 8
_MARKUP = "<>`|{}\\$"
_LONGEST_WORDS = 20_000
_FOLDERS = re.compile(r"(?<=[\s='\"])/(?:[^\s'\"/]+/)+")
"""Folders of this machine, which are nobody else's business."""
_MOST_CASES = 10_000_000
_MOST_SEEDS = 2**31


def _plain(text: str) -> str:
    """Refuse what a page would not show as it stands."""
    found = next((mark for mark in (*_MARKUP, "](") if mark in text), None)
    if found or len(text) > _LONGEST_WORDS:
        what = f"holds {found!r}" if found else f"has more than {_LONGEST_WORDS} characters"
        raise ValueError(f"{what}; plain words alone")
    return _printable(text)


def _printable(text: str) -> str:
    """Refuse what moves a terminal's cursor, ends a line or turns the direction of reading."""
    if not text.isprintable():
        raise ValueError(
            f"holds {next(c for c in text if not c.isprintable())!r}; plain words alone"
        )
    return text


def _one_line(text: str) -> str:
    """Refuse what ends the quotes around a command."""
    if "`" in text:
        raise ValueError("holds a backtick; one plain line alone")
    return _printable(text)


Words: TypeAlias = Annotated[str, AfterValidator(_plain)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)] | None
Digest: TypeAlias = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class FigureRecord(Record):
    """A number with its 95 % interval; null where there is none, or an end is infinite."""

    value: Number
    """Shares and rates in [0, 1]; null: no such episodes."""
    low: Number
    """Lower end; null: −∞."""
    high: Number
    """Upper end; null: ∞."""
    count: int = Field(ge=0)
    """Episodes that it is made of."""
    hits: int | None = Field(default=None, ge=0)
    """Of a rate: in how many of them it happened."""

    @model_validator(mode="after")
    def _is_a_figure(self) -> Self:
        found = self.figure
        if self.value is not None and not found.low <= found.value <= found.high:
            raise ValueError(f"{found.value:g} is not in [{found.low:g}, {found.high:g}]")
        if (self.hits or 0) > self.count:
            raise ValueError(f"{self.hits} hits in {self.count}")
        return self

    @classmethod
    def of(cls, figure: Figure) -> Self:
        """Take the numbers as far as JSON can hold them."""
        numbers = (_number(n) for n in (figure.value, figure.low, figure.high))
        value, low, high = numbers
        return cls(value=value, low=low, high=high, count=figure.count, hits=figure.hits)

    @property
    def figure(self) -> Figure:
        """The figure with its infinite ends."""
        value, low, high = self.value, self.low, self.high
        return Figure(
            nan if value is None else value,
            -inf if low is None else low,
            inf if high is None else high,
            self.count,
            self.hits,
        )


class FoundRecord(Record):
    """What came out for one model in one test."""

    said: Words
    """As the table says it."""
    verdict: Verdict
    """Of a limit: whether it is reached."""
    figure: FigureRecord | None = None
    """Where the test is of a figure of its own."""
    distance: FigureRecord | None = None
    """Of a limit: the figure less the bound."""
    differences: dict[Words, FigureRecord] = Field(default_factory=dict)
    """Where it is compared: its figure less a baseline's, by the baseline's name."""


class RowRecord(Record):
    """One acceptance test."""

    where: Words
    """Benchmark, or `all radios, any gap`."""
    measured: Words
    """What is compared with the bound."""
    target: Words
    """The bound in words."""
    level: Level
    """`must` counts; a `stretch` does not; of a `limit` the distance to it is told."""
    bound: Number = None
    """In the metric's unit; null for dominance and the frontier."""
    found: dict[Words, FoundRecord]
    """By model."""
    verdict: Verdict
    """Over all models: pass where each passes, fail where one fails."""
    note: Words = ""
    """What would decide it."""
    derivation: Words = ""
    """How a limit was derived."""

    @classmethod
    def of(cls, row: Row) -> Self:
        """Take down what came out."""
        return cls(
            where=row.where,
            measured=row.measure,
            target=row.target,
            level=row.level,
            bound=row.by.bound if row.by else None,
            found={name: _found(found) for name, found in row.found.items()},
            verdict=row.verdict,
            note=row.note,
            derivation=row.by.derivation if row.by and row.level == "limit" else "",
        )


class CrashRecord(Record):
    """A case that a model crashed in; its numbers are metrics of an episode, null where none is."""

    case: int
    """Its number in the suite."""
    kind: Words
    """`hazard`, `benign` or `free`."""
    num_peers: int
    """Cars ahead."""
    brake_rank: int
    """Of the peer that brakes, 1 being directly ahead; 0 for nobody."""
    impact_speed_mps: Number
    message_delay_s: Number
    delay_budget_s: Number
    longest_blackout_s: Number
    crash_class: Words
    """`informed`, `blackout` or `unavoidable`."""


class DriverRecord(Record):
    """What a driver did on a benchmark: a model, a model at another time gap, or a baseline."""

    where: Words
    """Benchmark."""
    driver: Words
    """What the tables call it: a model's name, with its time gap where that is another."""
    cases: int
    """How many were driven."""
    invalid: int
    """Cases left out, of any driver's."""
    figures: dict[str, FigureRecord]
    """By metric: of a convoy or of a manoeuvre, as the tables have them."""
    crashed: int = 0
    """Of a model: cases that ended in a crash that counts."""
    crashes: tuple[CrashRecord, ...] = ()
    """The first of them."""


class ModelRecord(Record):
    """A model."""

    name: Words
    """What the tables call it."""
    sha256: Digest
    """Of its file; empty where it was not written down, and then it cannot be rerun."""


class Software(Record):
    """What computed the figures; the same software makes the same figures, to the bit."""

    version: Words
    """Of RoadSense."""
    git_commit: Words | None = None
    """With `+changes` where the work tree differed; null without git."""
    observation_version: int
    """That the models were trained for."""
    packages: dict[Words, Words | None] = Field(default_factory=dict)
    """SUMO, numpy, torch and so on; Python and the machine among them."""


class Header(Record):
    """Who, with what and how: all that is known before a case is driven."""

    schema_version: Literal[1] = 1
    """Of this layout."""
    name: Words = Field(min_length=1)
    """Of the recipe."""
    by: Words = ""
    """Who sends it, and how to reach them."""
    models: tuple[ModelRecord, ...] = Field(min_length=1)
    """Training runs of one recipe."""
    command: Annotated[str, AfterValidator(_one_line)]
    """As it was typed."""
    asked: Asked
    """Sizes, baselines, time gaps, parts and the seed: options of `roadsense targets`."""
    software: Software
    """What computed the figures."""

    @model_validator(mode="after")
    def _can_be_driven(self) -> Self:
        digests = [model.sha256 for model in self.models if model.sha256]
        if len(set(digests)) < len(digests):
            raise ValueError(
                "models: one file stands for two; training runs are files of their own"
            )
        asked = asdict(self.asked)
        for name, value in asked.items():
            most = _MOST_SEEDS if name == "seed" else _MOST_CASES
            least = 0 if name == "seed" else 1
            if type(value) is int and not least <= value < most:
                raise ValueError(f"asked.{name}: {value}; from {least} to {most:,}")
        for words in (asked[f"{on}controllers"] for on in ("", "clean_", "shadowed_")):
            for word in words:
                _plain(word)
        return self


class Submission(Header):
    """The acceptance tests of a recipe."""

    summary: Summary
    """`must`: tests by verdict; `limits`: how many there are; `reached`: how many of them."""
    rows: tuple[RowRecord, ...]
    """Every test."""
    results: tuple[DriverRecord, ...]
    """Every driver on every benchmark, baselines among them."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: two have the same name, of {names}")
        _only_once("rows", ((row.where, row.measured, row.level) for row in self.rows))
        _only_once("results", ((result.where, result.driver) for result in self.results))
        for i, row in enumerate(self.rows):
            if sorted(row.found) != sorted(names):
                raise ValueError(f"rows.{i}.found: names {sorted(row.found)}, not {sorted(names)}")
            if row.verdict != together(found.verdict for found in row.found.values()):
                raise ValueError(f"rows.{i}.verdict: {row.verdict} is not that of its models")
            for name, found in row.found.items():
                if found.verdict not in _verdicts(row, found):
                    raise ValueError(
                        f"rows.{i}.found.{name}.verdict: {found.verdict}, but {found.said} is "
                        f"judged by {row.target}"
                    )
        counted = count_verdicts((row.level, row.verdict) for row in self.rows)
        if self.summary != counted:
            raise ValueError(f"summary: says {self.summary}; its rows say {counted}")
        for i, result in enumerate(self.results):
            if set(result.figures) not in (set(CONVOY_FIGURES), set(MANOEUVRE_FIGURES)):
                raise ValueError(f"results.{i}.figures: not those of a convoy or of a manoeuvre")
        return self

    @classmethod
    def of(cls, header: Header, rows: Sequence[Row], results: Sequence[BenchmarkResult]) -> Self:
        """Put together what came out."""
        return cls(
            **dict(header),
            summary=summary_of(rows),
            rows=tuple(map(RowRecord.of, rows)),
            results=tuple(r for result in results for r in _drivers(result)),
        )

    def text(self) -> str:
        """Return the file's content, a test or a driver a line."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        # In full, so that they mean the same where a default has changed.
        whole = {"schema_version": self.schema_version, "asked": asdict(self.asked)}
        content = {name: whole.get(name, content.get(name, "")) for name in Submission.model_fields}
        parts = []
        for key, value in content.items():
            said = _compact(value)
            if key in {"rows", "results"}:
                said = "[\n" + ",\n".join(f"  {_compact(item)}" for item in value) + "\n ]"
            parts.append(f" {json.dumps(key)}: {said}")
        return "{\n" + ",\n".join(parts) + "\n}\n"


def _only_once(what: str, keys: Iterable[Hashable]) -> None:
    """Refuse a test, or a driver on a benchmark, that stands there twice."""
    (key, count), *_ = Counter(keys).most_common(1) or [("", 0)]
    if count > 1:
        raise ValueError(f"{what}: {key} stands there {count} times")


def _verdicts(row: RowRecord, found: FoundRecord) -> set[Verdict]:
    """What a test can have come to, as far as its figures tell."""
    figure = found.figure
    if row.bound is None or not (figure or found.differences):
        return {PASSED, FAILED, INCONCLUSIVE}
    if figure is None or found.differences:  # as `no_more`
        return {
            together(
                FAILED
                if of.figure.low > 0.0
                else PASSED
                if of.figure.high <= row.bound
                else INCONCLUSIVE
                for of in found.differences.values()
            )
        }
    if row.target.startswith("0 in"):  # as `none_in`
        return {FAILED} if figure.hits else {PASSED, INCONCLUSIVE}
    own = at_most(figure.figure, row.bound)
    if " at ≤ " in row.target:  # a headway is judged, too
        return {FAILED} if own == FAILED else {own, INCONCLUSIVE, FAILED}
    return {own}


def make_header(
    origin: Origin, drivers: Iterable[DriverSpec], asked: Asked, *, name: str = "", by: str = ""
) -> Header:
    """Say what is about to be measured; the recipe is called by its models where it has no name.

    Raises:
        SubmissionError: A name or the command holds what is no plain text.
    """
    drivers = list(drivers)
    models = [d for d in drivers if d.is_model and not d.variant]
    try:
        for driver in drivers:
            _plain(driver.name)
    except ValueError as error:
        raise SubmissionError(f"driver {driver.name!r}: {error}. Name it otherwise.") from error
    try:
        return Header(
            name=name or ", ".join(model.name for model in models),
            by=by,
            models=tuple(ModelRecord(name=m.name, sha256=m.sha256) for m in models),
            command=_FOLDERS.sub("", origin.command),
            asked=asked,
            software=Software(
                version=origin.version,
                git_commit=origin.git_commit,
                observation_version=OBSERVATION_VERSION,
                packages=dict(origin.packages),
            ),
        )
    except ValidationError as error:
        raise SubmissionError(f"{SUBMISSION_FILE}: {_first(error)}. Name it otherwise.") from error


def read_submission(file: Path) -> Submission:
    """Read a submission, and check that it adds up.

    Raises:
        SubmissionError: It cannot be read, or says something that it must not; with the place.
    """
    try:
        return Submission.model_validate_json(file.read_bytes())
    except OSError as error:
        raise SubmissionError(
            f"{file} cannot be read ({error.strerror}). Name a {SUBMISSION_FILE} that `roadsense "
            "targets` wrote."
        ) from error
    except ValidationError as error:
        raise SubmissionError(
            f"{file}: {_first(error)}. Take it as `roadsense targets` wrote it; it was changed by "
            "hand, or written by another version."
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(repr(str(part))[1:-1] for part in first["loc"])
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None


def _optional(figure: Figure | None) -> FigureRecord | None:
    return FigureRecord.of(figure) if figure else None


def _found(found: Found) -> FoundRecord:
    return FoundRecord(
        said=found.said,
        verdict=found.verdict,
        figure=_optional(found.figure),
        distance=_optional(found.distance),
        differences={name: FigureRecord.of(of) for name, of in found.differences.items()},
    )


def _drivers(result: BenchmarkResult) -> Iterable[DriverRecord]:
    names = CONVOY_FIGURES if result.benchmark.weighted else MANOEUVRE_FIGURES
    for driver in result.drivers:
        crashes = result.crashes.get(driver.name, ())
        figures = result.figures[driver.name]
        yield DriverRecord(
            where=result.benchmark.name,
            driver=driver.name,
            cases=len(result.benchmark.cases.cases),
            invalid=result.invalid,
            figures={name: FigureRecord.of(figures[name]) for name in names},
            crashed=len(crashes),
            crashes=tuple(map(_crash, crashes[:_MOST_CRASHES])),
        )


def _crash(row: EpisodeRow) -> CrashRecord:
    flat = row.flat()
    return CrashRecord(**{name: flat[name] for name in CrashRecord.model_fields})
