"""`roadsense targets` on real SUMO, with policies that have learnt nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.untrained import untrained_model

from ml.cli import main
from ml.evaluation.acceptance.benchmarks import pick_convoy
from ml.evaluation.acceptance.submission import read_submission
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.suites.registry import make_suite
from ml.training.checkpoints import model_bytes

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SEED = "3000017"


def untrained(path, seed):
    """Save a policy that has learnt nothing."""
    model = untrained_model(seed, peer_embed_dim=16)
    path.parent.mkdir()
    path.write_bytes(model_bytes(model))
    return str(path)


def parts(out):
    """Name and time of every part."""
    return {file.name: file.stat().st_mtime_ns for file in (out / "parts").glob("*.jsonl")}


def test_a_killed_run_goes_on_and_ends_with_a_table(tmp_path, capsys):
    """Of the parts two; what was done before the kill is not done again."""
    model, out = untrained(tmp_path / "seed0" / "final.zip", 0), tmp_path / "out"
    command = ["targets", model, "--quick", "--seed", SEED, "--out", str(out)]
    command += ["--only", "convoy", "plexe", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ml.cli", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(6000):  # where others take the cores, the first job takes minutes
            if parts(out) or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = parts(out)
    assert 0 < len(before) < 16
    assert not (out / "targets.md").exists()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "of them done already" in shown.err
    assert "limits, and the distance to them" in shown.out
    assert re.search(r"^(fail|inconclusive); must: \d+ of \d+ passed", shown.out, re.MULTILINE)
    after = parts(out)
    assert len(after) == 3 * 3 + 1 + 2 * 3  # three drivers on three radios, IDM on one; plexe
    assert {name: after[name] for name in before} == before

    table = (out / "targets.md").read_text(encoding="utf-8")
    assert "| where | measured | target | policy | verdict |" in table
    must, _, limits = table.partition("## Limits, and the distance to them")
    assert "| convoy clean | crashes in avoidable hazards | ≤ 0.05 % |" in must
    assert "| convoy clean | crashes in avoidable hazards | 0 in 10,000 |" in limits
    assert "predictive 0.5 s" in table
    found = json.loads((out / "targets.json").read_text(encoding="utf-8"))
    ours = next(row for row in found["rows"] if row["by"]["metric"] == "crash_rate")
    assert (ours["where"], ours["level"]) == ("convoy clean", "must")
    assert sum(found["summary"]["must"].values()) > found["summary"]["must"]["pass"]
    assert found["summary"]["limits"] == 5
    assert ours["verdict"] in {"fail", "inconclusive"}  # twelve hazards show no success
    shadowed = next(c for c in found["benchmarks"] if c["name"] == "convoy shadowed")
    assert [d["name"] for d in shadowed["drivers"]][3] == "IDM 1.1 s"
    assert shadowed["cases"] == 20
    assert read_submission(out / "submission.json").summary.must == found["summary"]["must"]
    assert (out / "targets.png").read_bytes().startswith(b"\x89PNG")

    assert main(command) == 0
    assert parts(out) == after
    assert (out / "targets.md").read_text(encoding="utf-8") == table

    capsys.readouterr()
    assert main([*command, "--seed", "5"]) == 2
    assert "differs in seeds" in capsys.readouterr().err
    assert parts(out) == after


def test_on_the_rural_road_cases_are_what_they_are_called():
    """Hazards that can be avoided, none invalid, nobody faster than the road allows."""
    suite, cases = pick_convoy(12, 6)
    suite = make_suite(f"{suite}@rural")
    driver = make_driver("predictive:0.5")
    rows = run_suite(driver, suite, radio="clean", seed=int(SEED), cases=cases)
    assert [row.kind == "hazard" for row in rows] == [True] * 12 + [False] * 6
    assert not any(row.invalid for row in rows)
    assert any(row.avoidable for row in rows[:12])
    fastest = max(row.distance_m / row.duration_s for row in rows)
    assert fastest < 22.3  # the highest limit is 22.22 m/s
    benign = [row.overreaction_mps2 for row in rows if row.kind == "benign"]
    assert np.isfinite(benign).all()
    assert all(np.isnan(row.overreaction_mps2) for row in rows if row.kind == "free")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name a MODEL"),
        (["nothing.zip"], "nothing.zip"),
        (["{model}", "{model}"], "MODEL: {model} is named twice"),
        (["{model}", "--controllers", "chh:1"], "there is no 'chh'"),
        (["{model}", "--controllers", "truth:cth:1.1"], "no baseline"),
        (["{model}", "--shadowed-gaps", "4"], "--shadowed-gaps 4: {model} was trained for"),
        (["{model}", "--bursty-gaps", "0.1"], "--bursty-gaps 0.1: {model} was trained for"),
        (["{model}", "--clean-gaps", "1", "1"], "--clean-gaps: 1.0 is named twice"),
        (["{model}", "--bursty-gaps", "1", "1"], "--bursty-gaps: 1.0 is named twice"),
        (["{model}", "--name", "<b>"], "submission.json: name: holds '<'; plain words alone"),
        (["{model}", "--hazards", "0"], "--hazards must be ≥ 1, got 0"),
    ],
)
def test_a_users_mistake_exits_with_2_and_writes_nothing(arguments, complaint, tmp_path, capsys):
    """It says what and what instead; no folder is left behind."""
    model = untrained(tmp_path / "seed0" / "final.zip", 0)
    out = tmp_path / "out"
    given = [text.format(model=model) for text in arguments]
    assert main(["targets", *given, "--out", str(out)]) == 2
    assert complaint.format(model=model) in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
