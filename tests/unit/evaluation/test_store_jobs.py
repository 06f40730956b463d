"""What is driven together, what a part's file is named by, and on which seeds."""

from itertools import product

import pytest
from rich.console import Console
from support.planted_rows import planted_rows

from ml.commands import fill
from ml.commands.evaluate import EvaluateOptions
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.plan import SUITE_NAMES, Plan
from ml.evaluation.planning import plan_evaluation
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import Origin, write_part
from ml.evaluation.seeds import TEST_SEED, VALIDATION_SEED
from ml.evaluation.store import CaseSet, Part, make_jobs, parts_of, radio_record, read_parts
from ml.evaluation.suites.registry import ENTRIES
from ml.execution.executor import Local

ORIGIN = Origin(
    version="0", git_commit=None, packages={}, command="", created_utc="", seeds=(TEST_SEED,)
)
MODEL = DriverSpec(
    name="policy", spec="/m/final.zip", family="policy", knows="radio", sha256="ab12"
)
CALM = DriverSpec(name="calm", spec="cth:2", family="cth", knows="radio")
CLEAN, BURSTY = radio_record("clean"), radio_record("bursty")


@pytest.fixture(scope="module")
def parts():
    """All that runs by default without a model."""
    return plan_evaluation(Plan(), ORIGIN)[1]


def test_each_part_is_in_one_job_and_a_job_shares_one_world(parts, tmp_path):
    """The same cases, in the manifest's order."""
    jobs = make_jobs(tmp_path, parts, None)
    driven = [part.file for job in jobs for part in job.parts]
    assert sorted(driven) == sorted(part.file for part in parts)
    for job in jobs:
        assert len({part.cases for part in job.parts}) == 1
        assert list(job.parts) == [part for part in parts if part in job.parts]


def test_jobs_are_short_and_the_longest_come_first(parts, tmp_path):
    """So that a kill costs little and two workers end together."""
    lasts_s = [job.simulated_s for job in make_jobs(tmp_path, parts, None)]
    assert max(lasts_s) <= 330_000.0
    assert lasts_s == sorted(lasts_s, reverse=True)
    assert min(lasts_s) < 0.02 * sum(lasts_s) / 2
    # What is shared is simulated once per job, so jobs must not be too small either.
    assert max(lasts_s) >= 150_000.0


def test_it_is_said_what_is_driven_before_the_first_job_is_done(parts, tmp_path, monkeypatch):
    """A job has many parts: until it is done, 0 of them alone would say nothing."""
    said = []

    def run(_folder, jobs, _executor):
        said.append(shown[0]._so_far())
        yield from jobs

    shown = []
    monkeypatch.setattr(fill, "run_jobs", run)
    monkeypatch.setattr(fill.Parts, "__enter__", lambda self: shown.append(self) or self)
    fill.fill(tmp_path, parts, Local(2), what="evaluating", console=Console())
    (line,) = said
    assert f"0 of {len(parts)} parts" in line
    assert f"(loading, then first: {make_jobs(tmp_path, parts, None)[0]})" in line


def test_drivers_share_a_world_in_long_evaluations_too(tmp_path):
    """With ten thousand episodes a job has some cases of several drivers, not all of one."""
    plan = Plan(suite=("convoy",), radio=("clean",), episodes=10_000)
    jobs = make_jobs(tmp_path, plan_evaluation(plan, ORIGIN)[1], None)
    assert min(len(job.parts) for job in jobs) >= 7
    assert max(job.simulated_s for job in jobs) <= 400_000.0


def test_a_part_is_named_by_what_decides_it():
    """Model, time gap, controller, seed, radio, road, cases and suite; not what it is called."""
    changes = [{}, {"sha256": "ff"}, {"time_gap_s": 0.8}, {"variant": "radio off"}]
    drivers = [MODEL.model_copy(update=of) for of in changes]
    drivers += [CALM, CALM.model_copy(update={"spec": "cth:0.5"})]
    suites = [("convoy:9", ""), ("convoy:9@r", "1"), ("convoy:9@r", "2")]
    files = [
        Part(CaseSet(suite, radio, seed, cases, position, road), driver).file
        for (suite, road), radio, seed, cases, position, driver in product(
            suites, (CLEAN, BURSTY), (1, 2), ((0, 1), (0, 2)), ("reference", "own"), drivers
        )
    ]
    assert len(set(files)) == len(files)
    assert max(map(len, files)) < 200
    cases = CaseSet("convoy:9", CLEAN, 1, (0,))
    elsewhere = MODEL.model_copy(update={"spec": "elsewhere.zip", "file": "/elsewhere.zip"})
    assert Part(cases, elsewhere).file == Part(cases, MODEL).file


