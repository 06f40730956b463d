"""`roadsense drives FOLDER`: which recorded convoys there are, and which cases can be driven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ml.console import WholeTable, counted, make_console
from ml.options import read_options

_MINUTE_S = 60.0


@dataclass(frozen=True)
class DrivesOptions:
    """List the recorded convoys of a folder, and the cases cut out of them.

    A recording is a file in the layout of the OpenACC database, or the TX and RX logs of one folder
    together, in another format if a map.toml beside the recordings says how they are read
    (roadsense logs map FILE --out FOLDER/map.toml). A case is cut around each braking below
    −3 m/s² of a car ahead of the last one, 20 s before to 25 s after it; one with holes is refused
    and counted here. Half of the recordings, by their content, are for training (roadsense train
    --episodes-from FOLDER), the others for evaluation (roadsense evaluate --suite drives:FOLDER).
    See docs/drives.md for sources.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of recordings, searched recursively."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense drives`; return the exit code."""
    options = read_options(DrivesOptions, "roadsense drives", arguments)
    from ml.calibration.convoys.folder import (  # noqa: PLC0415 (numba is slow to import)
        cut_all,
        is_for_training,
        read_folder,
        told_of,
    )
    from ml.progress import Parts  # noqa: PLC0415

    console = make_console()
    with Parts(console, "reading") as shown:
        convoys = read_folder(options.folder, shown.count)
    table = WholeTable("recording", "half", ">cars", ">minutes", ">cases", "refused")
    cuts = cut_all(convoys)
    cases: Counter[str] = Counter()
    for cut in cuts:
        convoy = cut.convoy
        half = "train" if is_for_training(convoy.sha256) else "held out"
        cases[half] += len(cut.cases)
        table.add_row(
            str(convoy.source.relative_to(options.folder)),
            half,
            str(len(convoy.names)),
            f"{convoy.duration_s / _MINUTE_S:.1f}",
            str(len(cut.cases)),
            told_of(cut.refused).replace(" refused", "") or "–",
        )
    console.print(table)
    refused = sum(sum(cut.refused.values()) for cut in cuts)
    console.print(
        f"{counted(len(cuts), 'recording')}; {counted(cases['train'], 'case')} for training, "
        f"{cases['held out']} held out, {refused} refused",
        highlight=False,
    )
    return 0
