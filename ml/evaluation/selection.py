"""What of a result to show: roles of the controllers, rivals, worst episodes, where crashes are."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.errors import ResultError
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import EpisodeRow, Manifest, read_rows

Role = Literal["policy", "classical", "bound"]
MOST_SHOWN_POLICIES = 3
MOST_ALIKE = 3

_SAME_HEADWAY_S = 0.05
_LOSS_EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_SILENCE_EDGES_S = (0.0, 0.3, 0.5, 1.0, 2.0, 5.0, float("inf"))


@dataclass(frozen=True, slots=True)
class ResultView:
    """A result, ready to be looked at.

    Attributes:
        rows: (suite, radio, controller) to the episodes, invalid ones among them.
    """

    folder: Path
    manifest: Manifest
    rows: dict[tuple[str, str, str], list[EpisodeRow]]

    @property
    def suites(self) -> list[str]:
        """Suites that have a cell, in the manifest's order."""
        present = {suite for suite, _, _ in self.rows}
        return [suite for suite in self.manifest.suites if suite in present]

    def radios(self, suite: str) -> list[str]:
        """Radios that a suite ran on, in the manifest's order."""
        present = {radio for s, radio, _ in self.rows if s == suite}
        return [radio.name for radio in self.manifest.radios if radio.name in present]

    def controllers(self, suite: str, radio: str) -> list[DriverSpec]:
        """Controllers that ran there, in the manifest's order."""
        return [c for c in self.manifest.controllers if (suite, radio, c.name) in self.rows]

    @property
    def main_suite(self) -> str:
        """The suite that pictures are drawn of: `convoy` where it ran, else the first."""
        named = [suite for suite in self.suites if suite.partition(":")[0] == "convoy"]
        return (named or self.suites)[0]

    def policies(self) -> list[DriverSpec]:
        """Trained policies, driving as they are meant to."""
        return [c for c in self.manifest.controllers if is_main_policy(c)]


def load_view(folder: Path) -> ResultView:
    """Read a result.

    Raises:
        ResultError: It is missing, damaged, or holds no episode.
    """
    manifest = Manifest.read(folder)
    rows: dict[tuple[str, str, str], list[EpisodeRow]] = {}
    for row in read_rows(folder):
        rows.setdefault((row.suite, row.radio, row.controller), []).append(row)
    if not rows:
        raise ResultError(
            f"{folder} holds no episode yet. Run `roadsense evaluate` with the same --out again; "
            "it resumes where it stopped."
        )
    return ResultView(folder, manifest, rows)


def role_of(controller: DriverSpec) -> Role:
    """Tell trained policies from laws that know as much as they do, and from bounds."""
    if controller.knows != "radio" or controller.variant == "no safety layer":
        return "bound"
    return "policy" if controller.is_model else "classical"


def is_main_policy(controller: DriverSpec) -> bool:
    """Whether it is a trained policy that drives as it is meant to."""
    return role_of(controller) == "policy" and not controller.variant


def family_labels(controllers: Sequence[DriverSpec]) -> dict[str, str]:
    """Name each family by what its members' names have in common: "CTH" for "CTH 1.1 s"."""
    labels = {}
    for family in dict.fromkeys(controller.family for controller in controllers):
        names = [c.name for c in controllers if c.family == family]
        common = commonprefix(names)  # noqa: RUF071 (of characters, not of folders)
        common = re.sub(r"[\s\d.,:;(]+$", "", re.sub(r"[\d.]+ s$", "", common))
        labels[family] = common or family
    return labels


def avoidable_hazards(rows: Sequence[EpisodeRow]) -> list[EpisodeRow]:
    """Valid hazard episodes that the reference ego survives."""
    return [row for row in rows if row.is_hazard and row.avoidable and not row.invalid]


def _headway_s(rows: Sequence[EpisodeRow]) -> float:
    """Mean of the episodes' mean time headway; infinite where none is known."""
    known = [row.headway_s for row in rows if not row.invalid and not math.isnan(row.headway_s)]
    return fmean(known) if known else math.inf


def _crash_share(rows: Sequence[EpisodeRow]) -> float:
    """Share of avoidable hazards that ended in a crash; infinite without any."""
    counted = avoidable_hazards(rows)
    return sum(row.crash for row in counted) / len(counted) if counted else math.inf


def representatives(view: ResultView, suite: str, radio: str) -> list[DriverSpec]:
    """Pick whom to show beside each other: policies, one law per family, and the bounds.

    Of a family it is the member whose headway is nearest to the first policy's; without a policy,
    the one that crashes least, and of those the one that keeps closest.
    """
    here = view.controllers(suite, radio)
    headway_s = {c.name: _headway_s(view.rows[suite, radio, c.name]) for c in here}
    policies = [c for c in here if is_main_policy(c)]
    target_s = headway_s[policies[0].name] if policies else math.inf

    def preference(controller: DriverSpec) -> tuple[float, float]:
        own_s = headway_s[controller.name]
        if math.isfinite(target_s):
            return abs(own_s - target_s), 0.0
        return _crash_share(view.rows[suite, radio, controller.name]), own_s

    families: dict[str, list[DriverSpec]] = {}
    for controller in here:
        if role_of(controller) == "classical":
            families.setdefault(controller.family, []).append(controller)
    chosen = [min(members, key=preference) for members in families.values()]
    return [c for c in here if is_main_policy(c) or role_of(c) == "bound" or c in chosen]


