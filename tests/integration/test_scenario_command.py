"""`roadsense scenario check`: all at once, with commands, in 80 columns and without a terminal."""

import re

import pytest
from support import roads

from ml.cli import main

pytestmark = pytest.mark.sumo


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A console of 80 columns that is no terminal."""
    monkeypatch.setenv("COLUMNS", "80")


def _check(cfg, capsys, *options):
    code = main(["scenario", "check", str(cfg), *options])
    return code, capsys.readouterr().out


def test_a_good_road_is_described_and_driven(tmp_path, capsys):
    """Limits with their places, changes, and how the episodes of a drive end; exit code 0."""
    code, said = _check(roads.limits(tmp_path), capsys)
    assert code == 0
    for words in (
        "2,801 m in 7 lanes one after the other, 6 junctions",
        "lowest: 8.33 m/s (30 km/h) at 1,200 m, lane e3_0",
        "highest: 27.78 m/s (100 km/h) at 0 m, lane e0_0",
        "100 → 50 km/h at 400 m",
        "convoys drive",
    ):
        assert words in re.sub(r"\s+", " ", said)
    assert max(map(len, said.splitlines())) <= 80


def test_slow_turns_and_rights_of_way_are_notes(tmp_path, capsys):
    """What makes a convoy slow, and where it would have to wait if others were on the road."""
    code, said = _check(roads.tight_turn(tmp_path), capsys, "--no-drive")
    assert code == 0
    assert re.search(r"slow turn of \d\.\d m, after 27\.8 m/s: \d\.\d+ m/s .* lane\s+:j_0_0", said)
    assert "not driven" in said
    for kind, words in (("all_way_stop", "everybody stops at 'j'"), ("stop_sign", "a stop sign")):
        _, said = _check(roads.ROADS[kind](tmp_path / kind), capsys, "--no-drive")
        assert words in said
        assert "convoys pass there" in said


def test_all_that_is_wrong_is_said_with_whole_commands(tmp_path, capsys):
    """Each problem once, commands on one line however narrow the console; exit code 2."""
    folder = tmp_path / ("a long name of a folder, " * 4)
    cfg = roads.line_road(folder, middle='type="traffic_light"', more='length="2000"')
    code, said = _check(cfg, capsys)
    assert code == 2
    assert said.count("wrong  ") == 2
    commands = [line for line in said.splitlines() if line.startswith("  cd ")]
    assert len(commands) == 2
    assert commands[0].endswith("--tls.unset n1 -o road-mended.net.xml")
    assert commands[1].endswith("-o road-mended.net.xml")
    assert "2 things to mend" in said
    assert "convoys drive" not in said


def test_a_road_that_is_too_short_for_a_convoy_is_found_by_driving(tmp_path, capsys):
    """The network is fine, but eight cars do not fit; exit code 2."""
    code, said = _check(roads.line_road(tmp_path, (27.78, 27.78), length_m=260.0), capsys)
    assert code == 2
    assert "Use a longer route" in said


def test_our_own_scenarios_are_checked_by_name(capsys):
    """Without a path, the name of a built-in one will do."""
    code, said = _check("rural", capsys, "--no-drive")
    assert code == 0
    assert "7 junctions" in said


def test_a_sumocfg_that_is_not_there_is_an_error(tmp_path, capsys):
    """Exit code 2, and the names of the built-in ones."""
    assert main(["scenario", "check", str(tmp_path / "gone.sumocfg")]) == 2
    assert "is not a file. Name one of highway, rural" in capsys.readouterr().err
