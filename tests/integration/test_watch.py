"""Watching episodes as a user types it, on real SUMO."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.page_data import decoded

from ml.cli import main
from ml.commands import watch
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.watched import find_case
from ml.reports.episode.page import COLLIDED, Drive, fates, page

pytestmark = pytest.mark.sumo
SEED = 7


def test_an_episode_is_driven_written_and_opened(tmp_path, monkeypatch, capsys):
    """A hazard that shows something, two drivers on the same packets, in the browser."""
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(watch.webbrowser, "open", opened.append)
    monkeypatch.chdir(tmp_path)
    command = ["watch", "predictive:0.8", "--against", "cth:1.1", "--seed", str(SEED)]
    assert main([*command, "--radio", "shadowed"]) == 0
    (file,) = (tmp_path / "watched").iterdir()
    assert opened == [file.as_uri()]
    assert "predictive 0.8 s: Hazard" in capsys.readouterr().out
    assert main([*command, "--radio", "shadowed", "--out", "x.json", "--no-open"]) == 0
    assert len(opened) == 1
    drives = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["drives"]
    assert [drive["driver"] for drive in drives] == ["predictive 0.8 s", "CTH 1.1 s"]
    one, other = (drive["frames"] for drive in drives)
    assert one == other
    assert drives[0]["of_cars"]["speed_mps"][1:] == drives[1]["of_cars"]["speed_mps"][1:]
    assert drives[0]["of_ego"]["wish_mps2"] != drives[1]["of_ego"]["wish_mps2"]


@pytest.mark.parametrize("radio", ["clean", "bursty"])
def test_the_frames_of_a_recording_are_those_of_the_channel(radio):
    """As many own frames of the peers reach the ego as the channel counts, relays or not."""
    recorder, batches = Recorder(), []

    def note(batch):
        batches.append(batch)
        recorder.watch(batch)

    (row,) = run_suite(
        make_driver("cth:1.1"),
        make_suite("convoy:20"),
        radio=radio,
        seed=SEED,
        cases=[7],
        on_start=note,
        on_tick=recorder.watch,
    )
    recording = recorder.recording()
    own = (recording.frame_hops == 0) & (recording.frame_source > 0)
    assert own.sum() >= (recording.time_s.size - 2) * row.num_peers
    came = (recording.frame_receivers[own] & 1).sum()
    counted = batches[0].stack.channel.drain_counters()
    assert came / own.sum() == pytest.approx(counted["radio/delivery_ratio"])
    collided = (fates(recording) == COLLIDED).sum()
    assert collided / own.size == pytest.approx(counted["radio/collision_share"])
    assert (recording.frame_hops > 0).any()
    # What the board holds came by a frame that is there, in time.
    for tick in range(10, recording.time_s.size, 37):
        for peer in np.flatnonzero(recording.heard[tick]):
            told = (recording.frame_source == peer + 1) & (recording.frame_receivers & 1 > 0)
            told &= recording.frame_number == recording.number[tick, peer]
            assert recording.frame_arrival_s[told].min() <= recording.time_s[tick] + 1e-9


def test_what_a_driver_wished_is_what_the_next_tick_did(tmp_path):
    """Without a safety layer the command of a row is what the next one did, while it moves."""
    recorder = Recorder()
    run_suite(
        make_driver("cth:1.1"),
        make_suite("convoy:20"),
        radio="bursty",
        seed=SEED,
        cases=[2],
        on_start=recorder.watch,
        on_tick=recorder.watch,
    )
    recording = recorder.recording()
    assert recording.time_s[0] == 0.0
    moving = recording.speed_mps[1:, 0] > 0.5
    command, done = recording.command_mps2[:-1], recording.accel_mps2[1:, 0]
    np.testing.assert_allclose(command[moving], done[moving], atol=0.05)
    np.testing.assert_allclose(command[moving], recording.wish_mps2[:-1][moving], atol=1e-6)
    assert np.isnan(recording.wish_mps2[-1])
    recording.save(tmp_path / "x.npz")
    again = Recording.load(tmp_path / "x.npz")
    assert (again.frame_sent_s == recording.frame_sent_s).all()


def test_a_page_of_50_s_and_nine_cars_stays_small():
    """At most 300 kB on the radio that says most."""
    suite, recorder = make_suite("convoy:200"), Recorder()
    run_suite(
        make_driver("cth:1.1"),
        suite,
        radio="clean",
        seed=9_000_011,
        cases=[40],
        on_start=recorder.watch,
        on_tick=recorder.watch,
    )
    recording = recorder.recording()
    assert recording.num_peers == 8
    assert recording.time_s[-1] == 50.0
    assert len(page("x", [Drive(recording, "d", "s")]).encode()) < 300_000


def test_a_case_that_shows_something_is_found():
    """A hazard from farther ahead; a kind that a suite lacks is told with what there is."""
    suite = make_suite("convoy:100")
    recorder = Recorder()
    case = find_case(suite, "hazard", SEED)
    (row,) = run_suite(
        make_driver("cth:1.1"),
        suite,
        radio="clean",
        seed=SEED,
        cases=[case],
        on_tick=recorder.watch,
    )
    assert (row.kind, row.brake_rank > 1, row.num_peers in range(4, 9)) == ("hazard", True, True)
    assert recorder.recording().brake_slot == row.brake_rank


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["predictive:0.8", "--episode", "bad"], "--episode bad: name hazard, benign, free"),
        (["predictive:0.8", "--episode", "5000"], "has no case 5000; it has 0 … 999"),
        (["predictive:0.8", "--episode", "hazrd"], "Did you mean 'hazard'?"),
        (["predictive:0.8", "--suite", "cut-in", "--episode", "benign"], "it has hazard, free"),
        (["predictive:0.8", "--out", "x.png"], "--out must end in .html"),
        (["predictive:0.8", "--against", "cth:1", "--out", "x.gif"], "for two drivers"),
        (["predictive:0.8", "--out", "nowhere/x.html"], "there is no folder nowhere"),
        (["predictive:0.8", "--radio", "claen"], "claen"),
        (["nobody:0.8"], "nobody"),
        (["gone.zip"], "gone.zip"),
    ],
)
def test_a_wrong_watch_is_told_on_one_screen(arguments, complaint, capsys, tmp_path, monkeypatch):
    """What is wrong, and what there is; no traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *arguments, "--no-open"]) in {1, 2}
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said) < 1000


def test_a_page_decodes_as_the_documentation_says():
    """The ten lines of docs/watch.md, on a column of each order."""
    column = {"unit": 0.5, "order": 2, "values": [4, "2", None, -2]}
    assert decoded(column).tolist()[:3] == [2.0, 4.0, 6.0]
    assert np.isnan(decoded(column)[3])
    assert decoded(column)[4] == 7.0
