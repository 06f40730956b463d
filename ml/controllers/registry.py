"""Controllers by name: a specification such as "cth:1.1" names one and its parameters.

A parameter is `time_gap_s`, `standstill_m`, or a constant of the controller's class by its name,
such as `SPEED_GAIN`. A search writes a file of them, a YAML mapping; "predictive@FILE.yaml" drives
with it. "board@DIR" is the C of a folder of `roadsense export`, "own@FILE.py" a law of your own.
"""

import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ml.arrays import Floats
from ml.controllers.board import BOARD, ExportedBoard
from ml.controllers.bounds import Constant, Oracle
from ml.controllers.car_following import (
    AdaptiveCruiseControl,
    CarefulDriver,
    ConstantTimeHeadway,
    IntelligentDriver,
    Krauss,
    RssFollower,
    Threshold,
)
from ml.controllers.platoon import PathCacc, Ploeg
from ml.controllers.predictive import HardPredictiveHeadway, PredictiveHeadway
from ml.controllers.protocol import USUAL_STANDSTILL_M, Follower, Knows
from ml.errors import ConfigError, did_you_mean
from ml.onboard.estimator import Lead
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import MAX_BRAKING_MPS2

_BOUNDS: dict[str, Callable[[], Constant | Follower]] = {
    "do-nothing": partial(Constant, "do-nothing", 0.0),
    "always-brake": partial(Constant, "always-brake", -MAX_BRAKING_MPS2),
    "oracle": Oracle,
}
LAWS: dict[str, type[Follower]] = {
    "predictive": PredictiveHeadway,
    "predictive-hard": HardPredictiveHeadway,
    "threshold": Threshold,
    "cth": ConstantTimeHeadway,
    "idm": IntelligentDriver,
    "krauss": Krauss,
    "acc": AdaptiveCruiseControl,
    "path-cacc": PathCacc,
    "ploeg": Ploeg,
    "rss": RssFollower,
    "careful": CarefulDriver,
}
_GAPS_S = (0.5, 0.8, 1.1, 1.5, 2.0)
"""Time gaps of a law's frontier; bounds have none."""
CONTROLLER_NAMES = (*_BOUNDS, *LAWS)
OWN = "own"
"""The name in front of a Python file: own@FILE.py."""
_WRAPPERS: dict[str, tuple[Knows, str]] = {
    "truth": ("truth", "truth"),
    "off": ("nothing", "radio off"),
}
"""The same law with other knowledge, and how its name says so: what the radio costs or is worth is
the difference."""
_SETTINGS = ("time_gap_s", "standstill_m")


def make_controller(spec: str) -> Constant | Follower | ExportedBoard:
    """Build a controller from its specification.

    Args:
        spec: `name`, `name:time_gap_s` or `name:time_gap_s:standstill_m`, as in "cth:1.1", or
            `name@FILE` with a file of parameters, `board@DIR` with an exported folder, or
            `own@FILE.py` with a Python file, which is executed. In front, "truth:" gives it perfect
            knowledge and "off:" takes its radio away.

    Raises:
        ConfigError: There is no such controller, its parameters are not numbers, or the file
            cannot be read or does not fit.
    """
    head, _, rest = spec.partition(":")
    if head in _WRAPPERS and rest:
        controller = make_controller(rest)
        controller.knows, said = _WRAPPERS[head]
        controller.name += f", {said}"
        return controller
    name, has_file, file = spec.partition("@")
    if has_file and name == BOARD:
        return ExportedBoard(Path(file))
    if has_file and name == OWN:
        return _own_law(Path(file))
    _require_known(name if has_file else head, spec)
    if has_file:
        return _from_file(name, Path(file))
    texts = rest.split(":") if rest else []
    if len(texts) > (len(_SETTINGS) if head in LAWS else 0):
        takes = "a time gap and a standstill distance at most" if head in LAWS else "no parameters"
        raise ConfigError(f"controller {spec!r}: {head} takes {takes}")
    build: Callable[..., Constant | Follower] = (_BOUNDS | LAWS)[head]
    return build(*(_number(text, spec) for text in texts))


def names_controller(spec: str) -> bool:
    """Whether a specification begins with a controller's name, or with what stands before one."""
    head = spec.partition(":")[0].partition("@")[0]
    return head in {*CONTROLLER_NAMES, *_WRAPPERS, BOARD, OWN}


def frontier(name: str) -> list[str]:
    """Specifications of one kind of controller over its usual time gaps.

    Raises:
        ConfigError: There is no such controller.
    """
    _require_known(name, name)
    return [f"{name}:{gap_s:g}" for gap_s in _GAPS_S] if name in LAWS else [name]


def tunable(name: str) -> dict[str, float]:
    """Return the parameters of a kind of controller, and their usual values.

    Raises:
        ConfigError: There is no such controller, or it has no parameters.
    """
    kind = _law(name)
    constants = {
        key: value
        for key, value in inspect.getmembers(kind)
        if key.isupper() and isinstance(value, float)
    }
    return dict(zip(_SETTINGS, (kind.usual_gap_s, USUAL_STANDSTILL_M), strict=True)) | constants


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


