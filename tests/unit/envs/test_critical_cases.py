"""Files of critical cases, and how cases take the place of episodes."""

import numpy as np
import pytest
import yaml

from ml.envs.config import EnvConfig
from ml.envs.episodes.critical_cases import (
    CASE_SETS,
    CaseReplay,
    CriticalCases,
    deciding,
    is_for_training,
    read_cases,
)
from ml.errors import ConfigError
from ml.evaluation.critical import environment_of, write_cases
from ml.evaluation.seeds import CASES_SEED, TEST_SEED, VALIDATION_SEED
from ml.keyed_random import fold
from ml.parameters import load_parameters
from ml.training.config_files import Layers

FOUND = CriticalCases(
    command="roadsense cases find --out cases.yaml",
    definition="a hazard",
    driver="predictive:0.3",
    seed=7,
    radio="clean",
    radio_sha256=load_parameters("clean").sha256,
    env=deciding(EnvConfig()),
    driven=1000,
    train=(3, 14, 159, 26),
    held_out=(53, 589),
)


@pytest.fixture
def file(tmp_path):
    """Return a file of cases."""
    path = tmp_path / "cases.yaml"
    write_cases(FOUND, path)
    return path


def _replay(file, share=0.25, **values):
    return CaseReplay(EnvConfig(cases=str(file), cases_share=share, **values))


def test_a_file_says_how_it_was_made_and_reads_as_it_was_written(file):
    """The heading holds the command; the cases come back as they were."""
    assert f"#   {FOUND.command}\n" in file.read_text()
    assert read_cases(str(file)) == FOUND


def test_a_share_of_the_episodes_is_replayed_and_all_of_the_train_half(file):
    """About as many as asked; each case of the train half comes up, none that is held out."""
    before = fold(0, np.arange(4000), 1)
    keys, replayed = _replay(file).replace(before)
    assert replayed.mean() == pytest.approx(0.25, abs=0.03)
    assert set(keys[replayed].tolist()) == set(fold(7, np.array(FOUND.train), 0).tolist())
    assert (keys[~replayed] == before[~replayed]).all()


def test_what_is_replayed_depends_on_the_episode_alone(file):
    """The same episodes get the same cases in another order, alone or together."""
    before = fold(0, np.arange(300), 2)
    keys, replayed = _replay(file).replace(before)
    backwards, _ = _replay(file).replace(before[::-1])
    assert (backwards[::-1] == keys).all()
    row = int(np.flatnonzero(replayed)[0])
    assert _replay(file).replace(before[row : row + 1])[0][0] == keys[row]


def test_weights_make_up_for_the_sampling(file):
    """Other episodes count for those whose place was taken; a replayed case counts 6 in 1,000."""
    other, replayed = _replay(file).weights
    assert 0.75 * other == pytest.approx(1.0)
    assert replayed == pytest.approx(0.006 / (0.75 * 0.006 + 0.25))


def test_the_split_goes_by_the_number_of_a_case():
    """About half is for training, other ones under another seed."""
    halves = [[is_for_training(seed, case) for case in range(1000)] for seed in (1, 2)]
    assert np.mean(halves, axis=1) == pytest.approx([0.5, 0.5], abs=0.05)
    assert halves[0] != halves[1]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"radio": "bursty"}, "radio = bursty, there clean with other parameters"),
        ({"num_peers": (1, 4)}, r"num_peers = \[1, 4\], there \[1, 8\]"),
        ({"episode_s": 30.0}, "episode_s = 30.0, there 50.0"),
    ],
)
def test_cases_of_another_environment_are_refused(file, values, complaint):
    """Where radio, traffic or duration differ, a key makes another episode: told with both."""
    with pytest.raises(ConfigError, match=complaint):
        _replay(file, **values)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[1, 2", "not YAML"),
        ("driven: 3", "command: Field required"),
        (yaml.safe_dump(FOUND.model_dump(mode="json") | {"train": []}), "no case in its train"),
    ],
)
def test_a_wrong_file_is_told_of(tmp_path, content, complaint):
    """What is wrong, and that another can be found, stands in the message."""
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint) as error:
        _replay(path)
    assert "roadsense cases find" in str(error.value)


def test_a_set_that_does_not_exist_is_told_of():
    """A misspelt name is answered with the nearest, and what there is."""
    with pytest.raises(ConfigError, match="Did you mean 'clean'"):
        _replay("claen")


@pytest.mark.parametrize("values", [{"cases": "clean"}, {"cases_share": 0.3}])
def test_half_an_order_is_refused(values):
    """Cases without a share, or a share without cases, would change nothing."""
    with pytest.raises(ValueError, match="give both"):
        EnvConfig(**values)


@pytest.mark.parametrize("name", CASE_SETS)
def test_the_sets_that_come_along_fit_preset_and_radio(name):
    """They are of ppo's environment, on the radio of their name, split as their seed says."""
    layers = Layers()
    layers.put_preset("ppo")
    found = read_cases(name)
    found.require_fits(layers.build().env.model_copy(update={"radio": name}), name)
    assert environment_of(found).radio == name
    assert all(is_for_training(found.seed, case) for case in found.train)
    assert not any(is_for_training(found.seed, case) for case in found.held_out)
    assert all(0 <= case < found.driven for case in found.train + found.held_out)
    assert min(len(found.train), len(found.held_out)) >= 16
    assert found.seed == CASES_SEED
    assert CASES_SEED not in (TEST_SEED, VALIDATION_SEED)
