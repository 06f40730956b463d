"""Drive the logged distances again on the fitted radio, and hold its losses against the logged.

Beside it stand two naive models: independent losses by distance, and a two-state chain, both fitted
to the logs that the radio was fitted to. A log that is too short shows nothing: where its own noise
is larger than the tolerance that a figure is held to, the verdict says so, and how much longer a
log would have to be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fits.estimates import Z_90
from ml.calibration.fits.link_frames import Group
from ml.calibration.logs.link import Link
from ml.calibration.synthetic.recording import exchange
from ml.calibration.trials.convoy import without_relays
from ml.calibration.trials.loss_statistics import (
    DISTANCES_M,
    STATISTICS,
    LossLog,
    mean_burst,
    split_half_noise,
)
from ml.espnow_emulator import BEACON_PERIOD_US, BroadcastChannel, MarginLoss, PayloadField
from ml.keyed_random import fold, uniform
from ml.parameters import Parameters, draw_episode_parameters

EMULATED: Final = "emulated"
_REPLICAS: Final = 6
_SURELY: Final = Z_90
_LONGEST_MIN: Final = 3000.0
_MARGIN: Final = "radio.loss.margin_20m_db"
_OF_BOARDS: Final = ("radio.loss.antenna_sd_db", "radio.loss.door_share")
_PRESENT: Final = np.array([False, True, True])  # the first is nobody: a table has no column for it
_SLOTS_US: Final = np.array([0, 10_000, 60_000])
_SEED: Final = 26
_NAIVE_SEED: Final = 25
_UNKNOWN_M: Final = 20.0


class Verdict(StrEnum):
    """What is to be said of a figure."""

    MET = "met"
    NOT_MET = "not met"
    CANNOT_TELL = "cannot tell"


class Tolerance(NamedTuple):
    """How far emulated and measured may lie apart; the narrowest of what is given holds."""

    absolute: float = np.inf  # In the figure's unit
    factor: float = np.inf  # One times so much as the other

    def around(self, measured: float, emulated: float) -> float:
        """Return the difference that is allowed."""
        if emulated > measured > 0.0:
            return min(self.absolute, (self.factor - 1.0) * measured)
        return min(self.absolute, (1.0 - 1.0 / self.factor) * max(measured, emulated))


TOLERANCES: Final = {
    "frames lost": Tolerance(0.03, 1.5),
    "mean burst (frames)": Tolerance(factor=1.15),
    "spread of loss in 10-s windows": Tolerance(factor=1.25),
    "older than 1 s": Tolerance(factor=3.0),
}
"""By figure, as docs/radio.md holds presets to recordings; of others the two below."""
_AUTOCORRELATION, _AGE = Tolerance(0.07), Tolerance(factor=1.5)


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure, measured and emulated."""

    name: str  # What it is
    measured: float  # On the logs
    noise: float  # Standard deviation of the measured one: from halves of the log, or of replicas
    models: tuple[float, ...]  # Means over the replicas of each of `Judgement.models`
    minutes: float = 0.0  # How long the logs are; NaN: no longer ones would tell more

    @property
    def tolerance(self) -> float:
        """How far the two may lie apart."""
        usual = _AUTOCORRELATION if self.name.startswith("autocorrelation") else _AGE
        return TOLERANCES.get(self.name, usual).around(self.measured, self.models[0])

    @property
    def verdict(self) -> Verdict:
        """Whether the emulated figure is near, as far as the log can tell."""
        away = self._away
        if away == 0.0:
            return Verdict.MET
        if away > self.tolerance + _SURELY * self.noise:
            return Verdict.NOT_MET
        return Verdict.MET if max(away, self.noise) <= self.tolerance else Verdict.CANNOT_TELL

    @property
    def needed_min(self) -> float:
        """About how many minutes of logs would tell, where these do not; NaN where nobody knows."""
        short = self.noise / self.tolerance if self.tolerance > 0.0 else np.nan
        beyond = self._away - self.tolerance
        near = _SURELY * self.noise / beyond if beyond > 0.0 else 0.0
        return self.minutes * float(np.maximum(short, near)) ** 2

    @property
    def _away(self) -> float:
        return abs(self.measured - self.models[0])

    @property
    def words(self) -> str:
        """The verdict for tables and screen."""
        if self.verdict is not Verdict.CANNOT_TELL:
            return str(self.verdict)
        if np.isnan(self.minutes) and not np.isnan(self.measured):
            return f"{self.verdict} without positions"
        if not self.minutes <= self.needed_min < _LONGEST_MIN:
            return f"{self.verdict}: too few losses"
        return f"{self.verdict}, needs about {_rounded(self.needed_min)} minutes"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Measured links against the models."""

    measured: LossLog  # What was logged
    models: dict[str, list[LossLog]]  # Name to replicas, `EMULATED` first
    gates: list[Gate]  # Figure by figure

    @property
    def summary(self) -> str:
        """How many figures are met, in one sentence."""
        verdicts = [gate.verdict for gate in self.gates]
        counts = {v: verdicts.count(v) for v in Verdict if v in verdicts}
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        unsure = [gate for gate in self.gates if gate.verdict is Verdict.CANNOT_TELL]
        wanted = [g.needed_min for g in unsure if g.minutes <= g.needed_min < _LONGEST_MIN]
        remedy = ""
        if unsure and np.isnan(unsure[0].minutes):
            remedy = ": that takes positions, however long the logs are"
        elif unsure:
            minutes = f"{unsure[0].minutes:.0f} minutes of logs are too few"
            remedy = f": {minutes}"
            remedy += f"; about {_rounded(max(wanted))} would tell most" if wanted else ""
        return f"of {len(verdicts)} figures of the losses {said}{remedy}"


def judge_links(
    links: Sequence[Link],
    parameters: Parameters,
    levels_db: Mapping[Group, tuple[float, float]],
    on_part: Callable[[str, float], None],
    *,
    fitted_to: Sequence[Link] | None = None,
) -> Judgement:
    """Emulate the drives of some links, and hold the losses against the logged ones.

    Args:
        links: Of the logs.
        parameters: The fitted ones; what the logs leave open is drawn, as training draws it.
        levels_db: Interval of the margin at 20 m of each group, drawn from, too.
        on_part: Told what is being done, and how far it is in [0, 1].
        fitted_to: Links that all of that was fitted to, and that the naive models are; default:
            those that are judged.
    """
    measured = LossLog.of_links(links)
    what = "driving the logged drives again"
    lost = _emulate(parameters, links, levels_db, lambda share: on_part(what, share))
    on_part("comparing", 0.0)
    share, burst = _naive_fits(links, measured, links if fitted_to is None else fitted_to)
    models = {
        EMULATED: [replace(measured, lost=one) for one in np.split(lost, _REPLICAS, axis=1)],
        "Gilbert–Elliott": _draw_gilbert_elliott(measured, share, burst),
        "independent": _draw_independent(measured, share),
    }
    # What the emulator draws for want of positions is no noise that a longer log is rid of.
    placed = any(np.isfinite(link.distance_m).any() for link in links)
    minutes = _minutes_of(links) if placed else np.nan
    gates = []
    for name, statistic in STATISTICS.items():
        reached = [[statistic(log) for log in logs] for logs in models.values()]
        means = tuple(float(np.mean(values)) for values in reached)
        # A short log's halves differ by less than two drives do: replicas tell.
        noise = float(np.maximum(split_half_noise(measured, statistic), np.std(reached[0], ddof=1)))
        gates.append(Gate(name, statistic(measured), noise, means, minutes))
    return Judgement(measured, models, gates)


def _emulate(
    parameters: Parameters,
    links: Sequence[Link],
    levels_db: Mapping[Group, tuple[float, float]],
    on_share: Callable[[float], None],
) -> Bools:
    """Lose the frames of L logged drives anew, R times over: (K, R · L), replica by replica.

    Every link is driven by itself with the level of its pair, since it is these boards that are to
    be met and not boards in general; so nobody stands between, and what a car between costs is in
    the level.
    """
    loss = parameters.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - calibrations have no other
    alone = loss.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    radio = without_relays(parameters.radio.model_copy(update={"loss": alone}))
    rows, drives, nodes = max(link.outcome.size for link in links), len(links) * _REPLICAS, 3
    channel = BroadcastChannel(radio, num_envs=drives, num_nodes=nodes, receivers=(1, 2))
    everybody = np.arange(drives)
    keys = fold(_SEED, everybody)
    overrides = draw_episode_parameters(parameters, keys, randomise=False)
    otherwise = parameters.ranges(randomise=False).get(_MARGIN, (loss.margin_20m_db,) * 2)
    low, high = np.tile([_level(link, levels_db, otherwise) for link in links], (_REPLICAS, 1)).T
    overrides[_MARGIN] = low + (high - low) * uniform(fold(keys, _SEED))
    overrides |= {name: np.zeros(drives) for name in _OF_BOARDS if name in overrides}
    channel.reset(everybody, keys, present=_PRESENT, overrides=overrides)
    receiver_m, sender_m = (np.tile(way, _REPLICAS) for way in _ways(links, rows))
    two_way = np.tile([link.two_way for link in links], _REPLICAS)
    lost = np.zeros((rows, drives), dtype=bool)
    payload = np.zeros((drives, nodes, len(PayloadField)))
    xy_m = np.zeros((drives, nodes, 2))
    sending = np.tile(_PRESENT, (drives, 1))
    for k in range(rows):
        if k % 500 == 0:
            on_share(k / rows)
        xy_m[:, 1, 1], xy_m[:, 2, 1] = sender_m[k], receiver_m[k]
        t_us = np.tile(k * BEACON_PERIOD_US + _SLOTS_US, (drives, 1))
        now_us = np.full(drives, (k + 1) * BEACON_PERIOD_US)
        table = exchange(channel, t_us, now_us, payload, xy_m, sending)
        came = table.heard & (table.sequence == k)
        lost[k] = ~(came[:, 1, 0] & (came[:, 0, 1] | ~two_way))
    return lost


def _level(
    link: Link, levels_db: Mapping[Group, tuple[float, float]], otherwise: tuple[float, float]
) -> tuple[float, float]:
    """Interval of a link's level, over the cars that stood between, by how often they did."""
    betweens, counts = np.unique(link.between[link.scored], return_counts=True)
    ends = [levels_db.get((*link.pair, int(b)), otherwise) for b in betweens]
    mean = np.average(ends, axis=0, weights=counts) if counts.size else np.array(otherwise)
    low, high = np.clip(mean, -60.0, 80.0).tolist()
    return low, high


