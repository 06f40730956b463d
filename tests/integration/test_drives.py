"""Recorded convoys on real SUMO: in suites, in training, and the same bits everywhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.recorded_convoys import Convoy

from ml.calibration.convoys.folder import is_for_training
from ml.cli import main
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.recorded import recordings_in
from ml.errors import CheckpointError, ConfigError, LogError
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_drawn, run_suite
from ml.evaluation.result import read_rows
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.together import run_together
from ml.training.command_line import parse_command_line
from ml.training.deployment import read_deployment
from ml.training.run_directory import create_run, require_same

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sumo

ROWS = 450


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six recordings of two to five cars, some in either half."""
    folder: Path = tmp_path_factory.mktemp("drives")
    for k in range(6):
        made = Convoy(cars=2 + k % 4, duration_s=90.0, cruise_mps=14.0 + 4.0 * k, seed=k)
        made.write(folder / f"{k}.csv")
    return folder


def _filmed(suite, driver="do-nothing", cases=None, **options):
    """Drive a suite; return rows, positions and speeds, (ticks, cases, slots)."""
    film = []

    def watch(batch: ConvoyBatch) -> None:
        film.append([batch.truth.route_pos_m.copy(), batch.truth.speed_mps.copy()])

    cases = list(range(suite.num_cases)) if cases is None else cases
    rows = run_suite(
        make_driver(driver), suite, radio="clean", cases=cases, on_tick=watch, **options
    )
    places, speeds = np.array(film).transpose(1, 0, 2, 3)
    return rows, places, speeds


def test_cars_ahead_drive_as_recorded(folder: Path):
    """In SUMO, gaps and the first car's way are those of the recording, within half a metre."""
    suite = make_suite(f"drives-all:{folder}")
    assert suite.num_cases == 6
    rows, places, speeds = _filmed(suite)
    convoys = {convoy.source.name: convoy for convoy in recordings_in(str(folder))}
    for case, row in enumerate(rows):
        convoy = convoys[row.labels["recording"]]
        first = round(row.labels["begins_s"] / 0.1)
        then = slice(first + 1, first + 1 + ROWS)
        peers = row.num_peers
        assert peers == convoy.gap_m.shape[1]
        assert row.duration_s == pytest.approx(45.0)
        gaps = np.diff(places[:, case, : peers + 1], axis=1)[:, 1:] - 4.5
        np.testing.assert_allclose(gaps, convoy.gap_m[then, 1:], atol=0.5)
        np.testing.assert_allclose(
            speeds[:, case, 1 : peers + 1], convoy.speed_mps[then, 1:], atol=0.5
        )
        steps = 0.5 * (convoy.speed_mps[1:, -1] + convoy.speed_mps[:-1, -1]) * 0.1
        driven = np.cumsum(steps[first : first + ROWS])
        leader = places[:, case, peers]
        np.testing.assert_allclose(leader - leader[0], driven - driven[0], atol=0.5)


def test_the_ego_begins_in_the_last_cars_place(folder: Path):
    """At its gap and speed; it is driven by whoever is tested, beside the real one's figures."""
    suite = make_suite(f"drives-all:{folder}")
    (row,), places, speeds = _filmed(suite, cases=[0])
    convoy = next(c for c in recordings_in(str(folder)) if c.source.name == row.labels["recording"])
    first = round(row.labels["begins_s"] / 0.1)
    assert speeds[0, 0, 0] == pytest.approx(convoy.speed_mps[first, 0])
    assert places[0, 0, 1] - places[0, 0, 0] - 4.5 == pytest.approx(convoy.gap_m[first, 0], abs=0.3)
    window = slice(first, first + ROWS + 1)
    assert row.labels["real_min_gap_m"] == pytest.approx(convoy.gap_m[window, 0].min(), abs=1e-3)
    assert row.crash, "it held its speed"
    assert (row.kind, row.brake_rank) == ("hazard", 1)
    careful, *_ = run_suite(make_driver("predictive:0.5"), suite, radio="clean", cases=[0])
    assert not careful.crash


