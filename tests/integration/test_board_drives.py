"""`board@DIR` at the wheel: an exported folder drives as the policy that it was exported from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.board_code import needs
from support.planted_drive import PlantedDrive

from ml.controllers import board as boards
from ml.controllers.board import ExportedBoard, code_sha256, stamped
from ml.controllers.registry import make_controller
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drive.decide import decide
from ml.evaluation.drive.line_up import line_up
from ml.evaluation.drive.read import read_recorded_drive
from ml.evaluation.drivers import ControllerDriver, PolicyDriver, controller_spec, make_driver
from ml.export.folder import export
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
TICKS = 300
CONVOYS = 16

pytestmark = [pytest.mark.board, pytest.mark.sumo, needs("gcc")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped model, exported."""
    out = tmp_path_factory.mktemp("drives") / "brain"
    export(MODEL, out, "clean", check=False)
    return out


def drive(driver, watch=None):
    """Drive some convoys; return the egos' speeds (ticks, convoys), and what `watch` says."""
    config = EnvConfig(radio="bursty", stop_at_collision=False).model_copy(
        update=driver.config_changes
    )
    batch = ConvoyBatch(config, num_envs=CONVOYS, seed=11)
    speeds, seen = [], []
    try:
        observation = batch.reset()
        for _ in range(TICKS):
            seen.append(None if watch is None else watch(batch))
            observation = batch.step(driver.accel(batch, observation)).observation
            speeds.append(batch.truth.speed_mps[:, 0].copy())
            if watch is not None:
                seen[-1] = (seen[-1], batch.commanded_accel_mps2.copy())
    finally:
        batch.close()
    return np.array(speeds), seen


@pytest.mark.slow
def test_tick_by_tick_it_wishes_what_the_policy_is_commanded(folder):
    """In the policy's seat, shown the same: what differs is the speed that the low-pass goes by."""
    board = ExportedBoard(folder)

    def watch(batch):
        if batch.tick[0] == 0:
            board.reset(np.arange(CONVOYS), CONVOYS)
        return board.act(batch.board.peers, batch.board.ego)

    _, seen = drive(PolicyDriver(load_model(MODEL)), watch)
    difference = np.abs(np.array([mine - told for mine, told in seen]))
    moving = np.array([told for _, told in seen]) > -7.9
    assert np.median(difference[moving]) < 2e-3
    assert np.quantile(difference[moving], 0.99) < 0.05


@pytest.mark.slow
def test_at_the_wheel_it_goes_the_policys_way(folder):
    """The same convoys and radio, each driving for itself: speeds stay together for 30 s."""
    board, _ = drive(make_driver(f"board@{folder}"))
    policy, _ = drive(PolicyDriver(load_model(MODEL)))
    assert np.abs(board - policy).mean() < 0.02  # without its safety layer it is 0.1
    assert np.quantile(np.abs(board - policy), 0.99) < 0.5


@pytest.mark.slow
def test_on_a_recorded_drive_it_would_do_what_the_policy_would(folder, tmp_path):
    """Whoever really drove: it does not echo their braking, by the radio or with it off."""
    brakes_s = [60.0, 90.0, 120.0]
    PlantedDrive(3.0, {"b": brakes_s, "a": [at_s + 1.2 for at_s in brakes_s]}).write(tmp_path)
    logs = sorted(tmp_path.glob("*.csv"))
    drivers = line_up(str(MODEL), [f"board@{folder}", f"off:board@{folder}"], load_model)
    decided, _ = decide(read_recorded_drive(logs, None), drivers, load_parameters("clean"))
    of = dict(zip([driver.name for driver in drivers], decided, strict=True))
    assert np.abs(of["board brain"] - of["policy"]).max() < 1e-3
    # The policy has no safety layer there; the board's holds it to 0 while nobody is heard.
    alone = np.minimum(of["policy, radio off"], 0.0)
    assert np.abs(of["board brain, radio off"] - alone).max() < 1e-3
    assert (of["policy"] < -2.0).sum() > 10


def test_it_is_a_controller_wherever_one_is_named(folder):
    """With its folder's name, and what it is told by the digest of its weights."""
    spec = controller_spec(f"board@{folder}")
    assert (spec.name, spec.family, spec.knows) == ("board brain", "board, brain", "radio")
    assert spec.time_gap_s == pytest.approx(0.88)
    assert isinstance(make_driver(spec), ControllerDriver)
    assert make_controller(f"off:board@{folder}").knows == "nothing"


def test_a_folder_of_another_version_is_refused(folder, tmp_path):
    """Its code would be called in a way that it does not know, and take the process with it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    glue, weights = copy / "replay" / "batch.c", copy / "weights.h"
    text = glue.read_text()
    for now in (text.replace("return 2;", "return 1;"), text.replace("batch_version", "older")):
        assert now != text
        glue.write_text(now)
        header = weights.read_text().split("u\n", 1)[1]  # behind its stamp
        weights.write_text(stamped(header, code_sha256(copy)))
        with pytest.raises(ConfigError, match=r"another version of RoadSense.*Export the model"):
            make_controller(f"board@{copy}")


def test_a_folder_that_was_changed_or_is_none_is_refused(folder, tmp_path):
    """With the remedy; and a result goes on with the weights that it began with alone."""
    with pytest.raises(ConfigError, match=r"no folder of `roadsense export`.*board@DIR"):
        make_controller(f"board@{tmp_path}")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    spec = controller_spec(f"board@{copy}")
    code = copy / "brain.c"
    code.write_text(code.read_text().replace("#define CREEP_MPS2 1.0f", "#define CREEP_MPS2 0.0f"))
    with pytest.raises(ConfigError, match="not those that it was exported with"):
        make_controller(f"board@{copy}")
    shutil.copyfile(folder / "brain.c", code)
    weights = copy / "weights.h"
    header = weights.read_text()
    weights.write_text(header.replace("BRAIN_SAFETY_LAYER 1", "BRAIN_SAFETY_LAYER 0"))
    assert weights.read_text() != header
    with pytest.raises(ConfigError, match="its weights are not those"):
        make_controller(f"board@{copy}")
    weights.write_text("")
    with pytest.raises(EvaluationError, match="has changed since the result was begun"):
        make_driver(spec)


def test_a_compiler_or_a_cache_that_does_not_work_is_told(folder, tmp_path, monkeypatch):
    """A compiler that writes nothing, one that never ends, and a cache below a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    gcc = programs / "gcc"
    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(boards, "_DEADLINE_S", 0.5)
    for script, said in (
        ("exit 0", "says nothing, and writes nothing"),
        ("exec sleep 60", "ended"),
    ):
        gcc.write_text(f"#!/bin/sh\n{script}\n")
        gcc.chmod(0o755)
        with pytest.raises(ConfigError, match=said):
            make_controller(f"board@{folder}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="name another folder in ROADSENSE_CACHE_DIR"):
        make_controller(f"board@{folder}")
