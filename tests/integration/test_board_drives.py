"""`board@DIR` at the wheel: an exported folder drives as the policy that it was exported from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.board_code import needs

from ml.controllers import board as boards
from ml.controllers.board import ExportedBoard
from ml.controllers.registry import make_controller
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import ControllerDriver, PolicyDriver, controller_spec, make_driver
from ml.export.folder import export
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


def test_it_is_a_controller_wherever_one_is_named(folder):
    """With its folder's name, and what it is told by the digest of its weights."""
    spec = controller_spec(f"board@{folder}")
    assert (spec.name, spec.family, spec.knows) == ("board brain", "board, brain", "radio")
    assert spec.time_gap_s == pytest.approx(0.88)
    assert isinstance(make_driver(spec), ControllerDriver)
    assert make_controller(f"off:board@{folder}").knows == "nothing"


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
