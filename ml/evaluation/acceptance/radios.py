"""Radios between the presets and beyond what the training's `varied` draws, made in code.

Between: every number of the loss model halfway between two presets. Beyond: a preset with one
number outside the range from which `varied` draws it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ml.atomic_files import write_atomically
from ml.envs.scoring.targets import Radio
from ml.parameters import load_parameters
from ml.parameters.parameters import Parameters


@dataclass(frozen=True, slots=True)
class OtherRadio:
    """A radio that no preset is.

    Attributes:
        towards: The preset halfway to which it is; empty for one with `changes`.
        changes: Numbers of `radio.loss` that differ from `base`.
        bounds: The preset whose bounds it is judged by, doubled: the worse neighbour's.
    """

    name: str
    base: Radio
    bounds: Radio
    towards: Radio | Literal[""] = ""
    changes: tuple[tuple[str, float], ...] = ()


OTHER_RADIOS = (
    OtherRadio("clean-bursty", "clean", "bursty", towards="bursty"),
    OtherRadio("bursty-shadowed", "bursty", "shadowed", towards="shadowed"),
    OtherRadio("clean-slow", "clean", "clean", changes=(("bias_time_s", 120.0),)),
    OtherRadio("clean-steep", "clean", "clean", changes=(("exponent_near", 2.6),)),
    OtherRadio("bursty-slow", "bursty", "bursty", changes=(("bias_time_s", 120.0),)),
    OtherRadio("bursty-steep", "bursty", "bursty", changes=(("exponent_far", 4.5),)),
)


def parameters_of(radio: OtherRadio) -> Parameters:
    """Build the parameters; nothing of them is drawn per episode.

    Raises:
        ParameterError: A preset cannot be read.
    """
    content = load_parameters(radio.base).model_dump(mode="json")
    loss = content["radio"]["loss"]
    if radio.towards:
        other = load_parameters(radio.towards).model_dump(mode="json")["radio"]["loss"]
        content["radio"]["loss"] = _halfway(loss, other)
        content["provenance"] = (
            f"Every number of the loss model halfway from {radio.base} to {radio.towards}; all "
            f"else as in {radio.base}. Made to judge drivers between the presets, measured nowhere."
        )
    else:
        changes = dict(radio.changes)
        content["radio"]["loss"] = loss | changes
        said = ", ".join(f"{name} {loss[name]:g} to {value:g}" for name, value in changes.items())
        content["provenance"] = (
            f"As {radio.base}, with {said}: outside what the preset varied draws. Made to judge "
            "drivers beyond what they were trained on, measured nowhere."
        )
    content["domain_randomisation"] = {}
    return Parameters.model_validate_json(json.dumps(content))


def write_radio(radio: OtherRadio, folder: Path) -> Path:
    """Write its parameter file, for `--radio` of any command, unless it is there already.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{radio.name}.json"
    content = parameters_of(radio).model_dump_json(indent=2) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != content:
        write_atomically(file, content)
    return file


def _halfway(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """Mix two sections of one kind: numbers linearly, what is no number as in the first."""
    mixed = dict(low)
    for name, value in low.items():
        other = high[name]
        if isinstance(value, dict):
            mixed[name] = _halfway(value, other)
        elif isinstance(value, float) and isinstance(other, float):
            mixed[name] = value + 0.5 * (other - value)
    return mixed
