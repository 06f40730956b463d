"""A run that does not learn is told so in words, and ended if that was asked for."""

import pytest

from ml.training.config import HealthConfig
from ml.training.health import HealthCallback, symptoms

WELL = {
    "train/explained_variance": 0.8,
    "train/approx_kl": 0.01,
    "train/std": 0.1,
    "reward/headway": 0.05,
    "reward/comfort": -0.01,
    "reward_firing/comfort": 0.9,  # exploring is jerky
}


def watch(figures, *, updates, **config):
    """What is told over some updates, and the callback."""
    told = []
    callback = HealthCallback(HealthConfig(**config), told.append)
    for _ in range(updates):
        callback.consider(figures)
    return told, callback


def test_a_healthy_run_hears_nothing():
    """Usual figures bring no complaint, however long."""
    told, callback = watch(WELL, updates=200, action="stop", patience=1)
    assert not told
    assert not callback.stopped


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train/explained_variance": -0.2}, "the critic explains less than 5%"),
        ({"train/approx_kl": 0.4}, "KL divergence"),
        ({"train/std": 1e-4}, "deviation has fallen"),
        ({"train/std": 3.0}, "deviation has grown"),
        ({"reward/comfort": -0.06}, "the penalty comfort fires"),
    ],
)
def test_each_symptom_has_its_words_and_its_remedy(change, words):
    """Every complaint names the option or the command that mends it."""
    (complaint,) = symptoms({**WELL, **change}, least_explained=0.05)
    assert words in complaint
    assert "--" in complaint


def test_a_complaint_is_told_once_and_not_before_ten_updates():
    """One bad update is noise; the same complaint again is no news."""
    sick = {**WELL, "train/explained_variance": -0.5}
    assert watch(sick, updates=9)[0] == []
    assert len(watch(sick, updates=90)[0]) == 1


def test_a_run_is_ended_only_where_asked_and_after_its_patience():
    """Three windows of ten updates, then the end; a warning alone never ends anything."""
    sick = {**WELL, "train/explained_variance": -0.5}
    assert not watch(sick, updates=29, action="stop", patience=3)[1].stopped
    assert watch(sick, updates=30, action="stop", patience=3)[1].stopped
    assert not watch(sick, updates=300, action="warn", patience=3)[1].stopped
    assert watch(sick, updates=300, action="off")[0] == []
