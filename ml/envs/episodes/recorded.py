"""Recorded convoys as episodes: the cars ahead drive as recorded, the ego in the last one's place.

A case of a recording is a manoeuvre (`ml.envs.episodes.scripted`): where the cars start, and a
speed for each car ahead at the end of each tick. In training, recorded episodes take the place of a
share of the drawn ones (`EnvConfig.episodes_from`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.calibration.convoys.cases import RecordedCase
from ml.calibration.convoys.folder import (
    Cut,
    cut_all,
    read_folder,
    require_cases,
    told_of,
)
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.envs.config import EnvConfig, EpisodeKind
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.episodes.scripted import ManoeuvreCase, ManoeuvreSupply
from ml.keyed_random import Stream, extend, fold, uniform
from ml.sumo.protocol import DriverParameters, Placement
from ml.sumo.road import Road
from ml.vehicle import DT_S

REAL_GAP, REAL_HEADWAY = "real_min_gap_m", "real_headway_s"
"""Labels: what the real last car kept."""


_Files = tuple[tuple[str, int, int], ...]
_read: dict[str, tuple[_Files, tuple[RecordedConvoy, ...]]] = {}


def recordings_in(
    folder: str, on_recording: Callable[[int, int], None] = lambda *_: None
) -> tuple[RecordedConvoy, ...]:
    """Read a folder's recordings, once in a process while they stay as they are.

    `on_recording` is told (read, in all).

    Raises:
        LogError: With file, line and value of what is wrong, and the remedy.
    """
    stats = ((path, path.stat()) for path in sorted(Path(folder).rglob("*.csv")))
    files = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)
    if folder not in _read or _read[folder][0] != files:
        _read[folder] = files, tuple(read_folder(Path(folder), on_recording))
    return _read[folder][1]


def manoeuvre(case: RecordedCase) -> ManoeuvreCase:
    """Turn a recorded case into an episode with given traffic.

    It is a hazard where an ego that holds its speed from the onset on hits the car in front, else
    benign: somebody brakes, but who follows need not. Gaps are taken to the millimetre.
    """
    cars = case.speed_mps.shape[1]
    return ManoeuvreCase(
        kind=_kind(case),
        gaps_m=tuple(case.gap_m[0].round(3).tolist()),
        speed_mps=tuple(case.speed_mps[0].tolist()),
        script_mps={car: case.speed_mps[1:, car] for car in range(1, cars)},
        brake_rank=case.brake_car,
        onset_tick=case.onset_tick,
        release_tick=case.release_tick,
        leader_mps=float(case.speed_mps[-1, -1]),
        labels={
            "recording": case.convoy.source.name,
            "begins_s": round(float(case.convoy.time_s[case.start_row]), 1),
            "braking_mps2": round(case.hardest_mps2, 2),
            REAL_GAP: round(case.least_gap_m, 3),
            REAL_HEADWAY: round(case.headway_s, 3),
        },
    )


def _kind(case: RecordedCase) -> EpisodeKind:
    if case.brake_car == 0:
        return "free"
    after = slice(case.onset_tick, None)
    gap_m, ahead_mps = float(case.gap_m[after, 0][0]), case.speed_mps[after, 1]
    driven_m = np.cumsum(0.5 * (ahead_mps[1:] + ahead_mps[:-1])) * DT_S
    held_m = case.follower_mps[case.onset_tick] * np.arange(1, ahead_mps.size) * DT_S
    return "hazard" if (held_m >= gap_m + driven_m).any() else "benign"


def cases_for(cuts: Sequence[Cut], road: Road) -> tuple[list[RecordedCase], Counter[str]]:
    """Return the cases that a road can carry, and why how many were refused, there or before."""
    refused = sum((cut.refused for cut in cuts), Counter[str]())
    cases = [case for cut in cuts for case in cut.cases]
    slow = [case for case in cases if case.speed_mps[0].max() <= road.fastest_mps]
    if len(slow) < len(cases):
        refused["faster at the beginning than the road allows"] = len(cases) - len(slow)
    return slow, refused


class RecordedMix:
    """Puts recorded episodes in the place of a share of the drawn ones.

    Which, and which case, is drawn from the key of the episode that would have been.

    Args:
        config: With `episodes_from`.
        road: The road that carries them.

    Attributes:
        num_recordings: In the train half.
        num_cases: Different episodes in them.
        refused: Reason to number of brakings that gave none.

    Raises:
        LogError: A recording is wrong, or its train half has no case.
        ScenarioError: A case does not fit on the road.
    """

    def __init__(self, config: EnvConfig, road: Road) -> None:
        folder, peers = config.episodes_from, config.max_convoy_peers
        cuts = cut_all(recordings_in(folder), half="train", most_peers=peers)
        cases, self.refused = cases_for(cuts, road)
        require_cases(cases, self.refused, Path(folder), "train")
        self.num_cases, self.num_recordings = len(cases), len(cuts)
        self._share = config.episodes_from_share
        self._ticks = round(config.episode_s / DT_S)
        self._supply = ManoeuvreSupply([manoeuvre(case) for case in cases], config, road)

    def __str__(self) -> str:
        refused = told_of(self.refused)
        return (
            f"recorded convoys: {self.num_cases} cases of {self.num_recordings} recordings"
            f"{f', {refused},' if refused else ''}"
        )

    def no_script_mps(self, rows: int, num_slots: int) -> Floats:
        """Script nothing, (rows, num_slots, ticks), with room for what recorded episodes script."""
        return np.full((rows, num_slots, self._ticks), np.nan)

    def replace(
        self, keys: Words, may: Bools, plan: EpisodePlan, placement: Placement
    ) -> tuple[Placement, Floats]:
        """Replace some of the episodes that were drawn.

        Args:
            keys: (n,) uint64, of the episodes.
            may: (n,) bool, those that may be replaced.
            plan: Theirs, changed.
            placement: Theirs.

        Returns:
            The new placement, and the scripts, (n, slots, ticks).
        """
        drawn = fold(keys, Stream.RECORDED_EPISODE)
        rows = np.flatnonzero(may & (uniform(drawn) < self._share))
        script_mps = self.no_script_mps(keys.size, placement.present.shape[1])
        if not rows.size:
            return placement, script_mps
        cases = (uniform(extend(drawn[rows], 1)) * self.num_cases).astype(np.int64)
        theirs, at = self._supply.draw(keys[rows], placement.env_indices[rows], None, cases)
        plan.write(rows, theirs)
        script_mps[rows] = self._supply.script_mps(cases)
        return _with_rows(placement, rows, at), script_mps


def _with_rows(placement: Placement, rows: Ints, other: Placement) -> Placement:
    """Replace some rows of a placement by another's."""

    def mixed(mine: Any, theirs: Any) -> Any:
        found = mine.copy()
        found[rows] = theirs
        return found

    names = ("present", "route_pos_m", "speed_mps", "controlled")
    return Placement(
        env_indices=placement.env_indices,
        **{name: mixed(getattr(placement, name), getattr(other, name)) for name in names},
        drivers=DriverParameters(
            *(
                mixed(getattr(placement.drivers, name), getattr(other.drivers, name))
                for name in DriverParameters.__slots__
            )
        ),
    )
