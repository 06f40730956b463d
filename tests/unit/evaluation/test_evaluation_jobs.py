"""How an evaluation is shared out among workers, and on which seeds."""

import pytest

from ml.evaluation.evaluate import group_cells
from ml.evaluation.planning import Origin, Plan, make_manifest
from ml.evaluation.seeds import EVALUATION_SEED, VALIDATION_SEED
from ml.evaluation.suites.names import SUITE_NAMES
from ml.evaluation.suites.registry import ENTRIES, make_suite

ORIGIN = Origin(version="0", git_commit=None, packages={}, command="", created_utc="")


@pytest.fixture(scope="module")
def cells():
    """All that runs by default without a model."""
    return make_manifest(Plan(), ORIGIN).cells


def simulated_s(group):
    """How long a job's episodes last."""
    return sum(cell.episodes * make_suite(cell.suite).config.episode_s for cell in group)


def test_each_cell_is_in_one_job_and_a_job_shares_one_world(cells):
    """Of one suite and radio, in the manifest's order."""
    groups = group_cells(cells)
    assert sorted(cell.file for group in groups for cell in group) == sorted(c.file for c in cells)
    for group in groups:
        assert len({(cell.suite, cell.radio) for cell in group}) == 1
        assert list(group) == [cell for cell in cells if cell in group]


def test_jobs_are_short_and_the_longest_come_first(cells):
    """So that a kill costs little and two workers end together."""
    lasts_s = [simulated_s(group) for group in group_cells(cells)]
    assert max(lasts_s) <= 330_000.0
    assert lasts_s == sorted(lasts_s, reverse=True)
    assert min(lasts_s) < 0.02 * sum(lasts_s) / 2
    # What is shared is simulated once per job, so jobs must not be too small either.
    assert max(lasts_s) >= 150_000.0


def test_drivers_share_a_world_in_long_evaluations_too():
    """With ten thousand episodes a job is long, but not one driver's alone."""
    plan = Plan(suites=("convoy",), radios=("clean",), episodes=10_000)
    groups = group_cells(make_manifest(plan, ORIGIN).cells)
    assert min(map(len, groups)) >= 7


def test_the_card_is_on_a_seed_of_its_own():
    """What choices look at and what the card shows never meet."""
    assert Plan().seeds == (EVALUATION_SEED,)
    assert EVALUATION_SEED != VALIDATION_SEED


def test_every_suite_has_a_name_that_costs_nothing_to_know():
    """The names stand apart from what builds the suites."""
    assert tuple(ENTRIES) == SUITE_NAMES


def test_a_tuned_controller_is_one_point_in_a_family_of_its_own(tmp_path):
    """`NAME@FILE` is no frontier, and what it was tuned to is told by the file's name."""
    file = tmp_path / "best.yaml"
    file.write_text("time_gap_s: 0.4\n")
    plan = Plan(controllers=(f"predictive@{file}", f"truth:predictive@{file}"), suites=("r157",))
    manifest = make_manifest(plan, ORIGIN)
    assert [(c.name, c.family) for c in manifest.controllers] == [
        ("predictive 0.4 s, best", "predictive, best"),
        ("predictive 0.4 s, best, truth", "truth:predictive, best"),
    ]
    assert len({cell.file for cell in manifest.cells}) == 2
