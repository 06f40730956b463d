"""A controller with other parameters than its usual ones, as a search finds them.

A parameter is `time_gap_s`, `standstill_m`, or a constant of the controller's class by its name,
such as `SPEED_GAIN`. A file of them is a YAML mapping; "predictive@FILE.yaml" drives with it.
"""

import inspect
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import yaml

from ml.controllers.catalogue import ENTRIES
from ml.controllers.follower import USUAL_STANDSTILL_M, Follower
from ml.controllers.protocol import Controller
from ml.errors import ConfigError, did_you_mean

_SETTINGS = ("time_gap_s", "standstill_m")


def tunable(name: str) -> dict[str, float]:
    """Return the parameters of a kind of controller, and their usual values.

    Raises:
        ConfigError: There is no such controller, or it has no parameters.
    """
    kind, _ = _class_of(name)
    settings = {"time_gap_s": kind.usual_gap_s, "standstill_m": USUAL_STANDSTILL_M}
    constants = {
        key: value
        for key, value in inspect.getmembers(kind)
        if key.isupper() and isinstance(value, float)
    }
    return settings | constants


def check_parameter(name: str, key: str, where: str) -> None:
    """Refuse a parameter that a controller does not have.

    Raises:
        ConfigError: With the nearest name and all there are; or there is no such controller.
    """
    known = list(tunable(name))
    if key not in known:
        hint = did_you_mean(key, known)
        raise ConfigError(
            f"{where}: {name} has no parameter {key!r}.{hint} It has {', '.join(known)}."
        )


def tuned_controller(name: str, values: Mapping[str, float], label: str = "tuned") -> Controller:
    """Build a controller with some parameters of its own.

    Args:
        name: Its kind.
        values: By parameter; what is left out has its usual value.
        label: What its name says beside the usual one.

    Raises:
        ConfigError: It has no such parameter, or there is no such controller.
    """
    for key in values:
        check_parameter(name, key, label)
    kind, options = _class_of(name)
    constants = {key: value for key, value in values.items() if key not in _SETTINGS}
    settings = {key: values[key] for key in _SETTINGS if key in values}
    controller: Follower = type(kind.__name__, (kind,), constants)(**settings, **options)
    controller.name += f", {label}"
    return controller


def controller_from_file(name: str, file: Path) -> Controller:
    """Build a controller with the parameters in a file; its name carries the file's.

    Raises:
        ConfigError: The file cannot be read or does not fit, or there is no such controller.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read the parameters of {name} from {file}: {error}. `roadsense tune "
            f"--controller {name}` writes such a file."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `parameter: number` lines, found something else.")
    numbers: dict[str, float] = {}
    for key, value in values.items():
        check_parameter(name, str(key), str(file))
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ConfigError(f"{file}: {key} = {value!r}: it must be a finite number.")
        if key in _SETTINGS and value < 0.0:
            raise ConfigError(f"{file}: {key} = {value!r}: it must be at least 0.")
        numbers[str(key)] = float(value)
    return tuned_controller(name, numbers, file.stem)


def _class_of(name: str) -> tuple[type[Follower], dict[str, Any]]:
    """Return the class of a kind of controller, and what it is always built with."""
    adjustable = [key for key, entry in ENTRIES.items() if entry.time_gaps_s]
    if name not in adjustable:
        hint = did_you_mean(name, adjustable)
        raise ConfigError(
            f"controller {name!r}: there is none of that name with parameters to tune.{hint} "
            f"There are: {', '.join(adjustable)}."
        )
    build = ENTRIES[name].build
    kind, options = (build.func, build.keywords) if isinstance(build, partial) else (build, {})
    return cast("type[Follower]", kind), options
