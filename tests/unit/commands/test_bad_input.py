"""Whatever is in a file, a variable or on the command line: a result, or an error of our tree.

Damaged at random by hypothesis; `ROADSENSE_FUZZ_EXAMPLES` says how often.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.random_edits import (
    SCALARS,
    damaged_bytes,
    damaged_tree,
    fuzz,
    require_one_screen,
)

from ml.console import take_any_text
from ml.errors import ConfigError, ParameterError, ScenarioError, UsageError
from ml.parameters import load_parameters
from ml.sumo.scenarios import load_scenario
from ml.training.command_line import parse_command_line
from ml.training.config import TrainConfig, check_combinations
from ml.training.config_files import Layers, to_yaml
from ml.training.deployment import read_deployment

if TYPE_CHECKING:
    from collections.abc import Callable

PRESET = resources.files("ml.parameters").joinpath("presets/bursty.json").read_text("utf-8")
CONFIG = to_yaml(TrainConfig())
RURAL = Path(__file__).parents[3] / "sumo-configs" / "rural"


def _read_parameters(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        load_parameters(path)
    except ParameterError as error:
        require_one_screen(str(error), path.name)


def _build(path: Path) -> TrainConfig:
    layers = Layers()
    layers.put_file(path)
    return layers.build()


def _read_config(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        config = _build(path)
    except ConfigError as error:
        require_one_screen(str(error), path.name)
        return
    try:
        check_combinations(config)
    except ConfigError as error:
        named = [name for name in ("ppo.", "policy.hidden", "seed") if name in str(error)]
        require_one_screen(str(error), named[0] if named else "a name")


def test_a_hidden_feature_that_is_none_is_named_with_its_place(tmp_path: Path):
    """An empty name, and one of a part that there is not."""
    for name in ("''", "egos.speed"):
        _read_config(tmp_path / "one.yaml", f"policy: {{hidden: [{name}]}}".encode())
        with pytest.raises(ConfigError, match=r"^policy.hidden: the observation has no feature"):
            check_combinations(_build(tmp_path / "one.yaml"))


@fuzz
@given(content=damaged_bytes(PRESET.encode()))
def test_parameter_files_of_damaged_bytes(tmp_path: Path, content: bytes):
    """Bytes are lost, doubled, swapped."""
    _read_parameters(tmp_path / "radio.json", content)


@fuzz
@given(tree=damaged_tree(PRESET))
def test_parameter_files_of_damaged_values(tmp_path: Path, tree: Any):
    """JSON all right, but keys and values are other ones."""
    _read_parameters(tmp_path / "radio.json", json.dumps(tree).encode())


@fuzz
@given(content=damaged_bytes(CONFIG.encode()))
def test_configurations_of_damaged_bytes(tmp_path: Path, content: bytes):
    """Bytes are lost, doubled, swapped."""
    _read_config(tmp_path / "config.yaml", content)


@fuzz
@given(tree=damaged_tree(json.dumps(TrainConfig().model_dump(mode="json"))))
def test_configurations_of_damaged_values(tmp_path: Path, tree: Any):
    """YAML all right, but keys and values are other ones."""
    text = yaml.safe_dump(tree, allow_unicode=True)
    _read_config(tmp_path / "config.yaml", text.encode("utf-8", "surrogatepass"))


@fuzz
@given(
    environ=st.dictionaries(
        st.sampled_from(["PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "WORKERS", "SUMO_HOST",
                         "SUMO_PORT", "RUNS_DIR", "MODELS_DIR"]),
        SCALARS.map(str) | st.sampled_from(["spec", "ppo", "pppo", "64", "1e3", "\uff18813"]),
    )
)  # fmt: skip
def test_environment_variables(environ: dict[str, str]):
    """A wrong one is named, with its value."""
    try:
        deployment = read_deployment(environ)
        layers = Layers()
        if deployment.preset is not None:
            layers.put_preset(deployment.preset)
        for variable, text in deployment.overrides.items():
            layers.put((variable.lower(),), text, f"environment variable {variable}")
        check_combinations(layers.build())
    except ConfigError as error:
        require_one_screen(str(error), "")


@fuzz
@given(
    argv=st.lists(
        st.sampled_from(["--radio", "--seed", "--num-envs", "--preset", "--ppo.gamma", "--backend",
                         "--num-peers", "--config", "--resume", "ppo", "clean", "1", "-1", "0",
                         "nan", "1e9", "traci", "--workers", "--sumo-hosts", "a:1,b", "--ppo", "--",
                         "--seed=", "-h1", "none.yaml"])
        # Bytes that are no UTF-8 come as lone surrogates from U+DC80; others cannot come at all.
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
        | st.sampled_from(["\udcff", "a\udc80:8813"]),
        max_size=4,
    )
)  # fmt: skip
def test_command_lines(tmp_path: Path, argv: list[str], capsys: pytest.CaptureFixture[str]):
    """Exit code 2 or an error of ours, never another exception; `--help` alone is 0."""
    deployment = read_deployment({"RUNS_DIR": str(tmp_path)})
    take_any_text()
    try:
        parse_command_line(argv, deployment)
    except UsageError as error:
        require_one_screen(str(error), "")
    except SystemExit as error:
        wanted = 0 if {"-h", "--help"} & set(argv) else 2
        assert error.code == wanted, argv  # noqa: PT017 (hypothesis tries both ways)
        assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _damaged_scenario(tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "rural"
    folder.mkdir(exist_ok=True)
    for file in RURAL.glob("rural.*"):
        (folder / file.name).write_bytes(content if file.name == name else file.read_bytes())
    try:
        load_scenario(folder / "rural.sumocfg", cache_dir=tmp_path / "cache")
    except ScenarioError as error:
        require_one_screen(str(error), "rural")


def _scenario_fuzz(name: str) -> Callable[..., Any]:
    original = (RURAL / name).read_bytes()
    return given(content=damaged_bytes(original))


@fuzz
@_scenario_fuzz("rural.sumocfg")
def test_sumocfgs_of_damaged_bytes(tmp_path: Path, content: bytes):
    """The file, the network or the route is named."""
    _damaged_scenario(tmp_path, "rural.sumocfg", content)


@fuzz
@_scenario_fuzz("rural.rou.xml")
def test_routes_of_damaged_bytes(tmp_path: Path, content: bytes):
    """The file, the network or the route is named."""
    _damaged_scenario(tmp_path, "rural.rou.xml", content)


@fuzz
@_scenario_fuzz("rural.net.xml")
def test_networks_of_damaged_bytes(tmp_path: Path, content: bytes):
    """The reader of networks raises what it likes on a network that is none."""
    _damaged_scenario(tmp_path, "rural.net.xml", content)


@pytest.mark.parametrize("name", ["rural.sumocfg", "rural.rou.xml", "rural.net.xml"])
@pytest.mark.parametrize("encoding", ["nullUTF-8", "utf-32", "shift_jis"])
def test_encodings_that_no_reader_knows(tmp_path: Path, name: str, encoding: str):
    """An encoding that is none, or that expat cannot read, is an error of the file that says so."""
    content = (RURAL / name).read_bytes()
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode()
    body = content[content.index(b"?>") + 2 :] if content.startswith(b"<?xml") else content
    folder = tmp_path / "rural"
    folder.mkdir()
    for file in RURAL.glob("rural.*"):
        (folder / file.name).write_bytes(
            declared + body if file.name == name else file.read_bytes()
        )
    with pytest.raises(ScenarioError, match="rural"):
        load_scenario(folder / "rural.sumocfg", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_parameter_file_that_is_nested_too_deeply(tmp_path: Path, opening: str):
    """The parser's own limit is no traceback."""
    path = tmp_path / "deep.json"
    path.write_text(opening * 100_000)
    with pytest.raises(ParameterError, match=r"deep\.json: its brackets are nested too deeply"):
        load_parameters(path)


