"""`roadsense params`: show a parameter set, compare two, and fit the margin to measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from ml.commands.checks import require_file
from ml.console import make_console
from ml.errors import ConfigError
from ml.options import read_subcommand
from ml.progress import Parts

if TYPE_CHECKING:
    from ml.parameters import Parameters

_DRAWN_FOR_DOCS = ("clean", "bursty", "shadowed", "blackout")
_MEASURED = frozenset({"clean"})


@dataclass(frozen=True)
class ShowOptions:
    """Show a parameter set: every value with its basis, and what it does to a convoy."""

    radio: Annotated[str | None, tyro.conf.Positional] = None
    """Radio preset, or a parameter file."""
    picture: Path | None = None
    """Draw the picture into this file; default: none."""
    trial: bool = True
    """Drive convoys with it: what the radio does on the reference drive; without, only the tables
    of its values (and the picture, where one is asked for)."""
    meanings: bool = False
    """Say what each parameter means, too."""
    docs: Path | None = None
    """Draw the pictures of docs/radio.md into this folder instead; needs no preset."""


@dataclass(frozen=True)
class DiffOptions:
    """Show what differs between two parameter sets."""

    a: Annotated[str, tyro.conf.Positional]
    """Radio preset, or a parameter file."""
    b: Annotated[str, tyro.conf.Positional]
    """Another one."""


@dataclass(frozen=True)
class FitMarginOptions:
    """Fit the margin model to the measured loss over distance, as the preset clean was."""

    radio: Annotated[str, tyro.conf.Positional] = "clean"
    """Radio preset, or a parameter file: what all other parameters are."""


Options = ShowOptions | DiffOptions | FitMarginOptions
_KINDS = {"show": ShowOptions, "diff": DiffOptions, "fit-margin": FitMarginOptions}


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense params` with its arguments; return the exit code."""
    options: Options = read_subcommand(_KINDS, "roadsense params", arguments)
    console = make_console()
    if isinstance(options, ShowOptions):
        _show(options, console)
    elif isinstance(options, DiffOptions):
        _diff(options, console)
    else:
        _fit_margin(options, console)
    return 0


def _show(options: ShowOptions, console: Console) -> None:
    if options.docs is not None:
        _draw_docs(options.docs, console)
        return
    from ml.parameters import PRESET_NAMES, load_parameters  # noqa: PLC0415 (slow to import)

    if options.radio is None:
        raise ConfigError(
            f"which parameters? Name a preset ({', '.join(PRESET_NAMES)}) or a parameter file."
        )
    parameters = load_parameters(options.radio)
    name = Path(options.radio).stem
    require_file("--picture", options.picture, ".png")
    from ml.reports.parameters.tables import meanings_of, tables_of  # noqa: PLC0415

    console.print(f"radio {name}", style="bold", highlight=False, markup=False)
    console.print(f"{parameters.provenance}\n", highlight=False, markup=False)
    if parameters.boards is not None:
        purpose = parameters.board_sets[parameters.boards].purpose
        console.print(f"boards {parameters.boards}: {purpose}\n", highlight=False, markup=False)
    for table in tables_of(parameters):
        console.print(table)
    if options.meanings:
        console.print(meanings_of(parameters))
    if options.trial:
        from ml.calibration.trials.reference_drive import drive_statistics  # noqa: PLC0415
        from ml.reports.parameters.tables import table_of_drive  # noqa: PLC0415

        with Parts(console, "driving convoys"):
            statistics = drive_statistics(parameters)
        console.print(table_of_drive(statistics))
    if options.picture is not None:
        with Parts(console, "drawing"):
            _draw(parameters, name, options.picture)
        console.print(f"picture: {options.picture}", soft_wrap=True)


def _diff(options: DiffOptions, console: Console) -> None:
    from ml.parameters import load_parameters  # noqa: PLC0415 (slow to import)
    from ml.reports.parameters.tables import difference  # noqa: PLC0415

    one, other = load_parameters(options.a), load_parameters(options.b)
    table = difference(one, other, Path(options.a).stem, Path(options.b).stem)
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{options.a} and {options.b} have the same values")


def _fit_margin(options: FitMarginOptions, console: Console) -> None:
    from ml.espnow_emulator import MarginLoss  # noqa: PLC0415 (slow to import)
    from ml.parameters import load_parameters  # noqa: PLC0415

    loss = load_parameters(options.radio).radio.loss
    if not isinstance(loss, MarginLoss):
        raise ConfigError(
            f"{options.radio}: its loss model is {loss.model!r}; only 'margin' can be fitted. "
            "Name another parameter set, such as clean."
        )
    from ml.calibration.fits.margin import BOUNDS, fit_margin  # noqa: PLC0415
    from ml.reports.parameters.tables import tables_of_fit  # noqa: PLC0415

    fit = fit_margin(loss)
    for table in tables_of_fit(fit, loss):
        console.print(table)
    console.print(f"root mean square of the residuals: {fit.rms:.3f}")
    for name in fit.at_bound:
        free = fit_margin(loss, bounds=dict(BOUNDS) | {name: (-10.0, 60.0)})
        console.print(
            f"{name} is at its bound; without it, it would be {free.values[name]:.2f} and leave "
            f"{free.rms:.3f}"
        )


def _draw_docs(folder: Path, console: Console) -> None:
    if not folder.is_dir():
        raise ConfigError(f"--docs {folder}: there is no such folder. Create it first.")
    from ml.parameters import load_parameters  # noqa: PLC0415 (slow to import)

    for name in _DRAWN_FOR_DOCS:
        file = folder / f"radio-{name}.png"
        require_file("--docs", file)
        with Parts(console, f"driving convoys: {name}"):
            _draw(load_parameters(name), name, file)
        console.print(f"picture: {file}")


def _draw(parameters: Parameters, name: str, file: Path) -> None:
    # Slow to import, and only a trial needs them.
    from ml.calibration.trials.parameters import behaviour_of  # noqa: PLC0415
    from ml.reports.parameters.picture import draw  # noqa: PLC0415
    from ml.reports.style import house_style, save_picture  # noqa: PLC0415

    behaviour = behaviour_of(parameters)
    with house_style():
        save_picture(draw(behaviour, name, measured=name in _MEASURED), file, dpi=110)
