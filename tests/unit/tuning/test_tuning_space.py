"""Search spaces: what is wrong in one is told before anything runs; built-in ones fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
import pytest
import yaml

from ml.cli import main
from ml.commands.tune import TuneOptions, _objective
from ml.controllers.registry import make_controller, tunable, tuned_controller
from ml.errors import ConfigError
from ml.tuning.space import read_space

if TYPE_CHECKING:
    from pathlib import Path

CONTROLLER = ("--controller", "predictive")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command that must be refused with exit code 2, and return what it says."""

    def run(*options: str, space: str | None = None) -> str:
        out = tmp_path / "out"
        given: tuple[str, ...] = ()
        if space is not None:
            (tmp_path / "space.yaml").write_text(space)
            given = ("--space", str(tmp_path / "space.yaml"))
        assert main(["tune", "--out", str(out), *options, *given]) == 2
        assert not out.exists()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return run


@pytest.mark.parametrize(
    ("options", "space", "says"),
    [
        ((), "ppo.learning_rat: {low: 1.0e-5, high: 1.0e-3}", "'ppo.learning_rate'?"),
        ((), "ppo.n_epochs: {low: 0, high: 3}", "space.yaml: ppo.n_epochs = 0"),
        ((), "ppo.n_epochs: {lo: 1, high: 3}", "ppo.n_epochs.lo: there is no such key. Did you"),
        ((), "ppo.n_epochs: {low: 3, high: 1}", "low = 3 and high = 1 are no range"),
        ((), "ppo.gamma: {choices: [0.9, 1.5]}", "ppo.gamma = 1.5"),
        ((), "ppo.gamma: {choices: []}", "choices is empty"),
        ((), "ppo.gamma: 0.9", "ppo.gamma"),
        ((), "ppo.learning_rate: {low: 0.0, high: 1.0e-3, log: true}", "log needs low above 0"),
        ((), "env.radio: {choices: [clean, bursty]}", "env.radio cannot be searched"),
        ((), "evaluation.seed: {low: 1, high: 9000011}", "evaluation.seed cannot be searched"),
        ((), "total_timesteps: {low: 1, high: 9}", "total_timesteps cannot be searched"),
        ((), "- a list", "found something else"),
        ((), "a: {b", "not valid YAML"),
        (CONTROLLER, "SPED_GAIN: {low: 0.1, high: 1}", "Did you mean 'SPEED_GAIN'?"),
        (CONTROLLER, "SPEED_GAIN: {choices: [quick]}", "SPEED_GAIN = 'quick'"),
        (CONTROLLER, "time_gap_s: {low: -0.1, high: 1}", "must be at least 0"),
        (("--controller", "predictve"), None, "Did you mean 'predictive'?"),
        (("--controller", "oracle"), None, "none of that name with parameters"),
        (("--preset", "convoi"), None, "Did you mean 'convoy'?"),
        (("--radio", "bursti"), None, "Did you mean 'bursty'?"),
        (("--config", "nowhere.yaml"), None, "cannot read the configuration nowhere.yaml"),
        (("--space", "nowhere.yaml"), None, "cannot read the search space nowhere.yaml"),
        (("--trials", "0"), None, "--trials must be ≥ 1, got 0"),
        (("--seeds", "1", "1"), None, "--seeds 1 1"),
        (("--minutes", "0"), None, "--minutes must be > 0, got 0"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(refused, options, space, says):
    """Exit code 2, one message that says where and what, no folder."""
    assert says in refused(*options, space=space)


def test_a_curriculum_is_part_of_a_recipe(tmp_path):
    """Its weights and their share of the run may be searched like the reward's."""
    space = tmp_path / "space.yaml"
    space.write_text(
        "curriculum.comfort: {low: 0.0, high: 0.1}\ncurriculum.share: {low: 0.1, high: 1}"
    )
    objective = _objective(TuneOptions(preset="ppo", space=space))
    assert objective.usual() == {"curriculum.comfort": 0.02, "curriculum.share": 0.6}


@pytest.mark.parametrize("controller", [None, "predictive", "predictive-hard", "idm", "cth"])
def test_built_in_spaces_fit_and_hold_the_usual_values(controller):
    """Every name exists, every end is allowed, and the first trial can be what is usual."""
    objective = _objective(TuneOptions(controller=controller))
    space = objective.space
    usual = objective.usual()
    assert len(space) >= 2
    assert {name for name, d in space.items() if not d.holds(usual[name])} == set()


def test_values_are_drawn_as_they_are_written(tmp_path):
    """Whole numbers stay whole, choices may be lists, and a record of them leads back."""
    file = tmp_path / "space.yaml"
    file.write_text(
        "a: {low: 1, high: 3}\nb: {low: 1.0, high: 3}\nc: {choices: [[0.3, 1.6], x]}\n"
        "d: {low: 1e-5, high: 1e-3, log: true}\n"
    )
    space, _ = read_space(file, "policy")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(40)]
    drawn = [{n: d.suggest(trial, n) for n, d in space.items()} for trial in trials]
    assert {values["a"] for values in drawn} == {1, 2, 3}
    assert all(isinstance(values["b"], float) for values in drawn)
    assert [0.3, 1.6] in [values["c"] for values in drawn]
    assert sum(values["d"] < 1e-4 for values in drawn) == pytest.approx(20, abs=9)
    assert all(space[n].holds(v) for values in drawn for n, v in values.items())


def test_a_tuned_controller_has_its_own_constants():
    """Others of its kind keep theirs, and so do parts of it that are left alone."""
    tuned = tuned_controller("predictive", {"SPEED_GAIN": 0.4, "time_gap_s": 0.7})
    assert (tuned.SPEED_GAIN, tuned.time_gap_s, tuned.standstill_m) == (0.4, 0.7, 9.0)
    assert tuned.name == "predictive 0.7 s, tuned"
    assert make_controller("predictive").SPEED_GAIN == tunable("predictive")["SPEED_GAIN"] != 0.4
    assert not tuned_controller("predictive-hard", {})._soft


def test_a_file_of_parameters_is_a_controller(tmp_path):
    """`NAME@FILE` is known wherever controllers are, also behind a wrapper."""
    file = tmp_path / "best.yaml"
    file.write_text(yaml.safe_dump({"standstill_m": 7.5, "URGENT_MPS2": 4}))
    controller = make_controller(f"truth:predictive@{file}")
    assert controller.knows == "truth"
    assert controller.name == "predictive 0.5 s 7.5 m, best, truth"
    assert controller.URGENT_MPS2 == 4.0
    file.write_text("standstil_m: 7.5")
    with pytest.raises(ConfigError, match=r"best.yaml: .* Did you mean 'standstill_m'"):
        make_controller(f"predictive@{file}")
    file.write_text("time_gap_s: -1")
    with pytest.raises(ConfigError, match="at least 0"):
        make_controller(f"predictive@{file}")
    with pytest.raises(ConfigError, match="roadsense tune --controller predictive"):
        make_controller("predictive@nowhere.yaml")
