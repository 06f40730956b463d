"""What an evaluation is asked for; light, for the command's options."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from ml.evaluation.records import RadioPosition
from ml.evaluation.seeds import TEST_SEED

SUITE_NAMES = ("convoy", "r157", "ncap", "plexe", "eebl", "cut-in", "queue")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who drives in which suites on which radios."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Models that `roadsense train` saved (.zip)."""
    suite: tuple[str, ...] = SUITE_NAMES
    """Suites, as NAME or NAME:NUMBER (convoy:episodes, r157:time-gap, others:repeats). @SCENARIO at
    the end selects another road, as in convoy@rural or convoy:300@my.sumocfg. drives:FOLDER:
    recorded convoys held out from training; drives-all:FOLDER: all of them (docs/drives.md)."""
    radio: tuple[str, ...] = ()
    """Radio presets or parameter files; default: each suite's own."""
    controllers: tuple[str, ...] = ()
    """Controllers, as NAME:TIME-GAP or NAME for all its time gaps; default: all (in the suite
    convoy at all time gaps, in the others at one); `none` for none."""
    seeds: tuple[int, ...] = (TEST_SEED,)
    """Seeds of the cases; default: the test seed. To choose between models, use the validation
    seed, 3000017, so that the cases of the test seed stay unseen."""
    episodes: int | None = None
    """Episodes of the suite convoy over all its radios; default: 1,000."""
    radio_position: RadioPosition = "reference"
    """Position that decides which packets arrive: the reference ego's, or each driver's own."""
