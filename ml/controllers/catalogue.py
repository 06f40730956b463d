"""Every kind of controller by the name that stands on a command line."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ml.controllers.bounds import Constant, Oracle
from ml.controllers.car_following import AdaptiveCruiseControl, IntelligentDriver, Krauss
from ml.controllers.headway import ConstantTimeHeadway, Threshold
from ml.controllers.platoon import PathCacc, Ploeg
from ml.controllers.predictive import PredictiveHeadway
from ml.controllers.protocol import Controller
from ml.controllers.safety import CarefulDriver, RssFollower
from ml.vehicle import MAX_BRAKING_MPS2


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of controller.

    Attributes:
        build: Takes the time gap (s) and the standstill distance (m), either left out.
        time_gaps_s: The frontier's time gaps; empty for a controller without one.
    """

    build: Callable[..., Controller]
    time_gaps_s: tuple[float, ...] = ()


_GAPS_S = (0.5, 0.8, 1.1, 1.5, 2.0)

ENTRIES: dict[str, Entry] = {
    "do-nothing": Entry(partial(Constant, "do-nothing", 0.0)),
    "always-brake": Entry(partial(Constant, "always-brake", -MAX_BRAKING_MPS2)),
    "oracle": Entry(Oracle),
    "predictive": Entry(PredictiveHeadway, _GAPS_S),
    "predictive-hard": Entry(partial(PredictiveHeadway, soft=False), _GAPS_S),
    "threshold": Entry(Threshold, _GAPS_S),
    "cth": Entry(ConstantTimeHeadway, _GAPS_S),
    "idm": Entry(IntelligentDriver, _GAPS_S),
    "krauss": Entry(Krauss, _GAPS_S),
    "acc": Entry(AdaptiveCruiseControl, _GAPS_S),
    "path-cacc": Entry(PathCacc, _GAPS_S),
    "ploeg": Entry(Ploeg, _GAPS_S),
    "rss": Entry(RssFollower, _GAPS_S),
    "careful": Entry(CarefulDriver, _GAPS_S),
}
