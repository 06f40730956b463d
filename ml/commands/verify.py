"""`roadsense verify`: run the acceptance tests of somebody else's submission again."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.text import Text

from ml.commands.checks import require_counts
from ml.commands.targets import Place, measure
from ml.console import WholeTable, make_console
from ml.errors import ConfigError, SubmissionError
from ml.evaluation.acceptance.sizes import PartName
from ml.evaluation.records import require_distinct, sha256_of
from ml.installation import model_file
from ml.onboard.observation.spec import OBSERVATION_VERSION
from ml.options import read_options

if TYPE_CHECKING:
    from ml.evaluation.acceptance.agreement import Agreement
    from ml.evaluation.acceptance.submission import ModelRecord

_SHOWN_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Place):
    """Run the acceptance tests of a submission again, and say row by row whether figures agree.

    A model is told by its SHA-256: one that is not the submission's is refused. Of its file nothing
    but weights and numbers is read, and nothing is run. Seed, sizes, time gaps and baselines are
    the submission's. With the same software (version, commit, packages) and all its cases every
    figure must be equal; otherwise the 95 % intervals must overlap, and no test may pass on one
    side and fail on the other. Exit code 0: all agree; 1: something differs. A stopped rerun
    resumes when the same command runs again.
    """

    submission: Annotated[Path, tyro.conf.Positional]
    """A submission.json that `roadsense targets` wrote."""
    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Its models (.zip), all or some, in any order."""
    out: Path = Path("verify")
    """Folder of the rerun."""
    only: tuple[PartName, ...] = ()
    """Parts to measure; default: those of the submission."""
    quick: bool = False
    """Take a few cases of everything: shows that it can be rerun, and compares nothing."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = read_options(VerifyOptions, "roadsense verify", arguments)
    require_counts(options, "workers")
    require_distinct("MODEL", options.models)
    # Torch and numba are slow to import, and --help needs none of them.
    from ml.commands.fill import make_origin  # noqa: PLC0415
    from ml.evaluation.acceptance.agreement import compare  # noqa: PLC0415
    from ml.evaluation.acceptance.submission import read_submission  # noqa: PLC0415

    file = options.submission
    submission = read_submission(file)
    models = _models(options, submission.models)
    asked = submission.asked
    for spec in (*asked.controllers, *asked.clean_controllers, *asked.shadowed_controllers):
        if "@" in spec:
            raise SubmissionError(
                f"{file}: asked.controllers: {spec} names a file, which is not in the submission "
                "and is not run. Have it sent with baselines that come with RoadSense."
            )
    version = submission.software.observation_version
    if version != OBSERVATION_VERSION:
        raise SubmissionError(
            f"{file}: of version {version} of the observation; models of version "
            f"{OBSERVATION_VERSION} can be run. Take a RoadSense of that version."
        )
    left_out = set(options.only) - set(asked.only or options.only)
    if left_out:
        raise ConfigError(f"--only {' '.join(sorted(left_out))}: {file} has no such part")
    asked = replace(
        asked, only=options.only or asked.only, quick=options.quick or asked.quick
    ).reduced()
    console = make_console()
    origin = make_origin("verify", arguments, (asked.seed,))
    here, _, _ = measure(asked, models, options, origin, console)
    same_software = submission.software == here.software
    same_cases = replace(asked, only=submission.asked.only) == submission.asked
    if not same_cases:
        console.print(
            "a few of the submission's cases: it can be rerun, and no figure is compared",
            markup=False,
        )
        return 0
    found = compare(submission, here, exactly=same_software)
    console.print(_table(found))
    if not same_software:
        console.print("other software than the submission's: intervals must overlap", markup=False)
    else:
        console.print("the submission's software and cases: figures must be equal", markup=False)
    absent = [model.name for model in submission.models if model.name not in models]
    if absent:
        console.print(f"not run again: {', '.join(absent)}", markup=False)
    counts = {status: sum(of.status == status for of in found) for status in _COLOURS}
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    console.print(f"{len(found)} rows: {said}", markup=False, highlight=False)
    return 1 if counts["differs"] else 0


_COLOURS = {"equal": "green", "within intervals": "green", "differs": "bold red"}


def _models(options: VerifyOptions, records: Sequence["ModelRecord"]) -> Mapping[str, str]:
    """Find each file among the submission's models, by its digest.

    Raises:
        SubmissionError: A file is none of them.
        ConfigError: There is none, it cannot be read, or it is named twice.
    """
    names = {record.sha256: record.name for record in records if record.sha256}
    known = ", ".join(f"{name} {digest[:_SHOWN_DIGITS]}…" for digest, name in names.items())
    if not options.models:
        raise ConfigError(f"name a MODEL of {options.submission}; it has: {known or 'no digest'}")
    found: dict[str, str] = {}
    for path in options.models:
        try:
            digest = sha256_of(model_file(path))
        except OSError as error:
            raise ConfigError(f"model {path} cannot be read ({error.strerror})") from error
        if digest not in names:
            raise SubmissionError(
                f"{path} is no model of {options.submission}: its SHA-256 is "
                f"{digest[:_SHOWN_DIGITS]}…, the submission's are: {known or 'not written down'}. "
                "Take the file that was submitted."
            )
        if names[digest] in found:
            first = shlex.quote(found[names[digest]])
            raise ConfigError(f"{path} and {first} are the same model; name it once")
        found[names[digest]] = path
    return {name: found[name] for name in names.values() if name in found}


def _table(found: Sequence["Agreement"]) -> WholeTable:
    table = WholeTable("where", "what", "agrees", "not equal: submitted → here")
    for of in found:
        apart = "\n".join(f"{name}: {before} → {now}" for name, before, now in of.apart)
        # As text: Rich would take brackets for markup.
        cells = map(Text, (of.where, of.what, of.status, apart))
        table.add_row(*cells, style=_COLOURS[of.status] if of.status == "differs" else "")
    return table
