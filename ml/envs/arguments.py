"""What callers hand to an environment, read and checked: configuration, kind, seed, actions."""

import json
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ml.arrays import Floats
from ml.envs.config import KINDS, EnvConfig, EpisodeKind
from ml.errors import ConfigError, EnvironmentStateError, did_you_mean
from ml.onboard.actuation import accel_from_action


def read_config(config: EnvConfig | Mapping[str, Any] | None) -> EnvConfig:
    """Return a configuration as it is, made from the values of `model_dump`, or the default.

    Raises:
        ConfigError: It is neither, or a value is unknown or out of range.
    """
    if isinstance(config, EnvConfig):
        return config
    if config is None:
        return EnvConfig()
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"config = {config!r} is of type {type(config).__name__}; give an EnvConfig, for "
            "example EnvConfig(radio='bursty'), or a mapping of its values."
        )
    try:
        # As JSON, so that what json.dumps has made of tuples counts as tuples.
        return EnvConfig.model_validate_json(json.dumps(dict(config)), strict=True)
    except ValidationError as error:
        raise _wrong_value(error, dict(config), "config.") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"config cannot be read ({error}); give an EnvConfig, or its plain values as "
            'EnvConfig(...).model_dump(mode="json") returns them.'
        ) from error


def config_of(given: Mapping[str, Any]) -> EnvConfig:
    """Make a configuration of single arguments, a number of peers or a path among them.

    Raises:
        ConfigError: A value is out of range, with the name of the argument.
    """
    values = plain_arguments(given)
    peers = values.get("num_peers")
    if isinstance(peers, int) and not isinstance(peers, bool):
        values["num_peers"] = (peers, peers)
    elif isinstance(peers, list | np.ndarray):
        values["num_peers"] = tuple(_plain(number) for number in peers)
    try:
        return EnvConfig.model_validate(values, strict=True)
    except ValidationError as error:
        raise _wrong_value(error, given) from error


def plain_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as values that JSON has, from which the same environment can be made."""
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, EnvConfig):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return value


def _wrong_value(error: ValidationError, given: Mapping[str, Any], prefix: str = "") -> ConfigError:
    wrong = error.errors()[0]
    where = ".".join(str(part) for part in wrong["loc"])
    first = str(wrong["loc"][0]) if wrong["loc"] else ""
    if wrong["type"] == "extra_forbidden" and first not in EnvConfig.model_fields:
        known = EnvConfig.model_fields
        hint = did_you_mean(first, known) or f" Known: {', '.join(known)}."
        return ConfigError(f"config has no {first!r}.{hint}")
    value = given.get(first) if first else dict(given)
    return ConfigError(f"{prefix}{where or 'arguments'} = {value!r}: {wrong['msg']}")


def read_kind(kind: object, where: str) -> EpisodeKind:
    """Return a kind of episode; `where` is the name of the argument, for the message.

    Raises:
        ConfigError: There is no such kind, with the nearest.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ConfigError(f"{where} = {kind!r}; allowed: {', '.join(KINDS)}.{hint}")
    return kind


def read_options(options: object) -> EpisodeKind | None:
    """Return the kind of episode that the options of a reset ask for; None where they do not.

    Raises:
        ConfigError: An option or a kind is unknown.
    """
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"the options of a reset are {options!r}; give a mapping, such as "
            "{'episode': 'hazard'}."
        )
    unknown = [name for name in options if name != "episode"]
    if unknown:
        raise ConfigError(f"unknown reset option {unknown}; allowed: 'episode'")
    return read_kind(options["episode"], "options['episode']") if options else None


def read_seed(seed: object) -> int:
    """Return a seed.

    Raises:
        ConfigError: It is not a whole number, or negative.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or int(seed) < 0:
        raise ConfigError(f"seed = {seed!r}; a seed is a whole number, 0 or more.")
    return int(seed)


def read_actions(actions: object, shape: tuple[int, ...]) -> Floats:
    """Return the accelerations that a policy's actions stand for (`accel_from_action`).

    Args:
        actions: An array, a tensor or nested lists of numbers in [−1, 1], as many as convoys.
        shape: The shape that they must have.

    Returns:
        (num_envs,) float64, m/s².

    Raises:
        EnvironmentStateError: They are no numbers (the dtype is named), their shape is another, or
            one lies outside [−1, 1].
    """
    try:
        array = np.asarray(actions)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EnvironmentStateError(
            f"actions of type {type(actions).__name__} are no array: {error}. {_ALLOWED}"
        ) from error
    if array.dtype.kind not in "fiu":
        raise EnvironmentStateError(f"actions have dtype {array.dtype}. {_ALLOWED}")
    if array.shape != shape:
        raise EnvironmentStateError(
            f"the action has shape {array.shape}; expected {shape}, such as np.zeros({shape})"
        )
    return accel_from_action(array.reshape(-1))


_ALLOWED = "An action is a number (float or int) in [-1, 1], in an array."
