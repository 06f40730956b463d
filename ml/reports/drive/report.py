"""A judged drive on one self-contained HTML page."""

import math
from collections.abc import Mapping, Sequence

from ml.console import counted
from ml.evaluation.drive.chance import LEAST_EVENTS, Chance
from ml.evaluation.drive.verdict import Closed, Figures, Reception, Told, Verdict
from ml.reports.drive.cases import CasePage
from ml.reports.drive.pictures import clock, pictures_of
from ml.reports.html_table import NOTHING, Cell, HtmlTable, Line, table_of
from ml.reports.style import render_page
from ml.vehicle import DT_S


def render(
    verdict: Verdict,
    *,
    command: str,
    closed: Sequence[Closed] = (),
    refused: Mapping[str, int] | None = None,
    cases: Sequence[CasePage] = (),
) -> str:
    """Return the page of a judged drive; see `as_json` for the arguments.

    `cases` are linked, from the folder that the page lies in.
    """
    drive = verdict.drive
    minutes = drive.ticks * DT_S / 60.0
    moving = verdict.moving.sum() * DT_S / 60.0
    subtitle = (
        f"{minutes:.0f} minutes, {verdict.distance_m / 1000.0:.1f} km, moving for {moving:.0f} of "
        f"them; ego {drive.ego}, which heard {', '.join(drive.peers)}"
    )
    return render_page(
        "judge_drive.html",
        title=f"Drive of {drive.ego}",
        subtitle=subtitle,
        line=verdict.line,
        standing=verdict.of(verdict.policy).standing,
        notes=verdict.notes,
        drivers=_drivers(verdict),
        hard_mps2=f"{verdict.hard_mps2:g}",
        quiet_km=f"{verdict.quiet_m / 1000.0:.1f}",
        least_events=LEAST_EVENTS,
        pictures=pictures_of(verdict),
        warnings=_events(verdict.warnings, verdict.drivers, is_own=True),
        answers=_events(verdict.answers, verdict.drivers, is_own=False),
        is_closed=refused is not None,
        closed=_closed(closed, verdict.policy),
        refused=[
            f"Refused: {counted(count, 'case')}, {why}." for why, count in (refused or {}).items()
        ],
        cases=cases,
        files=_files(verdict),
        command=command,
    )


def _drivers(verdict: Verdict) -> HtmlTable:
    rows = []
    for one in verdict.drivers:
        against = NOTHING
        if one.name != verdict.rule:
            standing, found = verdict.against_rule(one.name)
            against = f"{standing} ({found.more:+d} of {len(verdict.warnings)})"
        cells = [
            Cell(one.name),
            *_chance(one.warned),
            Cell(one.standing, mark="verdict"),
            Cell(_said(_median_lead(one, verdict), "{:.1f}")),
            *_chance(one.answered),
            Cell(f"{100.0 * one.firing_share:.2f}"),
            Cell(_said(one.starts_per_km, "{:.2f}")),
            Cell(against),
        ]
        rows.append(Line(cells, "policy" if one.name == verdict.policy else ""))
    columns = [
        "driver",
        ">warned of | the driver's hard brakings",
        ">by chance",
        ">p",
        "so it is",
        ">median lead | s",
        ">answered | peers' hard brakings",
        ">by chance",
        ">p",
        ">fires | % of moving ticks",
        ">starts per km | while nobody brakes",
        "than the rule | warned of",
    ]
    return table_of(columns, rows)


def _chance(chance: Chance) -> list[Cell]:
    if chance.hit.size == 0:
        return [Cell(NOTHING)] * 3
    return [
        Cell(f"{chance.hits} of {chance.hit.size}"),
        Cell(f"{chance.expected.sum():.1f}"),
        Cell(f"{chance.p_value:.2g}"),
    ]


def _median_lead(one: Figures, verdict: Verdict) -> float:
    leads = sorted(
        told.fired_s[one.name] for told in verdict.warnings if told.fired_s[one.name] > 0.0
    )
    return leads[len(leads) // 2] if leads else math.nan


def _events(events: Sequence[Told], drivers: Sequence[Figures], *, is_own: bool) -> HtmlTable:
    rows = []
    for told in events:
        event = told.event
        cells = [
            Cell(clock(told), small="" if is_own else event.who),
            Cell(f"{event.hardest_mps2:.1f}"),
            Cell("; ".join(map(_heard, told.receptions)) or NOTHING, mark="heard"),
        ]
        if not is_own:
            cells.append(Cell(_said(told.message_delay_s, "{:.2f}")))
        for one in drivers:
            fired_s = told.fired_s[one.name]
            mark = "better" if is_own and fired_s > 0.0 else ""
            cells.append(Cell(_said(fired_s, "{:.1f}"), mark=mark))
        rows.append(Line(cells))
    columns = ["onset", ">hardest | m/s²", "heard | age at the onset, lost of the 3 s before"]
    if not is_own:
        columns.append(">first message | s after the onset")
    what = "s before the driver brakes" if is_own else "s after the onset"
    return table_of([*columns, *(f">{one.name} | {what}" for one in drivers)], rows)


def _closed(closed: Sequence[Closed], policy: str) -> HtmlTable:
    rows = [
        Line(
            [
                Cell(one.name or "the real follower"),
                Cell(f"{one.cases}"),
                Cell(f"{one.crashes}" if one.name else NOTHING),
                Cell(_said(one.min_gap_m, "{:.1f}")),
                Cell(_said(one.headway_s, "{:.2f}")),
                Cell(_said(one.max_decel_mps2, "{:.1f}")),
            ],
            "policy" if one.name == policy else "" if one.name else "bound",
        )
        for one in closed
    ]
    columns = ["driver", ">cases", ">crashes", ">smallest gap | m", ">headway | s"]
    return table_of([*columns, ">hardest braking | m/s²"], rows)


def _heard(reception: Reception) -> str:
    age = f"{reception.age_s:.2f} s" if math.isfinite(reception.age_s) else "never"
    if reception.sent is None:
        return f"{reception.peer} {age}, {reception.received} came"
    lost = max(reception.sent - reception.received, 0)
    return f"{reception.peer} {age}, {lost} of {reception.sent} lost"


def _files(verdict: Verdict) -> HtmlTable:
    rows = []
    for board in verdict.drive.drive.boards:
        for log in (board.tx, board.rx):
            if log is not None:
                texts = (log.path.name, f"{log.rows:,} {log.kind} rows of {board.name}")
                rows.append(Line([*map(Cell, texts), Cell(log.sha256, mark="hash")]))
    return table_of(["file", "rows", "sha256"], rows)


def _said(value: float, how: str) -> str:
    return how.format(value) if math.isfinite(value) else NOTHING
