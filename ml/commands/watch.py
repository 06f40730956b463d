"""`roadsense watch`: an episode as a page that shows what the driver knew, or runs as they go."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ml.commands.checks import require_seeds
from ml.console import make_console
from ml.errors import ConfigError, did_you_mean
from ml.evaluation.seeds import TEST_SEED
from ml.folders import expand_home
from ml.installation import SHIPPED_MODELS, model_file
from ml.options import read_options
from ml.progress import Parts

if TYPE_CHECKING:
    from ml.evaluation.drivers import Driver
    from ml.evaluation.suites.suite import Suite

PORT = 6007
"""Next to TensorBoard's."""
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


@dataclass(frozen=True)
class WatchOptions:
    """Drive an episode and open a page that shows what the driver knew at each moment.

    The page is one file that needs no network: the true and the estimated positions of the cars,
    packets sent and lost, the age of information, the car that decides, and the bounds of the
    safety layer. docs/watch.md explains it; ? on the page lists its keys.

    With --serve runs no episode is driven: a live page lists the training runs of a folder, their
    newest figures, and an episode driven by the newest model of each.
    """

    model: Annotated[str, tyro.conf.Positional] = "convoy"
    """Driver: a trained policy (.zip, or `convoy`, the shipped one), or a controller as for
    `roadsense evaluate`, such as predictive:0.8."""
    radio: str = "bursty"
    """Preset or parameter file."""
    suite: str = "convoy"
    """Suite of the episode, as for `roadsense evaluate`: convoy, cut-in, ncap, …"""
    episode: str = "hazard"
    """`hazard`, `benign` or `free` for an instructive case of that kind, or a case's number."""
    seed: int = TEST_SEED
    """Seed of the case."""
    against: str | None = None
    """Second driver on the same packets, shown beside the first."""
    out: Path | None = None
    """File to write: .html for the page, .json for its data, .npz for arrays, .gif for a picture;
    default: a page in the folder watched/."""
    open: bool = True
    """Open the page in a browser; `--no-open` only writes it, or serves."""
    serve: Path | None = None
    """Folder of training runs to show live, until Ctrl-C; nothing is written to it."""
    host: str = "127.0.0.1"
    """Address that --serve listens on: 127.0.0.1 for this machine only, 0.0.0.0 for all."""
    port: int = PORT
    """Port that --serve listens on; 0 for any free one."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    options = read_options(WatchOptions, "roadsense watch", arguments)
    require_seeds(options, "seed")
    if options.serve is not None:
        return _serve(options.serve, options)
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import check_output, check_writable  # noqa: PLC0415
    from ml.envs.config import KINDS  # noqa: PLC0415
    from ml.evaluation.result import slug  # noqa: PLC0415
    from ml.evaluation.store import radio_record, radio_source  # noqa: PLC0415
    from ml.evaluation.suites.registry import make_suite  # noqa: PLC0415
    from ml.evaluation.watched import drive_and_record, find_case  # noqa: PLC0415
    from ml.reports.episode.files import (  # noqa: PLC0415
        drive_of,
        require_ending,
        title_of,
        write_episode,
    )

    specs = [options.model, *([] if options.against is None else [options.against])]
    if options.out is not None:
        require_ending("--out", options.out, len(specs))
        check_output("--out", options.out)
    suite = make_suite(options.suite)
    radio = radio_source(radio_record(options.radio))
    drivers = [_driver(spec, len(specs)) for spec in specs]
    kind = next((kind for kind in KINDS if kind == options.episode), None)
    case = find_case(suite, kind, options.seed) if kind else _case_number(options.episode, suite)
    console = make_console()
    drives = []
    with Parts(console, "driving") as shown:
        for driver in drivers:
            row, recording = drive_and_record(
                driver,
                suite,
                case,
                radio=radio,
                seed=options.seed,
                on_tick=lambda tick, ticks: shown.at("driving", tick / ticks),
            )
            row.radio = options.radio
            drives.append(drive_of(row, recording))
        title = title_of(row)
        file = options.out
        if file is None:
            names = [slug(driver.name) for driver in drivers]
            parts = (*names, slug(row.suite), slug(row.radio), f"e{case}")
            file = Path("watched") / f"{'__'.join(parts)}.html"
            check_writable(file.parent, "--out")
        write_episode(file, title, drives, lambda frame, of: shown.at("drawing", frame / of))
    for drive in drives:
        console.print(f"{drive.driver}: {drive.story}", markup=False, highlight=False)
    console.print(f"{title}: {file}", markup=False, highlight=False, soft_wrap=True)
    if options.open and file.suffix.lower() == ".html":
        open_page(file)
    return 0


def open_page(file: Path) -> None:
    """Open a page in a browser, where there is one with a window; never one in the terminal."""
    _open(file.absolute().as_uri())


def _open(address: str) -> None:
    if sys.platform.startswith("linux") and not any(map(os.environ.get, _DISPLAYS)):
        return
    with suppress(webbrowser.Error):
        webbrowser.open(address)


def _serve(folder: Path, options: WatchOptions) -> int:
    """Serve a folder of runs until Ctrl-C."""
    from ml.reports.live.server import LiveServer  # noqa: PLC0415 (only here)

    with LiveServer(expand_home(folder), options.host, options.port) as server:
        words = f"runs in {folder}: {server.address} (Ctrl-C ends this)"
        make_console().print(words, markup=False, highlight=False, soft_wrap=True)
        if options.open:
            _open(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _case_number(episode: str, suite: Suite) -> int:
    from ml.envs.config import KINDS  # noqa: PLC0415 (numba is slow to import)

    if not episode.isdecimal():
        raise ConfigError(
            f"--episode {episode}: name hazard, benign, free, or the number of a case from 0 on."
            f"{did_you_mean(episode, KINDS)}"
        )
    case = int(episode)
    if case >= suite.num_cases:
        raise ConfigError(
            f"--episode: {suite.name} has no case {case}; it has 0 … {suite.num_cases - 1}"
        )
    return case


def _driver(spec: str, drivers: int) -> Driver:
    """Build a driver; of two models each is named by its file."""
    from ml.evaluation.drivers import interface_of, make_driver, model_spec  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    if not spec.endswith(".zip") and not model_file(spec).is_file():
        if hint := did_you_mean(spec, SHIPPED_MODELS):
            raise ConfigError(f"there is no model or controller {spec!r}.{hint}")
        return make_driver(spec)
    model = load_model(spec)
    name = "policy" if drivers == 1 else Path(spec).stem
    return make_driver(model_spec(spec, name, interface_of(model)), lambda _: model)
