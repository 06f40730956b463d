"""The observation as data: each feature's name, scale, bounds and meaning.

One specification serves training, replay and export. `OBSERVATION_VERSION` changes whenever a
feature does, or what one means.
"""

from collections import namedtuple
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Floats
from ml.errors import ConfigError
from ml.onboard.views import HISTORY

Observation: TypeAlias = "dict[str, NDArray[np.float32]]"
"""`ego (n, 21)`, `peers (n, 8, 23)` and `peer_mask (n, 8)`; a row per convoy."""

OBSERVATION_VERSION = 6
MAX_PEERS = 8
"""Rows for peers; where more are heard, the nearest are kept."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: the value in `unit` is divided by `scale`, then held to [`low`, `high`]."""

    name: str
    unit: str
    scale: float
    low: float
    high: float
    meaning: str


EGO_FEATURES = (
    Feature("speed", "m/s", 40.0, 0.0, 2.0, "own speed, measured"),
    Feature("accel", "m/s²", 10.0, -2.0, 2.0, "own acceleration, measured"),
    Feature("last_command", "m/s²", 10.0, -1.0, 1.0, "acceleration commanded in the last tick"),
    Feature("earlier_command", "m/s²", 10.0, -1.0, 1.0,
            "acceleration commanded a tick before that"),
    Feature("speed_change", "m/s", 5.0, -2.0, 2.0, "own speed now less that of 0.5 s ago"),
    Feature("position_sd", "m", 10.0, 0.0, 2.0, "own position's standard deviation, as believed"),
    Feature("peers_heard", "count", 8.0, 0.0, 3.0, "peers whose newest message is not stale"),
    Feature("silence", "s", 2.0, 0.0, 5.0, "age of the newest message of any peer; 10 s if none"),
    Feature("nearest_gap", "m", 50.0, -0.5, 3.0, "smallest estimated gap; 150 m if none is heard"),
    Feature("nearest_closing", "m/s", 20.0, -2.5, 2.5,
            "own speed less the nearest peer's; 0 if none"),
    Feature("nearest_time_gap", "s", 2.0, -0.5, 3.0, "nearest gap over own speed (≥ 2 m/s)"),
    Feature("hardest_braking", "m/s²", 10.0, 0.0, 2.0,
            "largest deceleration any peer last reported"),
    Feature("range", "m", 50.0, 0.0, 3.0,
            "distance to the car ahead by the ranging sensor; 0 if none"),
    Feature("range_valid", "1", 1.0, 0.0, 1.0, "1 if the ranging sensor sees a car, else 0"),
    Feature("wanted_time_gap", "s", 2.0, 0.0, 2.5, "time gap that the driver has set"),
    Feature("gap_error", "m", 20.0, -3.0, 7.0, "nearest gap less the wanted one at the own speed"),
    Feature("nearest_accel", "m/s²", 10.0, -2.0, 2.0, "the nearest peer's acceleration; 0 if none"),
    Feature("nearest_age", "s", 2.0, 0.0, 5.0, "age of the nearest peer's message; 10 s if none"),
    Feature("nearest_sd", "m", 10.0, 0.0, 2.0, "standard deviation of the nearest gap; 0 if none"),
    Feature("needed_braking", "m/s²", 10.0, 0.0, 1.0,
            "deceleration that the peers' predictions demand"),
    Feature("missing_room", "m", 20.0, -5.0, 5.0, "lacking if the nearest brakes unheard"),
)  # fmt: skip

PEER_FEATURES = (
    Feature("gap", "m", 100.0, -0.5, 5.0, "estimated distance from the own front to its rear"),
    Feature("time_gap", "s", 2.0, -0.5, 5.0, "that gap over own speed (≥ 2 m/s)"),
    Feature("lateral", "m", 20.0, -5.0, 5.0, "offset to the left of the mean heading"),
    Feature("relative_speed", "m/s", 20.0, -2.5, 2.5, "its speed, predicted to now, less the own"),
    Feature("speed", "m/s", 40.0, 0.0, 2.0, "its speed as last reported"),
    Feature("accel", "m/s²", 10.0, -2.0, 2.0, "its acceleration as last reported"),
    Feature("heading_sin", "1", 1.0, -1.0, 1.0, "sine of its heading less the own"),
    Feature("heading_cos", "1", 1.0, -1.0, 1.0, "cosine of its heading less the own"),
    Feature("age", "s", 2.0, 0.0, 5.0, "age of its newest message, as a board estimates it"),
    Feature("position_sd", "m", 10.0, 0.0, 2.0,
            "its position's standard deviation, as it believes"),
    Feature("hops", "count", 3.0, 0.0, 1.0, "relays that its newest message has passed"),
    Feature("cars_between", "count", 8.0, 0.0, 3.0, "heard peers with a smaller estimated gap"),
    *(
        feature
        for n in range(1, HISTORY + 1)
        for feature in (
            Feature(f"accel_{n}_before", "m/s²", 10.0, -2.0, 2.0, f"acceleration {n} messages ago"),
            Feature(f"slowed_since_{n}", "m/s", 5.0, -3.0, 3.0,
                    f"speed {n} messages ago less now's"),
            Feature(f"span_{n}", "s", 2.0, 0.0, 5.0, f"time from {n} messages ago to the newest"),
        )
    ),
    Feature("room", "m", 100.0, -0.5, 5.0, "gap less the lengths of the heard cars between"),
    Feature("needed_braking", "m/s²", 10.0, 0.0, 1.0, "deceleration that its prediction demands"),
)  # fmt: skip

EGO_INDEX = {feature.name: i for i, feature in enumerate(EGO_FEATURES)}
PEER_INDEX = {feature.name: i for i, feature in enumerate(PEER_FEATURES)}

# A compiled loop indexes with plain numbers, and takes them from a named tuple: `row[EGO.speed]`.
EGO: Any = namedtuple("EGO", EGO_INDEX)(**EGO_INDEX)  # noqa: PYI024
PEER: Any = namedtuple("PEER", PEER_INDEX)(**PEER_INDEX)  # noqa: PYI024


def columns_of(part: str, names: Iterable[str]) -> tuple[int, ...]:
    """Find columns of the observation by name.

    Args:
        part: `ego` or `peers`.
        names: Features as `ego.silence` or `peers.age`; those of the other part are passed over.

    Raises:
        ConfigError: There is no such feature.
    """
    index = {f"ego.{name}": i for name, i in EGO_INDEX.items()}
    index |= {f"peers.{name}": i for name, i in PEER_INDEX.items()}
    chosen = list(names)
    for name in chosen:
        if name not in index:
            near = ", ".join(get_close_matches(name, index, n=3)) or "ego.speed, peers.age, …"
            raise ConfigError(
                f"the observation has no feature {name!r}. Did you mean one of: {near}? "
                "`roadsense observation` lists all."
            )
    return tuple(index[name] for name in chosen if name.startswith(f"{part}."))


def _limits(features: tuple[Feature, ...]) -> Floats:
    """Scale, low and high of each feature, (3, n)."""
    parts = ("scale", "low", "high")
    return np.array([[getattr(feature, part) for feature in features] for part in parts])


EGO_LIMITS, PEER_LIMITS = _limits(EGO_FEATURES), _limits(PEER_FEATURES)
# Absent peers are rows of zeros, so zero is within a peer's bounds.
PEER_LIMITS[1], PEER_LIMITS[2] = np.minimum(PEER_LIMITS[1], 0.0), np.maximum(PEER_LIMITS[2], 0.0)
