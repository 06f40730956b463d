"""The table of targets: which figure is held to which bound, and who is the best baseline."""

import json
from dataclasses import replace
from itertools import product

import pytest
from support.planted_rows import planted_rows

from ml.commands.targets import TargetsOptions
from ml.commands.targets_run import gaps_of, short_names
from ml.errors import ConfigError
from ml.evaluation.acceptance.cells import (
    Entrant,
    cell_path,
    chunks,
    make_jobs,
    open_folder,
    read_course,
)
from ml.evaluation.acceptance.courses import Course, Sizes, SuiteChoice, make_courses, pick_convoy
from ml.evaluation.acceptance.radios import OTHER_RADIOS, parameters_of, write_radio
from ml.evaluation.acceptance.results import measure_course
from ml.evaluation.acceptance.table import best_baseline, make_table
from ml.evaluation.result import write_cell
from ml.evaluation.suites.convoy import balanced
from ml.evaluation.suites.registry import make_suite
from ml.parameters import load_parameters
from ml.reports.acceptance.tables import as_json, as_markdown, console_table

MODEL = Entrant("policy", "/m/final.zip", "ab12")
CALM, FAST = Entrant("calm", "cth:2"), Entrant("fast", "cth:0.5")
SEED = 3
SIZES = Sizes({"clean": 30, "bursty": 20, "shadowed": 10}, 6, 8, 4, 1, 2, 3)


def course(radio="clean", hazards=400, others=100, **changes):
    """A course of planted cases."""
    cases = tuple(range(hazards + others))
    usual = Course("convoy", f"convoy {radio}", SuiteChoice("convoy:9"), radio, radio, cases)
    return replace(usual, **changes)


def measured(folder, of, drivers, hazards=400):
    """Plant each driver's episodes, and measure them as the command does."""
    kinds = ["hazard"] * hazards + ["benign"] * (len(of.cases) - hazards)
    for entrant, changes in drivers.items():
        rows = planted_rows(len(of.cases), kind=lambda c: kinds[c], **changes)
        for cases in chunks(of):
            write_cell(cell_path(folder, of, entrant, cases, SEED), [rows[c] for c in cases])
    return measure_course(folder, of, list(drivers), SEED)


def row_of(rows, measure):
    """The row of a measure."""
    (found,) = [row for row in rows if row.measure.startswith(measure)]
    return found


GOOD = {"headway_s": 1.2, "jerk_p95_mps3": 1.5, "overreaction_mps2": 0.0, "braking_share": 0.2}


@pytest.mark.parametrize(
    ("radio", "beyond", "bounds"),
    [
        ("clean", False, ["0 in 10,000", "≤ 1.3 s", "≤ 0.05 per km", "≤ 2 m/s³", "≤ 2 %"]),
        ("bursty", False, ["≤ 0.03 %", "≤ 1.5 s", "≤ 0.05 per km", "≤ 3.5 m/s³", "≤ 2 %"]),
        ("shadowed", False, ["≤ 2 %", "≤ 3 s", "≤ 0.3 per km", "≤ 2 %"]),
        ("clean", True, ["0 in 5,000", "≤ 2.6 s", "≤ 0.1 per km", "≤ 4 m/s³", "≤ 4 %"]),
        ("bursty", True, ["≤ 0.06 %", "≤ 3 s", "≤ 0.1 per km", "≤ 7 m/s³", "≤ 4 %"]),
        ("shadowed", True, ["≤ 4 %", "≤ 6 s", "≤ 0.6 per km", "≤ 4 %"]),
    ],
)
def test_each_radio_has_its_bounds_and_beyond_training_they_are_doubled(
    radio, beyond, bounds, tmp_path
):
    """As the table of targets says; baselines are compared with on the presets alone."""
    of = course(radio, part="radios" if beyond else "convoy", beyond=beyond)
    rows = make_table([measured(tmp_path, of, {MODEL: GOOD, CALM: GOOD})])
    assert [row.target for row in rows][: len(bounds)] == bounds
    compared = {row.measure for row in rows[len(bounds) :]}
    assert ("dominance" in compared) != beyond
    assert ("crash-headway frontier" in compared) == (radio == "shadowed" and not beyond)


def test_figures_come_to_verdicts(tmp_path):
    """A crash, a headway that keeps to its bound, a jerk that does not, benign cases overdone."""
    changes = GOOD | {"crash": lambda c: c == 5, "jerk_p95_mps3": 2.5}
    changes |= {"overreaction_mps2": 1.5}
    rows = make_table([measured(tmp_path, course(), {MODEL: changes})])
    verdicts = {row.measure: row.verdict for row in rows}
    assert verdicts == {
        "crashes in avoidable hazards": "missed",
        "mean time headway, s": "reached",
        "false brakes per km, no hazard": "reached",
        "jerk p95, m/s³": "missed",
        "overreactions, benign": "missed",
    }
    assert rows[0].found["policy"].said == "1 of 400 [0.044, 1.402] %"


