"""What only shows after hours: `make soak`.

Episodes are shortened to two seconds, so that 3,000 of them end (and begin) in minutes; it is
beginning and ending that takes and gives back memory.
"""

from __future__ import annotations

import gc
import os
import random
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.sumo_service import running_service
from support.training_runs import ROLLOUT, SMALL, Place, wait_until

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.evaluation.drivers import PolicyDriver
from ml.evaluation.episodes import run_suite
from ml.evaluation.suites.registry import make_suite
from ml.training.checkpoints import load_model

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.soak, pytest.mark.sumo, pytest.mark.slow]

NUM_ENVS = 16
EPISODES = 3000
EPISODE_S = 2.0
PARTS = 10
MOST_GROWTH = 0.03
MOST_SLOWING = 0.10
KILLS = 10


@pytest.fixture(params=["libsumo", "traci"])
def environment(request: pytest.FixtureRequest) -> Iterator[ConvoyVecEnv]:
    """A batch on either backend, warmed up."""
    config = EnvConfig(backend=request.param, episode_s=EPISODE_S, domain_randomisation=True)
    env = ConvoyVecEnv(NUM_ENVS, config, seed=11)
    try:
        env.reset()
        yield env
    finally:
        env.close()


def _resident_bytes(pid: int | str = "self") -> int:
    rows = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("VmRSS"))


