"""The search itself: Optuna proposes, an executor carries trials out, all of it is on the disk.

`trials.log` is Optuna's journal; a trial's folder is named after its values. A search that was
stopped goes on with the same command: a trial that was running then is taken up again first, with
the runs of it that were finished. Several shells may work on one journal at once; each holds a lock
in `shells/` while it lives, so that the others tell its trials from those of one that is gone.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ml.atomic_files import check_writable, write_json
from ml.envs.prices import PRICES
from ml.errors import ConfigError, EvaluationError
from ml.execution.executor import Executor, Local
from ml.execution.jobs import Files, Link, Portable
from ml.tuning.objective import Objective, Outcome
from ml.tuning.space import Value

_RECORD_FILE = "search.json"
_MOST_FAILURES_IN_A_ROW = 3
_LOOSE_TRIALS = 4
"""Complete trials before any is pruned."""
_OUTCOME, _SHELL, _FOLDER, _OPENED = "outcome", "shell", "folder", "opened"
"""What a trial says of itself beside Optuna's columns, and the study."""
_SHELLS = "shells"
_SEEDS_APART = 1_000


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that has ended; its progress: scores so far, by number of the intermediate result."""

    number: int
    values: dict[str, Value]
    outcome: Outcome
    progress: dict[int, float]


@dataclass(frozen=True, slots=True)
class TrialJob(Portable):
    """A trial to be carried out, here or elsewhere."""

    number: int
    objective: Objective
    values: dict[str, Value]
    folder: Path

    def __str__(self) -> str:
        return f"trial {self.number}"

    @property
    def home(self) -> Path | None:
        """Return the trial's folder."""
        return self.folder

    def files(self) -> list[Files]:
        """List what the objective reads."""
        return self.objective.files()

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it for another folder, with these files elsewhere."""
        folder = Path(places[str(self.folder)])
        return replace(self, objective=self.objective.at(places), folder=folder)


def carry_out(job: TrialJob, link: Link) -> Outcome:
    """Carry out a trial; runs in an executor."""
    return job.objective.run(job.values, job.folder, link)


class Search:
    """A study in a folder, which is made if it is not there; to be closed.

    Raises:
        ConfigError: The folder holds another search.
        OSError: The folder cannot be written.
    """

    def __init__(
        self, objective: Objective, folder: Path, *, seed: int, tell: Callable[[str], None]
    ) -> None:
        self._objective, self._folder, self._tell = objective, folder, tell
        self._space = objective.space
        check_writable(folder, "--out")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._shell = uuid4().hex[:12]
        with alone_in(folder):
            self._compare_record()
            self._lock = _hold(_shell_file(folder, self._shell))
            backend = JournalFileBackend(str(folder / "trials.log"))
            storage = optuna.storages.JournalStorage(backend)
            self._study = optuna.create_study(
                storage=storage,
                study_name="tune",
                load_if_exists=True,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_LOOSE_TRIALS),
            )
            # One that goes on, or joins others, must not repeat the draws of those before it.
            opened = self._study.user_attrs.get(_OPENED, 0)
            self._study.set_user_attr(_OPENED, opened + 1)
            # Trials that are running count as bad ones, so that no two look at one place.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed + _SEEDS_APART * opened, constant_liar=True
            )
            self._mend(len(self._study.trials))
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}

    def run(
        self,
        trials: int,
        *,
        until_s: float,
        on_trial: Callable[[], None] = lambda: None,
        executor: Executor | None = None,
        cores: int = 1,
    ) -> list[Tried]:
        """Carry out trials until there are as many as asked for, those of others included.

        None begins after the time `until_s` (of `time.monotonic`). Those that other shells run at
        the time count.

        Args:
            trials: In all.
            until_s: See above.
            on_trial: Called after each.
            executor: What carries them out; None for one after the other, here.
            cores: That a trial takes.

        Raises:
            EvaluationError: Several trials in a row failed.
        """

        def proposed() -> Iterator[TrialJob]:
            while time.monotonic() < until_s:
                with alone_in(self._folder):
                    if self._begun() >= trials:
                        return
                    job = self._propose()
                yield job

        failures = 0
        executor = executor or Local(1)
        for job, outcome in executor.run_watched(carry_out, proposed(), self._worse, cores=cores):
            self._settle(job.number, outcome)
            on_trial()
            failures = failures + 1 if outcome.state == "failed" else 0
            if failures == _MOST_FAILURES_IN_A_ROW:
                raise EvaluationError(
                    f"{failures} trials failed in a row, the last with: {outcome.note}. What was "
                    f"found before is in {self._folder}; the same command resumes the search."
                )
        return self.tried()

    def tried(self) -> list[Tried]:
        """Return all trials that have ended, in their order; interrupted ones have not."""
        return [
            Tried(
                trial.number,
                {name: d.read(trial.params[name]) for name, d in self._space.items()},
                Outcome(**trial.user_attrs[_OUTCOME]),
                dict(trial.intermediate_values),
            )
            for trial in self._study.trials
            if trial.state.is_finished() and _OUTCOME in trial.user_attrs
        ]

    def importances(self) -> dict[str, float]:
        """Return how much each parameter decides about the good trials, summing to 1.

        By PED-ANOVA (Watanabe et al., IJCAI 2023); empty where too few trials are complete.
        """
        scores = [t.outcome.score for t in self.tried() if t.outcome.state == "complete"]
        if len(scores) <= _LOOSE_TRIALS or len(set(scores)) == 1 or len(self._space) == 1:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _begun(self) -> int:
        """Count the trials that have ended, and those that this or another living shell runs."""
        running = self._study.get_trials(states=(TrialState.RUNNING,))
        return len(self.tried()) + sum(self._lives(trial) for trial in running)

    def _lives(self, trial: optuna.trial.FrozenTrial) -> bool:
        shell = trial.user_attrs.get(_SHELL, "")
        return shell == self._shell or _is_held(_shell_file(self._folder, shell))

    def _propose(self) -> TrialJob:
        trial = self._study.ask()
        trial.set_user_attr(_SHELL, self._shell)
        values = {name: d.suggest(trial, name) for name, d in self._space.items()}
        name = _digest(values)
        taken = {
            other.user_attrs.get(_FOLDER)
            for other in self._study.get_trials(states=(TrialState.RUNNING,))
            if other.number != trial.number and self._lives(other)
        }
        # Where another one tries the same values now, this one has a folder of its own.
        folder = next(of for of in (name, f"{name}-{trial.number}") if of not in taken)
        trial.set_user_attr(_FOLDER, folder)
        self._trials[trial.number] = trial
        home = (self._folder / "trials" / folder).absolute()
        return TrialJob(trial.number, self._objective, values, home)

    def _worse(self, job: TrialJob, said: tuple[Any, ...]) -> bool:
        """Tell Optuna a score so far; returns whether the trial is to be given up."""
        step, score = said
        trial = self._trials[job.number]
        if step > self._reported.get(job.number, -1):  # a run may be evaluated again at its end
            self._reported[job.number] = step
            trial.report(score, step)
        return trial.should_prune()

    def _settle(self, number: int, outcome: Outcome) -> None:
        trial = self._trials.pop(number)
        trial.set_user_attr(_OUTCOME, asdict(outcome))
        value, state = {
            "complete": (outcome.score, None),
            "pruned": (None, TrialState.PRUNED),
            "failed": (None, TrialState.FAIL),
        }[outcome.state]
        self._study.tell(trial, value, state=state)
        self._tell(f"trial {number}: {_sentence(outcome)}")

    def _mend(self, begun: int) -> None:
        """Begin with the values as they are; take up trials that were running when it ended."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            if self._lives(trial):
                continue
            self._study.tell(trial.number, state=TrialState.FAIL)
            if trial.params.keys() == self._space.keys():
                self._study.enqueue_trial(trial.params)
                self._tell(f"trial {trial.number} was interrupted; it is taken up again")
        usual = self._objective.usual()
        if not begun and all(d.holds(usual[name]) for name, d in self._space.items()):
            self._study.enqueue_trial({n: d.recorded(usual[n]) for n, d in self._space.items()})
            self._tell("the first trial has the usual values")

    def _compare_record(self) -> None:
        space = {name: d.model_dump(exclude_defaults=True) for name, d in self._space.items()}
        record = {"space": space, "prices": PRICES, **self._objective.record()}
        file = self._folder / _RECORD_FILE
        if not file.exists():
            write_json(file, record)
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(record))
        if before != now:
            raise ConfigError(
                f"{self._folder} holds a search of another kind ({_first_change(before, now)}): "
                "scores could not be compared. Give the options of that one, or another --out."
            )

    def close(self) -> None:
        """Let go of the folder: trials of this shell that have not ended are anybody's now."""
        self._lock.close()


def _shell_file(folder: Path, shell: str) -> Path:
    return folder / _SHELLS / f"{shell}.lock"


def _hold(file: Path) -> IO[str]:
    """Hold a lock while this process lives, and the file that is returned is open."""
    file.parent.mkdir(exist_ok=True)
    for other in file.parent.glob("*.lock"):
        if not _is_held(other):
            other.unlink(missing_ok=True)
    lock = file.open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _is_held(file: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        with file.open("r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a folder to this process, for a moment."""
    with (folder / ".lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _first_change(before: Any, now: Any, name: str = "") -> str:
    """Say where two records differ first."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                inner = f"{name}.{key}" if name else str(key)
                return _first_change(before.get(key), now.get(key), inner)
    return f"{name}: {before} there, {now} here"


def _digest(values: dict[str, Value]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _sentence(outcome: Outcome) -> str:
    if outcome.state == "complete":
        return f"safety score {outcome.score:.2f}"
    return f"{outcome.state}: {outcome.note}"
