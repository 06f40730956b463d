"""What a parameter set does to a convoy: the numbers behind its picture and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.calibration.synthetic.drive import reference_drive
from ml.calibration.trials.convoy import drawn_always, record_direct_links, sample_ages_s, straight
from ml.espnow_emulator import RadioParameters
from ml.parameters import Parameters
from ml.vehicle import DT_S

SPACING_M: Final = 21.0
"""Distance between neighbours of a convoy in a trial: as on the reference drive."""
AHEAD: Final = (1, 2, 3)
_MOST_BETWEEN = 2
_LEAST_GAP_M = 5.0
_DISTANCES_M: Final = np.concatenate(
    [np.arange(5.0, 60.0, 5.0), np.arange(60.0, 120.0, 10.0), np.arange(120.0, 241.0, 20.0)]
)
_DRAWS, _DELIVERY_TICKS = 96, 100
_AGE_CONVOYS, _AGE_TICKS = 96, 600
_MINUTE_BEGINS, _MINUTE_TICKS, _MINUTE_CONVOYS = 2200, 600, 31
_SEED: Final = 11


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of the link from the car ahead, on the reference drive, first-hand."""

    time_s: Floats  # (ticks,), the end of each tick
    age_s: Floats  # (ticks,), true age of the newest message; infinite before the first
    lost: Bools  # (ticks,), own frames of the car ahead that did not arrive


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything a picture shows."""

    delivery: dict[int, tuple[Floats, Floats]]  # By cars between: m (D,), share received (D,)
    ages_s: dict[int, Floats]  # By rank of the car ahead, sorted true ages
    minute: Minute  # Of one link


def behaviour_of(parameters: Parameters) -> Behaviour:
    """Try a parameter set: about 2 million frames."""
    radio, drawn = parameters.radio, partial(drawn_always, parameters)
    convoy_m = np.arange(max(AHEAD) + 1) * SPACING_M
    along_m = straight(np.tile(convoy_m, (_AGE_CONVOYS, 1)), _AGE_TICKS)
    ages_s = sample_ages_s(radio, along_m, overrides=drawn(_AGE_CONVOYS))
    heard = ages_s[_AGE_TICKS // 10 :]  # what an episode begins with is not of interest
    return Behaviour(
        delivery={k: _delivery(radio, k, drawn(_DRAWS)) for k in range(_MOST_BETWEEN + 1)},
        ages_s={rank: np.sort(heard[..., rank - 1], axis=None) for rank in AHEAD},
        minute=_minute(radio, drawn(_MINUTE_CONVOYS)),
    )


def _delivery(
    radio: RadioParameters, between: int, drawn: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """Measure delivery over distance between two cars with others evenly between them."""
    nodes = between + 2
    fitting = _DISTANCES_M[_DISTANCES_M / (between + 1) >= _LEAST_GAP_M]
    gaps_m = np.repeat(fitting, _DRAWS) / (between + 1)
    along = straight(gaps_m[:, None] * np.arange(nodes), _DELIVERY_TICKS)
    # The same boards drive at every distance, so that the curve shows the distance alone.
    boards = np.tile(np.arange(_DRAWS), fitting.size)
    overrides = {name: values[boards] for name, values in drawn.items()}
    links = record_direct_links(radio, along, seed=_SEED, identities=boards, overrides=overrides)
    lost = links.lost[:, :, 0, -1]
    return fitting, 1.0 - lost.reshape(_DELIVERY_TICKS, fitting.size, _DRAWS).mean(axis=(0, 2))


def _minute(radio: RadioParameters, drawn: Mapping[str, Floats]) -> Minute:
    """Take a minute of the reference drive at cruising speed, of the middle one of some convoys."""
    drive = reference_drive(_MINUTE_CONVOYS)
    part = drive[_MINUTE_BEGINS : _MINUTE_BEGINS + _MINUTE_TICKS + 1]
    links = record_direct_links(radio, part, seed=_SEED, overrides=drawn)
    lost = links.lost[:, :, 0, 0]
    middle = int(np.argsort(lost.mean(axis=0), kind="stable")[_MINUTE_CONVOYS // 2])
    heard = ~lost[:, middle]
    time_s = np.arange(1, _MINUTE_TICKS + 1, dtype=np.float64) * DT_S
    sampled_s = np.where(heard, links.generated_us[:, middle, 0] * 1e-6, -np.inf)
    age_s = time_s - np.maximum.accumulate(sampled_s)
    return Minute(time_s, age_s, lost[:, middle])