def test_too_few_cases_are_told_with_how_many_would_do(tmp_path):
    """400 hazards without a crash cannot show .03 %; that takes 12,802."""
    rows = make_table([measured(tmp_path, course("bursty"), {MODEL: GOOD})])
    crash = row_of(rows, "crashes")
    assert crash.verdict == "not shown"
    assert "12,802 cases" in crash.note


def test_the_best_baseline_brakes_least_of_those_that_are_safe_enough(tmp_path):
    """A fast one that is shown to crash more is none, however little it brakes."""
    drivers = {
        MODEL: GOOD | {"braking_share": 0.2},
        CALM: GOOD | {"braking_share": 0.25},
        FAST: GOOD | {"braking_share": 0.1, "crash": lambda c: c < 40},
    }
    result = measured(tmp_path, course(), drivers)
    assert best_baseline(result, MODEL) == "calm"
    assert row_of(make_table([result]), "time braking").verdict == "reached"
    safe = measured(tmp_path / "b", course(), drivers | {FAST: GOOD | {"braking_share": 0.1}})
    assert best_baseline(safe, MODEL) == "fast"
    assert row_of(make_table([safe]), "time braking").verdict == "missed"
    both = {CALM: GOOD | {"crash": lambda c: c < 90}, FAST: GOOD | {"crash": lambda c: c < 40}}
    unsafe = measured(tmp_path / "c", course(), {MODEL: GOOD} | both)
    assert best_baseline(unsafe, MODEL) == "fast"


def test_dominance_is_said_per_baseline_and_over_all_radios(tmp_path):
    """Dominated on one radio, dominating on the other."""
    better = GOOD | {"headway_s": lambda c: 1.0 + 0.001 * (c % 7)}
    results = [
        measured(tmp_path, course("clean"), {MODEL: better, CALM: GOOD}),
        measured(tmp_path, course("bursty"), {MODEL: GOOD, CALM: better}),
    ]
    rows = [row for row in make_table(results) if row.measure == "dominance"]
    assert [(row.where, row.verdict) for row in rows] == [
        ("convoy clean", "reached"),
        ("convoy bursty", "missed"),
        ("all radios, any gap", "reached"),
    ]
    assert rows[1].found["policy"].said == "dominated by calm"


def test_a_model_dominates_where_it_does_at_one_of_its_gaps(tmp_path):
    """As set it has less jerk and more headway; set nearer, less headway and the same jerk."""
    far = GOOD | {
        "headway_s": lambda c: 1.5 + 0.001 * (c % 7),
        "jerk_p95_mps3": lambda c: 1.0 + 0.001 * (c % 7),
    }
    near = GOOD | {"headway_s": lambda c: 1.0 + 0.001 * (c % 7)}
    nearer = replace(MODEL, name="policy 0.5 s", time_gap_s=0.5, variant_of="policy")
    result = measured(tmp_path, course(), {MODEL: far, nearer: near, CALM: GOOD})
    rows = {r.where: r for r in make_table([result]) if r.measure == "dominance"}
    assert rows["all radios, any gap"].verdict == "reached"
    assert rows["convoy clean"].found["policy"].said == "neither with calm"
    found = json.loads(as_json(list(rows.values()), [result], "c", {"seed": SEED}))
    assert found["courses"][0]["standings"]["policy 0.5 s"] == {"calm": "dominates"}
    alone = measured(tmp_path / "b", course(), {MODEL: far, CALM: GOOD})
    assert make_table([alone])[-1].verdict == "missed"


def test_tables_hold_every_model_and_every_driver(tmp_path):
    """For people and for programs; infinite ends become null."""
    other = replace(MODEL, name="second", model_sha256="cd34")
    result = measured(tmp_path, course(), {MODEL: GOOD, other: GOOD | {"crash": True}, CALM: GOOD})
    rows = make_table([result])
    text = as_markdown(rows, [result], "roadsense targets x", SEED)
    assert "| policy | second | verdict |" in text
    assert "| convoy clean | calm | 500 (0) |" in text
    found = json.loads(as_json(rows, [result], "c", {"seed": SEED}))
    assert found["courses"][0]["standings"].keys() == {"policy", "second"}
    assert found["rows"][0]["verdict"] == "missed"
    assert console_table(rows).row_count == len(rows)


