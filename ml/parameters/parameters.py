"""One set of parameters: radio, sensors, and what of them is drawn anew per episode."""

import json
from hashlib import sha256
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from ml.arrays import Floats, Words
from ml.errors import did_you_mean
from ml.espnow_emulator import GilbertElliottLoss, RadioParameters
from ml.keyed_random import Stream, fold, text_key, uniform
from ml.section import Section, allowed, is_drawn, limits, numbers_of
from ml.sensors import SensorParameters

Boards = Literal["mine", "at-large"]
BOARDS: Final[tuple[Boards, ...]] = get_args(Boards)
"""Whose radio a calibrated file describes: the boards that logged, or others of their kind."""
_ODDS = "radio.loss.odds_factor"
_BURST = "radio.loss.burst_factor"


class BoardSet(Section):
    """What logs say of some boards, in place of what else stands in a file.

    Attributes:
        purpose: In plain words, what it is for.
        values: Dotted names of numbers, such as `radio.loss.margin_20m_db`, each with its value.
        drawn: Dotted names of randomisable numbers, each with the [low, high] it is drawn from,
            uniformly, for every convoy and episode, whether or not training draws the rest anew:
            an estimate used as a point makes a radio too tame.
    """

    purpose: str = Field(min_length=1, description="What it is for.")
    values: dict[str, float] = Field(
        default={}, description="Dotted name of a number to its value."
    )
    drawn: dict[str, tuple[float, float]] = Field(
        default={},
        description="Dotted name of a number to the [low, high] it is drawn from, always.",
    )


class Parameters(Section):
    """The content of a parameter file.

    Attributes:
        schema_version: Of the file's format.
        provenance: In plain words, where the numbers come from.
        radio: What happens to a frame.
        sensors: What a node believes of itself.
        domain_randomisation: Dotted names of randomisable numbers, such as
            `radio.loss.odds_factor`, each with the [low, high] it is drawn from, uniformly, for
            every convoy and episode where training asks for it.
        boards: Which of `board_sets` holds; None where the file is not of anybody's boards.
        board_sets: By whose boards they are.
    """

    schema_version: Literal[2] = 2
    provenance: str = Field(min_length=1, description="Where the numbers come from.")
    radio: RadioParameters
    sensors: SensorParameters
    domain_randomisation: dict[str, tuple[float, float]] = Field(
        default={}, description="Dotted name of a number to the [low, high] it is drawn from."
    )

    boards: Boards | None = Field(
        default=None, description="Which of `board_sets` holds; null where there is none."
    )
    board_sets: dict[Boards, BoardSet] = Field(
        default={}, description="What is known of one's own boards, and of others of their kind."
    )

    @property
    def sha256(self) -> str:
        """Of the content, however the file is laid out."""
        content = self.model_dump(mode="json")
        if self.boards is None:  # as before there were any
            del content["boards"], content["board_sets"]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def of_boards(self, boards: Boards | None = None) -> Self:
        """Return the parameters of somebody's boards, all values in place; default: the file's.

        Raises:
            ValueError: They are of nobody's boards, or not of these.
        """
        boards = boards or self.boards
        if boards is None:
            return self
        if boards not in self.board_sets:
            known = ", ".join(self.board_sets) or "none, for it is not calibrated"
            raise ValueError(f"of the boards {boards!r} it says nothing; it knows {known}")
        content: dict[str, Any] = json.loads(self.model_dump_json())
        content["boards"] = boards
        for name, value in self.board_sets[boards].values.items():
            *way, last = name.split(".")
            section = content
            for part in way:
                section = section[part]
            section[last] = value
        return type(self).model_validate_json(json.dumps(content))

    def ranges(self, *, randomise: bool = True) -> dict[str, tuple[float, float]]:
        """Return what is drawn per episode: dotted name to [low, high].

        What logs leave open of the boards is drawn always; the rest where training randomises.
        """
        own = {} if self.boards is None else self.board_sets[self.boards].drawn
        return (self.domain_randomisation if randomise else {}) | own

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, (low, high) in self.domain_randomisation.items():
            problem = _range_problem(self, name, low, high)
            if problem is not None:
                raise ValueError(f"domain_randomisation: {problem}")
        if self.boards is not None and self.boards not in self.board_sets:
            raise ValueError(
                f"boards = {self.boards!r}, but board_sets holds no such set; allowed is null or "
                f"one of {', '.join(self.board_sets) or 'none'}"
            )
        for boards, found in self.board_sets.items():
            problem = _set_problem(self, found)
            if problem is not None:
                raise ValueError(f"board_sets.{boards}: {problem}")
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


def draw_episode_parameters(
    parameters: Parameters, episode_keys: Words, *, randomise: bool = True
) -> dict[str, Floats]:
    """Draw what is randomised, for some episodes.

    A draw depends on the episode and the parameter's name alone: adding or removing another name
    from the file changes nothing for the rest.

    Args:
        parameters: With the ranges.
        episode_keys: (K,) uint64.
        randomise: Whether training randomises; what one's own logs leave open is drawn always.

    Returns:
        Dotted name to (K,) float64, for `overrides` of the channel's and the sensors' `reset`.
    """
    drawn: dict[str, Floats] = {}
    for name, (low, high) in parameters.ranges(randomise=randomise).items():
        share = uniform(fold(episode_keys, Stream.RADIO_PARAMETERS, text_key(name)))
        drawn[name] = low + (high - low) * share
    return drawn


def _set_problem(parameters: Parameters, found: BoardSet) -> str | None:
    fields = {name: field for name, field, _ in numbers_of(parameters)}
    for name, value in found.values.items():
        if name not in fields:
            return f"values: unknown name {name!r}.{did_you_mean(name, fields)}"
        least, most = limits(fields[name])
        if not least <= value <= most:
            return f"values: {name} = {value:g}, allowed is {allowed(fields[name])}"
    problems = (_range_problem(parameters, name, *ends) for name, ends in found.drawn.items())
    return next((f"drawn: {problem}" for problem in problems if problem is not None), None)


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
