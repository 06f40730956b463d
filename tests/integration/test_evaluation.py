"""An evaluation on real SUMO: the same bits again, the same fates for all, and on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import ml.sumo.libsumo_backend as backend
from ml.cli import main
from ml.evaluation.drivers import make_driver
from ml.evaluation.episode_metrics import conflicts
from ml.evaluation.episodes import CaseRunner, run_suite
from ml.evaluation.result import Manifest, read_rows, write_part
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.summary import summarise

pytestmark = pytest.mark.sumo

ROOT = Path(__file__).parents[2]
SMALL = ("--suite", "ncap:1", "plexe:1", "--radio", "clean", "bursty", "--controllers")


def flat(rows):
    """What a file would hold of some rows."""
    return [json.dumps(row.flat()) for row in rows]


def test_a_part_is_the_same_bits_again(tmp_path):
    """Two runs of a part write the same file, byte for byte."""
    suite = make_suite("convoy:20")
    for name in ("a", "b"):
        rows = run_suite(make_driver("predictive:0.8"), suite, radio="bursty", seed=5)
        write_part(tmp_path / name, rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = run_suite(make_driver("predictive:0.8"), suite, radio="bursty", seed=6)
    assert flat(other) != flat(rows)


def test_a_case_alone_is_the_case_in_a_batch():
    """Neither the batch's size nor its other cases change an episode: any can be replayed."""
    suite = make_suite("convoy:20")
    many = run_suite(make_driver("cth:1.1"), suite, radio="bursty", num_envs=7)
    for case in (3, 13, 19):
        (alone,) = run_suite(make_driver("cth:1.1"), suite, radio="bursty", cases=[case])
        assert flat([alone]) == flat([many[case]])


@pytest.mark.parametrize("spec", ["convoy:20", "eebl:1"])
def test_mask_and_fates_belong_to_the_case(spec):
    """Whoever drives, and whether it crashes, the case's radio and avoidability are the same."""
    suite = make_suite(spec)
    runs = [
        run_suite(make_driver(name), suite, radio="shadowed")
        for name in ("do-nothing", "always-brake", "oracle")
    ]
    assert any(row.crash for row in runs[0])
    assert not any(row.crash for row in runs[1])
    names = ("avoidable", "informed", "message_delay_s", "delay_budget_s", "delivery_ratio")
    names += ("age_p50_s", "age_max_s", "longest_blackout_s", "duration_s", "status")
    for rows in zip(*runs, strict=True):
        for name in names:
            assert len({repr(getattr(row, name)) for row in rows}) == 1, name


def test_what_the_ego_relays_belongs_to_the_case_too():
    """An ego relays what is ahead of it; one that has crashed must not time others' frames anew."""
    suite = make_suite("queue")
    tables = {}
    for name in ("do-nothing", "always-brake"):
        seen = tables[name] = []

        def watch(batch, seen=seen):
            table = batch.peer_table
            arrays = (table.heard, table.received_us, table.hops, table.payload, batch.age_est_ms)
            seen.append([array.tobytes() for array in arrays])

        cases = [23, 39, 41]  # those in which it did, when it was by the ego's own pose
        run_suite(make_driver(name), suite, radio="clean", seed=3_000_017, cases=cases,
                  on_tick=watch)  # fmt: skip
    assert len(tables["do-nothing"]) > 300
    assert tables["do-nothing"] == tables["always-brake"]


def test_on_the_road_the_own_position_decides():
    """With `own`, controllers at different distances meet different fates of the same packets."""
    suite = make_suite("convoy:20")
    ratios = [
        [r.delivery_ratio for r in run_suite(make_driver(name), suite, radio="bursty",
                                             radio_position="own")]
        for name in ("always-brake", "oracle")
    ]  # fmt: skip
    assert ratios[0] != ratios[1]


@pytest.mark.parametrize("name", ["cth:1.1", "predictive:0.8", "idm:1.5"])
def test_a_radio_that_is_off_is_worse_than_one_that_is_on(name):
    """Who uses the radio crashes more often without it."""
    suite = make_suite("convoy:60")
    on, off = (
        summarise(run_suite(make_driver(spec), suite, radio="clean"))[0].figures["crash_rate"]
        for spec in (name, f"off:{name}")
    )
    assert on.count == off.count > 30
    assert off.low > on.high


def test_a_wreck_stands_and_the_peers_drive_on():
    """After the crash the ego stays where it is, and no peer drives otherwise than without it."""
    suite = make_suite("convoy:10")
    paths = {}
    for name in ("do-nothing", "always-brake"):
        seen, speeds, wrecked = [], [], [np.zeros(10, dtype=bool)]

        def watch(batch, seen=seen, speeds=speeds, wrecked=wrecked):
            seen.append(batch.truth.route_pos_m[:, 1:].copy())
            speeds.extend(batch.truth.speed_mps[wrecked[0], 0])
            wrecked[0] = batch.wrecked.copy()

        rows = run_suite(make_driver(name), suite, radio="clean", on_tick=watch)
        paths[name] = np.array(seen)
        assert all(row.duration_s == 50.0 for row in rows)
        if name == "do-nothing":
            assert sum(row.crash for row in rows) >= 6
            assert len(speeds) > 100
            assert set(speeds) == {0.0}
    assert np.array_equal(paths["do-nothing"], paths["always-brake"])