def _ways(links: Sequence[Link], rows: int) -> tuple[Floats, Floats]:
    """Where the receiver is along its way, and where the sender; (rows, L) each."""
    along, ahead = np.zeros((rows, len(links))), np.zeros((rows, len(links)))
    for k, link in enumerate(links):
        # Beyond its end, a shorter log stays where it ended.
        at = np.minimum(np.arange(rows), link.outcome.size - 1)
        along[:, k] = np.cumsum(np.clip(link.travel_m, 0.0, 100.0))[at]
        known = np.flatnonzero(np.isfinite(link.distance_m))
        gap_m = np.interp(at, known, link.distance_m[known]) if known.size else _UNKNOWN_M
        ahead[:, k] = along[:, k] + gap_m
    return along, ahead


def _minutes_of(links: Sequence[Link]) -> float:
    """How long the drives of some links are together."""
    spans: dict[int, tuple[float, float]] = {}
    for link in links:
        begin, end = spans.get(link.drive, (np.inf, -np.inf))
        spans[link.drive] = min(begin, link.time_s[0]), max(end, link.time_s[-1])
    return sum(end - begin for begin, end in spans.values()) / 60.0


def _rounded(minutes: float) -> int:
    """A number of minutes as one says it."""
    return max(int(np.ceil(minutes / 5.0)) * 5, 5)


