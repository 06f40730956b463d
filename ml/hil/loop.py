"""Episodes of a suite with a board at the wheel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from ml.envs.convoy_batch import ConvoyBatch
from ml.evaluation.episodes import CaseRunner
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.result import EpisodeRow
from ml.evaluation.suites.suite import Suite
from ml.hil.driver import LoopDriver
from ml.hil.record import Note, Record
from ml.hil.session import Session
from ml.hil.watched import as_answered


def drive(
    session: Session,
    record: Record,
    suite: Suite,
    cases: Sequence[int],
    *,
    radio: str,
    seed: int,
    deadline_s: float,
    name: str,
    on_tick: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[tuple[EpisodeRow, Recording]]:
    """Let a board drive cases of a suite, one after the other.

    What each of them meets, the fates of packets included, is what any driver meets in it.

    Args:
        session: With the board.
        record: Of it; truth and results are added.
        suite: The suite.
        cases: Their numbers.
        radio: Preset or parameter file.
        seed: Of every draw.
        deadline_s: By when the board must have decided, by its own clock.
        name: What tables call the board.
        on_tick: Told (cases done, ticks of the present one) after each.

    Yields:
        The row of each case, as it ends, and what the board knew in it.

    Raises:
        BoardError: The board is gone, or has been silent for a second.
    """
    driver = LoopDriver(session, record, deadline_s=deadline_s, name=name)
    config = suite.config.model_copy(update={"radio": radio, "radio_position": "reference"})
    done = 0
    recorder = Recorder()

    def watch(batch: ConvoyBatch) -> None:
        if batch.status[0]:
            driver.note_truth(batch)
        recorder.watch(batch)
        on_tick(done, int(batch.tick[0]))

    with closing(CaseRunner(driver, suite, config, seed=seed, num_envs=1)) as runner:
        for case in cases:
            recorder = Recorder()
            (row,) = runner.run([case], on_tick=watch, on_start=recorder.watch)
            record.note_json(Note.RESULT, session.tick, row.flat())
            record.flush()
            done += 1
            yield row, as_answered(recorder.recording(), driver.answers, runner.batch.stack.road)
    session.end()
