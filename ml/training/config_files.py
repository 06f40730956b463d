"""YAML files and other layers, merged into a `TrainConfig`; each value remembers its place.

An unknown key or a wrong value is an error that names the file, the line and the nearest key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel, ValidationError

from ml.console import markdown_table
from ml.errors import ConfigError, did_you_mean
from ml.training.config import TrainConfig

KeyPath: TypeAlias = tuple[str, ...]

_LARGEST_FILE_BYTES = 1_000_000
_MOST_MISTAKES = 8
_LONGEST_KEY = 60
_LONGEST_LINE = 400
_brief = Repr()
_brief.maxlevel = 2
_brief.maxstring = _brief.maxother = 80


@dataclass(slots=True)
class Layers:
    """Values by key path, such as `("ppo", "gamma")`, later layers over earlier ones.

    With each value stands where it was set, for messages: `file.yaml:12`, a variable, an option.
    """

    settings: dict[KeyPath, tuple[Any, str]] = field(default_factory=dict)

    def put(self, path: KeyPath, value: Any, place: str) -> None:
        """Set one value over whatever an earlier layer says."""
        self.settings.pop(path, None)  # so that the order of the keys is that of the settings
        self.settings[path] = value, place

    def changed(self, values: Mapping[str, Any], place: str) -> Layers:
        """Return a copy with other values, by name with dots, as `ppo.gamma`."""
        copy = Layers(dict(self.settings))
        for name, value in values.items():
            copy.put(tuple(name.split(".")), value, place)
        return copy

    def put_yaml(self, text: str, name: str) -> None:
        """Set all values of a YAML document; `name` is the file's name in messages.

        Raises:
            ConfigError: It is not YAML, not a mapping, or says something twice.
        """
        for path, (value, line) in _read_yaml(text, name).items():
            self.put(path, value, f"{name}:{line}")

    def put_file(self, path: Path) -> None:
        """Set all values of a YAML file.

        Raises:
            ConfigError: It cannot be read; see also `put_yaml`.
        """
        try:
            if path.stat().st_size > _LARGEST_FILE_BYTES:
                raise ConfigError(f"{path}: larger than 1 MB; this is not a configuration file.")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot read the configuration {path}: {error.strerror}. "
                "Give --config (or --resume) the path of a file that exists and is readable."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not a text file in UTF-8 ({error.reason}).") from error
        self.put_yaml(text, str(path))

    def put_preset(self, name: str) -> None:
        """Set the values of a preset, and its name.

        Raises:
            ConfigError: There is no such preset.
        """
        names = preset_names()
        if name not in names:
            raise ConfigError(
                f"there is no preset {name!r}.{did_you_mean(name, names)} Presets: "
                f"{', '.join(names)}. `roadsense train` takes a file of your own as --config."
            )
        text = resources.files("ml.training").joinpath(f"presets/{name}.yaml").read_text("utf-8")
        self.put_yaml(text, f"preset {name}")
        self.put(("preset",), name, f"preset {name}")

    def tree(self) -> dict[str, Any]:
        """Return all values, nested as in a file.

        Raises:
            ConfigError: One layer has a single value where another has a section.
        """
        tree: dict[str, Any] = {}
        for path, (value, place) in self.settings.items():
            node = tree
            for key in path[:-1]:
                node = node.setdefault(key, {})
                if not isinstance(node, dict):
                    raise ConfigError(
                        f"{place}: {'.'.join(path)} is set, but "
                        f"{self.place(path[:-1])} gives {'.'.join(path[:-1])} a single value."
                    )
            if value == {} and isinstance(node.get(path[-1]), dict):
                continue
            node[path[-1]] = value
        return tree

    def build(self) -> TrainConfig:
        """Validate everything at once.

        Raises:
            ConfigError: One line per wrong value: where, which, what is allowed.
        """
        try:
            return TrainConfig.model_validate(self.tree())
        except ValidationError as error:
            raise ConfigError(self._describe(error)) from error

    def place(self, path: tuple[int | str, ...]) -> str:
        """Where a value, or the nearest section around it, was set."""
        for length in range(len(path), 0, -1):
            head = tuple(str(part) for part in path[:length])
            if head in self.settings:
                return self.settings[head][1]
        return "configuration"

    def _describe(self, error: ValidationError) -> str:
        lines = []
        for item in error.errors(include_url=False):
            path, message = item["loc"], str(item["msg"])
            place = self.place(path)
            name = ".".join(str(part) for part in path)
            if item["type"] == "extra_forbidden":
                known = _keys_at(path[:-1])
                hint = did_you_mean(str(path[-1]), known)
                key = name if len(name) <= _LONGEST_KEY else name[:_LONGEST_KEY] + "…"
                text = f"unknown key {key!r}.{hint} Known here: {', '.join(known)}."
            elif item["type"] == "value_error":
                text = f"{name + ': ' if name else ''}{message.removeprefix('Value error, ')}"
                # Such a rule is about a section as a whole: blame what was set last in it.
                inside = [at for key, (_, at) in self.settings.items() if key[: len(path)] == path]
                place = inside[-1] if inside else place
            else:
                # Not repr: aliases within aliases would write out gigabytes.
                given = _brief.repr(item["input"])
                rule = message.removeprefix("Input should be ")
                text = f"{name or 'configuration'} = {given}: it must be {rule}."
            lines.append(f"{place}: {text}"[:_LONGEST_LINE])
        more = len(lines) - _MOST_MISTAKES
        return "\n".join(lines[:_MOST_MISTAKES] + ([f"and {more} more"] if more > 0 else []))


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("ml.training").joinpath("presets")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if ".yaml" in entry.name)


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """Names of the keys of the section at a path; empty where there is no section."""
    model: Any = TrainConfig
    for key in path:
        info = model.model_fields.get(key)
        model = info.annotation if info else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def to_yaml(config: TrainConfig) -> str:
    """Write a configuration out in full, such that reading it gives the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
    rows = ((".".join(path), shown(value)) for path, value in flatten(config).items())
    return markdown_table(("key", "value"), rows)


def shown(value: Any) -> str:
    """A value for people."""
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, tuple):
        return "–".join(shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


_Lines: TypeAlias = dict[KeyPath, tuple[Any, int]]


def _read_yaml(text: str, name: str) -> _Lines:
    """Flatten a document to value and line by key path."""
    found: _Lines = {}
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{name}:1: expected `key: value` lines, found something else.")
        if root is not None:
            _walk(loader, root, (), found, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    return found


def _walk(
    loader: yaml.SafeLoader, node: yaml.MappingNode, path: KeyPath, found: _Lines, name: str
) -> None:
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{name}:{line}: a key must be a plain word.")
        here = (*path, key_node.value)
        if here in found:
            raise ConfigError(
                f"{name}:{line}: {'.'.join(here)} is set twice, first in line {found[here][1]}. "
                "Remove one."
            )
        if isinstance(value_node, yaml.MappingNode):
            found[here] = ({}, line)
            _walk(loader, value_node, here, found, name)
        else:
            found[here] = (loader.construct_object(value_node, deep=True), line)
