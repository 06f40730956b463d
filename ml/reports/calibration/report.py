"""The report of a calibration on one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ml.calibration.fits.loss_statistics import STATISTICS, LossLog, split_half_noise
from ml.calibration.naive_models import draw_gilbert_elliott, draw_independent
from ml.calibration.parameter_file import rows_of
from ml.calibration.trials.drive import emulate, measured_log
from ml.reports.calibration.pictures import Model, models_of, pictures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml.calibration.calibrate import Calibration
    from ml.calibration.fits.estimates import Estimate
    from ml.calibration.fits.link_jobs import Group
    from ml.calibration.logs.links import Link
    from ml.parameters import Parameters

REPLICAS: Final = 6
_WITHIN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure, measured and emulated.

    Attributes:
        name: What it is.
        measured: On the logs.
        noise: Standard deviation, from halves of the log.
        models: Means over the replicas of the emulated, Gilbert–Elliott and independent losses.
        spread: Standard deviation of the emulated over replicas.
    """

    name: str
    measured: float
    noise: float
    models: tuple[float, ...]
    spread: float

    @property
    def met(self) -> bool:
        """Whether the emulated figure is as near as the noise allows."""
        if not np.isfinite(self.measured) or not np.isfinite(self.models[0]):
            return True
        away = abs(self.measured - self.models[0])
        return bool(away <= _WITHIN * float(np.hypot(self.noise, self.spread)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Measured links against the models.

    Attributes:
        measured: What was logged.
        models: What stands beside it.
        gates: Figure by figure.
    """

    measured: LossLog
    models: list[Model]
    gates: list[Gate]


def judge_links(
    links: Sequence[Link],
    parameters: Parameters,
    levels_db: Mapping[Group, float],
    on_part: Callable[[str, float], None],
) -> Judgement:
    """Emulate the drives of some links, and hold the losses against the logged ones."""
    measured = measured_log(links)
    emulated = emulate(
        parameters,
        links,
        levels_db,
        replicas=REPLICAS,
        on_share=lambda share: on_part("driving the logged drives again", share),
    )
    on_part("comparing", 0.0)
    models = models_of(
        emulated, draw_gilbert_elliott(measured, REPLICAS), draw_independent(measured, REPLICAS)
    )
    gates = []
    for name, statistic in STATISTICS.items():
        reached = [[statistic(log) for log in model.logs] for model in models]
        gates.append(
            Gate(
                name,
                statistic(measured),
                float(split_half_noise(measured, statistic)),
                tuple(float(np.mean(r)) for r in reached),
                float(np.std(reached[0], ddof=1)),
            )
        )
    return Judgement(measured, models, gates)


def render(
    calibration: Calibration,
    judgement: Judgement | None,
    *,
    title: str,
    command: str,
    held_out: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        calibration: What was fitted.
        judgement: Measured links against models; None without links.
        title: Of the page.
        command: That made it.
        held_out: Names of the logs judged on, where they are not those fitted to.
    """
    loader = PackageLoader("ml.reports", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stylesheet, *_ = loader.get_source(environment, "card.css")
    pictures = []
    if judgement is not None:
        pictures = pictures_of(judgement.measured, judgement.models, calibration.latency)
    on = (
        f"Judged on logs that were not fitted to: {', '.join(held_out)}."
        if held_out
        else "Judged on the logs that were fitted to; other logs can be given with --held-out."
    )
    return (
        environment.get_template("calibration.html").render(
            stylesheet=stylesheet,
            title=title,
            subtitle=_subtitle(calibration),
            brief=_brief(calibration, judgement),
            notes=calibration.notes,
            prior_name=calibration.prior_name,
            estimates=[
                _row(e) for e in sorted(calibration.estimates, key=lambda e: not e.is_fitted)
            ],
            pictures=pictures,
            judged_on=on,
            gates=[_gate_row(g) for g in judgement.gates] if judgement else [],
            boards=_boards(calibration),
            links=_links(calibration),
            files=[
                {"name": log.path.name, "rows": rows_of(calibration, log), "sha256": log.sha256}
                for log in calibration.logs
            ],
            command=command,
        )
        + "\n"
    )


def _subtitle(calibration: Calibration) -> str:
    rows = sum(log.rows for log in calibration.logs)
    minutes = (
        sum(
            max(float(link.time_s[-1] - link.time_s[0]) for link in drive.links + drive.round_trips)
            for drive in calibration.drives
            if drive.links or drive.round_trips
        )
        / 60.0
    )
    logs = "1 log" if len(calibration.logs) == 1 else f"{len(calibration.logs)} logs"
    return f"{logs}, {rows:,} rows, {minutes:.0f} minutes"


def _brief(calibration: Calibration, judgement: Judgement | None) -> list[str]:
    fitted = [e for e in calibration.estimates if e.is_fitted]
    untold = len(calibration.estimates) - len(fitted)
    lines = [f"{len(fitted)} parameters are fitted, {untold} cannot be told by these logs."]
    if judgement is not None:
        met = sum(g.met for g in judgement.gates)
        loss = judgement.gates[0]
        lines.append(
            f"{100.0 * loss.measured:.1f} % of the frames were lost; the fitted radio loses "
            f"{100.0 * loss.models[0]:.1f} % on the same drive."
        )
        lines.append(
            f"{met} of {len(judgement.gates)} figures of the losses are met within the log's own "
            "noise."
        )
    blackouts = [key for key, found in calibration.blackouts.items() if found is not None]
    if blackouts:
        lines.append(
            "Blackouts locked to the receiver's clock: " + ", ".join(name for _, name in blackouts)
        )
    return lines


def _row(estimate: Estimate) -> dict[str, str]:
    interval = ""
    if estimate.interval is not None:
        interval = f"{estimate.interval[0]:.3g} … {estimate.interval[1]:.3g}"
    return {
        "name": estimate.name,
        "value": f"{estimate.value:.3g}",
        "interval": interval,
        "prior": f"{estimate.prior:.3g}",
        "why": estimate.basis if estimate.is_fitted else estimate.reason,
    }


def _gate_row(gate: Gate) -> dict[str, object]:
    return {
        "name": gate.name,
        "measured": f"{gate.measured:.3g}",
        "noise": f"{gate.noise:.2g}",
        "models": [f"{m:.3g}" for m in gate.models],
        "met": gate.met,
    }


def _boards(calibration: Calibration) -> list[dict[str, str]]:
    gains = calibration.split.boards_db if calibration.split is not None else {}
    found = {a.board: a for a in calibration.sensors.accelerometers}
    rows = []
    for name in sorted(gains.keys() | found.keys()):
        gain, accel = gains.get(name), found.get(name)
        bias = accel.bias_mps2 if accel else None
        noise = accel.white_sd_mps2 if accel else None
        slope = accel.slope if accel else None
        rows.append(
            {
                "name": name,
                "gain": f"{gain[0]:+.1f} dB ({gain[1]:+.1f} … {gain[2]:+.1f})" if gain else "–",
                "bias": "–" if bias is None else f"{bias:+.3f} m/s²",
                "noise": "–" if noise is None else f"{noise:.3f} m/s²",
                "slope": "–"
                if slope is None
                else f"{slope:+.2f}" + (", backwards" if accel and accel.is_backwards else ""),
            }
        )
    return rows


def _links(calibration: Calibration) -> list[dict[str, str]]:
    rows = []
    for drive in calibration.drives:
        for link in [
            *drive.links,
            *(x for x in drive.round_trips if not any(x is y for y in drive.links)),
        ]:
            scored = link.scored
            clock = drive.clocks.get((link.source, link.receiver))
            share = float(link.lost[scored].mean()) if scored.any() else 0.0
            distance = np.nanmedian(link.distance_m) if np.isfinite(link.distance_m).any() else None
            rows.append(
                {
                    "name": link.name,
                    "frames": f"{int(scored.sum()):,}",
                    "lost": f"{100.0 * share:.1f} %",
                    "distance": "–" if distance is None else f"{distance:.0f} m",
                    "drift": "–" if clock is None else f"{clock.drift_ppm:+.1f} ppm",
                }
            )
    return rows
