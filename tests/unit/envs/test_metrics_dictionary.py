"""The dictionary of metrics names all that is measured."""

import numpy as np

from ml.envs.config import EnvConfig
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.scoring.judge import Judge
from ml.envs.scoring.metrics import CURVES, METRICS, OVER_EPISODES
from ml.envs.scoring.reward import TERMS
from ml.evaluation.result import COLUMNS
from ml.evaluation.summary import FIGURES
from ml.training.callbacks import episode_figures

IDENTITY = {"suite", "radio", "controller", "case", "seed", "env_index", "episode", "kind",
            "num_peers", "brake_rank", "invalid", "status"}  # fmt: skip


def test_every_column_of_a_row_is_defined_once():
    """What a row says beside which episode it was is in the dictionary, and nothing else."""
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert set(names) == set(COLUMNS) - IDENTITY
    assert set(FIGURES) == {metric.name for metric in METRICS if metric.mean_over} | set(
        OVER_EPISODES
    )


def test_every_figure_of_an_episodes_summary_is_defined():
    """What the environment says at an episode's end beside which one it was, and its terms."""
    said = Judge(EnvConfig(), 1, 1000.0).tracker.summary(0, EpisodePlan.empty(1), 2, 1, 0)
    of_terms = {f"{what}_{term}" for what in ("reward", "firing") for term in TERMS}
    assert set(said) - IDENTITY - of_terms == {m.summary for m in METRICS if m.summary}


def test_every_curve_of_the_episodes_is_defined():
    """TensorBoard's names, those of a kind of episode written with `<kind>`."""
    episode = {"collision": False, "invalid": False, "kind": "<kind>", "return": 0.0}
    figures = episode_figures([episode | {"duration_s": 1.0}])
    assert figures.keys() <= CURVES.keys()
    drained = Judge(EnvConfig(), 1, 1000.0).tracker.drain()
    assert {name.split("/")[0] + "/<term>" for name in drained} <= CURVES.keys()
    assert not np.any(list(drained.values()))
