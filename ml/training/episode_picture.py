"""A validation episode as a picture: the same episode, as each evaluated model drives it."""

import math
from collections.abc import Iterable

from ml.errors import EvaluationError
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import run_validation
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.result import EpisodeRow
from ml.training.config import TrainConfig
from ml.training.evaluated import Draw, Drawn


def telling_episode(rows: Iterable[EpisodeRow]) -> EpisodeRow:
    """Choose an episode in which a newcomer sees a model learn: the first of those that fit.

    It is a hazard that the reference ego survives, so that there is something to learn; and a car
    brakes that is not the one in front, so that the radio knows first and two cars at least are
    ahead. Where no episode has that, it is the first avoidable hazard. What the model does decides
    nothing of this: the choice is the same after every evaluation.

    Raises:
        EvaluationError: There is no avoidable hazard.
    """
    hazards = [row for row in rows if row.is_hazard and row.avoidable and not row.invalid]
    if not hazards:
        raise EvaluationError(
            "there is no avoidable hazard among the validation episodes. Ask for more "
            "--evaluation.episodes"
        )
    return next((row for row in hazards if row.brake_rank > 1), hazards[0])


def picture_of(
    driver: Driver, config: TrainConfig, rows: Iterable[EpisodeRow], draw: Draw, *, step: int
) -> Drawn:
    """Drive the telling one of the evaluation's episodes again, and draw it.

    Args:
        driver: The model.
        config: The run's.
        rows: The evaluation's episodes, as `driver` drove them.
        draw: Draws.
        step: Steps that the model was trained for.

    Returns:
        The picture, and the page.

    Raises:
        EvaluationError: No episode is worth a picture.
        Exception: Whatever drawing raises.
    """
    row, recorder = telling_episode(rows), Recorder()
    evaluation = config.evaluation
    run_validation(
        driver,
        config.env,
        episodes=evaluation.episodes,
        seed=evaluation.seed,
        cases=[row.case],
        on_tick=recorder.watch,
    )
    recording = recorder.recording()
    return draw(recording, _title(row, recording, step), row)


def _title(row: EpisodeRow, recording: Recording, step: int) -> str:
    end = "no crash" if math.isnan(recording.crash_s) else "crash"
    does = "cuts in" if recording.in_another_lane else "brakes"
    return (
        f"after {step:,} steps: {end}\n"
        f"validation episode {row.case}: car {row.brake_rank} of {row.num_peers} ahead {does}"
    )
