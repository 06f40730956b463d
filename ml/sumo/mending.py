"""Commands that mend a network, for people to run: each is tried by a test."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from ml.sumo.plain_names import is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ENDINGS = (".gz", ".xml", ".net")


def written_anew(net_file: Path) -> Path:
    """Return the file that the commands write, beside the network."""
    stem = net_file.name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return net_file.with_name(f"{stem}-mended.net.xml")


def signals_out(net_file: Path, *, lights: Sequence[str], rails: Sequence[str]) -> str:
    """Return the command that takes the signals off junctions.

    Args:
        net_file: The network.
        lights: Junctions with traffic lights.
        rails: Junctions at which railway signals or a level crossing rule.
    """
    net, new = str(net_file), str(written_anew(net_file))
    options, before = [], []
    if not is_plain(net_file):
        net, new = net_file.name, written_anew(net_file).name
        before.append(f"{_go_to(net_file)} && ")
    if lights:
        # The first alone would leave lights at pedestrian crossings, the second alone lights that
        # several junctions share.
        options += ["--tls.discard-loaded", "--tls.unset", ",".join(lights)]
    if rails:
        nodes = "".join(f'<node id={quoteattr(name)} type="priority"/>' for name in rails)
        before.append(f"{shlex.join(('echo', f'<nodes>{nodes}</nodes>'))} | ")
        options += ["-n", "/dev/stdin"]
    return "".join((*before, _netconvert("-s", net, *options, "-o", new)))


def lengths_of_shapes(net_file: Path) -> str:
    """Return the command that gives all lanes the lengths of their shapes."""
    return " && ".join(
        (
            _go_to(net_file),
            _netconvert("-s", net_file.name, "--plain-output-prefix", "plain"),
            """sed -i.before 's/ length="[^"]*"//' plain.edg.xml""",
            _netconvert("-c", "plain.netccfg", "-o", written_anew(net_file).name),
        )
    )


def _go_to(net_file: Path) -> str:
    return shlex.join(("cd", str(net_file.parent)))


def _netconvert(*arguments: str) -> str:
    return shlex.join(("netconvert", *arguments))
