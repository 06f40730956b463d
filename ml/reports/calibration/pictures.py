"""The pictures of a calibration: measured, emulated and the naive models beside one another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from ml.arrays import Floats
from ml.calibration.fits.estimates import Z_90
from ml.calibration.fits.latency import LatencyFit
from ml.calibration.trials import loss_statistics as losses
from ml.calibration.trials.logged_drive import Judgement
from ml.calibration.trials.loss_statistics import DISTANCES_M, LAGS, RUNS, LossLog
from ml.reports.parameters.picture import cars_between
from ml.reports.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    VERMILION,
    WIDTH_IN,
    Picture,
    as_picture,
    house_style,
    new_figure,
)

_HEIGHT_IN: Final = 3.4
_MOST_BETWEEN: Final = 3
_AGES: Final = tuple(range(1, 51))
_LEAST: Final = 1e-4
_SHOWN: Final = 0.9995  # of the round trips
_LOOKS: Final = ((VERMILION, "-"), (BLUE, "--"), (GREEN, ":"))
"""Colour and dash of each model: the fitted radio first."""


class Gallery(NamedTuple):
    """The pictures of a calibration, and what is to be said of those that could not be drawn."""

    pictures: list[Picture]
    failed: list[str]  # A sentence for each


def pictures_of(judgement: Judgement | None, latency: LatencyFit | None) -> Gallery:
    """Draw all pictures of a calibration; one that fails takes no other with it."""
    gallery = Gallery([], [])
    with house_style():
        drawings = [] if judgement is None else [*_of_losses(judgement)]
        if latency is not None:
            drawings.append(("Latency", partial(_latency, latency)))
        for name, draw in drawings:
            try:
                gallery.pictures.append(as_picture(*draw()))
            except Exception as error:  # noqa: BLE001 - a picture is worth no parameter
                gallery.failed.append(
                    f"The picture {name!r} could not be drawn ({type(error).__name__}: {error}); "
                    "all else stands. That is a fault of RoadSense: please report it."
                )
    return gallery


def _of_losses(
    judgement: Judgement,
) -> Iterator[tuple[str, Callable[[], tuple[Figure, str]]]]:
    """Yield the name of each picture, and what draws it and says what it shows."""
    for between in np.unique(judgement.measured.between[judgement.measured.scored])[:_MOST_BETWEEN]:
        if not np.isnan(losses.delivery_by_distance(judgement.measured, int(between))).all():
            name = f"Delivery over distance, {cars_between(int(between))}"
            yield name, partial(_delivery, judgement, int(between))
    yield (
        "Loss bursts",
        lambda: _tail(
            judgement,
            losses.run_shares,
            RUNS[:30],
            ("Loss bursts", "bursts of at least … frames", "share of bursts"),
            "How long losses last. Measured with 90 % of the log's own noise.",
        ),
    )
    yield (
        "Time between receptions",
        lambda: _tail(
            judgement,
            losses.inter_reception_shares,
            [r / 10.0 for r in RUNS],
            ("Time between receptions", "time to the next reception of at least … s",
             "share of receptions"),
            "Packet inter-reception time in periods of 0.1 s.",
        ),
    )  # fmt: skip
    yield "Memory of losses", partial(_autocorrelation, judgement)
    yield (
        "Age of the news",
        lambda: _tail(
            judgement,
            _ages,
            [n / 10.0 for n in _AGES],
            ("Age of the news", "age of the newest message (s)", "share of time it is older"),
            "How old the newest message is, latency and beacon phase left out.",
        ),
    )


class _Curves(NamedTuple):
    """A statistic of the log with its noise, and each model's mean over its replicas."""

    measured: Floats
    noise: Floats
    models: Mapping[str, Floats]


def _curves(judgement: Judgement, statistic: Callable[[LossLog], Floats], count: int) -> _Curves:
    """Compute the first `count` values of each curve."""
    means = {
        name: np.ma.masked_invalid([statistic(log)[:count] for log in logs]).mean(axis=0)
        for name, logs in judgement.models.items()
    }
    log = judgement.measured
    noise = losses.split_half_noise(log, statistic)[:count]
    filled = {name: np.ma.filled(mean.astype(float), np.nan) for name, mean in means.items()}
    return _Curves(statistic(log)[:count], noise, filled)


def _ages(log: LossLog) -> Floats:
    return losses.age_shares(log, _AGES[-1])


def _memory(log: LossLog) -> Floats:
    return np.array([losses.autocorrelation_at(log, lag) for lag in LAGS])


