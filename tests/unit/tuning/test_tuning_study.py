"""The search: it prunes, it goes on where it stood, and failures do not end it at once."""

from __future__ import annotations

import json
import time
from contextlib import closing

import optuna
import pytest

from ml.errors import ConfigError, EvaluationError
from ml.execution.executor import Local
from ml.training.run_directory import RunDirectory
from ml.tuning.objective import Outcome
from ml.tuning.report import ranking, write_report
from ml.tuning.space import Dimension
from ml.tuning.study import Search
from ml.tuning.training_process import TrainingProcess

SPACE = {"x": Dimension(low=0.0, high=1.0), "kind": Dimension(choices=["a", [1, 2]])}
RUN = {"avoidable_crashes": 1.0, "avoidable_episodes": 20.0, "jerk_p95_mps3": 2.0}


class Hill:
    """Scores x; three intermediate results lead to it."""

    title = "a hill"

    def __init__(self, **changes):
        self.values = []
        self.changes = changes

    def usual(self):
        """Return the peak's side."""
        return {"x": 0.9, "kind": [1, 2]}

    def run(self, values, folder, report):
        """Climb in three steps."""
        assert values["kind"] in ("a", [1, 2])
        assert folder.parent.name == "trials"
        self.values.append(values["x"])
        action = self.changes.get("action")
        if action is not None:
            action()
        for step in range(3):
            if report(step, values["x"] * (step + 1) / 3.0):
                return Outcome("pruned", note=f"at {step}")
        if self.changes.get("fails"):
            return Outcome("failed", note="no luck")
        runs = [{**RUN, "safety_score": values["x"]}]
        by_case = [values["x"] - 1.0, values["x"] + 1.0, None]
        return Outcome("complete", values["x"], runs, by_case=by_case)

    def record(self):
        """Say which hill it is."""
        return {"of": self.changes.get("of", "x")}

    def winner(self, values, comment):
        """Write x down."""
        return f"# {comment}\nx: {values['x']}\n"


@pytest.fixture
def search(tmp_path):
    """Search in a folder for a number of trials; returns the search and what was tried."""

    def run(objective, trials, until_s=float("inf"), space=SPACE):
        told = []
        objective.space = space
        with closing(Search(objective, tmp_path, seed=3, tell=told.append)) as found:
            return found, found.run(trials, until_s=until_s), told

    return run


def test_it_begins_with_the_usual_values_and_gives_up_what_is_worse(search):
    """After a few complete trials, what is below the median stops at its first report."""
    _, tried, _ = search(Hill(), 20)
    assert tried[0].values == {"x": 0.9, "kind": [1, 2]}
    states = [trial.outcome.state for trial in tried]
    assert "pruned" not in states[:4]
    pruned = [trial for trial in tried if trial.outcome.state == "pruned"]
    assert pruned
    best = ranking(tried)
    assert all(trial.values["x"] < best[0].values["x"] for trial in pruned)
    assert all(len(trial.progress) < 4 for trial in pruned)
    assert best[0].outcome.score == max(t.values["x"] for t in tried)


def test_it_goes_on_where_it_stood(search):
    """A second call adds what is missing, and does not repeat what was drawn."""
    search(Hill(), 3)
    objective = Hill()
    _, tried, _ = search(objective, 5)
    assert [trial.number for trial in tried] == [0, 1, 2, 3, 4]
    assert len(objective.values) == 2
    assert len({trial.values["x"] for trial in tried}) == 5
    objective = Hill()
    search(objective, 5)
    assert objective.values == []


def test_an_interrupted_trial_is_taken_up_first(search):
    """Whatever ended the process, the same values are tried again, and nothing is lost."""
    search(Hill(), 2)

    def interrupt():
        raise KeyboardInterrupt

    broken = Hill(action=interrupt)
    with pytest.raises(KeyboardInterrupt):
        search(broken, 3)
    again = Hill()
    found, tried, told = search(again, 4)
    assert again.values[0] == broken.values[0]
    assert any("taken up again" in line for line in told)
    assert len(tried) == 4
    assert [t.outcome.state for t in found.tried()].count("failed") == 0


def test_failures_are_counted_and_end_it_when_nothing_works(search):
    """A failed trial is written down; three in a row are a mistake elsewhere."""
    with pytest.raises(EvaluationError, match=r"3 trials failed in a row.*no luck"):
        search(Hill(fails=True), 9)
    _, tried, _ = search(Hill(), 4)
    assert [trial.outcome.state for trial in tried] == ["failed"] * 3 + ["complete"]