def test_the_cases_of_a_convoy_are_its_first_and_do_not_depend_on_how_many_there_are():
    """With 1 to 8 cars ahead, or with 9 to 12; fewer asked for are the first of more."""
    config = make_suite("convoy:1").config
    strata = balanced(40_000, config)
    for extrapolated in (False, True):
        choice, cases = pick_convoy(300, 60, extrapolated=extrapolated)
        assert choice.spec == "convoy:40000"
        peers, kind = strata.num_peers[list(cases)], strata.kind[list(cases)]
        assert set(peers.tolist()) == set(range(9, 13) if extrapolated else range(1, 9))
        assert (kind[:300] == 0).all()
        assert (kind[300:] != 0).all()
        fewer = pick_convoy(100, 20, extrapolated=extrapolated)[1]
        assert fewer == (*cases[:100], *cases[300:320])
    more, cases = pick_convoy(3_000, 20, extrapolated=True)
    assert more.spec == "convoy:80000"
    assert cases[:300] == pick_convoy(300, 60, extrapolated=True)[1][:300]


def test_courses_take_the_cases_that_are_asked_for(tmp_path):
    """CCRb and CCRm of the NCAP cases, the swing in front of Plexe's, the rural road."""
    parts = ("convoy", "r157", "ncap", "plexe", "peers", "road", "radios")
    courses = {c.name: c for c in make_courses(SIZES, tmp_path, parts)}
    assert len(courses) == 3 + 2 + 2 + 2 + 2 + 2 + len(OTHER_RADIOS)
    assert len(courses["convoy bursty"].cases) == 26
    assert len(courses["r157 clean"].cases) == 1121
    ncap = courses["ncap clean"]
    tests = {ncap.suite.build().labels(case)["test"] for case in ncap.cases}
    assert tests == {"CCRm", "CCRb 2023", "CCRb 2026"}
    assert len(ncap.cases) == 2 * 21
    plexe = courses["plexe bursty"]
    manoeuvres = [plexe.suite.build().labels(case)["manoeuvre"] for case in plexe.cases]
    assert manoeuvres == ["sinusoidal in front"] * 3
    rural = courses["rural road clean"]
    assert rural.suite.build().config.scenario == "rural"
    assert rural.beyond
    assert {c.name for c in make_courses(SIZES, tmp_path, ("ncap",))} == {
        "ncap clean",
        "ncap bursty",
    }


def test_radios_between_presets_are_halfway_and_those_beyond_outside_what_training_draws(tmp_path):
    """And all are files that any command takes."""
    drawn = load_parameters("varied").domain_randomisation
    for radio in OTHER_RADIOS:
        made = load_parameters(write_radio(radio, tmp_path))
        assert made == parameters_of(radio)
        assert not made.domain_randomisation
        base = load_parameters(radio.base)
        assert made.sensors == base.sensors
        if radio.towards:
            ends = (base.radio.loss, load_parameters(radio.towards).radio.loss)
            for name in ("margin_20m_db", "shadowing_sd_db", "antenna_sd_db"):
                middle = sum(getattr(end, name) for end in ends) / 2.0
                assert getattr(made.radio.loss, name) == pytest.approx(middle)
        for name, value in radio.changes:
            low, high = drawn[f"radio.loss.{name}"]
            assert not low <= value <= high
            assert getattr(made.radio.loss, name) == value
            assert made.radio.loss == base.radio.loss.model_copy(update={name: value})


def test_a_cell_is_named_by_what_decides_it(tmp_path):
    """Model, time gap, controller, seed, radio, cases and suite; not by what it is called."""
    of = course()
    drivers = [MODEL, replace(MODEL, model_sha256="ff"), replace(MODEL, time_gap_s=0.8), CALM, FAST]
    courses = [of, course("bursty", name=of.name), replace(of, suite=SuiteChoice("convoy:9@r"))]
    keys = [
        cell_path(tmp_path, c, d, cases, seed)
        for c, d, cases, seed in product(courses, drivers, ((0, 1), (0, 2)), (1, 2))
    ]
    assert len(set(keys)) == len(keys)
    renamed = replace(MODEL, name="seed0", spec="elsewhere.zip")
    assert cell_path(tmp_path, of, renamed, (0,), 1) == cell_path(tmp_path, of, MODEL, (0,), 1)


