"""One set of parameters: radio, sensors, and what of them is drawn anew per episode."""

import json
from hashlib import sha256
from typing import Literal, Self

from pydantic import Field, model_validator

from ml.arrays import Floats, Words
from ml.errors import did_you_mean
from ml.espnow_emulator import GilbertElliottLoss, RadioParameters
from ml.keyed_random import Stream, fold, text_key, uniform
from ml.section import Section, allowed, is_drawn, limits, numbers_of
from ml.sensors import SensorParameters

_ODDS = "radio.loss.odds_factor"
_BURST = "radio.loss.burst_factor"


class Parameters(Section):
    """The content of a parameter file.

    Attributes:
        schema_version: Of the file's format.
        provenance: In plain words, where the numbers come from.
        radio: What happens to a frame.
        sensors: What a node believes of itself.
        domain_randomisation: Dotted names of randomisable numbers, such as
            `radio.loss.odds_factor`, each with the [low, high] it is drawn from, uniformly, for
            every convoy and episode.
    """

    schema_version: Literal[2] = 2
    provenance: str = Field(min_length=1, description="Where the numbers come from.")
    radio: RadioParameters
    sensors: SensorParameters
    domain_randomisation: dict[str, tuple[float, float]] = Field(
        default={}, description="Dotted name of a number to the [low, high] it is drawn from."
    )

    @property
    def sha256(self) -> str:
        """Of the content, however the file is laid out."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return sha256(content.encode()).hexdigest()

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, (low, high) in self.domain_randomisation.items():
            problem = _range_problem(self, name, low, high)
            if problem is not None:
                raise ValueError(f"domain_randomisation: {problem}")
        loss = self.radio.loss
        if isinstance(loss, GilbertElliottLoss):
            _, worst_odds = self.domain_randomisation.get(_ODDS, (0.0, loss.odds_factor))
            worst_burst, _ = self.domain_randomisation.get(_BURST, (loss.burst_factor, 0.0))
            problem = loss.infeasibility(odds_factor=worst_odds, burst_factor=worst_burst)
            if problem is not None:
                raise ValueError(
                    f"domain_randomisation: at the worst of {_ODDS} and {_BURST}, {problem}, or "
                    "make the ranges narrower"
                )
        return self


def draw_episode_parameters(parameters: Parameters, episode_keys: Words) -> dict[str, Floats]:
    """Draw what is randomised, for some episodes.

    A draw depends on the episode and the parameter's name alone: adding or removing another name
    from the file changes nothing for the rest.

    Args:
        parameters: With the ranges.
        episode_keys: (K,) uint64.

    Returns:
        Dotted name to (K,) float64, for `overrides` of the channel's and the sensors' `reset`.
    """
    drawn: dict[str, Floats] = {}
    for name, (low, high) in parameters.domain_randomisation.items():
        share = uniform(fold(episode_keys, Stream.RADIO_PARAMETERS, text_key(name)))
        drawn[name] = low + (high - low) * share
    return drawn


def _range_problem(parameters: Parameters, name: str, low: float, high: float) -> str | None:
    fields = {known: field for known, field, _ in numbers_of(parameters)}
    names = [known for known, field in fields.items() if is_drawn(field)]
    if name not in fields:
        hint = did_you_mean(name, names)
        return f"unknown name {name!r}.{hint} Allowed are {', '.join(names)}"
    if name not in names:
        return f"{name} is the same for every episode; allowed are {', '.join(names)}"
    if low > high:
        return f"{name} = [{low:g}, {high:g}], allowed is [low, high] with low not above high"
    least, most = limits(fields[name])
    if low < least or high > most:
        return f"{name} = [{low:g}, {high:g}], allowed on both ends is {allowed(fields[name])}"
    return None
