"""The search itself: Optuna proposes, trials are carried out one by one, all of it is on the disk.

`trials.log` is Optuna's journal; a trial's folder is named after its values. A search that was
stopped goes on with the same command: a trial that was running then is taken up again first, with
the runs of it that were finished.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ml.atomic_files import check_writable, write_json
from ml.envs.prices import PRICES
from ml.errors import ConfigError, EvaluationError
from ml.tuning.objective import Objective, Outcome
from ml.tuning.space import Value

_RECORD_FILE = "search.json"
_MOST_FAILURES_IN_A_ROW = 3
_LOOSE_TRIALS = 4
"""Complete trials before any is pruned."""
_OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that has ended; its progress: scores so far, by number of the intermediate result."""

    number: int
    values: dict[str, Value]
    outcome: Outcome
    progress: dict[int, float]


class Search:
    """A study in a folder, which is made if it is not there.

    Raises:
        ConfigError: The folder holds another search, or another process works in it.
        OSError: The folder cannot be written.
    """

    def __init__(
        self, objective: Objective, folder: Path, *, seed: int, tell: Callable[[str], None]
    ) -> None:
        self._objective, self._folder, self._tell = objective, folder, tell
        self._space = objective.space
        check_writable(folder, "--out")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._compare_record()
        backend = JournalFileBackend(str(folder / "trials.log"))
        storage = optuna.storages.JournalStorage(backend)
        self._study = optuna.create_study(
            storage=storage,
            study_name="tune",
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_LOOSE_TRIALS),
        )
        # A search that goes on must not repeat the first draws of the one that it continues.
        begun = len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + begun)
        self._mend(begun)

    def run(
        self, trials: int, *, until_s: float, on_trial: Callable[[], None] = lambda: None
    ) -> list[Tried]:
        """Carry out trials until there are as many as asked for, those of earlier calls included.

        None begins after the time `until_s` (of `time.monotonic`).

        Raises:
            EvaluationError: Several trials in a row failed.
        """
        failures = 0
        while len(tried := self.tried()) < trials and time.monotonic() < until_s:
            outcome = self._one()
            on_trial()
            failures = failures + 1 if outcome.state == "failed" else 0
            if failures == _MOST_FAILURES_IN_A_ROW:
                raise EvaluationError(
                    f"{failures} trials failed in a row, the last with: {outcome.note}. What was "
                    f"found before is in {self._folder}; the same command goes on."
                )
        return tried

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

    def _one(self) -> Outcome:
        trial = self._study.ask()
        values = {name: d.suggest(trial, name) for name, d in self._space.items()}
        folder = self._folder / "trials" / _digest(values)

        reported = -1

        def worse(step: int, score: float) -> bool:
            nonlocal reported
            if step > reported:  # a run may be evaluated once more at its end
                reported = step
                trial.report(score, step)
            return trial.should_prune()

        outcome = self._objective.run(values, folder, worse)
        trial.set_user_attr(_OUTCOME, asdict(outcome))
        value, state = {
            "complete": (outcome.score, None),
            "pruned": (None, TrialState.PRUNED),
            "failed": (None, TrialState.FAIL),
        }[outcome.state]
        self._study.tell(trial, value, state=state)
        self._tell(f"trial {trial.number}: {_sentence(outcome)}")
        return outcome

    def _mend(self, begun: int) -> None:
        """Begin with the values as they are; take up trials that were running when it ended."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
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


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Keep a folder to this process.

    Raises:
        ConfigError: Another one works in it, or it cannot be written.
    """
    check_writable(folder, "--out")
    with (folder / ".lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another search works in {folder}. Wait for it, or give another --out."
            ) from None
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