def _new(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH_IN, _HEIGHT_IN)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _draw_models(axes: Axes, at: Any, curves: Mapping[str, Floats]) -> None:
    for (name, curve), (colour, dash) in zip(curves.items(), _LOOKS, strict=True):
        axes.plot(at, curve, dash, color=colour, label=name)


def _draw_points(axes: Axes, at: Sequence[float], curves: _Curves, scale: float = 1.0) -> None:
    """Draw the models as lines, and what was measured as points with 90 % of its noise."""
    known = ~np.isnan(curves.measured)
    x = np.array(at)[known]
    _draw_models(axes, x, {name: scale * curve[known] for name, curve in curves.models.items()})
    axes.errorbar(
        x,
        scale * curves.measured[known],
        Z_90 * scale * np.nan_to_num(curves.noise[known]),
        fmt="o",
        color=BLACK,
        markersize=4.5,
        capsize=2.5,
        linewidth=1.1,
        label="measured",
    )


def _tail(
    judgement: Judgement,
    statistic: Callable[[LossLog], Floats],
    at: Sequence[float],
    words: tuple[str, str, str],
    text: str,
) -> tuple[Figure, str]:
    """Draw shares on a logarithmic axis; the band is 90 % of the measured one's noise."""
    curves = _curves(judgement, statistic, len(at))
    shares, noise = curves.measured, Z_90 * curves.noise
    figure, axes = _new(*words)
    low, high = np.clip([shares - noise, shares + noise], _LEAST / 3.0, None)
    axes.fill_between(at, low, np.clip(high, None, 1.0), color=PALE, linewidth=0)
    _draw_models(axes, at, {n: np.where(c > 0.0, c, np.nan) for n, c in curves.models.items()})
    known = np.where(shares > 0.0, shares, np.nan)
    axes.plot(at, known, color=BLACK, linewidth=2.2, label="measured")
    axes.set(yscale="log", ylim=(_LEAST, 1.3))
    axes.legend()
    return figure, text


def _delivery(judgement: Judgement, between: int) -> tuple[Figure, str]:
    cars = cars_between(between)
    middle = [(a + b) / 2.0 for a, b in pairwise(DISTANCES_M)]
    curves = _curves(judgement, lambda log: losses.delivery_by_distance(log, between), len(middle))
    figure, axes = _new(f"Delivery over distance, {cars}", "distance (m)", "frames received (%)")
    _draw_points(axes, middle, curves, 100.0)
    axes.set(ylim=(0, 102), xlim=(0, None))
    axes.legend(loc="lower left")
    return figure, (
        f"Delivery over distance with {cars}; bars: 90 % by the log's own noise between halves. "
        "The naive models are given the measured delivery of each link and distance."
    )


def _autocorrelation(judgement: Judgement) -> tuple[Figure, str]:
    at = [lag / 10.0 for lag in LAGS]
    curves = _curves(judgement, _memory, len(at))
    figure, axes = _new("Memory of losses", "lag (s)", "autocorrelation of losses")
    _draw_points(axes, at, curves)
    axes.axhline(0.0, color="#555555", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{x:g}" for x in at])
    axes.minorticks_off()
    axes.legend()
    return figure, (
        "How much a loss says of the losses to come; a two-state chain forgets too fast."
    )


def _latency(fit: LatencyFit) -> tuple[Figure, str]:
    middle = (fit.edges_ms[1:] + fit.edges_ms[:-1]) / 2.0
    # The last bin holds whatever took longer, and that may be more than what is left out here.
    last = min(int(np.searchsorted(np.cumsum(fit.measured), _SHOWN)) + 3, middle.size)
    width = fit.edges_ms[1] - fit.edges_ms[0]
    mean = np.average(middle, weights=fit.measured)
    sd = np.sqrt(np.average((middle - mean) ** 2, weights=fit.measured))
    bell = width * norm.pdf(middle, mean, sd)
    x = middle[:last]
    figure, axes = _new("Latency", "round trip (ms)", "share of round trips (%)")
    measured = 100.0 * fit.measured[:last]
    axes.bar(x, measured, width, color=PALE, edgecolor=GREY, linewidth=0.5, label="measured")
    axes.plot(x, 100.0 * fit.fitted[:last], color=VERMILION, label="emulated")
    axes.plot(x, 100.0 * bell[:last], "--", color=ORANGE, label="normal distribution")
    axes.set_xlim(0, middle[last - 1])
    axes.legend()
    return figure, (
        f"{fit.round_trips:,} round trips, the fitted stack, and a normal distribution of the same "
        "mean and spread."
    )