def _open_files() -> list[str]:
    """What each descriptor leads to, without the numbers of sockets and pipes."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()).partition(":")[0])
        except FileNotFoundError:  # that of this very listing
            continue
    return sorted(links)


def _sumo_bytes(env: ConvoyVecEnv) -> int:
    process = getattr(env.batch.simulator, "_process", None)
    return 0 if process is None else _resident_bytes(process.pid)


def _cpu_s(env: ConvoyVecEnv) -> float:
    """Processor time of this process and of its SUMO, so that a busy machine does not count."""
    process = getattr(env.batch.simulator, "_process", None)
    if process is None:
        return time.process_time()
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").split()
    return time.process_time() + sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def _run_episodes(env: ConvoyVecEnv, count: int, rng: np.random.Generator) -> int:
    """Step until so many episodes have ended; return the number of ticks."""
    ended = ticks = 0
    while ended < count:
        actions = rng.uniform(-1.0, 1.0, (NUM_ENVS, 1)).astype(np.float32)
        ended += int(env.step(actions)[2].sum())
        ticks += 1
    return ticks


def test_thousands_of_episodes_leave_nothing_behind(environment: ConvoyVecEnv):
    """Memory, open files and sockets stay; the last tenth is as fast as the first."""
    rng = np.random.default_rng(5)
    _run_episodes(environment, EPISODES // PARTS, rng)  # caches and buffers fill
    environment.tick_metrics()
    gc.collect()
    memory = [_resident_bytes() + _sumo_bytes(environment)]
    files = _open_files()
    rates = []
    for _ in range(PARTS):
        began = _cpu_s(environment)
        ticks = _run_episodes(environment, EPISODES // PARTS, rng)
        rates.append(ticks / (_cpu_s(environment) - began))
        environment.tick_metrics()
        gc.collect()
        memory.append(_resident_bytes() + _sumo_bytes(environment))
        assert _open_files() == files
    growth = memory[-1] / memory[0] - 1.0
    print(  # noqa: T201 (figures for whoever runs it)
        f"\n{environment.batch.config.backend}: {memory[0] / 2**20:.0f} MB resident, growth "
        f"{growth:+.2%}; ticks per CPU second {rates[0]:.0f} first, {rates[-1]:.0f} last tenth; "
        f"{len(files)} open files"
    )
    assert growth < MOST_GROWTH, memory
    assert rates[-1] > (1.0 - MOST_SLOWING) * rates[0], rates
    assert environment.batch.keeper.restarts == 0


def test_sumo_is_lost_a_hundred_times(tmp_path: Path):
    """Restarts leak neither files nor memory, and every episode that was cut short is counted."""
    del tmp_path
    losses = 100
    with running_service() as service:
        env = ConvoyVecEnv(
            4, EnvConfig(backend="traci", num_peers=(2, 2)), seed=1,
            sumo_host="127.0.0.1", sumo_port=service.port,
        )  # fmt: skip
        try:
            env.reset()
            files: list[str] = []
            for loss in range(losses):
                for _ in range(120):  # more than 500 ticks for any five losses
                    env.step(np.zeros((4, 1), dtype=np.float32))
                pid = service.sumo_pid()
                assert pid is not None
                os.kill(pid, 9)
                *_, ended, _ = env.step(np.zeros((4, 1), dtype=np.float32))
                assert ended.all()
                if loss == 0:
                    gc.collect()
                    files = _open_files()
            gc.collect()
            assert _open_files() == files
            assert env.batch.keeper.restarts == losses
            assert 0 < env.batch.keeper.truncated_episodes <= 4 * losses
        finally:
            env.close()


def _moved_on(trainer: subprocess.Popen[str], place: Place, lines: int) -> bool:
    if trainer.poll() is not None:
        return True
    saved = list((place.path / "runs").glob("*/checkpoints/latest"))
    return bool(saved) and place.metrics().count("\n") > lines


def test_kill_and_resume_at_ten_random_moments(tmp_path: Path):
    """The step count and the curves continue, no event is doubled, the result is as good."""
    rng = random.Random(7)  # noqa: S311 (moments, not secrets)
    total = 40 * ROLLOUT
    undisturbed = Place(tmp_path / "undisturbed")
    assert undisturbed.train(*SMALL, "--total-timesteps", str(total)).returncode == 0
    place = Place(tmp_path / "disturbed")
    arguments = (*SMALL, "--total-timesteps", str(total))
    saved = []
    for kill in range(KILLS):
        trainer = place.start(*(("--resume", "latest") if kill else ()), *arguments)
        before = place.metrics().count("\n")
        wait_until(partial(_moved_on, trainer, place, before), "another rollout")
        time.sleep(rng.uniform(0.0, 2.0))
        trainer.kill()
        out, err = trainer.communicate()
        assert trainer.returncode in {-9, 0}, out + err
        saved.append(place.saved_step())
    assert all(later >= earlier for earlier, later in pairwise(saved))
    done = place.train("--resume", "latest", *arguments)
    assert done.returncode == 0, done.stderr
    steps = list(range(ROLLOUT, total + 1, ROLLOUT))
    for name, each in (("undisturbed", undisturbed), ("disturbed", place)):
        curves = each.scalars()
        for tag in ("train/value_loss", "reward/headway", "time/steps_per_second"):
            assert [step for step, _ in curves[tag]] == steps, (name, tag)
        assert each.metrics().count("\n") == len(steps)
        assert load_model(each.run / "final.zip").num_timesteps == total
    usual = [_worth(undisturbed)]
    for seed in (1, 2):  # how much training runs differ by nothing but their seed
        other = Place(tmp_path / f"seed-{seed}")
        assert (
            other.train(*SMALL, "--total-timesteps", str(total), "--seed", str(seed)).returncode
            == 0
        )
        usual.append(_worth(other))
    found = _worth(place)
    print(f"\nmean return in the same episodes: undisturbed {usual}, disturbed {found}")  # noqa: T201
    assert found > min(usual) - 3.0 * max(float(np.std(usual)), 1.0)


def _worth(place: Place) -> float:
    """Mean return of a training's last model in 64 episodes, the same for each.

    Curves of training runs cannot be compared: where a trainer is killed every other rollout,
    the episodes that get to their end are those that crash early.
    """
    driver = PolicyDriver(load_model(place.run / "final.zip"))
    rows = run_suite(driver, make_suite("convoy:64"), radio="clean")
    return float(np.mean([row.mean_return for row in rows]))
