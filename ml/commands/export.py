"""`roadsense export`: a trained model as C for an ESP32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ml.console import make_console
from ml.options import read_options
from ml.progress import Parts


@dataclass(frozen=True)
class ExportOptions:
    """Export a model as a folder of C code for an ESP32.

    The folder is a library for the Arduino IDE and for ESP-IDF. Its folder convoy/ is a sketch for
    a complete node: radio, GPS, IMU and the model; see their READMEs. Golden episodes are replayed
    on this machine and on two RISC-V cores under QEMU: every command must equal Python's within
    1e-3 m/s², with the same bits on all three. The cost of a tick on each core is printed, and
    written to budget.json.
    """

    model: Annotated[Path, tyro.conf.Positional]
    """A model of `roadsense train`, a .zip."""
    out: Path
    """The folder to write; it must not exist."""
    radio: str = "clean"
    """Radio preset, or a parameter file, whose sensor errors the board assumes."""
    net: Literal["float", "int16"] = "float"
    """Arithmetic of the network: float32, or 16-bit integers, which need a fifth of the
    instructions on a core without FPU (ESP32-C3, C6, H2), and half the flash for weights."""
    check: bool = True
    """Replay the golden episodes on all cores, and write budget.json; needs the packages that an
    error names where they are missing."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense export`; return 0."""
    options = read_options(ExportOptions, "roadsense export", arguments)
    from ml.export.folder import export  # noqa: PLC0415 (torch and numba are slow)

    console = make_console()
    with Parts(console, "exporting") as parts:
        found = export(
            options.model,
            options.out,
            options.radio,
            net=options.net,
            check=options.check,
            on_part=parts.at,
        )
    for core, budget in found.budgets.items():
        console.print(
            f"{core:<10} {budget.instructions:>10,} instructions a tick with 8 peers "
            f"({budget.ms_at_160_mhz:g} ms at 160 MHz), stack {budget.stack_bytes:,} B, "
            f"RAM {budget.ram_bytes:,} B, flash {budget.flash_bytes:,} B",
            highlight=False,
            soft_wrap=True,
        )
    if found.rounding is not None:
        cost = found.rounding
        console.print(
            f"int16      the policy's wish differs from float's by {cost.mean_mps2:.1g} m/s² in "
            f"the mean, {cost.p99_mps2:.1g} in 99 of 100 ticks, {cost.max_mps2:.1g} at most; "
            f"{cost.saturated:,} of {cost.computed:,} values saturated",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"folder: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return 0