def test_time_is_kept(search):
    """No trial begins after the deadline."""
    _, tried, _ = search(Hill(), 5, until_s=time.monotonic() - 1.0)
    assert tried == []


@pytest.mark.parametrize("space", [SPACE, {"x": Dimension(low=0.0, high=2.0)}])
def test_another_search_in_the_same_folder_is_refused(search, space):
    """Scores of another objective or space are not mixed with those that are there."""
    search(Hill(), 1)
    with pytest.raises(ConfigError, match="a search of another kind"):
        search(Hill(of="y" if space is SPACE else "x"), 2, space=space)


def test_two_shells_share_a_search(tmp_path):
    """They draw different values, count each other's trials, and leave a living one's alone."""
    hills, told = [Hill(), Hill()], []
    for hill in hills:
        hill.space = SPACE
    with closing(Search(hills[0], tmp_path, seed=3, tell=told.append)) as first:

        def join():
            """Work on the search, too, while the first shell is in the middle of a trial."""
            hills[0].changes = {}
            with closing(Search(hills[1], tmp_path, seed=3, tell=told.append)) as second:
                second.run(4, until_s=float("inf"))

        hills[0].changes = {"action": join}
        tried = first.run(5, until_s=float("inf"))
    assert not any("taken up again" in line for line in told)
    assert [len(hill.values) for hill in hills] == [2, 3]
    assert [trial.number for trial in tried] == [0, 1, 2, 3, 4]
    assert len({trial.values["x"] for trial in tried}) == 5


def test_trials_at_once_are_those_of_one_after_the_other(tmp_path):
    """What is proposed does not depend on how many are carried out at the same time."""
    found = []
    for at_once in (1, 3):
        hill = Hill()
        hill.space = SPACE
        folder = tmp_path / str(at_once)
        with closing(Search(hill, folder, seed=3, tell=lambda _: None)) as search:
            search.run(4, until_s=float("inf"), executor=Local(1, at_once))
            found.append({t.number: (t.values, t.outcome) for t in search.tried()})
    assert found[0] == found[1]


def test_the_report(search, tmp_path):
    """The winner's file, the table, the record and the pictures say what was found."""
    objective = Hill()
    found, tried, _ = search(objective, 12)
    table = write_report(found, objective, tried, tmp_path)
    best = ranking(tried)[0]
    assert table.row_count == min(len(ranking(tried)), 10)
    assert f"x: {best.values['x']}" in (tmp_path / "best.yaml").read_text()
    said = json.loads((tmp_path / "tuning.json").read_text())
    assert [trial["values"] for trial in said["trials"]] == [trial.values for trial in tried]
    assert said["importances"]["x"] > said["importances"]["kind"]
    text = (tmp_path / "tuning.md").read_text()
    gain = best.values["x"] - 0.9
    beside = f"{gain:+.2f} [{gain:+.2f}, {gain:+.2f}] points, 2 paired cases to trial 0: better"
    assert f"Trial {best.number}: {beside}." in text
    assert f"| {best.number} | {best.outcome.score:.2f} | 1 of 20 | – | – | 2.00 m/s³ |" in text
    for picture in ("history.png", "importance.png"):
        assert (tmp_path / picture).stat().st_size > 5000


def test_optuna_keeps_quiet(search, capsys):
    """Its own lines would come between ours."""
    search(Hill(), 2)
    assert capsys.readouterr().err == ""
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_a_warm_start_is_no_evaluation_of_its_own(tmp_path):
    """Its score counts for the best one; whether to give up is asked after each of the others."""
    run = RunDirectory(tmp_path / "runs" / "one")
    run.evaluation.mkdir(parents=True)
    run.config_file.write_text("preset: convoy\n")
    run.final_model.write_bytes(b"a finished run")
    best = {"step": 0, "safety_score": 0.5, "by_case": [0.25, None, 0.75]}
    (run.evaluation / "best.json").write_text(json.dumps(best))
    scores = {0: 0.5, 100: 0.4, 200: 0.6}
    lines = [{"step": step, "evaluation/safety_score": score} for step, score in scores.items()]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = []

    def worse(number, best):
        told.append((number, best))
        return False

    ended = TrainingProcess(tmp_path, "convoy", worse).run()
    assert ended.state == "complete"
    assert ended.by_case == [0.25, None, 0.75]
    assert "by_case" not in ended.runs[0]
    assert told == [(0, 0.5), (1, 0.6)]
