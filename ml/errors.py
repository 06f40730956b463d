"""The one tree of exceptions.

Every error that a user can cause or meet is one of these. A message says what happened, where,
the last known cause, and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RoadSenseError(Exception):
    """Root of every error that RoadSense raises on purpose.

    A command that ends with it exits with its code: 2 for a user's mistake (`UsageError`), 1 where
    something failed.
    """

    exit_code = 1


class UsageError(RoadSenseError):
    """The user asked for something that cannot be done; nothing was written."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file, command-line option or environment variable is wrong."""


class RenderModeError(ConfigError, TypeError):
    """An environment does not make pictures of this kind.

    A `TypeError`, since that is what Stable-Baselines3 takes for "ask again without pictures".
    """


class ParameterError(UsageError):
    """A radio or sensor parameter file is missing, malformed or out of range."""


class LogError(UsageError):
    """A log of a board is malformed, damaged, or not enough to calibrate with."""


class ScenarioError(UsageError):
    """A sumocfg, network or route is missing or cannot carry a convoy."""


class CheckpointError(UsageError):
    """A saved model is missing, truncated or of another kind."""


class SubmissionError(UsageError):
    """A submission to the leaderboard is missing, does not add up, or is another's than named."""


class SimulatorError(RoadSenseError):
    """SUMO could not be started, reached or stepped."""


class SimulatorLostError(SimulatorError):
    """SUMO went away while it was being used; another start may succeed."""


class SimulatorTimeoutError(SimulatorError):
    """SUMO did not answer before the deadline."""


class SimulatorVersionError(SimulatorError):
    """SUMO is not of the version that this client was built for."""


class SimulatorInUseError(SimulatorError):
    """A second embedded simulation was asked for; libsumo holds one per process."""


class EmulatorError(RoadSenseError, ValueError):
    """The radio emulator was asked for something acausal or out of range."""


class EnvironmentStateError(RoadSenseError):
    """An environment was used in the wrong order or with arrays of the wrong shape."""


class WorkerLostError(RoadSenseError):
    """A process that simulates for a training run died or hangs."""


class EvaluationError(RoadSenseError):
    """An evaluation could not be carried out."""


class ResultError(UsageError, EvaluationError):
    """The result of an evaluation is missing, unfinished, damaged or of another version."""


class ExportError(RoadSenseError):
    """An exported board's code could not be compiled or run, or does not do what Python does."""


class BoardError(RoadSenseError):
    """A board in the loop is not there, fell silent, or says what no board says."""


class MissingBoardError(UsageError, BoardError):
    """There is no device of the name that was given."""


class NotLearningError(RoadSenseError):
    """A training run was ended because it did not learn; its state is saved."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the nearest name, to follow a sentence; empty where none is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
