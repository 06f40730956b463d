"""The pictures of a calibration: measured, emulated and the naive models beside one another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.loss_statistics import (
    DISTANCES_M,
    LAGS,
    RUNS,
    LossLog,
    autocorrelation_at,
    delivery_by_distance,
    inter_reception_shares,
    older_than,
    run_shares,
    split_half_noise,
)
from ml.reports.card.pictures import Picture
from ml.reports.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    VERMILION,
    WIDTH_IN,
    as_data_uri,
    house_style,
    new_figure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ml.calibration.fits.latency import LatencyFit

_HEIGHT_IN: Final = 3.4
_AGES: Final = tuple(range(1, 51))
_LEAST: Final = 1e-4
_Z: Final = 1.645


@dataclass(frozen=True, slots=True)
class Model:
    """What stands beside the measured curve.

    Attributes:
        name: For the legend.
        colour: Of its line.
        dash: Of its line.
        logs: Its replicas.
    """

    name: str
    colour: str
    dash: str
    logs: Sequence[LossLog]


def models_of(
    emulated: Sequence[LossLog], chain: Sequence[LossLog], independent: Sequence[LossLog]
) -> list[Model]:
    """Name the three models."""
    return [
        Model("emulated", VERMILION, "-", emulated),
        Model("Gilbert–Elliott", BLUE, "--", chain),
        Model("independent", GREEN, ":", independent),
    ]


def pictures_of(
    measured: LossLog, models: Sequence[Model], latency: LatencyFit | None
) -> list[Picture]:
    """Draw all pictures of a calibration."""
    betweens = np.unique(measured.between[measured.scored])
    pictures = [
        _delivery(measured, models, int(b))
        for b in betweens[:3]
        if not np.isnan(delivery_by_distance(measured, int(b))).all()
    ]
    pictures += [
        _tail(
            measured,
            models,
            run_shares,
            RUNS[:30],
            "bursts of at least … frames",
            "share of bursts",
            "Loss bursts",
            "How long losses last. Measured with 90 % of the log's own noise.",
        ),
        _tail(
            measured,
            models,
            inter_reception_shares,
            [r / 10.0 for r in RUNS],
            "time to the next reception of at least … s",
            "share of receptions",
            "Time between receptions",
            "Packet inter-reception time in periods of 0.1 s.",
        ),
        _autocorrelation(measured, models),
        _tail(
            measured,
            models,
            _ages,
            [n / 10.0 for n in _AGES],
            "age of the newest message (s)",
            "share of time it is older",
            "Age of the news",
            "How old the newest message is, latency and beacon phase left out.",
        ),
    ]
    if latency is not None:
        pictures.append(_latency(latency))
    return pictures


def _ages(log: LossLog) -> NDArray[np.float64]:
    return np.array([older_than(log, n) for n in _AGES])


def _band(
    logs: Sequence[LossLog], statistic: Callable[[LossLog], NDArray[np.float64]]
) -> NDArray[np.float64]:
    values = np.array([statistic(log) for log in logs])
    if np.isnan(values).all():
        return np.full(values.shape[1], np.nan)
    out = np.full(values.shape[1], np.nan)
    some = ~np.isnan(values).all(axis=0)
    out[some] = np.nanmean(values[:, some], axis=0)
    return out


def _picture(draw: Callable[[Axes], None], text: str) -> Picture:
    with house_style():
        figure: Figure = new_figure(WIDTH_IN, _HEIGHT_IN)
        draw(figure.add_subplot())
        return Picture(as_data_uri(figure), text)


def _delivery(measured: LossLog, models: Sequence[Model], between: int) -> Picture:
    cars = {0: "nothing between", 1: "1 car between"}.get(between, f"{between} cars between")
    middle = np.array([(a + b) / 2.0 for a, b in pairwise(DISTANCES_M)])

    def statistic(log: LossLog) -> NDArray[np.float64]:
        return delivery_by_distance(log, between)

    share = statistic(measured)
    noise = split_half_noise(measured, statistic)
    known = ~np.isnan(share)

    def draw(axes: Axes) -> None:
        for model in models:
            curve = _band(model.logs, statistic)
            axes.plot(
                middle[known],
                100.0 * curve[known],
                model.dash,
                color=model.colour,
                label=model.name,
            )
        axes.errorbar(
            middle[known],
            100.0 * share[known],
            _Z * 100.0 * np.nan_to_num(noise[known]),
            fmt="o",
            color=BLACK,
            markersize=4.5,
            capsize=2.5,
            linewidth=1.1,
            label="measured",
        )
        axes.set(xlabel="distance (m)", ylabel="frames received (%)", ylim=(0, 102), xlim=(0, None))
        axes.set_title(f"Delivery over distance, {cars}")
        axes.legend(loc="lower left")

    return _picture(
        draw,
        f"Delivery over distance with {cars}; bars: 90 % by the log's own noise between halves. "
        "The naive models are given the measured delivery of each link and distance.",
    )


def _tail(
    measured: LossLog,
    models: Sequence[Model],
    statistic: Callable[[LossLog], NDArray[np.float64]],
    at: Sequence[float],
    x_label: str,
    y_label: str,
    title: str,
    text: str,
) -> Picture:
    shares = statistic(measured)[: len(at)]
    noise = split_half_noise(measured, statistic)[: len(at)]

    def draw(axes: Axes) -> None:
        low = np.clip(shares - _Z * noise, _LEAST / 3.0, None)
        axes.fill_between(
            at, low, np.clip(shares + _Z * noise, _LEAST / 3.0, 1.0), color="#d9d9d9", linewidth=0
        )
        for model in models:
            curve = _band(model.logs, statistic)[: len(at)]
            axes.plot(
                at,
                np.where(curve > 0.0, curve, np.nan),
                model.dash,
                color=model.colour,
                label=model.name,
            )
        axes.plot(
            at, np.where(shares > 0.0, shares, np.nan), color=BLACK, linewidth=2.2, label="measured"
        )
        axes.set(yscale="log", ylim=(_LEAST, 1.3), xlabel=x_label, ylabel=y_label)
        axes.set_title(title)
        axes.legend()

    return _picture(draw, text)


def _autocorrelation(measured: LossLog, models: Sequence[Model]) -> Picture:
    def statistic(log: LossLog) -> NDArray[np.float64]:
        return np.array([autocorrelation_at(log, lag) for lag in LAGS])

    at = [lag / 10.0 for lag in LAGS]
    values, noise = statistic(measured), split_half_noise(measured, statistic)

    def draw(axes: Axes) -> None:
        for model in models:
            axes.plot(
                at, _band(model.logs, statistic), model.dash, color=model.colour, label=model.name
            )
        axes.errorbar(
            at,
            values,
            _Z * noise,
            fmt="o",
            color=BLACK,
            markersize=4.5,
            capsize=2.5,
            linewidth=1.1,
            label="measured",
        )
        axes.axhline(0.0, color="#555555", linewidth=0.8)
        axes.set(xscale="log", xlabel="lag (s)", ylabel="autocorrelation of losses")
        axes.set_xticks(at, [f"{x:g}" for x in at])
        axes.minorticks_off()
        axes.set_title("Memory of losses")
        axes.legend()

    return _picture(
        draw, "How much a loss says of the losses to come; a two-state chain forgets too fast."
    )


def _latency(fit: LatencyFit) -> Picture:
    middle = (fit.edges_ms[1:] + fit.edges_ms[:-1]) / 2.0
    last = int(np.flatnonzero(np.cumsum(fit.measured) < 0.9995)[-1]) + 3  # noqa: PLR2004
    width = fit.edges_ms[1] - fit.edges_ms[0]
    mean = float((fit.measured * middle).sum())
    sd = float(np.sqrt((fit.measured * (middle - mean) ** 2).sum()))
    bell = np.exp(-0.5 * ((middle - mean) / sd) ** 2) * width / (sd * np.sqrt(2.0 * np.pi))

    def draw(axes: Axes) -> None:
        axes.bar(
            middle[:last],
            100.0 * fit.measured[:last],
            width,
            color="#d9d9d9",
            edgecolor="#767676",
            linewidth=0.5,
            label="measured",
        )
        axes.plot(middle[:last], 100.0 * fit.fitted[:last], color=VERMILION, label="emulated")
        axes.plot(
            middle[:last], 100.0 * bell[:last], "--", color=ORANGE, label="normal distribution"
        )
        axes.set(
            xlabel="round trip (ms)", ylabel="share of round trips (%)", xlim=(0, middle[last - 1])
        )
        axes.set_title("Latency")
        axes.legend()

    return _picture(
        draw,
        f"{fit.round_trips:,} round trips, the fitted stack, and a normal distribution of the same "
        "mean and spread.",
    )
