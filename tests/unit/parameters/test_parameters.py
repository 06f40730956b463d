from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ml.errors import ParameterError
from ml.keyed_random import fold
from ml.parameters import PRESET_NAMES, Parameters, draw_episode_parameters, load_parameters

PRESETS = Path(load_parameters.__code__.co_filename).parent / "presets"


@pytest.fixture
def clean() -> dict:
    """The content of the preset `clean`, to be broken."""
    return json.loads((PRESETS / "clean.json").read_text(encoding="utf-8"))


@pytest.fixture
def burst(clean: dict) -> dict:
    """The same with the two-state chain for its losses."""
    knots = [(0.0, 0.058, 1.25), (24.0, 0.116, 1.3), (100.0, 0.25, 1.7)]
    clean["radio"]["loss"] = {
        "model": "gilbert_elliott",
        "by_distance": [
            {"distance_m": d, "probability": p, "mean_burst_frames": b} for d, p, b in knots
        ],
    }
    clean["domain_randomisation"] = {}
    return clean


def _refusal(tmp_path: Path, content: dict | str | bytes) -> str:
    path = tmp_path / "mine.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParameterError) as refused:
        load_parameters(path)
    text = str(refused.value)
    assert str(path) in text
    assert text.count("\n") < 24, "one screen"
    for jargon in ("pydantic", "validation error", "type=", "input_", "extra_forbidden"):
        assert jargon not in text
    return text


def test_every_preset_loads_and_so_does_its_copy(tmp_path: Path):
    """A preset's name, the path of its file and a file written from it give the same parameters."""
    assert {path.stem for path in PRESETS.glob("*.json")} == set(PRESET_NAMES)
    for name in PRESET_NAMES:
        parameters = load_parameters(name)
        assert load_parameters(PRESETS / f"{name}.json") == parameters
        copy = tmp_path / f"{name}.json"
        copy.write_text(parameters.model_dump_json(indent=2), encoding="utf-8")
        assert load_parameters(str(copy)) == parameters


def test_a_file_from_before_relays_forgot_anything_gets_the_default(tmp_path: Path, clean: dict):
    """Where a file says nothing of what relays forget, they forget as in the measured presets."""
    for name in [name for name in clean["radio"]["relay"] if name.startswith("forward_")]:
        del clean["radio"]["relay"][name], clean["domain_randomisation"][f"radio.relay.{name}"]
    path = tmp_path / "older.json"
    path.write_text(json.dumps(clean), encoding="utf-8")
    relay = load_parameters(path).radio.relay
    assert relay.forward_probability == 0.63
    assert relay == load_parameters("clean").radio.relay


def test_an_unknown_preset_gets_the_nearest_and_the_list():
    """A slip in a preset's name is answered with the name that was probably meant."""
    with pytest.raises(ParameterError) as refused:
        load_parameters("burty")
    assert "unknown radio preset 'burty'. Did you mean 'bursty'?" in str(refused.value)
    assert "ideal, clean, bursty, shadowed, " in str(refused.value)
    assert ", or the path of a parameter file" in str(refused.value)
    with pytest.raises(ParameterError, match=r"unknown radio preset 'xyz'\.\n"):
        load_parameters("xyz")


def test_a_missing_or_unreadable_file_is_an_error(tmp_path: Path):
    """A file that was asked for and is not there is never replaced by a default."""
    with pytest.raises(ParameterError, match=r"nowhere\.json: cannot be read \(No such file"):
        load_parameters("nowhere.json")
    with pytest.raises(ParameterError, match=r"cannot be read \(Is a directory\)"):
        load_parameters(tmp_path)
    assert "byte 1 is not UTF-8 text" in _refusal(tmp_path, b'"\xff"')


def test_malformed_json_is_shown_by_line_and_column(tmp_path: Path):
    """A comma too many is found at its line and column."""
    text = _refusal(tmp_path, '{\n  "radio": {},,\n}')
    assert "line 2, column 15: not JSON" in text
    assert "the key 'b' stands twice" in _refusal(tmp_path, '{"a": {"b": 1, "b": 2}}')
    assert "the value NaN is not a finite number" in _refusal(tmp_path, '{"a": NaN}')


