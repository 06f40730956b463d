"""An episode of a record driven again as its vehicle was commanded, without the board.

A record holds what the board was handed, not the packets that were lost. Suite, case, radio and
seed decide those, so that the same commands bring the same episode, and all that was in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.atomic_files import finite
from ml.envs.convoy_batch import ConvoyBatch
from ml.errors import ConfigError
from ml.evaluation.episodes import CaseRunner
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.result import EpisodeRow
from ml.evaluation.selection import badness
from ml.evaluation.suites.registry import make_suite
from ml.hil.driver import LoopDriver, as_commanded
from ml.hil.protocol import Answer, Hello, Kind, Message
from ml.hil.record import Note, done_of, json_of
from ml.hil.watched import as_answered
from ml.onboard.observation.spec import Observation


@dataclass
class RecordedEpisode:
    """What a record holds of an episode that was driven to its end.

    Attributes:
        row: Its figures.
        hello: What the board said of itself; None where the record does not have it.
        commands_mps2: What the vehicle was commanded, tick by tick.
        answers: Of the board; None where none came in time.
    """

    row: EpisodeRow
    hello: Hello | None
    commands_mps2: list[float]
    answers: list[Answer | None]


def worst_episode(file: Path, messages: Iterable[Message]) -> RecordedEpisode:
    """Find the worst of the whole episodes of a record.

    Args:
        file: The record, for errors.
        messages: Of `read_record`.

    Raises:
        ConfigError: No episode in it was driven to its end, or another version wrote it.
    """
    worst = min(_episodes(file, messages), key=lambda it: badness(it.row), default=None)
    if worst is None:
        raise ConfigError(
            f"{file} has no whole episode: its board never drove one to the end, or the file is "
            "cut. There is nothing to make a page of."
        )
    return worst


def _episodes(file: Path, messages: Iterable[Message]) -> Iterator[RecordedEpisode]:
    """Put the ticks of each whole episode together."""
    hello, answer = None, None
    commands_mps2: list[float] = []
    answers: list[Answer | None] = []
    for message in messages:
        if message.kind == Kind.IS_HELLO:
            hello = Hello.of(message.body)
        elif message.kind == Note.EPISODE:
            commands_mps2, answers = [], []
        elif message.kind == Kind.TICK:
            answer = None
        elif message.kind == Kind.ANSWERS:
            answer = Answer.of(message.body)
        elif message.kind == Note.DONE:
            accel_mps2, is_safe_state = done_of(message.body)
            commands_mps2.append(accel_mps2)
            answers.append(None if is_safe_state else answer)
        elif message.kind == Note.RESULT:
            yield RecordedEpisode(_row(file, message), hello, commands_mps2, answers)


def _row(file: Path, message: Message) -> EpisodeRow:
    try:
        return EpisodeRow.from_flat(json_of(message))
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} holds figures of another version (about {error}). Make its page with the "
            "version of RoadSense that wrote it."
        ) from error


def redrive(
    file: Path,
    header: Mapping[str, Any],
    episode: RecordedEpisode,
    on_tick: Callable[[int, int], None] = lambda *_: None,
) -> Recording:
    """Drive an episode of a record again, on a SUMO of its own; what the board knew in it.

    Args:
        file: The record, for errors.
        header: Of `read_record`.
        episode: Of it.
        on_tick: Told (ticks driven, ticks in all) after each.

    Raises:
        ConfigError: It comes out otherwise than it stands in the record: this is another version,
            or files that suite and radio name have changed.
        RoadSenseError: The suite, the radio or SUMO is not there.
    """
    row, commands = episode.row, episode.commands_mps2
    suite = make_suite(str(header.get("suite", row.suite)))
    config = suite.config.model_copy(update={"radio": row.radio, "radio_position": "reference"})
    driver, recorder = _CommandedDriver(row.controller, commands), Recorder()

    def watch(batch: ConvoyBatch) -> None:
        recorder.watch(batch)
        on_tick(int(batch.tick[0]), len(commands))

    with closing(CaseRunner(driver, suite, config, seed=row.seed, num_envs=1)) as runner:
        (again,) = runner.run([row.case], on_tick=watch, on_start=recorder.watch)
        road = runner.batch.stack.road
    was, is_now = finite(row.flat()), finite(again.flat())
    for name in was:
        if was[name] != is_now.get(name):
            raise ConfigError(
                f"{file}: driven again, episode {row.case} comes out otherwise ({name} was "
                f"{was[name]} and is {is_now.get(name)}). Make its page with the version of "
                "RoadSense that wrote it, and the files that its suite and radio named then."
            )
    return as_answered(recorder.recording(), episode.answers, road)


class _CommandedDriver:
    """Commands what a record says; see `ml.evaluation.drivers.Driver`."""

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = False
    config_changes: Mapping[str, Any] = MappingProxyType(dict(LoopDriver.config_changes))

    def __init__(self, name: str, commands_mps2: list[float]) -> None:
        self.name = name
        self._commands_mps2 = commands_mps2

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return the command of a tick; (1,) float64, m/s². Behind the last: none."""
        del observation
        tick = int(batch.tick[0])
        has_one = tick < len(self._commands_mps2)
        return as_commanded(self._commands_mps2[tick] if has_one else 0.0)
