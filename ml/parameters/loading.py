"""Read a parameter file or preset, and explain in one screen what is wrong with it."""

import json
import os
from collections import Counter
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ml.errors import ParameterError, did_you_mean
from ml.espnow_emulator.parameters.loss import LOSS_MODELS
from ml.parameters.parameters import BOARDS, Boards, Parameters
from ml.section import allowed, plain

_PRESETS = Path(__file__).parent / "presets"
PRESET_NAMES = (
    "ideal",
    "clean",
    "bursty",
    "shadowed",
    "in-car",
    "good-install",
    "blackout",
    "gps-hold",
    "varied",
    "gilbert-elliott",
    "independent",
)
_PRESETS_NAMED = ", ".join(PRESET_NAMES)
_SUFFIX = ".json"
_MOST_MISTAKES = 8
_MOST_CHARACTERS = 60
_LONGEST_LINE = 400


def load_parameters(name_or_file: str | Path) -> Parameters:
    """Load a preset by its name or a JSON file by its path.

    A bare word is a preset's name; what has a suffix or holds a path separator is a file. Of a file
    that `roadsense calibrate` has written, `params.json:at-large` is the radio of other boards, and
    `params.json:mine` that of those that logged, whichever of the two the file itself names.

    Raises:
        ParameterError: An unknown preset, a file that is missing, has another suffix or cannot be
            read, or content that is not allowed; boards that the file knows nothing of.
    """
    text = os.fspath(name_or_file)
    if text in PRESET_NAMES:
        return _load_file(_PRESETS / f"{text}.json")
    text, boards = split_boards(text)
    path = Path(text)
    if not (isinstance(name_or_file, Path) or path.suffix or os.sep in text):
        raise ParameterError(
            f"unknown radio preset {text!r}.{did_you_mean(text, PRESET_NAMES)}\n"
            f"Allowed are {_PRESETS_NAMED}, or the path of a parameter file (.json)."
        )
    file, _, asked = text.rpartition(":")
    if boards is None and file.endswith(_SUFFIX):
        raise ParameterError(
            f"parameter file {file}: it holds no boards {asked!r}.{did_you_mean(asked, BOARDS)}\n"
            f"Allowed are {' and '.join(BOARDS)}, behind a colon, or the file alone."
        )
    if path.suffix != _SUFFIX and not path.is_dir():
        found = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise ParameterError(
            f"parameter file {path}: its name {found}, allowed is {_SUFFIX}, for its content is "
            f"JSON.\nRename the file, or use a preset: {_PRESETS_NAMED}."
        )
    try:
        return _load_file(path).of_boards(boards)
    except ValueError as error:
        raise ParameterError(
            f"parameter file {path}: {error}.\nName the file alone, or one that `roadsense "
            "calibrate` has written."
        ) from error


def split_boards(name: str) -> tuple[str, Boards | None]:
    """Part the path of a parameter file from the boards that are asked for behind a colon."""
    for boards in BOARDS:
        if name.endswith(f":{boards}"):
            return name.removesuffix(f":{boards}"), boards
    return name, None


def _load_file(path: Path) -> Parameters:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(
            f"parameter file {path}: cannot be read ({error.strerror}).\n"
            f"Check the path, or use a preset: {_PRESETS_NAMED}."
        ) from error
    except UnicodeDecodeError as error:
        raise ParameterError(
            f"parameter file {path}: byte {error.start} is not UTF-8 text.\nSave the file as UTF-8."
        ) from error
    try:
        # Pydantic takes the last of two like keys, and says less of where JSON is malformed.
        json.loads(text, object_pairs_hook=_refuse_doubles, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ParameterError(
            f"parameter file {path}, line {error.lineno}, column {error.colno}: not JSON "
            f"({error.msg}).\nCorrect that place; a comma too many or too few is the usual cause."
        ) from error
    except ValueError as error:
        raise ParameterError(f"parameter file {path}: {error}.") from error
    except RecursionError as error:
        raise ParameterError(
            f"parameter file {path}: its brackets are nested too deeply.\nCorrect the file, or use "
            f"a preset: {_PRESETS_NAMED}."
        ) from error
    try:
        return Parameters.model_validate_json(text)
    except ValidationError as error:
        raise ParameterError(_report(path, error.errors(include_url=False))) from error


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    section = dict(pairs)
    if len(section) < len(pairs):
        (double, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {double!r} stands twice in one section; remove one of them")
    return section


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"the value {constant} is not a finite number; write a number in its place")


def _report(path: Path, errors: list[ErrorDetails]) -> str:
    lines = [f"  {_explain(error)}"[:_LONGEST_LINE] for error in errors[:_MOST_MISTAKES]]
    if len(errors) > _MOST_MISTAKES:
        lines.append(f"  and {len(errors) - _MOST_MISTAKES} more")
    count = "1 mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
    remedy = f"Correct the file, or use a preset: {_PRESETS_NAMED}."
    return "\n".join([f"parameter file {path}: {count}", *lines, remedy])


def _explain_tag(error: ErrorDetails) -> str:
    given = error["ctx"].get("tag")
    found = f"the model {given!r} is unknown" if given else "it does not say which model it is"
    return f'{found}; allowed in its key "model" are {", ".join(LOSS_MODELS)}'


def _explain(error: ErrorDetails) -> str:
    place = error["loc"]
    where, section = _walk(place)
    if error["type"] == "value_error" or error["type"].startswith("union_tag"):
        message = str(error["ctx"].get("error") or _explain_tag(error))
        return f"{where or 'the file'}: {message}." if place else f"{message}."
    fields = {} if section is None else section.model_fields
    last = str(place[-1]) if place else ""
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(last, fields)
        return f"{where}: unknown key.{hint} Allowed here: {', '.join(fields)}."
    field = fields.get(last)
    if error["type"] == "missing" and field is not None:
        return f"{where}: is missing; add it: {allowed(field)}. {field.description or ''}".rstrip()
    value = json.dumps(error["input"], default=str)
    if len(value) > _MOST_CHARACTERS:
        value = value[:_MOST_CHARACTERS] + "..."
    if field is not None:
        return f"{where} = {value}: allowed is {allowed(field)}."
    if place[:1] == ("domain_randomisation",):
        return f"domain_randomisation.{place[1]}: allowed is a list of two numbers, [low, high]."
    return f"{where or 'the file'} = {value}: allowed is a section {{...}}."


def _walk(place: tuple[int | str, ...]) -> tuple[str, type[BaseModel] | None]:
    """Return a place as it is in the file, and the section it lies in, if it lies in one.

    Where a section is of one of several kinds, pydantic names the kind as a part of the place; the
    file, `radio.loss.by_distance[1].probability`, does not.
    """
    where, kind, section = "", cast("Any", Parameters), None
    for part in place:
        inner = plain(kind)
        section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        kinds = get_args(inner) if get_origin(inner) in (Union, UnionType) else ()
        tagged = {get_args(k.model_fields["model"].annotation)[0]: k for k in kinds}
        if part in tagged:
            kind = tagged[part]
            continue
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
        if section is not None and part in section.model_fields:
            kind = section.model_fields[str(part)].annotation
        else:
            kind = next(iter(get_args(inner)), None) if isinstance(part, int) else None
    return where.removeprefix("."), section