def test_a_wrong_key_gets_the_nearest_and_the_list(tmp_path: Path, burst: dict):
    """An unknown key is named with its place, the nearest allowed key and all allowed ones."""
    burst["radio"]["relay"]["hops"] = 1
    burst["radio"]["loss"]["by_distance"][1]["probabilty"] = 0.1
    text = _refusal(tmp_path, burst)
    assert "2 mistakes" in text
    assert "radio.relay.hops: unknown key. Did you mean 'max_hops'?" in text
    assert "Allowed here: max_hops, front_cone, cone_half_angle_deg, forward_probability" in text
    assert "radio.loss.by_distance[1].probabilty: unknown key. Did you mean 'probability'?" in text


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (("radio", "mac", "h_tx_ms"), -1, "radio.mac.h_tx_ms = -1: allowed is a number from 0"),
        (("radio", "mac", "h_tx_ms"), "4 ms", 'h_tx_ms = "4 ms": allowed is a number from 0'),
        (("radio", "mac", "h_tx_ms"), True, "radio.mac.h_tx_ms = true: allowed is"),
        (
            ("radio", "mac", "vulnerable_us"),
            51,
            "radio.mac: vulnerable_us = 51, allowed is difs_us",
        ),
        (("radio", "relay", "max_hops"), 4, "max_hops = 4: allowed is a whole number from 0 to 3"),
        (
            ("radio", "loss", "fading_m"),
            9,
            "radio.loss.fading_m = 9: allowed is a number from 1 to",
        ),
        (("radio", "loss", "blackout"), {"loss": 2}, "radio.loss.blackout.loss = 2: allowed is a"),
        (
            ("radio", "loss", "model"),
            "magic",
            "radio.loss: the model 'magic' is unknown; allowed in",
        ),
        (
            ("radio", "loss"),
            {},
            "radio.loss: it does not say which model it is; allowed in its key",
        ),
        (("radio", "beacon", "phase_ms"), 100, "= 100: allowed is a number from 0 to below 100"),
        (("radio", "time_to_live_ms"), 0, "allowed is a number above 0 to 1e+07"),
        (("radio", "loss"), 3, "radio.loss = 3: allowed is a section {...}"),
        (("radio",), [], "radio = []: allowed is a section {...}"),
        (("schema_version",), 3, "schema_version = 3: allowed is 2"),
        (("provenance",), "", 'provenance = "": allowed is a text'),
        (("sensors", "position", "mode"), "gps", "mode = \"gps\": allowed is 'fused' or 'hold'"),
        (("sensors", "position", "hold_period_s"), 0.05, "allowed is a number from 0.1 to 10"),
        (("sensors", "position", "hold_delay_s"), 2.5, "2.5, allowed is up to 2 x hold_period_s"),
        (("sensors", "position", "common_share"), 1.1, "allowed is a number from 0 to 1"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    tmp_path: Path, clean: dict, place: tuple[str, ...], value: object, text: str
):
    """The error holds the key's path, the value as it stands in the file, and the range."""
    section = clean
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = value
    assert text in _refusal(tmp_path, clean)


def test_a_wrong_table_of_losses_is_named_by_place(tmp_path: Path, burst: dict):
    """A value in the table of losses is found by its index; a list must be one and hold some."""
    loss = burst["radio"]["loss"]
    loss["by_distance"][2]["probability"] = 1.5
    text = _refusal(tmp_path, burst)
    assert "radio.loss.by_distance[2].probability = 1.5: allowed is a number from 0 to 1." in text
    for broken in ([], 3):
        loss["by_distance"] = broken
        wanted = f"radio.loss.by_distance = {broken}: allowed is a list [...]"
        assert wanted in _refusal(tmp_path, burst)


