"""Reward, score and targets must agree on who is better; few cases must not decide rare crashes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planted_rows import planted_rows

from ml.envs.config import EnvConfig
from ml.evaluation.behaviours import DEAF, JERKY, ORACLE, TEACHER
from ml.evaluation.ranking import Ranking, compare_all

GOOD = {
    "headway_s": 1.0,
    "jerk_p95_mps3": 1.0,
    "progress": 1.0,
    "braking_share": 0.1,
    "overreaction_mps2": float("nan"),
}


def rows(count=40, **changes):
    """Episodes without fault, but for the changes."""
    return planted_rows(count, **{**GOOD, "mean_return": lambda case: 40.0 - case, **changes})


def complaints(first, second, names=(ORACLE, JERKY)):
    """What is said of two drivers."""
    of = dict(zip(names, (first, second), strict=True))
    return Ranking(of, compare_all(of, EnvConfig())).complaints


def test_two_that_rank_as_they_should_are_not_complained_of():
    """The jerky hand earns less and scores less."""
    jerky = rows(jerk_p95_mps3=2.0, mean_return=lambda case: 39.0 - case)
    assert complaints(rows(), jerky) == []


def test_a_reward_that_pays_the_worse_one_is_complained_of():
    """By any sum, as long as it is shown."""
    (words,) = complaints(rows(), rows(mean_return=lambda case: 40.5 - case))
    assert words.startswith("the reward put oracle, jerky above oracle (return -0.5 [-0.5, -0.5]")
    assert "oracle is better: as safe and close, and smoother" in words


def test_a_difference_that_is_not_shown_is_no_complaint():
    """It pays the worse one in one case of forty."""
    once = rows(mean_return=lambda case: 40.0 - case + (case == 3))
    assert complaints(rows(), once) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"headway_s": 2.0}, "the reward put a above b, the score and the targets below"),
        ({"headway_s": 1.1}, "the reward put a above b, the score below"),
    ],
)
def test_reward_score_and_targets_must_agree_on_any_pair(changes, words):
    """Whoever is put first: nobody has said who is better, and they contradict each other."""
    first = rows(mean_return=lambda case: 41.5 - case, **changes)
    (said,) = complaints(first, rows(), names=("a", "b"))
    assert said.startswith(words)


def test_a_contradiction_within_a_point_is_none():
    """Both sums are right to about that."""
    first = rows(mean_return=lambda case: 40.9 - case, headway_s=1.1)
    assert complaints(first, rows(), names=("a", "b")) == []


def test_rare_crashes_are_not_decided_by_few_cases():
    """Deaf to silence pays 4 points a case, and a crash in hundreds; none in 40 proves nothing."""
    deaf = rows(mean_return=lambda case: 44.0 - case, headway_s=0.9)
    assert complaints(rows(), deaf, names=(TEACHER, DEAF)) == []
    (words,) = complaints(rows(), deaf, names=(ORACLE, JERKY))
    assert words.startswith("the reward and the score put oracle, jerky above oracle")
    deaf[7] = replace(deaf[7], crash=True, mean_return=deaf[7].mean_return - 4000.0)
    (pair,) = compare_all({TEACHER: rows(), DEAF: deaf}, EnvConfig())
    assert pair.paid.low < 0.0 < pair.paid.difference < pair.paid.high
