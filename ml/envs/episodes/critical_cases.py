"""Critical cases: rare episodes that a weaker driver survived barely or not, to be driven again.

A case is an integer: episode 0 of the convoy of that number, under the seed of the search. Its key
says all that is drawn, so a file of cases is a list of numbers, with what decides the rest.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.arrays import Bools, Floats, Words
from ml.envs.config import EnvConfig
from ml.errors import ConfigError, did_you_mean
from ml.keyed_random import Stream, extend, fold, uniform
from ml.parameters import load_parameters

CASES_FOLDER = Path(__file__).parents[1] / "cases"
CASE_SETS = ("clean", "bursty")
"""Files that come with the package."""
_DECIDING = (
    "scenario",
    "num_peers",
    "domain_randomisation",
    "episode_s",
    "episode_mix",
    "initial_speed_mps",
    "ego_time_gap_s",
)
_TRAIN_SHARE = 0.5


class CriticalCases(BaseModel):
    """A file of critical cases, or as much as has been found of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    command: str
    """What makes the file, as it is typed."""
    definition: str
    """What is critical, in words."""
    driver: str
    """The weaker driver."""
    driver_sha256: str = ""
    """Of its file, where it is a model."""
    seed: int = Field(ge=0)
    """Seed of the cases' keys."""
    radio: str
    """Name or file of the radio's parameters, as it was given."""
    radio_sha256: str
    """Of their content (`Parameters.sha256`)."""
    env: dict[str, Any]
    """Values of `EnvConfig` that decide what happens around the ego."""
    driven: int = Field(ge=0)
    """Episodes driven: cases 0 … driven − 1. Each found one stands for 1 / driven of all."""
    train: tuple[int, ...] = ()
    """Found cases that training may use."""
    held_out: tuple[int, ...] = ()
    """Found cases that it may not."""

    @property
    def natural_share(self) -> float:
        """Share of the episodes that are critical where nobody chooses them."""
        return (len(self.train) + len(self.held_out)) / max(self.driven, 1)

    def keys(self, cases: tuple[int, ...]) -> Words:
        """Keys of cases, (n,) uint64."""
        return fold(self.seed, np.array(cases, dtype=np.int64), 0)

    def require_fits(self, config: EnvConfig, name: str) -> None:
        """Check that the cases are the same ones in an environment.

        Raises:
            ConfigError: Another radio, or another value that decides them, with both.
        """
        now = deciding(config)
        wrong = [
            f"{key} = {now[key]}, there {self.env.get(key)}"
            for key in now
            if now[key] != self.env.get(key)
        ]
        if load_parameters(config.radio).sha256 != self.radio_sha256:
            wrong.insert(0, f"radio = {config.radio}, there {self.radio} with other parameters")
        if wrong:
            raise ConfigError(
                f"the critical cases {name} are other ones in this environment: "
                f"{'; '.join(wrong)}. Use these values, or find cases for yours: roadsense cases "
                "find --help"
            )


def deciding(config: EnvConfig) -> dict[str, Any]:
    """Return the values that, with a key and the radio, decide what happens around the ego."""
    return config.model_dump(mode="json", include=set(_DECIDING))


def is_for_training(seed: int, case: int) -> bool:
    """Whether a case belongs to the train half: drawn by its number, whatever else is found."""
    return bool(uniform(fold(seed, Stream.CASE_SPLIT, case))[0] < _TRAIN_SHARE)


def read_cases(name_or_file: str) -> CriticalCases:
    """Read a set that comes with the package, by its name, or a file.

    Raises:
        ConfigError: There is no such set or file, or it is none of critical cases.
    """
    shipped = name_or_file in CASE_SETS
    file = CASES_FOLDER / f"{name_or_file}.yaml" if shipped else Path(name_or_file)
    try:
        return CriticalCases.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"cases {name_or_file}: cannot be read ({error.strerror})."
            f"{did_you_mean(name_or_file, CASE_SETS)} There are {', '.join(CASE_SETS)}; `roadsense "
            "cases find` makes a file of your own."
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"cases {file}: not YAML ({said}). {_MADE_ANEW}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"cases {file}: {where}: {first['msg']}. {_MADE_ANEW}") from error


_MADE_ANEW = "`roadsense cases find --out FILE` makes such files; find it anew."


class CaseReplay:
    """Puts critical cases in the place of a share of the episodes.

    Which episodes, and which case, is drawn from the key of the episode that would have been.

    Args:
        config: With `cases` and `cases_share`.

    Attributes:
        weights: Natural probability over that of the sampling, of other episodes and of replayed
            ones. With a share s of replayed episodes, of cases that are a share f by nature:
            1 / (1 − s) and f / ((1 − s) f + s). Of what was not replayed nobody knows whether it
            is critical, so that critical cases count up to twice as much as by nature.

    Raises:
        ConfigError: The file cannot be read, is of another environment, or has no cases.
    """

    def __init__(self, config: EnvConfig) -> None:
        found = read_cases(config.cases)
        found.require_fits(config, config.cases)
        if not found.train:
            raise ConfigError(
                f"env.cases = {config.cases}: no case in its train half, of {found.driven} episodes"
                " driven. Find more: roadsense cases find --episodes N"
            )
        self._share, self._keys = config.cases_share, found.keys(found.train)
        rest, natural = 1.0 - self._share, found.natural_share
        replayed = natural / (rest * natural + self._share)
        self.weights: Floats = np.array([1.0 / rest if rest > 0.0 else 0.0, replayed])

    def replace(self, keys: Words) -> tuple[Words, Bools]:
        """Return the keys of the episodes that take the place of others, and which are replayed.

        Args:
            keys: (n,) uint64, of the episodes as they would have been.
        """
        drawn = fold(keys, Stream.REPLAYED_CASE)
        replayed = uniform(drawn) < self._share
        chosen = (uniform(extend(drawn, 1)) * self._keys.size).astype(np.int64)
        return np.where(replayed, self._keys[chosen], keys), replayed