def span(conflict, name):
    """Values of a measure in SUMO's file, tick by tick; NaN where it is not defined."""
    values = conflict.find(name).get("values").split()
    return np.array([np.nan if value == "NA" else float(value) for value in values])


def test_ttc_and_drac_agree_with_sumos_own_device(monkeypatch, tmp_path):
    """SUMO's surrogate-safety device finds the same values in every tick, in its own file."""
    file = tmp_path / "ssm.xml"
    options = backend.load_options
    wanted = [
        *("--device.ssm.probability", "1", "--device.ssm.file", str(file)),
        *("--device.ssm.measures", "TTC DRAC", "--device.ssm.thresholds", "60.0 0.0"),
        *("--device.ssm.range", "300", "--device.ssm.extratime", "30"),
        *("--device.ssm.trajectories", "true"),
    ]
    monkeypatch.setattr(backend, "load_options", lambda tiles: [*options(tiles), *wanted])
    cases = [4, 15, 21, 22, 27]
    ours = {}

    make_row = CaseRunner._row

    def note(self, case, convoy, trace):
        row = make_row(self, case, convoy, trace)
        assert not row.crash, "behind a crash there is nothing to compare"
        ours[f"c{cases.index(case):04d}.v00"] = [values[1:] for values in conflicts(trace)]
        return row

    monkeypatch.setattr(CaseRunner, "_row", note)

    suite = make_suite("ncap:1")
    run_suite(make_driver("cth:1.1"), suite, radio="clean", cases=cases)
    found = {c.get("ego"): c for c in ET.parse(file).getroot().iter("conflict")}  # noqa: S314
    for ego, (ttc, drac) in ours.items():
        theirs = span(found[ego], "TTCSpan")
        known = theirs < 50.0
        assert known.sum() > 15
        assert ttc[: theirs.size][known] == pytest.approx(theirs[known], abs=0.006, rel=0.005)
        theirs = span(found[ego], "DRACSpan")
        known = ~np.isnan(theirs)
        assert drac[: theirs.size][known] == pytest.approx(theirs[known], abs=0.006)
        assert np.nanmax(drac) == pytest.approx(np.nanmax(theirs), abs=0.006)


def parts(folder):
    """Name and content of every part."""
    return {file.name: file.read_bytes() for file in (folder / "parts").glob("*.jsonl")}


def test_a_killed_evaluation_goes_on_and_ends_the_same(tmp_path, capsys):
    """SIGKILL in the middle loses no part that was done; the rest is the same bits."""
    arguments = [*SMALL, "cth:1.1", "always-brake", "--worst", "0", "--workers", "1"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "ml.cli", "evaluate", *arguments, "--out", str(killed)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(6000):  # where others take the cores, the first job takes minutes
            if parts(killed) or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = parts(killed)
    total = len(Manifest.read(killed).parts)
    assert 0 < len(before) < total
    assert not (killed / "summary.json").exists()
    stamps = {f.name: f.stat().st_mtime_ns for f in (killed / "parts").glob("*.jsonl")}
    assert main(["evaluate", *arguments, "--out", str(killed)]) == 0
    said = capsys.readouterr().err
    assert f"evaluating: {total} parts, {len(before)} of them done already" in said
    assert main(["evaluate", *arguments, "--out", str(whole)]) == 0
    after = parts(killed)
    assert after == parts(whole)
    assert len(after) == total
    for name, stamp in stamps.items():
        assert (killed / "parts" / name).stat().st_mtime_ns == stamp
    assert (killed / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    rows = read_rows(killed)
    assert len(rows) == sum(part.episodes for part in Manifest.read(killed).parts)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.zip"], "nothing.zip"),
        (["--suite", "convoi"], "Did you mean 'convoy'"),
        (["--suite", "r157:x"], "'x' is no time gap in s"),
        (["--suite", "ncap:1.5"], "a whole number from 1 on"),
        (["--radio", "burst"], "Did you mean 'bursty'"),
        (["--controllers", "chh:1"], "there is no 'chh'"),
        (["--controllers", "none"], "nothing to evaluate"),
        (["--controllers", "cth:1.1", "cth:1.1"], "is named twice"),
        (["--episodes", "0"], "--episodes must be ≥ 1, got 0"),
        (["--worst", "-1"], "--worst must be ≥ 0, got -1"),
        (["--against", "x"], "--against needs a MODEL"),
    ],
)
def test_a_users_mistake_exits_with_2_and_writes_nothing(arguments, complaint, tmp_path, capsys):
    """One screen that says what and what instead; no folder is left behind."""
    out = tmp_path / "out"
    assert main(["evaluate", *arguments, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said.splitlines()) < 20
    assert not out.exists()


def test_a_result_of_another_evaluation_is_not_touched(tmp_path, capsys):
    """Other seeds into the same folder: refused with what differs, replaced with --force."""
    arguments = ["evaluate", "--suite", "plexe:1", "--radio", "clean", "--controllers",
                 "do-nothing", "--worst", "0", "--workers", "1",
                 "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(arguments) == 0
    before = parts(tmp_path / "out")
    assert main([*arguments, "--seeds", "4"]) == 2
    said = capsys.readouterr().err
    assert "differs in seeds" in said
    assert "--force" in said
    assert parts(tmp_path / "out") == before
    assert main([*arguments, "--seeds", "4", "--force"]) == 0
    assert parts(tmp_path / "out") != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main([*arguments[:-1], str(tmp_path / "mine")]) == 2
    assert "is not empty and holds no result" in capsys.readouterr().err