def test_bursts_that_cannot_be_are_refused(tmp_path: Path, burst: dict):
    """A chain has limits; so has its randomisation."""
    burst["radio"]["loss"]["burst_factor"] = 0.5
    assert "radio.loss: at 0 m the mean burst is 1.25 x" in _refusal(tmp_path, burst)
    burst["radio"]["loss"]["burst_factor"] = 1.0
    burst["domain_randomisation"]["radio.loss.odds_factor"] = [1, 100]
    assert "at the worst of radio.loss.odds_factor and radio.lo" in _refusal(tmp_path, burst)


def test_a_missing_key_is_named(tmp_path: Path, clean: dict):
    """What has no default must be there; the error says what belongs in its place."""
    del clean["radio"], clean["provenance"]
    text = _refusal(tmp_path, clean)
    assert "radio: is missing; add it: a section {...}." in text
    assert "provenance: is missing; add it: a text" in text


def test_many_mistakes_fit_one_screen(tmp_path: Path, clean: dict):
    """The first eight mistakes are explained, the rest counted."""
    for k in range(20):
        clean["radio"][f"nonsense_{k}"] = [0] * 1000
    text = _refusal(tmp_path, clean)
    assert "20 mistakes" in text
    assert "and 12 more" in text


@pytest.mark.parametrize(
    ("name", "span", "text"),
    [
        ("radio.loss.margin_20_db", [1, 2], "Did you mean 'radio.loss.margin_20m_db'? Allowed are"),
        ("radio.time_to_live_ms", [1, 2], "is the same for every episode; allowed are radio.mac"),
        ("radio.loss.odds_factor", [1, 2], "unknown name 'radio.loss.odds_factor'"),
        ("radio.mac.h_tx_ms", [2, 1], "[2, 1], allowed is [low, high] with low not above"),
        ("radio.loss.fading_m", [1, 3], "unknown name 'radio.loss.fading_m'"),
        ("sensors.position.common_share", [0, 2], "allowed on both ends is a number from 0 to 1"),
        ("radio.mac.h_tx_ms", 3, "radio.mac.h_tx_ms: allowed is a list of two numbers"),
        ("radio.mac.h_tx_ms", [1], "radio.mac.h_tx_ms: allowed is a list of two numbers"),
    ],
)
def test_a_wrong_range_of_randomisation_is_explained(
    tmp_path: Path, clean: dict, name: str, span: object, text: str
):
    """Unknown names, fixed parameters, what is not in use, ranges outside the allowed."""
    clean["radio"]["loss"]["fading_m"] = None
    clean["domain_randomisation"].pop("radio.loss.fading_m", None)
    clean["domain_randomisation"][name] = span
    assert text in _refusal(tmp_path, clean)


def test_episode_parameters_are_drawn_uniformly_and_by_name():
    """Draws fill their range, repeat with the episode's key, and ignore other names."""
    parameters = load_parameters("clean")
    keys = fold(3, np.arange(4000), 0)
    drawn = draw_episode_parameters(parameters, keys)
    assert set(drawn) == set(parameters.domain_randomisation)
    for name, (low, high) in parameters.domain_randomisation.items():
        values = drawn[name]
        assert low <= values.min() <= low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) <= values.max() <= high
        assert abs(values.mean() - (low + high) / 2) <= 4 * (high - low) / np.sqrt(12 * 4000) + 1e-9
    matrix = np.corrcoef(np.array([values for values in drawn.values() if np.ptp(values) > 0.0]))
    assert np.abs(matrix - np.eye(len(matrix))).max() < 4 / np.sqrt(4000) + 0.01

    name = "radio.mac.h_tx_ms"
    fewer = Parameters.model_validate_json(
        parameters.model_copy(
            update={"domain_randomisation": {name: parameters.domain_randomisation[name]}}
        ).model_dump_json()
    )
    assert np.array_equal(draw_episode_parameters(fewer, keys[7:9])[name], drawn[name][7:9])
    assert draw_episode_parameters(load_parameters("ideal"), keys) == {}


