"""The configuration's sections as plain dataclasses, which is what the command line parses.

tyro reads types and help from these; the ranges are checked once, by the configuration itself,
after all sources are merged, so that a wrong value reads the same wherever it was written.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel

from ml.training.config import TrainConfig

if TYPE_CHECKING:
    from ml.training.config_files import KeyPath

_WITHOUT_PREFIX = "env"
"""The section whose options stand at the top: `--radio`, not `--env.radio`."""


@cache
def option_class() -> Any:
    """Build the class of all options: `config`, `resume` and the configuration's own."""
    config_help = "YAML file with any of the values below (see a run's config.yaml)."
    resume_help = "Continue a run: latest, a run directory, or a checkpoint inside one."
    return make_dataclass(
        "Options",
        [
            ("config", Annotated[Path | None, tyro.conf.arg(help=config_help)]),
            ("resume", Annotated[str | None, tyro.conf.arg(help=resume_help)]),
            *_fields_of(TrainConfig),
        ],
        frozen=True,
    )


def option_values(config: BaseModel) -> list[Any]:
    """Values of a configuration, in the order of the fields of its options' class."""
    values = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            value = _section_class(type(value))(*option_values(value))
        values.append(value)
    return values


def option_name(path: KeyPath) -> str:
    """How a value is called on the command line."""
    shown = path[1:] if path[0] == _WITHOUT_PREFIX else path
    return "--" + ".".join(shown).replace("_", "-")


def flatten(config: Any, path: KeyPath = ()) -> dict[KeyPath, Any]:
    """Values of a configuration, or of its options, by key path."""
    if isinstance(config, BaseModel):
        names = list(type(config).model_fields)
    elif is_dataclass(config):
        names = [item.name for item in fields(config)]
    else:
        return {path: config}
    return {
        key: value
        for name in names
        for key, value in flatten(getattr(config, name), (*path, name)).items()
    }


def as_markdown(config: TrainConfig) -> str:
    """Table of all values, for TensorBoard's text tab."""
    rows = [f"| {'.'.join(path)} | {shown(value)} |" for path, value in flatten(config).items()]
    return "\n".join(["| key | value |", "|---|---|", *rows])


def shown(value: Any) -> str:
    """A value for people."""
    if isinstance(value, tuple):
        return "–".join(shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fields_of(model: type[BaseModel]) -> list[tuple[str, Any]]:
    result = []
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        prefix = None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind, prefix = _section_class(kind), "" if name == _WITHOUT_PREFIX else name
        said = tyro.conf.arg(name=prefix, help=info.description or "")
        result.append((name, Annotated[kind, said]))
    return result


@cache
def _section_class(model: type[BaseModel]) -> Any:
    return make_dataclass(
        model.__name__, _fields_of(model), frozen=True, namespace={"__doc__": model.__doc__}
    )