def test_a_recorded_case_is_the_same_in_any_company(folder: Path):
    """Alone, in a batch, over TraCI, and behind another driver's run: the same figures."""
    suite = make_suite(f"drives-all:{folder}")
    driver = "predictive:0.5"
    rows, *_ = _filmed(suite, driver)
    alone, *_ = _filmed(suite, driver, cases=[3])
    assert alone[0].flat() == rows[3].flat()
    over_traci = replace(suite, config=suite.config.model_copy(update={"backend": "traci"}))
    film, *_ = _filmed(over_traci, driver, cases=[1, 3])
    assert [row.flat() for row in film] == [rows[1].flat(), rows[3].flat()]
    drivers = [make_driver("do-nothing"), make_driver(driver)]
    together = run_together(drivers, suite, radio="clean", seed=rows[0].seed)
    assert [row.flat() for row in together[1]] == [row.flat() for row in rows]


def test_a_suite_and_training_share_no_recording(folder: Path):
    """`drives` has the half that training never sees, and says where there is none."""
    held_out = make_suite(f"drives:{folder}")
    names = {c.source.name: is_for_training(c.sha256) for c in recordings_in(str(folder))}
    seen = {held_out.labels(case)["recording"] for case in range(held_out.num_cases)}
    assert seen == {name for name, trains in names.items() if not trains}
    assert 0 < len(seen) < len(names)
    with pytest.raises(ConfigError, match="name a folder"):
        make_suite("drives")
    with pytest.raises(LogError, match="no such folder"):
        make_suite("drives:nowhere")