def test_what_is_there_is_not_driven_again(tmp_path):
    """A job asks for the drivers that are missing, and more cases for the parts that are."""
    cases = CaseSet("convoy:2100", CLEAN, 1, range(2_100))
    wanted = parts_of(cases, [MODEL, CALM])
    jobs = make_jobs(tmp_path, wanted, None)
    assert sorted(case for job in jobs for case in job.parts[0].cases.cases) == list(range(2_100))
    assert [len(job.parts) for job in jobs] == [2, 2, 2]
    write_part(tmp_path / jobs[1].parts[0].file, planted_rows(1))
    again = make_jobs(tmp_path, wanted, None)
    names = {tuple(part.driver.name for part in job.parts) for job in again}
    assert names == {("policy", "calm"), ("calm",)}
    assert len(again) == 3


def test_rows_of_other_cases_are_not_taken(tmp_path):
    """A file that was copied over another is told of."""
    (part,) = parts_of(CaseSet("convoy:6", CLEAN, 1, range(6)), [CALM])
    write_part(tmp_path / part.file, planted_rows(5))
    with pytest.raises(EvaluationError, match="does not hold its cases"):
        read_parts(tmp_path, [part])


def test_rows_have_the_names_that_they_are_asked_for_by(tmp_path):
    """Another command may have called the same driver and the same radio otherwise."""
    (part,) = parts_of(CaseSet("convoy:6", CLEAN, 1, range(6)), [CALM])
    write_part(tmp_path / part.file, planted_rows(6, controller="x", radio="y"))
    assert {(r.controller, r.radio) for r in read_parts(tmp_path, [part])} == {("calm", "clean")}


def test_a_folder_of_other_software_or_another_seed_is_not_touched(tmp_path):
    """Unless forced; nor is one that holds something else."""
    out = tmp_path / "out"
    ORIGIN.open(out)
    part = out / "parts" / "x.jsonl"
    part.write_text("")
    ORIGIN.model_copy(update={"command": "typed otherwise"}).open(out)
    for other in ({"seeds": (2,)}, {"packages": {"numpy": "3"}}):
        with pytest.raises(ConfigError, match=f"differs in {next(iter(other))}.*--force"):
            ORIGIN.model_copy(update=other).open(out)
    assert part.exists()
    ORIGIN.model_copy(update={"seeds": (2,)}).open(out, force=True)
    assert not part.exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        ORIGIN.open(tmp_path)


def test_the_card_is_on_a_seed_of_its_own():
    """What choices look at and what the card shows never meet."""
    assert EvaluateOptions().seeds == (TEST_SEED,)
    assert TEST_SEED != VALIDATION_SEED


def test_every_suite_has_a_name_that_costs_nothing_to_know():
    """The names stand apart from what builds the suites."""
    assert tuple(ENTRIES) == SUITE_NAMES


def test_a_tuned_controller_is_one_point_in_a_family_of_its_own(tmp_path):
    """`NAME@FILE` is no frontier, and what it was tuned to is told by the file's name."""
    file = tmp_path / "best.yaml"
    file.write_text("time_gap_s: 0.4\n")
    plan = Plan(controllers=(f"predictive@{file}", f"truth:predictive@{file}"), suite=("r157",))
    manifest, _ = plan_evaluation(plan, ORIGIN)
    assert [(c.name, c.family) for c in manifest.controllers] == [
        ("predictive 0.4 s, best", "predictive, best"),
        ("predictive 0.4 s, best, truth", "truth:predictive, best"),
    ]
    assert len({part.file for part in manifest.parts}) == 2 * 2  # of 960 cases and of 161
