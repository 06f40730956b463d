"""Critical cases on real SUMO: found, driven again as they were, in training, too."""

import numpy as np
import pytest

from ml.cli import main
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.critical_cases import CASES_FOLDER, read_cases
from ml.evaluation import critical
from ml.evaluation.critical import DriveCases, environment_of, find_cases
from ml.evaluation.drivers import controller_spec
from ml.training.checkpoints import load_model

pytestmark = pytest.mark.sumo


def _heard(batch, ticks=40):
    """Drive with a constant action; return what is true and what is heard of each convoy."""
    found = []
    for _ in range(ticks):
        batch.step(np.full(batch.num_envs, -0.3))
        found.append(np.hstack([batch.truth.route_pos_m, batch.peer_table.t_generated_us[:, 0]]))
    return np.array(found)


def test_an_episode_of_training_is_the_very_case():
    """Same traffic and same packets as in the search, wherever in the batch it is driven."""
    config = EnvConfig(cases="clean", cases_share=0.5)
    training = ConvoyBatch(config, num_envs=6, seed=3)
    training.reset()
    replayed = np.flatnonzero(training.replayed)
    assert 0 < replayed.size < 6
    assert set(training.natural_weight) == {2.0, training.natural_weight[replayed[0]]}
    seen = _heard(training)
    training.close()
    found = read_cases("clean")
    keys = found.keys(found.train)
    cases = [found.train[np.flatnonzero(keys == key)[0]] for key in training.keys[replayed]]
    search = ConvoyBatch(EnvConfig(), num_envs=replayed.size, seed=found.seed)
    search.reset(cases=np.array(cases))
    assert (search.keys == training.keys[replayed]).all()
    np.testing.assert_array_equal(_heard(search), seen[:, replayed])
    search.close()


def test_an_evaluation_asks_for_its_cases_by_number():
    """Whoever names cases, or a kind, gets those, whatever share is replayed."""
    batch = ConvoyBatch(EnvConfig(cases="clean", cases_share=1.0), num_envs=2, seed=3)
    plain = ConvoyBatch(EnvConfig(), num_envs=2, seed=3)
    asked = {"cases": np.array([5, 9])}, {"kind": "free"}
    for options in asked:
        batch.reset(**options)
        assert not batch.replayed.any()
        keys = batch.keys.copy()
        batch.close()
        plain.reset(**options)
        assert (plain.keys == keys).all()
        plain.close()
    batch.reset()
    assert batch.replayed.all()
    batch.close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "episodes"), [("clean", 640), ("bursty", 320)])
def test_the_shipped_cases_are_those_that_their_search_finds(name, episodes):
    """All of the first ones, in their halves, and no others."""
    shipped = read_cases(name)
    driver, env = controller_spec(shipped.driver), environment_of(shipped)
    job = DriveCases(driver, env, shipped.seed, (), load_model)
    nothing = shipped.model_copy(update={"driven": 0, "train": (), "held_out": ()})
    *_, found = find_cases(nothing, job, episodes=episodes, workers=1)
    for half in ("train", "held_out"):
        first = [case for case in getattr(shipped, half) if case < episodes]
        assert list(getattr(found, half)) == first, half
    assert len(found.train) + len(found.held_out) > 3


def test_a_search_goes_on_from_what_it_has(tmp_path, monkeypatch, capsys):
    """Asked for more episodes, it drives the rest; the file is that of one long search."""
    monkeypatch.setattr(critical, "PART_CASES", 16)
    paths = [tmp_path / name / "cases.yaml" for name in ("parts", "whole")]
    command = ["cases", "find", "--driver", "do-nothing", "--workers", "1", "--out"]
    for path, episodes in ((paths[0], 16), (paths[0], 40), (paths[1], 40)):
        path.parent.mkdir(exist_ok=True)
        assert main([*command, str(path), "--episodes", str(episodes)]) == 0
    assert paths[0].read_text() == paths[1].read_text()
    found = read_cases(str(paths[0]))
    assert found.driven == 40
    assert len(found.train) + len(found.held_out) > 8
    assert f"{100.0 * found.natural_share:.2f} %" in capsys.readouterr().out


def test_another_search_does_not_take_over_a_file(tmp_path, capsys):
    """Another driver's cases are not mixed in: an error that names the difference."""
    path = tmp_path / "cases.yaml"
    path.write_text((CASES_FOLDER / "clean.yaml").read_text())
    assert main(["cases", "find", "--driver", "do-nothing", "--out", str(path)]) == 2
    assert "another search; it differs in driver" in capsys.readouterr().err


def test_the_halves_are_driven_and_told_apart(tmp_path, capsys):
    """`roadsense cases drive` has a line per driver and half."""
    path = tmp_path / "cases.yaml"
    found = read_cases("clean")
    few = {"train": found.train[:3], "held_out": found.held_out[:2]}
    critical.write_cases(found.model_copy(update=few), path)
    assert main(["cases", "drive", str(path), "always-brake", "do-nothing", "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.split("│")] for line in lines]
    told = {(cells[1], cells[2]): cells[3] for cells in table if len(cells) > 3}
    assert told["always-brake", "train"].startswith("0 of 3")
    assert told["do-nothing", "held out"].startswith("2 of 2")
