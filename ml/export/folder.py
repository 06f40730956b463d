"""The folder that both ecosystems of the ESP32 take as a library."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from ml import __version__
from ml.controllers.board import WEIGHTS, code_sha256, stamped
from ml.errors import ConfigError, ExportError
from ml.export.fixed_point import FixedNetwork, Predicts, Rounding, in_whole_numbers, rounding
from ml.export.host import HostBrain
from ml.export.network import Network, network_of
from ml.export.rehearsal import RADIOS, Recorded, Rehearsal
from ml.export.sketch import write_sketch
from ml.export.toolchain import (
    CORES,
    PACKAGES,
    Budget,
    budget_json,
    measure,
    missing_tools,
    run_on,
)
from ml.export.weights import weights_header
from ml.installation import repository_folder
from ml.onboard.observation.spec import OBSERVATION_VERSION
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

Net: TypeAlias = Literal["float", "int16"]
SOURCE: Final = repository_folder("firmware/brain")
"""The fixed code."""
TOLERANCE_MPS2: Final = 1e-3
"""By how much a command in float32 may differ from Python's, with the same kind of network."""
_GOLDEN_TICKS: Final = 100
_NOT_OF_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
_GOLDEN_PEERS: Final = (8, 8)


class Exported(NamedTuple):
    """What an export found out.

    Attributes:
        budgets: Per core what it takes; empty where nothing was checked.
        rounding: What a network in whole numbers costs; None for one in float.
    """

    budgets: dict[str, Budget]
    rounding: Rounding | None


def _unwatched(name: str, share: float) -> None:
    """Tell nobody that a part begins."""
    del name, share


def export(
    model_file: Path,
    out: Path,
    radio: str,
    *,
    net: Net = "float",
    check: bool = True,
    on_part: Callable[[str, float], None] = _unwatched,
) -> Exported:
    """Write a folder of C that drives as a model does.

    It is there whole or not at all.

    Args:
        model_file: A model of `roadsense train`.
        out: The folder; it must not be there yet.
        radio: Preset or file of parameters: what the board takes for its sensors' accuracy.
        net: What its network is computed in. The scales of "int16" come from golden episodes that
            the model drives; those of the folder are driven by the network in whole numbers.
        check: Compile it for each core, replay the golden episodes, and write `budget.json`.
        on_part: Called as a part begins, with its name and the share of the whole before it.

    Raises:
        ConfigError: The folder exists, or cannot be made.
        CheckpointError: The model is of another version, or a board cannot compute its network.
        ParameterError: There are no such parameters.
        ExportError: A tool is missing, or a core's commands are not Python's.
    """
    if os.path.lexists(out):
        raise ConfigError(f"--out = {out} exists. Name another folder, or remove it first.")
    if check and (missing := missing_tools()):
        raise ExportError(
            f"{', '.join(missing)} not found, and without them nothing shows that the exported "
            f"code is right. `apt-get install {PACKAGES}`, or `--no-check` to do without."
        )
    model, parameters = load_model(model_file), load_parameters(radio)
    network: Network | FixedNetwork = network_of(model)

    def rehearse(driver: Predicts, seed: int) -> list[Recorded]:
        rehearsal = Rehearsal(
            *(driver, model.interface, parameters),
            num_envs=len(RADIOS),
            num_peers=_GOLDEN_PEERS,
            seed=seed,
        )
        return rehearsal.run(_GOLDEN_TICKS)

    # A name stands in C comments, YAML and a file of properties, each with rules of its own.
    name = _NOT_OF_A_NAME.sub("_", model_file.name)
    aside = out.with_name(f".{out.name}.partial")
    with _writing(out):  # what cannot be written is told before the convoys drive
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    try:
        on_part("golden episodes", 0.0)
        golden, cost = rehearse(model, 0), None
        if net == "int16" and isinstance(network, Network):
            ticks = [tick for episode in golden for tick in episode.ticks]
            network = in_whole_numbers(network, np.concatenate([tick.peer_rows for tick in ticks]))
            on_part("golden episodes in whole numbers", 0.1)
            golden = rehearse(network, 1)
            cost = rounding(network, model, [episode.seen() for episode in golden])
        header = weights_header(network, model.interface, parameters, name)
        with _writing(out):
            _write(aside, name, net, golden)
            header = stamped(header, code_sha256(aside))
            (aside / WEIGHTS).write_text(header, encoding="utf-8")
            write_sketch(aside)
            budgets = _checked(aside, golden, on_part) if check else {}
            if budgets:
                (aside / "budget.json").write_text(budget_json(net, budgets), encoding="utf-8")
            aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Exported(budgets, cost)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--out = {out} cannot be written ({error.strerror}).") from error


def _write(folder: Path, model_name: str, net: Net, golden: Sequence[Recorded]) -> None:
    for name in ("brain.c", "brain.h"):
        shutil.copyfile(SOURCE / name, folder / name)
    for name in ("hil.c", "hil.h"):
        shutil.copyfile(SOURCE.parent / "hil" / name, folder / name)
    shutil.copytree(SOURCE / "replay", folder / "replay")
    filled = {
        "@VERSION@": __version__,
        "@MODEL@": model_name,
        "@NET@": "float32" if net == "float" else "int16",
        "@OBSERVATION@": str(OBSERVATION_VERSION),
    }
    for file in (SOURCE / "library").iterdir():
        text = file.read_text(encoding="utf-8")
        for mark, value in filled.items():
            text = text.replace(mark, value)
        (folder / file.name).write_text(text, encoding="utf-8")
    (folder / "golden").mkdir()
    for number, episode in enumerate(golden):
        name = f"{number:02d}-{episode.radio.replace(' ', '-')}.episode"
        (folder / "golden" / name).write_bytes(episode.content)


def _checked(
    folder: Path, golden: Sequence[Recorded], on_part: Callable[[str, float], None]
) -> dict[str, Budget]:
    """Replay the golden episodes on all cores; see `export` for the errors."""
    on_part("host", 0.2)
    library = folder / "libbrain.so"
    host = HostBrain(folder, library)
    digests = []
    for episode in golden:
        ticks = host.replay(bytes(episode.content))
        worst_mps2 = np.abs(ticks["accel_mps2"] - ticks["recorded_mps2"])
        if worst_mps2.max() > TOLERANCE_MPS2:
            raise ExportError(
                f"golden episode {episode.radio!r}: at tick {worst_mps2.argmax()} the C code "
                f"commands {worst_mps2.max():.2g} m/s² from what Python does, allowed is "
                f"{TOLERANCE_MPS2:g}. Please report this with the model."
            )
        digests.append(ticks["digest"])
    library.unlink()
    budgets = {}
    together = b"".join(bytes(episode.content) for episode in golden)
    for number, core in enumerate(CORES):
        on_part(core, 0.3 + 0.35 * number)
        ran = run_on(core, folder, together)
        differs = np.flatnonzero(ran.digest != np.concatenate(digests))
        if differs.size:
            raise ExportError(
                f"{core} and this machine differ from tick {differs[0]} of the golden episodes on, "
                "and must not by a bit. Please report this with the compilers' versions."
            )
        budgets[core] = measure(core, folder, ran)
    return budgets
