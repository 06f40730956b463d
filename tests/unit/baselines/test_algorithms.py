"""Plain algorithms are the libraries' own, and see what the preset's network sees."""

import sys

import numpy as np
import pytest
import torch
from support.tiny_convoys import TinyConvoys

from ml.baselines.algorithms import ALGORITHMS, create, load, require_algorithms
from ml.commands.baselines import main
from ml.errors import CheckpointError, ConfigError
from ml.onboard.observation.spec import columns_of
from ml.training.config import PolicyConfig, TrainConfig

HIDDEN = ("ego.needed_braking", "peers.needed_braking")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_features_that_the_preset_hides_change_nothing(name):
    """And all others do: the comparison is one of algorithms, not of what they know."""
    config = TrainConfig(policy=PolicyConfig(hidden=HIDDEN))
    model = create(name, TinyConvoys(4), config, seed=0)
    seen = TinyConvoys(4).reset()
    usual, _ = model.predict(seen, deterministic=True)
    for part in ("ego", "peers"):
        (column,) = columns_of(part, HIDDEN)
        for changed in range(seen[part].shape[-1]):
            other = {key: values.copy() for key, values in seen.items()}
            other[part][..., changed] += 3.0
            same = np.array_equal(model.predict(other, deterministic=True)[0], usual)
            assert same == (changed == column), (part, changed)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_not_said_to_differ_is_the_librarys_default(name):
    """Of the arguments that decide how it learns."""
    made = create(name, TinyConvoys(4), TrainConfig(), seed=0)
    plain = type(made)(ALGORITHMS[name].policy, TinyConvoys(4), device="cpu")
    said = ALGORITHMS[name].arguments(4)
    names = ("n_steps", "batch_size", "n_epochs", "gamma", "learning_rate", "ent_coef", "vf_coef",
             "tau", "buffer_size", "learning_starts", "gradient_steps")  # fmt: skip
    shared = [key for key in names if hasattr(plain, key) and key not in said]
    assert len(shared) > 4
    assert {k: getattr(made, k) for k in shared} == {k: getattr(plain, k) for k in shared}
    said.pop("train_freq", None)  # which becomes an object of SB3's
    assert {k: getattr(made, k) for k in said} == said


def test_the_same_seed_makes_the_same_network():
    """And another one another."""
    config = TrainConfig()
    first, again, other = (
        create("SAC", TinyConvoys(4), config, seed).policy.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch, tmp_path):
    """Only where an algorithm of it is asked for, and before anything is written."""
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    require_algorithms(["PPO", "SAC"])
    with pytest.raises(ConfigError, match=r"pip install -r requirements-baselines.txt.*PPO SAC$"):
        main(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_model_is_told_with_what_to_remove(tmp_path):
    """Here: half of a zip."""
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match=f"Remove its folder {tmp_path}"):
        load("SAC", tmp_path / "model.zip")
