"""Every table on a narrow console, and where there is none: numbers are whole, or not there."""

from __future__ import annotations

import ast
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from support.planted_rows import planted_rows

import ml
from ml.bench.report import BenchReport, Goal, Measured, ratio
from ml.calibration.fits.margin import fit_margin
from ml.commands.ablate import TITLES, beside, cells
from ml.commands.doctor import _table as doctor_table
from ml.console import WholeTable, make_console
from ml.doctor.programs import note, wrong
from ml.envs.config import EnvConfig, EpisodeKind
from ml.envs.scoring.reward import TERMS
from ml.envs.scoring.targets import targets_of
from ml.evaluation.acceptance.submission import ModelRecord, RowRecord, Submission
from ml.evaluation.acceptance.table import Found, Row
from ml.evaluation.behaviours import FURTHER, JERKY, ORACLE
from ml.evaluation.closing import DriverFigures, as_table
from ml.evaluation.compare import compare
from ml.evaluation.console import spread_over, spread_table, tables
from ml.evaluation.paired import PairedEstimate
from ml.evaluation.ranking import Ranking, compare_all
from ml.evaluation.reward_audit import AuditCell, AuditReport
from ml.evaluation.summary import Rate, summarise
from ml.parameters import load_parameters
from ml.reports.acceptance.tables import console_tables
from ml.reports.parameters import tables as params_tables
from ml.training.command_line import parse_command_line
from ml.training.deployment import read_deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_WHOLE = 24  # what is longer is a path or a digest, and may be folded


def _shown(table: WholeTable, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def _numbers(table: WholeTable) -> set[str]:
    """Words with a digit, of all cells."""
    cells = [cell for column in table.columns for cell in column.cells]
    words = {
        word
        for cell in cells
        for word in (cell if isinstance(cell, Text) else Text.from_markup(str(cell))).plain.split()
    }
    return {w for w in words if any(c.isdigit() for c in w) and len(w) <= LONGEST_WHOLE}


def _require_whole(table: WholeTable, width: int) -> None:
    shown = _shown(table, width)
    assert table.row_count > 0
    assert "…" not in shown.replace(" … ", " ")  # as in "0 … 100"
    assert max(map(len, shown.splitlines())) <= width
    words = set(shown.replace("│", " ").replace("┃", " ").split())
    assert _numbers(table) <= words, shown


def _figures(driver: str) -> DriverFigures:
    crashes = Rate(1234, 9999, 0.1171, 0.1299)
    return DriverFigures(driver, 9999, 12, crashes, crashes, 27.09, 12.25, -1234.5, 123.4)


def _audit() -> AuditReport:
    terms = dict.fromkeys(TERMS, -0.12345)
    cells = {
        (driver, kind): AuditCell(_figures(driver), terms, dict.fromkeys(TERMS, 0.98765))
        for driver in ("do-nothing", "SUMO's car-following")
        for kind in get_args(EpisodeKind)
    }
    rows = {
        name: planted_rows(30, controller=name, mean_return=mean)
        for name, mean in ((ORACLE, -1234.5), (JERKY, -1357.9), (FURTHER, -2468.1))
    }
    return AuditReport(cells, Ranking(rows, compare_all(rows, EnvConfig())), [])


GAIN = PairedEstimate(600, -40.1, -39.0, -1.52, -0.71, 0.001)


def _bench() -> BenchReport:
    report = BenchReport(num_envs=64, num_peers=5, radio="clean")
    report.workloads.append(Measured("e: the environment over TraCI, " * 3, [104670.4, 99.5]))
    report.ratios.append(
        ratio("b / a: environment to SUMO with its necessary traffic", [2.0], [3.0], 0.65)
    )
    report.radio_costs.append(Goal("relays over up to 3 hops", [9.91, 13.12], 25.0))
    report.cost_us.update({(n, p): 1234.5 for n in (1, 16, 64, 256) for p in range(1, 9)})
    return report


def _results() -> Iterator[WholeTable]:
    models = [f"runs/20260101T120000Z-convoy-s{seed}/best.zip, radio off" for seed in range(3)]
    rows = [row for name in models for row in planted_rows(30, controller=name, crash=True)]
    summaries = summarise(rows)
    yield from tables(summaries, models)
    yield spread_table(spread_over(summaries, models))
    yield WholeTable(
        *TITLES, rows=[[*cells(s), beside(GAIN)] for s in summaries], title="ablations"
    )
    yield compare(rows[:30], rows[30:60]).table()


def _targets() -> list[WholeTable]:
    said = "3 of 9,997 (0.03 %) [0.01 %, 0.09 %]"
    found = {f"runs/s{seed}/final": Found(said, "fail") for seed in range(3)}
    row = Row("convoy shadowed", "crashes in avoidable hazards", "at most 0.1 %", found)
    (limit,) = (t for t in targets_of("convoy", "clean") if t.level == "limit")
    far = {name: Found(f"{said}; +0.030 [+0.010, +0.088] pp", "fail") for name in found}
    rows = [row, replace(row, found=far, by=limit)]
    names = [ModelRecord(name=name, sha256="") for name in found]
    submission = Submission.model_construct(
        models=tuple(names), rows=tuple(RowRecord.of(row) for row in rows)
    )
    return console_tables(submission)


def _parameters() -> Iterator[WholeTable]:
    one, other = load_parameters("varied"), load_parameters("bursty")
    yield from params_tables.tables_of(one)
    yield params_tables.meanings_of(one)
    yield params_tables.difference(one, other, "varied", "bursty")
    loss = load_parameters("clean").radio.loss
    yield from params_tables.tables_of_fit(fit_margin(loss), loss)


def _all_tables() -> Iterator[WholeTable]:
    yield from _audit().tables()
    yield from _bench().tables()
    yield from _results()
    yield from _parameters()
    yield as_table([_figures("trained policy (final)"), _figures("SUMO's car-following")])
    yield from _targets()
    argv = ["--preset", "convoy", "--total-timesteps", "1234567"]
    yield parse_command_line(argv, read_deployment({})).table()
    path = "/home/somebody/with/a/long/name/roadsense/.venv/lib/python3.11/site-packages"
    yield doctor_table([wrong("SUMO", f"1.18.0 of {path}", "pip install eclipse-sumo==1.28.0"),
                        note("cores", "1 of 16 usable", "two let the evaluation run")])  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_table_cuts_a_number(width: int):
    """On 80 columns, on the width without a terminal, and on half a screen."""
    found = list(_all_tables())
    assert len(found) > 15
    for table in found:
        _require_whole(table, width)


words = st.text(st.sampled_from("abc 0123456789.,[]%−–"), max_size=LONGEST_WHOLE)
rows = st.integers(1, 9).flatmap(
    lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=4)
)


