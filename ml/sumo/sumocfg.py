"""Read of a sumocfg what convoys need: the names of its files, and one route.

Names are understood as SUMO does: relative ones start at the folder of the sumocfg (of the link,
if it is one), ``${NAME}`` is a variable, ``%20`` a blank, and a comma ends a name.
"""

import gzip
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from ml.errors import ScenarioError
from ml.sumo.problem import Problem, named

CONVOY_ROUTE = "convoy"
GZIPPED = b"\x1f\x8b"
"""How a gzipped file begins; SUMO looks at that, not at the name."""
_ADVICE = f'Add <route id="{CONVOY_ROUTE}" edges="first next … last"/> to a file in <route-files>.'
_ONCE = "0"  # SUMO's default for how often a route is driven again
_NAMES = {
    "net-file": ("net-file", "net", "n"),
    "route-files": ("route-files", "routes", "r"),
    "additional-files": ("additional-files", "additional", "a"),
}
_VARIABLE = re.compile(r"\$\{(.+?)\}")
_ESCAPED = re.compile(rb"%([0-9a-fA-F]{2})")
_STRAY_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")


class _Route(NamedTuple):
    name: str
    edges: tuple[str, ...]
    file: Path
    repeat: str


def parse_xml(file: Path) -> ET.Element:
    """Return the root of an XML file, which may be gzipped.

    Raises:
        ScenarioError: It cannot be read or is malformed.
    """
    try:
        data = file.read_bytes()
        if data.startswith(GZIPPED):
            data = gzip.decompress(data)
        # The user's own file, and expat bounds what entities may grow to.
        return ET.fromstring(data)  # noqa: S314 # nosec B314
    except (OSError, EOFError) as error:
        raise ScenarioError(f"{file} cannot be read: {error}. Correct the path.") from error
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two: its encoding
        raise ScenarioError(
            f"{file} is not well-formed XML: {error}. Correct the file at that place."
        ) from error


def files_named(root: ET.Element, option: str, cfg_file: Path) -> list[Path]:
    """Return the files that an option of a sumocfg names."""
    names: list[str] = []
    for element in root.iter():
        if element.tag in _NAMES[option]:
            names += _split(element.get("value", element.get("v", "")))
    return [cfg_file.parent / name for name in names]


def _split(value: str) -> list[str]:
    home = os.environ.get("HOME", "~")
    whole = [f"{home}{name[1:]}" if name.startswith("~/") else name for name in value.split(",")]
    replaced = _VARIABLE.sub(lambda match: os.environ.get(match[1], ""), ",".join(whole))
    names = ",".join(_decode(name) for name in replaced.split(",")).split(",")
    return [name.strip() for name in names if name.strip()]


def _decode(name: str) -> str:
    if _STRAY_PERCENT.search(name):
        return name  # SUMO takes a name as it stands if it is not of this form throughout
    return os.fsdecode(_ESCAPED.sub(lambda m: bytes((int(m[1], 16),)), os.fsencode(name)))


def choose_route(
    sources: Sequence[Path], cfg_file: Path
) -> tuple[tuple[str, ...] | None, list[Problem]]:
    """Return the edges of the route called `convoy`, or of the only one; and what is wrong."""
    routes, problems = _read_routes(sources, cfg_file)
    names = sorted({route.name for route in routes})
    if CONVOY_ROUTE not in names and len(names) != 1:
        if names:
            what = (
                f"{cfg_file} leads to {len(names)} routes ({named(names)}) and none is called "
                f"{CONVOY_ROUTE!r}."
            )
            problems.append(Problem(what, _ADVICE))
        elif not problems:
            problems.append(Problem(f"{cfg_file} leads to no named route.", _ADVICE))
        return None, problems
    name = CONVOY_ROUTE if CONVOY_ROUTE in names else names[0]
    chosen, *others = [route for route in routes if route.name == name]
    if others:
        files = " and ".join(dict.fromkeys(str(route.file) for route in (chosen, *others)))
        what = f"{cfg_file} leads to {1 + len(others)} routes called {name!r}, in {files}."
        problems.append(Problem(what, "Leave one, or give the others another name."))
    if chosen.repeat != _ONCE:
        what = (
            f'Route {name!r} in {chosen.file} has repeat="{chosen.repeat}", but a convoy passes '
            "each edge once: its position would be ambiguous otherwise."
        )
        problems.append(Problem(what, "Take repeat out, and make the road long enough by itself."))
    if not chosen.edges:
        problems.append(Problem(f"Route {name!r} of {cfg_file} has no edges.", _ADVICE))
        return None, problems
    return chosen.edges, problems


def _read_routes(sources: Sequence[Path], cfg_file: Path) -> tuple[list[_Route], list[Problem]]:
    """Return all named routes, and which files have none to read."""
    routes: list[_Route] = []
    problems: list[Problem] = []
    for source in sources:
        if not source.is_file():
            what = f"{cfg_file} names {source}, which does not exist."
            remedy = "Correct the name; paths start at the sumocfg's folder."
            problems.append(Problem(what, remedy))
            continue
        try:
            root = parse_xml(source)
        except ScenarioError as error:
            problems.append(Problem(str(error)))
            continue
        for element in root.iter("route"):
            name = element.get("id")
            if name is not None:
                edges = tuple(element.get("edges", "").split())
                routes.append(_Route(name, edges, source, element.get("repeat", _ONCE)))
    return routes, problems
