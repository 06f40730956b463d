"""Figures of a cell come from its rows alone, with intervals, and tables show who is who."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from ml.evaluation.console import spread_over, spread_sentence, spread_table, tables
from ml.evaluation.result import COLUMNS, FLOAT_COLUMNS, EpisodeRow
from ml.evaluation.summary import FIGURES, as_json, summarise


def episode(case=0, **changes):
    """An uneventful hazard."""
    values = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(FLOAT_COLUMNS, 1.0)
    values |= {"suite": "s", "radio": "clean", "controller": "c", "kind": "hazard", "case": case}
    values |= {"invalid": False, "crash": False, "crash_class": "", "avoidable": True}
    values |= {"informed": True, "status": "time_limit"}
    return EpisodeRow(**{**values, **changes})


def test_crashes_count_in_avoidable_hazards_and_apart_from_the_rest():
    """10 of 100 avoidable; unavoidable and quiet ones have rates of their own."""
    rows = [episode(i, crash=i < 10, crash_class="informed" if i < 10 else "") for i in range(100)]
    rows += [episode(100 + i, crash=True, avoidable=False) for i in range(5)]
    rows += [episode(105 + i, crash=i < 1, kind="free") for i in range(4)]
    (cell,) = summarise(rows)
    rate = cell.figures["crash_rate"]
    assert (rate.hits, rate.count) == (10, 100)
    assert (rate.low, rate.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert cell.figures["unavoidable_crash_rate"].hits == 5
    assert cell.figures["unavoidable_rate"].count == 105
    assert (cell.figures["quiet_crash_rate"].hits, cell.figures["quiet_crash_rate"].count) == (1, 4)


def test_false_brakes_are_those_of_quiet_episodes_over_all_their_distance():
    """3 in 4 km, whatever happens in hazards: the ratio of sums, not the mean of ratios."""
    rows = [episode(i, kind="free", false_brakes=n, distance_m=d, duration_s=60.0)
            for i, (n, d) in enumerate([(3, 1000.0), (0, 3000.0)])]  # fmt: skip
    rows.append(episode(2, false_brakes=50, distance_m=1.0))
    (cell,) = summarise(rows)
    assert cell.figures["false_brakes_per_km"].value == pytest.approx(0.75)
    assert cell.figures["false_brakes_per_h"].value == pytest.approx(3 / (120.0 / 3600.0))
    assert cell.figures["false_brakes_per_km"].count == 2


def test_the_bootstrap_interval_is_that_of_the_mean():
    """For 400 spread values it is the mean ± 1.96 standard errors, within the resampling error."""
    values = np.linspace(0.0, 2.0, 400)
    (cell,) = summarise([episode(i, headway_s=float(v)) for i, v in enumerate(values)])
    figure, error = cell.figures["headway_s"], values.std(ddof=1) / 20.0
    assert figure.value == pytest.approx(1.0)
    assert figure.low == pytest.approx(1.0 - 1.96 * error, abs=0.2 * error)
    assert figure.high == pytest.approx(1.0 + 1.96 * error, abs=0.2 * error)


def test_invalid_and_undefined_values_enter_nowhere():
    """An invalid episode is counted and left out; a figure without values is not a number."""
    rows = [episode(0, headway_s=2.0), episode(1, headway_s=float("nan")),
            episode(2, headway_s=50.0, invalid=True, crash=True)]  # fmt: skip
    (cell,) = summarise(rows)
    assert (cell.episodes, cell.invalid) == (2, 1)
    assert (cell.figures["headway_s"].value, cell.figures["headway_s"].count) == (2.0, 1)
    assert cell.figures["crash_rate"].hits == 0
    assert np.isnan(cell.figures["braking_share"].value)
    assert as_json([cell])[0]["figures"]["braking_share"]["value"] is None
    assert set(cell.figures) == set(FIGURES)


def test_cells_are_told_apart():
    """Two radios are two cells, in the order of the rows."""
    rows = [episode(0), episode(0, radio="bursty", crash=True), episode(1)]
    assert [(c.radio, c.episodes) for c in summarise(rows)] == [("clean", 2), ("bursty", 1)]


def test_a_table_fits_80_columns_and_names_its_controllers():
    """Names may wrap, but are there."""
    named = [episode(i, controller=name, crash=True) for i in range(3)
             for name in ("predictive headway 1.1 s", "runs/2026/best.zip, radio off")]  # fmt: skip
    text = io.StringIO()
    for table in tables(summarise([replace(row) for row in named]), {r.controller for r in named}):
        Console(file=text, width=80).print(table)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "predictive headway" in text.getvalue()
    assert "best.zip" in text.getvalue()
    assert "100.0 [43.9–100.0]" in text.getvalue()
    assert "…" not in text.getvalue()


def test_several_models_have_a_spread():
    """Smallest, median and largest of the models alone; one model has none."""
    named = [
        episode(case, controller=name, crash=case < crashes, headway_s=headway)
        for name, crashes, headway in (("a", 1, 1.0), ("b", 4, 1.2), ("c", 2, 1.6), ("cth", 9, 9.0))
        for case in range(10)
    ]
    spreads = spread_over(summarise(named), {"a", "b", "c"})
    crash, headway = (
        next(s for s in spreads if s.heading == heading)
        for heading in ("crashes, avoidable hazards, %", "headway, s")
    )
    assert crash.values == [0.1, 0.4, 0.2]
    assert headway.values == pytest.approx([1.0, 1.2, 1.6])
    assert "3 models on clean" in spread_sentence(spreads)
    assert "crashes, avoidable hazards, % 10.0 – 20.0 – 40.0" in spread_sentence(spreads)
    text = io.StringIO()
    Console(file=text, width=80).print(spread_table(spreads))
    assert "spread over 3 models" in text.getvalue()
    assert "1.00 – 1.20 – 1.60" in text.getvalue()
    assert not spread_over(summarise(named), {"a"})
