"""The lists of packages and pyproject.toml agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*) +# via \S", re.MULTILINE)


def pins(file: str) -> dict[str, str]:
    """Return {name: version} of a requirements file, each line of which must be a pin."""
    text = (ROOT / file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {match["name"]: match["version"] for match in PIN.finditer(text)}
    assert len(found) == len(lines), f"{file}: a line is not of the form name==version  # via …"
    return found


@pytest.fixture
def dependencies() -> list[Requirement]:
    """Return what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project["dependencies"]]


def test_each_dependency_is_pinned_to_a_version_that_is_allowed(
    dependencies: list[Requirement],
) -> None:
    """What is installed is what pyproject.toml asks for."""
    pinned = pins("requirements.txt")
    for dependency in dependencies:
        version = pinned[canonicalize_name(dependency.name)]
        assert dependency.specifier.contains(version), f"{dependency} is pinned to {version}"


def test_sumo_has_one_version(dependencies: list[Requirement]) -> None:
    """Client, library and simulator speak the same protocol and drive the same cars."""
    pinned = pins("requirements.txt")
    family = ("eclipse-sumo", "libsumo", "sumo-data", "sumolib", "traci")
    assert len({pinned[name] for name in family}) == 1
    assert {str(d.specifier) for d in dependencies if d.name in family} == {
        f"=={pinned['libsumo']}"
    }


def test_what_an_extra_asks_for_is_pinned() -> None:
    """Each has a file of its own; SB3-Contrib has the version of Stable-Baselines3."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, texts in project["optional-dependencies"].items():
        pinned = pins(f"requirements-{extra}.txt")
        asked = {canonicalize_name(it.name): it.specifier for it in map(Requirement, texts)}
        assert all(asked[name].contains(pinned[name]) for name in asked)
        others = set(pinned) - set(asked)
        text = (ROOT / f"requirements-{extra}.txt").read_text(encoding="utf-8")
        for name in others:  # asked for by one that is pinned
            (via,) = re.findall(rf"^{name}==\S+ +# via (.*)$", text, re.MULTILINE)
            assert set(via.split(", ")) <= pinned.keys()
    plain, contrib = pins("requirements.txt"), pins("requirements-baselines.txt")
    assert contrib["sb3-contrib"] == plain["stable-baselines3"]


def test_no_package_is_pinned_twice() -> None:
    """The files can be installed together."""
    names = [name for file in ROOT.glob("requirements*.txt") for name in pins(file.name)]
    assert len(names) == len(set(names))


def test_torch_carries_neither_local_version_nor_hash() -> None:
    """PyPI's build and the CPU build of torch both satisfy the pin."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "+" not in pins("requirements.txt")["torch"]
    assert "--hash" not in text


def test_each_package_that_the_code_imports_is_pinned() -> None:
    """What works where more is installed works after `make train`, too."""
    # Ray is an extra: what imports it is imported where somebody has looked for it.
    own = {"ml", "ray", *sys.stdlib_module_names}
    imported: dict[str, Path] = {}
    for file in sorted((ROOT / "ml").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            imported.update({name.split(".")[0]: file for name in names})

    pinned = pins("requirements.txt").keys()
    distributions = packages_distributions()
    for name in imported.keys() - own:
        providers = {canonicalize_name(found) for found in distributions.get(name, [])}
        assert providers & pinned, f"{imported[name]} imports {name}, which is not pinned"