@given(rows, st.integers(2 * LONGEST_WHOLE, 130), st.booleans())
def test_no_table_of_any_content_cuts_a_number(
    cells: list[list[str]],
    width: int,
    no_wrap: bool,  # noqa: FBT001 (drawn)
):
    """Whatever the columns' widths are, and whether they were declared rigid."""
    table = WholeTable(title="a title")
    for number, _ in enumerate(cells[0]):
        table.add_column(f"column {number}", justify="right", no_wrap=no_wrap)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    _require_whole(table, width)


def test_a_table_that_fits_is_drawn_as_ever_and_one_that_does_not_as_a_list():
    """A narrow print leaves the table as it was; a list says each figure's name."""
    table = WholeTable("driver", *(f"figure {n}" for n in range(8)), title="figures")
    table.add_row("do-nothing", *(f"{n}.125000" for n in range(8)))
    wide = _shown(table, 200)
    assert "│ 7.125000 │" in wide
    narrow = _shown(table, 60)
    assert "figures\ndo-nothing\n  figure 0: 0.125000\n" in narrow
    assert _shown(table, 200) == wide


def test_without_a_terminal_lines_are_wide(monkeypatch: pytest.MonkeyPatch):
    """A file or a pipe gets 120 columns, whatever the terminal beside it has; COLUMNS decides."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width == 120
    monkeypatch.setenv("COLUMNS", "80")
    assert make_console().width == 80


def test_every_table_and_console_is_of_this_kind():
    """No module but ml.console makes a table or a console of rich's own."""
    for file in Path(ml.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        made = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if file.name != "console.py" or file.parent.name != "ml":
            assert not made & {"Table", "Console"}, file


def test_a_number_behind_blanks_stays_whole():
    """A cell that is indented needs room for its blanks as well."""
    table = WholeTable(*(f"column {number}" for number in range(7)))
    table.add_row("", "", "", "0000000", "0000000", "000000000000", Text("  000000"))
    for width in range(48, 100):
        assert " 000000 " in _shown(table, width).replace("\n", " \n").replace("│", " ")