def tuned_controller(name: str, values: Mapping[str, float], label: str = "tuned") -> Follower:
    """Build a controller with some parameters of its own; those left out have their usual values.

    Its name is the usual one and `label`.

    Raises:
        ConfigError: It has no such parameter, or there is no such controller.
    """
    for key in values:
        check_parameter(name, key, label)
    kind = _law(name)
    constants = {key: value for key, value in values.items() if key not in _SETTINGS}
    settings = {key: values[key] for key in _SETTINGS if key in values}
    controller: Follower = type(kind.__name__, (kind,), constants)(**settings)
    controller.name += f", {label}"
    return controller


def _from_file(name: str, file: Path) -> Follower:
    """Build a controller with the parameters in a file; its name carries the file's."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read the parameters of {name} from {file}: {error}. `roadsense tune "
            f"--controller {name}` writes such a file."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `parameter: number` lines, found something else.")
    for key, value in values.items():
        check_parameter(name, str(key), str(file))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ConfigError(f"{file}: {key} = {value!r}: it must be a finite number.")
        if key in _SETTINGS and value < 0.0:
            raise ConfigError(f"{file}: {key} = {value!r}: it must be at least 0.")
    return tuned_controller(name, {key: float(values[key]) for key in values}, file.stem)


def _own_law(file: Path) -> Follower:
    """Build the one controller that a Python file defines.

    Raises:
        ConfigError: The file cannot be read or run, or defines no such class, or several.
    """
    module_spec = importlib.util.spec_from_file_location(f"own_{file.stem}", file)
    if module_spec is None or module_spec.loader is None or not file.is_file():
        raise ConfigError(f"{OWN}@{file}: there is no such Python file (its name ends in .py).")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        kinds = [
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if issubclass(kind, Follower) and kind.__module__ == module.__name__
        ]
        if len(kinds) == 1 and (kinds[0].law, kinds[0].act) != (Follower.law, Follower.act):
            return _watched(kinds[0], file)()
    except Exception as error:  # whatever a stranger's file does
        raise _wrong_law(file, error) from error
    if len(kinds) == 1:
        raise ConfigError(f"{OWN}@{file}: {kinds[0].__name__} has neither a method law nor act.")
    named = ", ".join(kind.__name__ for kind in kinds) or "none"
    raise ConfigError(
        f"{OWN}@{file}: it must define one class that inherits from "
        f"ml.controllers.protocol.Follower; it defines {named}."
    )


def _watched(kind: type[Follower], file: Path) -> type[Follower]:
    """Return a law whose mistakes are told with its file and line."""

    def checked(decide: Callable[..., Any], known: PeerView | Lead, ego: EgoView) -> Floats:
        try:
            wish = np.asarray(decide(known, ego), dtype=np.float64)
        except ConfigError:
            raise
        except Exception as error:  # whatever a stranger's law does
            raise _wrong_law(file, error) from error
        expected = ego.speed_mps.shape
        if wish.shape != expected or not np.isfinite(wish).all():
            found = f"shape {wish.shape}" if wish.shape != expected else "a NaN or ∞"
            raise ConfigError(
                f"{OWN}@{file}: it answered {found}; expected is a finite acceleration, m/s², for "
                f"each of {expected[0]} convoys, shape {expected}."
            )
        return wish

    class Watched(kind):  # type: ignore[valid-type,misc]
        def act(self, peers: PeerView, ego: EgoView) -> Floats:
            return checked(super().act, peers, ego)

        def law(self, lead: Lead, ego: EgoView) -> Floats:
            return checked(super().law, lead, ego)

    Watched.__name__ = kind.__name__
    return Watched


def _wrong_law(file: Path, error: Exception) -> ConfigError:
    """Say what went wrong in a user's file, and in which of its lines."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == file
    ]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    at = "" if line is None else f", line {line}"
    return ConfigError(f"{OWN}@{file}{at}: {type(error).__name__}: {said}")


def _law(name: str) -> type[Follower]:
    """Return the class of a controller that has parameters."""
    if name not in LAWS:
        hint = did_you_mean(name, LAWS)
        raise ConfigError(
            f"controller {name!r}: there is none of that name with parameters to tune.{hint} "
            f"There are: {', '.join(LAWS)}."
        )
    return LAWS[name]


def _require_known(name: str, spec: str) -> None:
    if name not in CONTROLLER_NAMES:
        hint = did_you_mean(name, [*CONTROLLER_NAMES, f"{BOARD}@DIR", f"{OWN}@FILE.py", *_WRAPPERS])
        raise ConfigError(
            f"controller {spec!r}: there is no {name!r}.{hint} Known: "
            f"{', '.join(CONTROLLER_NAMES)}, board@DIR and own@FILE.py; 'truth:NAME' and "
            "'off:NAME' go in front of any."
        )


def _number(text: str, spec: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise ConfigError(
            f"controller {spec!r}: {text!r} is not a number from 0 on. Write "
            "NAME:time_gap_s:standstill_m, as in 'cth:1.1:9'."
        )
    return value