def test_a_yaml_bomb_is_refused(tmp_path: Path):
    """Aliases within aliases, 10⁸ words if written out: refused at once, in a few words."""
    lines = ["x0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"x{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 8)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "seed: *a7", "preset: *a7"]))
    with pytest.raises(ConfigError, match=r"seed = \[\[\[\.\.\.\]") as caught:
        _build(path)
    require_one_screen(str(caught.value), "bomb.yaml")


def test_many_mistakes_and_long_ones_fit_on_a_screen(tmp_path: Path):
    """The first eight are told and the rest counted; a key of a million letters is cut short."""
    _read_parameters(tmp_path / "radio.json", json.dumps({"k" * 100_000: 1}).encode())
    mistakes = "".join(f"{letter * 900}: 1\n" for letter in "abcdefghijklmnopqrst")
    _read_config(tmp_path / "config.yaml", mistakes.encode())
    with pytest.raises(ConfigError, match=r"and 12 more$"):
        _build(tmp_path / "config.yaml")


def test_an_xml_bomb_is_refused(tmp_path: Path):
    """Entities that would grow to gigabytes are stopped by the parser, and told of."""
    nested = "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' if i else '<!ENTITY a0 "lol">' for i in range(12)
    )
    bomb = tmp_path / "bomb.sumocfg"
    bomb.write_text(f"<?xml version='1.0'?><!DOCTYPE x [{nested}]><x>&a11;</x>")
    with pytest.raises(ScenarioError, match=r"bomb\.sumocfg is not well-formed"):
        load_scenario(bomb)
