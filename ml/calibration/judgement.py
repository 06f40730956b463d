"""How near the fitted radio comes to the logged losses, beside two naive models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.loss_statistics import STATISTICS, split_half_noise
from ml.calibration.naive_models import draw_gilbert_elliott, draw_independent
from ml.calibration.trials.drive import emulate, measured_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml.calibration.fits.link_jobs import Group
    from ml.calibration.fits.loss_statistics import LossLog
    from ml.calibration.logs.links import Link
    from ml.parameters import Parameters

_REPLICAS: Final = 6
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
        models: Name to replicas, the fitted radio first.
        gates: Figure by figure.
    """

    measured: LossLog
    models: dict[str, list[LossLog]]
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
        replicas=_REPLICAS,
        on_share=lambda share: on_part("driving the logged drives again", share),
    )
    on_part("comparing", 0.0)
    models = {
        "emulated": list(emulated),
        "Gilbert–Elliott": draw_gilbert_elliott(measured, _REPLICAS),
        "independent": draw_independent(measured, _REPLICAS),
    }
    gates = []
    for name, statistic in STATISTICS.items():
        found = [[statistic(log) for log in logs] for logs in models.values()]
        gates.append(
            Gate(
                name,
                statistic(measured),
                float(split_half_noise(measured, statistic)),
                tuple(float(np.mean(values)) for values in found),
                float(np.std(found[0], ddof=1)),
            )
        )
    return Judgement(measured, models, gates)