def test_the_command_shows_the_real_one_beside_and_what_was_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """`roadsense drives` and `evaluate` count cases; the table has the real last car's figures."""
    monkeypatch.setenv("COLUMNS", "200")
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    Convoy(brakes_s=(8.0, 40.0)).write(mine / "short.csv")
    assert main(["drives", str(mine)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "7 recordings; " in said
    assert "1 (begins less than 20 s before it)" in said
    wanted = ["--controllers", "predictive:0.5", "--radio", "clean", "--worst", "0"]
    suite = f"drives-all:{mine}"
    out = tmp_path / "out"
    assert main(["evaluate", "--suite", suite, *wanted, "--out", str(out), "--csv"]) == 0
    said = capsys.readouterr().out
    assert f"{suite}: 1 refused (begins less than 20 s before it)" in said.replace("\n", "")
    (line,) = [line for line in said.splitlines() if "the real last car" in line]
    rows = read_rows(out)
    assert len(rows) == 7
    gaps = [row.labels["real_min_gap_m"] for row in rows]
    assert f" {min(gaps):.1f} " in line
    assert "label_real_headway_s" in (out / "episodes.csv").read_text().splitlines()[0]


def test_a_run_names_its_recordings_and_notices_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Absolute path and digests stand in the run; to resume on other recordings is refused."""
    copy = tmp_path / "mine"
    shutil.copytree(folder, copy)
    monkeypatch.chdir(tmp_path)
    asked = parse_command_line(["--preset", "spec", "--episodes-from", "mine"], read_deployment({}))
    env = asked.config.env
    assert env.episodes_from == str(copy)
    assert env.episodes_from_share == 0.3
    run = create_run(tmp_path / "runs", "spec", 0)
    run.write_start(asked.config, [], 0)
    require_same(run.inputs_file, env, env)
    (copy / "new.csv").write_text("new")
    with pytest.raises(CheckpointError, match=r"new\.csv was not there when the run began"):
        require_same(run.inputs_file, env, env)
    (copy / "new.csv").unlink()
    (copy / "0.csv").write_text("other")
    with pytest.raises(CheckpointError, match=r"episodes_from .*0\.csv has changed"):
        require_same(run.inputs_file, env, env)


def test_a_training_says_which_recordings_it_drives(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """It runs to its end with them, and says how many cases they are and their share."""
    for name in ("RUNS_DIR", "MODELS_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    small = ["--num-envs", "8", "--ppo.n-steps", "800", "--ppo.batch-size", "200",
             "--evaluation.every-steps", "0", "--evaluation.closing-episodes", "0"]  # fmt: skip
    wanted = ["--episodes-from", str(folder), "--total-timesteps", "800", "--preset", "spec"]
    assert main(["train", *wanted, *small]) == 0
    trains = sum(is_for_training(c.sha256) for c in recordings_in(str(folder)))
    said = " ".join(capsys.readouterr().out.split())
    assert f"recorded convoys: {trains} cases of {trains} recordings in 30% of episodes" in said


def _training(folder: Path | str, **options) -> ConvoyBatch:
    config = EnvConfig(episodes_from=str(folder), episodes_from_share=0.5, **options)
    return ConvoyBatch(config, num_envs=12, seed=5, observing=False)


def _recorded(batch: ConvoyBatch) -> np.ndarray:
    """Tell which convoys of a batch play a recording: those braked after just 20 s."""
    return batch.plan.onset_tick == 200


def test_training_drives_recordings_in_a_share_of_its_episodes(folder: Path):
    """Half of the episodes here; the others are those that would have been, and replays as well."""
    batch, plain = _training(folder), ConvoyBatch(EnvConfig(), num_envs=12, seed=5, observing=False)
    batch.reset()
    recorded = _recorded(batch)
    assert 3 <= recorded.sum() <= 9
    speeds, places = [], []
    for _ in range(300):
        batch.step(np.zeros(12))
        speeds.append(batch.truth.speed_mps.copy())
        places.append(batch.truth.route_pos_m.copy())
        if batch.status.any():
            break
    batch.close()
    plain.reset()
    for then in places[:40]:
        plain.step(np.zeros(12))
        np.testing.assert_array_equal(plain.truth.route_pos_m[~recorded], then[~recorded])
        assert (plain.truth.route_pos_m[recorded] != then[recorded]).any(axis=1).all()
    plain.close()
    convoys = [c for c in recordings_in(str(folder)) if is_for_training(c.sha256)]
    for row in np.flatnonzero(recorded):
        peers = batch.plan.num_peers[row]
        driven = np.array(speeds)[:, row, peers]
        lead = [c.speed_mps[:, -1] for c in convoys if c.gap_m.shape[1] == peers]
        near = [
            np.abs(np.lib.stride_tricks.sliding_window_view(v, driven.size) - driven) for v in lead
        ]
        assert min(off.max(axis=1).min() for off in near) < 1e-9


def test_recorded_episodes_go_by_key_alone(folder: Path):
    """Alone or in a batch, on libsumo and over TraCI: the same cars at the same places."""
    batch = _training(folder)
    batch.reset()
    recorded = np.flatnonzero(_recorded(batch))
    one = int(recorded[-1])
    seen = []
    for _ in range(60):
        batch.step(np.full(12, 0.1))
        seen.append(batch.truth.route_pos_m[one].copy())
    batch.close()
    for backend in ("libsumo", "traci"):
        config = EnvConfig(episodes_from=str(folder), episodes_from_share=0.5, backend=backend)
        alone = ConvoyBatch(config, num_envs=1, seed=5, first_env_index=one, observing=False)
        alone.reset()
        for then in seen:
            alone.step(np.full(1, 0.1))
            np.testing.assert_array_equal(alone.truth.route_pos_m[0], then)
        alone.close()


def test_an_evaluation_drives_no_recording_of_training(folder: Path):
    """Validation's cases are those of an environment without recordings."""
    config = EnvConfig(episodes_from=str(folder), episodes_from_share=1.0)
    driver = make_driver("predictive:0.5")
    with_folder, without = (
        run_drawn(driver, changed, episodes=2, seed=3) for changed in (config, EnvConfig())
    )
    assert [row.flat() for row in with_folder] == [row.flat() for row in without]