def _naive_fits(
    links: Sequence[Link], judged: LossLog, fitted_to: Sequence[Link]
) -> tuple[Floats, Floats]:
    """Fit the naive models: the share lost at each row (K, L), and the mean burst (L,).

    By the bins of `DISTANCES_M`, from the link of the same name among those fitted to, else from
    that pair, else from all.
    """
    share, burst = np.zeros(judged.lost.shape), np.ones(len(links))
    size = len(DISTANCES_M) + 1
    for k, link in enumerate(links):
        same = [x for x in fitted_to if (x.source, x.receiver) == (link.source, link.receiver)]
        same = same or [x for x in fitted_to if x.pair == link.pair] or list(fitted_to)
        bins = np.concatenate([_bins(x.distance_m[x.scored]) for x in same])
        lost = np.concatenate([x.lost[x.scored] for x in same])
        count, losses = np.bincount(bins, minlength=size), np.bincount(bins, lost, minlength=size)
        overall = losses.sum() / max(count.sum(), 1)
        by_bin = np.where(count > 0, losses / np.maximum(count, 1), overall)
        share[:, k] = by_bin[_bins(judged.distance_m[:, k])]
        burst[k] = np.nan_to_num(mean_burst(LossLog.of_links(same)), nan=1.0)
    return share, burst


def _bins(distance_m: Floats) -> Ints:
    bins: Ints = np.searchsorted(DISTANCES_M, np.nan_to_num(distance_m), side="right")
    return bins


def _draw_independent(log: LossLog, share: Floats) -> list[LossLog]:
    """Lose each frame on its own, with the share (K, L) of its link and distance."""
    generator = np.random.Generator(np.random.PCG64(_NAIVE_SEED))
    return [replace(log, lost=generator.random(share.shape) < share) for _ in range(_REPLICAS)]


def _draw_gilbert_elliott(log: LossLog, share: Floats, burst: Floats) -> list[LossLog]:
    """Lose frames in the bad state of a chain of given loss and mean burst (Gilbert 1960)."""
    generator = np.random.Generator(np.random.PCG64(_NAIVE_SEED + 1))
    share = np.clip(share, 0.0, 0.999)
    links = share.shape[1]
    leave = 1.0 / burst
    # A burst cannot be shorter than the loss allows: p / (1 - p) at least.
    leave = np.minimum(leave, np.where(share > 0.0, (1.0 - share) / np.maximum(share, 1e-9), 1.0))
    enter = share / (1.0 - share) * leave
    bad = generator.random((_REPLICAS, links)) < share[0]
    lost = np.zeros((_REPLICAS, *share.shape), dtype=bool)
    for t in range(len(share)):
        u = generator.random((_REPLICAS, links))
        bad = np.where(bad, u >= leave[t], u < enter[t])
        lost[:, t] = bad
    return [replace(log, lost=one) for one in lost]