def rival_of(view: ResultView, suite: str, radio: str, policy: DriverSpec) -> DriverSpec | None:
    """Pick the law to beat: of those that crash least, keeping no more distance than the policy.

    Where every law keeps more, it is the closest-following one.
    """
    laws = [c for c in view.controllers(suite, radio) if role_of(c) == "classical"]
    rows = {c.name: view.rows[suite, radio, c.name] for c in laws}
    headway_s = {name: _headway_s(of) for name, of in rows.items()}
    own_s = _headway_s(view.rows.get((suite, radio, policy.name), []))
    if not laws or math.isinf(own_s):
        return None
    as_close = [c for c in laws if headway_s[c.name] <= own_s + _SAME_HEADWAY_S]
    if not as_close:
        return min(laws, key=lambda c: headway_s[c.name])
    return min(as_close, key=lambda c: (_crash_share(rows[c.name]), headway_s[c.name]))


def worst_episodes(view: ResultView, count: int = 10) -> list[EpisodeRow]:
    """Pick the worst episodes of the policies; without a policy, of the safest law.

    Crashes that were avoidable come first, the hardest first; then other crashes; then the
    narrowest escapes, by time to collision and gap. Of one suite on one radio there are
    `MOST_ALIKE` at most, unless there are no others: grids crash alike.
    """
    watched = {controller.name for controller in view.policies()} or {_safest_law(view)}
    rows = [
        row
        for (_, _, controller), cell in view.rows.items()
        for row in cell
        if controller in watched and not row.invalid
    ]
    rows.sort(key=badness)
    seen: Counter[tuple[str, str]] = Counter()
    chosen: list[EpisodeRow] = []
    alike: list[EpisodeRow] = []
    for row in rows:
        seen[row.suite, row.radio] += 1
        (chosen if seen[row.suite, row.radio] <= MOST_ALIKE else alike).append(row)
    return sorted((chosen + alike)[:count], key=badness)


def _safest_law(view: ResultView) -> str:
    """Name the law with the smallest mean share of crashes over the radios of the main suite."""
    suite = view.main_suite
    radios = view.radios(suite)
    laws = [
        c
        for radio in radios
        for c in representatives(view, suite, radio)
        if role_of(c) == "classical"
    ] or list(view.manifest.controllers)

    def crashes(controller: DriverSpec) -> float:
        cells = [view.rows.get((suite, radio, controller.name)) for radio in radios]
        shares = [_crash_share(rows) for rows in cells if rows is not None]
        return fmean(shares) if shares else math.inf

    return min(laws, key=crashes).name


def badness(row: EpisodeRow) -> tuple[float | int | str, ...]:
    """Return what sorts the worst episode to the front; see `worst_episodes`."""
    order = 2 if not row.crash else 0 if row.avoidable else 1
    severity, unknown = (-row.impact_speed_mps, 0.0) if row.crash else (row.min_ttc_s, math.inf)
    return (
        order,
        unknown if math.isnan(severity) else severity,
        math.inf if math.isnan(row.min_gap_m) else row.min_gap_m,
        *(row.suite, row.radio, row.controller, row.seed, row.case),
    )


class CrashGrid(NamedTuple):
    """Crashes in avoidable hazards, by two properties of the episode.

    Attributes:
        row_labels: From the top.
        column_labels: From the left.
        row_axis: What the rows are, with its unit.
        column_axis: What the columns are.
        crashes: (rows, columns) int64.
        episodes: (rows, columns) int64.
    """

    row_labels: list[str]
    column_labels: list[str]
    row_axis: str
    column_axis: str
    crashes: NDArray[np.int64]
    episodes: NDArray[np.int64]


def by_peers_and_radio(rows: Sequence[EpisodeRow], radios: Sequence[str]) -> CrashGrid:
    """Count over the number of cars ahead and the radio."""
    counted = avoidable_hazards(rows)
    peers = sorted({row.num_peers for row in counted})
    cells = ((peers.index(row.num_peers), radios.index(row.radio), row.crash) for row in counted)
    return _grid(cells, list(map(str, peers)), list(radios), "cars ahead", "radio")


def by_loss_and_silence(rows: Sequence[EpisodeRow]) -> CrashGrid:
    """Count over what the radio did in the episode: share lost, and longest burst of losses.

    The burst is given as the time without a new message of the car in front.
    """
    cells = []
    for row in avoidable_hazards(rows):
        if np.isnan(row.delivery_ratio) or np.isnan(row.longest_blackout_s):
            continue
        loss = min(max(1.0 - row.delivery_ratio, 0.0), 1.0)
        across = min(int(np.searchsorted(_LOSS_EDGES, loss, "right")) - 1, len(_LOSS_EDGES) - 2)
        down = int(np.searchsorted(_SILENCE_EDGES_S, row.longest_blackout_s, "right")) - 1
        cells.append((len(_SILENCE_EDGES_S) - 2 - down, across, row.crash))
    silences = [
        f"≥ {low:g}" if np.isinf(high) else f"{low:g}–{high:g}"
        for low, high in pairwise(_SILENCE_EDGES_S)
    ]
    losses = [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in pairwise(_LOSS_EDGES)]
    axes = "longest burst of losses, s", "share of beacons lost, %"
    return _grid(cells, silences[::-1], losses, *axes)


def _grid(
    cells: Iterable[tuple[int, int, bool]],
    row_labels: list[str],
    column_labels: list[str],
    row_axis: str,
    column_axis: str,
) -> CrashGrid:
    crashes = np.zeros((len(row_labels), len(column_labels)), dtype=np.int64)
    episodes = np.zeros_like(crashes)
    for i, j, crash in cells:
        episodes[i, j] += 1
        crashes[i, j] += crash
    return CrashGrid(row_labels, column_labels, row_axis, column_axis, crashes, episodes)
