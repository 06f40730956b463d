"""The report of a calibration on one self-contained HTML page."""

from collections.abc import Sequence

import numpy as np

from ml.calibration.calibrate import Calibration, rows_of
from ml.calibration.trials.logged_drive import Judgement, Verdict
from ml.console import counted
from ml.parameters import Parameters
from ml.reports.calibration.pictures import Gallery
from ml.reports.html_table import NOTHING, Cell, HtmlTable, Line, table_of
from ml.reports.style import render_page


def render(
    calibration: Calibration,
    judgement: Judgement | None,
    gallery: Gallery,
    parameters: Parameters,
    *,
    title: str,
    command: str,
    held_out: Sequence[str] = (),
) -> str:
    """Return the page of a calibration, of its links held against models, and of its parameters.

    `judgement` is None where no losses were fitted; `held_out` names the logs judged on, where they
    are not those fitted to.
    """
    on = (
        f"Judged on logs that were not fitted to: {', '.join(held_out)}."
        if held_out
        else "Judged on the logs that were fitted to; other logs can be given with --held-out."
    )
    files = [
        Line([Cell(log.path.name), Cell(rows_of(calibration, log)), Cell(log.sha256, mark="hash")])
        for log in calibration.logs
    ]
    return render_page(
        "calibration.html",
        title=title,
        subtitle=_subtitle(calibration),
        brief=_brief(calibration, judgement, parameters),
        notes=[*calibration.notes, *gallery.failed],
        prior_name=calibration.prior_name,
        estimates=_estimates(calibration),
        pictures=gallery.pictures,
        judged_on=on,
        gates=None if judgement is None else _gates(judgement),
        boards=_boards(calibration),
        links=_links(calibration),
        files=table_of(["file", "rows", "sha256"], files),
        command=command,
    )


def _subtitle(calibration: Calibration) -> str:
    rows = sum(log.rows for log in calibration.logs)
    drives = (
        [link.time_s for link in drive.links + drive.round_trips]
        + [board.time_ms / 1000.0 for board in drive.boards]
        for drive in calibration.drives
    )
    seconds = sum(max(float(at_s[-1] - at_s[0]) for at_s in times) for times in drives if times)
    logs = counted(len(calibration.logs), "log")
    return f"{logs}, {rows:,} rows, {seconds / 60.0:.0f} minutes"


def _brief(
    calibration: Calibration, judgement: Judgement | None, parameters: Parameters
) -> list[str]:
    fitted = sum(e.is_fitted for e in calibration.estimates)
    untold = len(calibration.estimates) - fitted
    lines = [f"{fitted} parameters are fitted, {untold} cannot be told by these logs."]
    if judgement is None:
        return [*lines, calibration.uncalibrated]
    loss = judgement.gates[0]
    lost, loses = 100.0 * loss.measured, 100.0 * loss.models[0]
    lines += [
        f"{lost:.1f} % of the frames were lost; the fitted radio loses {loses:.1f} % there.",
        f"{judgement.summary.capitalize()}.",
    ]
    blackouts = [name for (_, name), found in calibration.blackouts.items() if found is not None]
    if blackouts:
        lines.append("Blackouts locked to the receiver's clock: " + ", ".join(blackouts))
    for boards, found in parameters.board_sets.items():
        chosen = ", which the file is of" if boards == parameters.boards else ""
        lines.append(f"Boards “{boards}”{chosen}: {found.purpose}")
    return lines


def _estimates(calibration: Calibration) -> HtmlTable:
    rows = []
    for e in sorted(calibration.estimates, key=lambda e: not e.is_fitted):
        interval = "kept" if e.interval is None else "{:.3g} … {:.3g}".format(*e.interval)
        cells = [e.name, f"{e.value:.3g}", interval, f"{e.prior:.3g}"]
        mark = "fitted" if e.is_fitted else "kept"
        rows.append(Line([*map(Cell, cells), Cell(e.why, mark="why")], mark))
    columns = ["parameter", ">value", ">90 % interval", ">before", "basis, or why it was kept"]
    return table_of(columns, rows)


def _gates(judgement: Judgement) -> HtmlTable:
    rows = [
        Line(
            [
                *map(Cell, (g.name, f"{g.measured:.3g}", f"{g.noise:.2g}")),
                *(Cell(f"{m:.3g}") for m in g.models),
                Cell(f"±{g.tolerance:.2g}"),
                Cell(g.words, mark="verdict"),
            ],
            "far" if g.verdict is Verdict.NOT_MET else "near",
        )
        for g in judgement.gates
    ]
    models = (f">{name}" for name in judgement.models)
    return table_of(["figure", ">measured", ">noise", *models, ">tolerance", "verdict"], rows)


def _boards(calibration: Calibration) -> HtmlTable:
    gains = {} if calibration.split is None else calibration.split.boards_db
    found = {a.board: a for a in calibration.accelerometers}
    rows = []
    for name in sorted(gains.keys() | found.keys()):
        gain, axis, bias, noise, slope = [NOTHING] * 5
        if name in gains:
            gain = "{:+.1f} dB ({:+.1f} … {:+.1f})".format(*gains[name])
        if (accel := found.get(name)) is not None:
            bias = _said(accel.bias_mps2, "{:+.3f} m/s²")
            noise = _said(accel.white_sd_mps2, "{:.3f} m/s²")
            if accel.axis.is_told:
                axis = f"{accel.axis.name} (correlation {accel.axis.correlation:.2f})"
            if accel.axis.is_told and accel.slope_interval is not None:
                slope = "{:.2f} ({:.2f} … {:.2f})".format(accel.axis.slope, *accel.slope_interval)
        rows.append(Line([*map(Cell, (name, gain, axis, bias, noise, slope))]))
    columns = ["board", ">against the mean board", ">forward axis", ">accelerometer bias"]
    return table_of([*columns, ">noise at standstill", ">slope against GPS"], rows)


def _links(calibration: Calibration) -> HtmlTable:
    rows = []
    for drive in calibration.drives:
        pinged = [x for x in drive.round_trips if not any(x is y for y in drive.links)]
        for link in [*drive.links, *pinged]:
            lost = link.lost[link.scored]
            clock = drive.clocks.get((link.source, link.receiver))
            share = _said(100.0 * float(lost.mean()) if lost.size else None, "{:.1f} %")
            known_m = link.distance_m[np.isfinite(link.distance_m)]
            median = _said(float(np.median(known_m)) if known_m.size else None, "{:.0f} m")
            drift = _said(None if clock is None else clock.drift_ppm, "{:+.1f} ppm")
            texts = (link.name, f"{lost.size:,}", share, median, drift)
            rows.append(Line([*map(Cell, texts)]))
    return table_of(["link", ">frames", ">lost", ">median distance", ">clock drift"], rows)


def _said(value: float | None, how: str) -> str:
    return NOTHING if value is None else how.format(value)