@pytest.fixture
def of_own_boards(clean, tmp_path):
    """A file of two boards that logged: their level, and others of their kind."""
    name, spread = "radio.loss.margin_20m_db", "radio.loss.antenna_sd_db"
    clean["boards"] = "mine"
    clean["board_sets"] = {
        "mine": {
            "purpose": "these boards",
            "values": {name: 9.0, spread: 0.0},
            "drawn": {name: [8.5, 9.5], spread: [0.0, 0.0]},
        },
        "at-large": {
            "purpose": "others",
            "values": {name: 10.0, spread: 3.0},
            "drawn": {name: [4.0, 16.0]},
        },
    }
    file = tmp_path / "own.json"
    file.write_text(json.dumps(clean))
    return file


def test_a_file_of_own_boards_holds_others_of_their_kind_as_well(of_own_boards):
    """The file says which of the two it is, and whoever loads it may ask for the other."""
    for asked, boards, margin_db, spread_db in (
        ("", "mine", 9.0, 0.0),
        (":mine", "mine", 9.0, 0.0),
        (":at-large", "at-large", 10.0, 3.0),
    ):
        found = load_parameters(f"{of_own_boards}{asked}")
        assert found.boards == boards
        assert found.radio.loss.margin_20m_db == margin_db
        assert found.radio.loss.antenna_sd_db == spread_db
        assert found.board_sets["at-large"].purpose == "others"
    mine, others = load_parameters(of_own_boards), load_parameters(f"{of_own_boards}:at-large")
    assert mine.sha256 != others.sha256
    assert others.of_boards("mine").sha256 == mine.sha256


def test_what_logs_leave_open_is_drawn_without_randomisation_too(of_own_boards):
    """Of own boards their level without a spread; of others the spread that training draws."""
    keys = fold(3, np.arange(500), 0)
    name, spread = "radio.loss.margin_20m_db", "radio.loss.antenna_sd_db"
    mine, others = load_parameters(of_own_boards), load_parameters(f"{of_own_boards}:at-large")
    drawn = draw_episode_parameters(mine, keys, randomise=False)
    assert set(drawn) == {name, spread}
    assert 8.5 <= drawn[name].min() < 8.6
    assert 9.4 < drawn[name].max() <= 9.5
    assert not drawn[spread].any()
    assert set(draw_episode_parameters(others, keys, randomise=False)) == {name}
    drawn = draw_episode_parameters(mine, keys)
    assert set(drawn) == set(mine.domain_randomisation)
    assert drawn[name].max() <= 9.5
    assert not drawn[spread].any()
    assert draw_episode_parameters(others, keys)[spread].max() > 5.0
    assert draw_episode_parameters(load_parameters("clean"), keys, randomise=False) == {}


@pytest.mark.usefixtures("of_own_boards")
def test_boards_that_a_file_knows_nothing_of_are_an_error(clean, tmp_path):
    """Asked of a file that nobody calibrated, or misspelt in one; and values that cannot be."""
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(load_parameters("clean").model_dump(mode="json")))
    assert load_parameters(plain).sha256 == load_parameters("clean").sha256
    with pytest.raises(ParameterError, match="it knows none, for it is not calibrated"):
        load_parameters(f"{plain}:mine")
    with pytest.raises(ParameterError, match=r"no boards 'at-lrge'\. Did you mean 'at-large'"):
        load_parameters(f"{plain}:at-lrge")
    for change, said in (
        ({"boards": "yours"}, "'mine' or 'at-large'"),
        ({"board_sets": {}}, "board_sets holds no such set"),
    ):
        assert said in _refusal(tmp_path, clean | change)
    margin = clean["board_sets"]["mine"]["values"]
    margin["radio.loss.margin_20_db"] = margin.pop("radio.loss.margin_20m_db")
    assert "unknown name 'radio.loss.margin_20_db'. Did you mean" in _refusal(tmp_path, clean)
    del margin["radio.loss.margin_20_db"]
    clean["board_sets"]["mine"]["drawn"]["radio.loss.antenna_sd_db"] = [0.0, 99.0]
    assert "board_sets.mine: drawn: radio.loss.antenna_sd_db = [0, 99]" in _refusal(tmp_path, clean)
