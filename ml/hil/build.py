"""The board that is a program here: compiled for this machine, or for a bare core under QEMU."""

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ml.controllers.board import (
    WEIGHTS,
    code_sha256,
    digest_in,
    exported_weights,
    stamped,
)
from ml.export.folder import SOURCE
from ml.export.network import network_of
from ml.export.toolchain import FLAGS, compile_bare, machine, run
from ml.export.weights import weights_header
from ml.folders import default_cache_dir
from ml.hil.port import Port, program
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

Core = Literal["rv32imc", "rv32imafc"]
_HIL: Final = SOURCE.parent / "hil"
_EXPORTED_FOR: Final = "clean"  # the default of `roadsense export`: a model has one digest


class Code(NamedTuple):
    """A brain's source.

    Attributes:
        folder: Of `brain.c` and `brain.h`.
        weights: Content of `weights.h`.
        digest: That it has (`BRAIN_DIGEST`).
    """

    folder: Path
    weights: bytes
    digest: int


def code_of(source: Path) -> Code:
    """Return the code of a model (.zip), or of a folder of `roadsense export`.

    Raises:
        ConfigError: The folder is none, or was changed.
        CheckpointError: The model is missing, of another version, or no board can compute it.
    """
    if source.name == WEIGHTS:
        source = source.parent
    if source.is_dir():
        weights, _ = exported_weights(source)
        return Code(source, weights, digest_in(weights))
    model = load_model(source)
    header = weights_header(
        network_of(model), model.interface, load_parameters(_EXPORTED_FOR), source.name
    )
    weights = stamped(header, code_sha256(SOURCE)).encode()
    return Code(SOURCE, weights, digest_in(weights))


def host_board(code: Code) -> Port:
    """Start the board on this machine.

    Raises:
        ExportError: There is no C compiler, or it does not take the code.
        BoardError: It does not start.
    """
    image = _image(code, "host")
    return program("the board on this machine", [str(image)])


def qemu_board(code: Code, core: Core) -> Port:
    """Start the board on a bare core under QEMU.

    Raises:
        ExportError: A tool is missing, or does not take the code.
        BoardError: It does not start.
    """
    return program(f"the board on {core} under QEMU", machine(_image(code, core)))


def _image(code: Code, target: str) -> Path:
    """Compile once; what was compiled before is found in the cache."""
    bare = SOURCE / "replay" / "qemu"
    main = _HIL / ("host.c" if target == "host" else "qemu/main.c")
    sources = [code.folder / "brain.c", _HIL / "hil.c", main]
    headers = [code.folder / "brain.h", _HIL / "hil.h", bare / "bare.h", bare / "start.S"]
    content = b"\0".join(file.read_bytes() for file in (*sources, *headers))
    name = sha256(b"\0".join([target.encode(), code.weights, content])).hexdigest()
    image = default_cache_dir() / "boards" / f"{name}.{target}"
    if image.exists():
        return image
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=image.parent) as aside:
        (Path(aside) / WEIGHTS).write_bytes(code.weights)
        made = Path(aside) / "image"
        options = [f"-I{folder}" for folder in (aside, code.folder, _HIL)]
        if target == "host":
            run(["gcc", *FLAGS, *options, *map(str, sources), "-o", str(made)])
        else:
            options.append(f"-I{bare}")
            compile_bare(target, [bare / "start.S", *sources], options, bare / "virt.ld", made)
        made.replace(image)
    return image
