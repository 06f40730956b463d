"""What is wrong with a scenario, and commands that mend it: each is tried by a test."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ml.sumo.plain_names import is_plain

_MOST_TOLD = 8
_MOST_NAMED = 5
_LONGEST_NAME = 60
_ENDINGS = (".gz", ".xml", ".net")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps convoys off a road.

    Attributes:
        what: What is wrong and where, in whole sentences.
        remedy: What to do about it; ends with "." or, before a command, with ":".
        command: A line for a POSIX shell that does it, where there is one.
    """

    what: str
    remedy: str = ""
    command: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.remedy, self.command) if part)


def tell(problems: Sequence[Problem]) -> str:
    """Return the message of an error about all of them; at least one is needed."""
    if len(problems) == 1:
        return str(problems[0])
    told = [f"{number}. {each}" for number, each in enumerate(problems[:_MOST_TOLD], start=1)]
    if len(problems) > _MOST_TOLD:
        told.append(f"And {len(problems) - _MOST_TOLD} more.")
    return "\n".join((f"{len(problems)} things are wrong with this scenario.", *told))


def named(names: Sequence[str]) -> str:
    """Return the first few names, in quotes, and how many more there are."""
    cut = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names]
    listed = ", ".join(repr(name) for name in cut[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed


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


def lengths_of_shapes(net_file: Path, *, after_signals: bool) -> str:
    """Return the command that gives all lanes the lengths of their shapes.

    Args:
        net_file: The network.
        after_signals: Whether it follows that of `signals_out`, on what that has written.
    """
    source = written_anew(net_file) if after_signals else net_file
    new = written_anew(net_file).name
    plain = new.removesuffix(".net.xml") + "-plain"  # overwrites nothing that was there before
    edges, connections = f"{plain}.edg.xml", f"{plain}.con.xml"
    return " && ".join(
        (
            _go_to(net_file),
            _netconvert("-s", source.name, "--plain-output-prefix", plain),
            shlex.join(("sed", "-i.before", 's/ length="[^"]*"//', edges, connections)),
            _netconvert("-c", f"{plain}.netccfg", "-o", new),
        )
    )


def _go_to(net_file: Path) -> str:
    return shlex.join(("cd", str(net_file.parent)))


def _netconvert(*arguments: str) -> str:
    return shlex.join(("netconvert", *arguments))