def test_what_is_there_is_not_done_again(tmp_path):
    """A job asks for the drivers that are missing, and more cases for the chunks that are."""
    of = course(hazards=2_000, others=100)
    jobs, total = make_jobs(tmp_path, [of], [MODEL, CALM], seed=SEED, load_model=None)
    assert (len(jobs), total) == (3, 6)
    assert sum((job.course.cases for job in jobs), ()) == of.cases
    write_cell(jobs[1].files[0], planted_rows(1))
    again, total = make_jobs(tmp_path, [of], [MODEL, CALM], seed=SEED, load_model=None)
    assert [job.entrants for job in again] == [(MODEL, CALM), (CALM,), (MODEL, CALM)]
    elsewhere = Entrant("x", "cth:1", courses=frozenset({"convoy bursty"}))
    assert make_jobs(tmp_path, [of], [elsewhere], seed=SEED, load_model=None) == ([], 0)


def test_rows_of_other_cases_are_not_taken(tmp_path):
    """A file that was copied over another is told of."""
    of = course(hazards=5, others=1)
    write_cell(cell_path(tmp_path, of, CALM, of.cases, SEED), planted_rows(5))
    with pytest.raises(Exception, match="does not hold its cases"):
        read_course(tmp_path, of, CALM, SEED)


def test_a_folder_of_other_software_or_another_seed_is_not_touched(tmp_path):
    """Unless forced; nor is one that holds something else."""
    out = tmp_path / "out"
    open_folder(out, {"seed": 1})
    cell = out / "cells" / "x.jsonl"
    cell.write_text("")
    open_folder(out, {"seed": 1})
    with pytest.raises(ConfigError, match="--force"):
        open_folder(out, {"seed": 2})
    assert cell.exists()
    open_folder(out, {"seed": 2}, force=True)
    assert not cell.exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        open_folder(tmp_path, {"seed": 1}, force=True)


def test_what_a_model_crashed_in_is_listed_with_why(tmp_path):
    """Avoidable hazards and cases without one; not what nobody could avoid, nor a baseline's."""
    kind = {0: "informed", 1: "blackout", 2: "unavoidable", 405: "informed"}
    changes = {
        "crash": lambda case: case in kind,
        "crash_class": lambda case: kind.get(case, ""),
        "avoidable": lambda case: case != 2,
        "brake_rank": lambda case: 3 if case < 400 else 0,
        "message_delay_s": lambda case: 0.25 if case < 400 else float("nan"),
        "delay_budget_s": lambda case: 1.26 if case < 400 else float("nan"),
        "impact_speed_mps": lambda case: 2.34 if case in kind else float("nan"),
        "longest_blackout_s": 7.0,
    }
    often = {"crash": lambda case: case < 30, "crash_class": "informed"}
    slow = replace(MODEL, name="policy 0.5 s", time_gap_s=0.5, variant_of="policy")
    of = course()
    result = measured(tmp_path, of, {MODEL: changes, slow: often, CALM: often})
    text = as_markdown(make_table([result]), [result], "roadsense targets", SEED)
    listed = text.partition("## What ended in a crash")[2]
    assert (
        "| convoy clean | policy | 0 | hazard | 1 | 3 | 2.3 | 0.25 | 1.26 | 7.0 | informed |"
        in listed
    )
    assert (
        "| convoy clean | policy | 1 | hazard | 1 | 3 | 2.3 | 0.25 | 1.26 | 7.0 | blackout |"
        in listed
    )
    assert "| convoy clean | policy | 405 | benign | 1 |  | 2.3 |  |  | 7.0 | informed |" in listed
    assert listed.count("| policy | ") == 3
    assert listed.count("| policy 0.5 s | ") == 13
    assert "| convoy clean | policy 0.5 s | and 18 more |" in listed
    assert "calm" not in listed
    found = json.loads(as_json([], [result], "roadsense targets", {}))["courses"][0]["crashes"]
    assert [row["case"] for row in found["policy"]] == [0, 1, 405]
    assert len(found["policy 0.5 s"]) == 30


def test_a_time_gap_is_driven_where_it_was_asked_for():
    """One driver for both radios where both name it."""
    asked = TargetsOptions(("m.zip",), bursty_gaps=(0.6, 0.4), shadowed_gaps=(0.4,))
    assert gaps_of(asked) == {
        0.4: frozenset({"convoy bursty", "convoy shadowed"}),
        0.6: frozenset({"convoy bursty"}),
    }
    assert gaps_of(TargetsOptions(("m.zip",))) == {}


def test_models_are_called_by_what_tells_their_paths_apart():
    """One alone is the policy."""
    assert short_names(["a/b.zip"]) == ["policy"]
    assert short_names(["r/s0/m/f.zip", "r/s1/m/f.zip"]) == ["s0", "s1"]
    assert short_names(["r/a.zip", "r/b.zip"]) == ["a", "b"]
    assert short_names(["f.zip", "r/f.zip"]) == ["f", "r/f"]
