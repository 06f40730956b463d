"""Convoys drive, drivers are judged and learners learn as they did before a change, to the bit.

`same_bits.json` holds digests of each. They belong to one kind of processor and one set of
libraries, which it names: elsewhere the last bits of an exponential are others, and a convoy is a
chaotic thing. Before a change that shall change nothing, record them anew where that is so:

    ROADSENSE_RECORD_BITS=1 pytest tests/integration/test_same_bits.py

and name in the change log what is meant to differ after it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.cli import main
from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.training.checkpoints import ConvoyPPO

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

RECORD = Path(__file__).with_name("same_bits.json")
RECORDING = bool(os.environ.get("ROADSENSE_RECORD_BITS"))
NUM_ENVS, TICKS = 64, 500
RADIOS = ("clean", "bursty", "shadowed", "gps-hold")
DRIVERS = ("model", "script")
BACKENDS = ("libsumo", "traci")
MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
LIBRARIES = ("libsumo", "llvmlite", "numba", "numpy", "stable-baselines3", "torch")


def machine():
    """Return what the last bits depend on."""
    # The only list of a processor's instructions that needs no further package.
    features = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return {
        "machine": platform.machine(),
        "instructions": sorted(features),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


class Digests:
    """Digests by name, each of all that was added under it."""

    def __init__(self):
        self._running = {}

    def add(self, name, content):
        """Add bytes, an array or a plain value."""
        if isinstance(content, np.ndarray):
            content = np.ascontiguousarray(content).tobytes()
        elif not isinstance(content, bytes):
            content = (repr(content) + "\n").encode()
        self._running.setdefault(name, hashlib.blake2b(digest_size=8)).update(content)

    def found(self):
        """Return name → digest."""
        return {name: digest.hexdigest() for name, digest in sorted(self._running.items())}


@pytest.fixture(scope="module")
def expected():
    """What was recorded, on a machine of this kind; what is recorded now, where that is asked."""
    here, recorded = machine(), json.loads(RECORD.read_text())
    same = recorded["machine"] == here
    if RECORDING:
        # What is not run now stays as it was, unless it was another machine's.
        recorded = recorded if same else {"machine": here}
        yield recorded
        RECORD.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        return
    if not same:
        pytest.skip("the digests were recorded with other libraries or on another processor")
    yield recorded


def hold(expected, name, found):
    """Compare with what is recorded under a name, or record it."""
    if RECORDING:
        expected[name] = found
    assert found == expected[name]


@pytest.fixture(scope="module")
def model():
    """The shipped model, answering by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ConvoyPPO.load(MODEL, device="cpu")
    torch.set_num_threads(threads)


def drive(model, radio, driver, backend):
    """Drive a batch; return digests of all that it was shown and told."""
    digests = Digests()
    changes = {"radio": radio, "backend": backend, "domain_randomisation": True}
    changes["position_common_share"] = 0.0  # as when they were recorded
    if driver == "model":
        changes |= model.interface.config_changes()
    env = ConvoyVecEnv(NUM_ENVS, EnvConfig(**changes), seed=5)
    phase = np.arange(NUM_ENVS)
    try:
        seen = env.reset()
        for tick in range(TICKS):
            if driver == "model":
                action, _ = model.predict(seen, deterministic=True)
            else:
                action = 0.3 * np.sin(0.05 * tick + phase)[:, None].astype(np.float32)
            seen, reward, ended, infos = env.step(action)
            for name in sorted(seen):
                digests.add(f"observation {name}", seen[name])
            digests.add("reward", reward)
            digests.add("ended", ended)
            for row in np.flatnonzero(ended):
                for name in sorted(infos[row]["terminal_observation"]):
                    digests.add("terminal observation", infos[row]["terminal_observation"][name])
                digests.add("truncated", infos[row]["TimeLimit.truncated"])
                for name, value in infos[row]["episode_summary"].items():
                    digests.add(f"summary {name}", value)
    finally:
        env.close()
    return digests.found()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("radio", RADIOS)
def test_a_batch_drives_as_it_did_on_both_backends(expected, model, radio, driver):
    """Observations, rewards, ends and summaries of 64 convoys over 500 ticks."""
    embedded, over_traci = (drive(model, radio, driver, backend) for backend in BACKENDS)
    assert embedded == over_traci
    hold(expected, f"{driver} on {radio}", embedded)


def run(folder, *arguments):
    """Run a command in a folder, by one thread."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME")
    }
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-m", "ml.cli", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )


def test_drivers_are_judged_as_they_were(expected, tmp_path, monkeypatch):
    """Each column of the rows of a model and two controllers, 67 cases each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the process that drives
    command = ["evaluate", str(MODEL), "--controllers", "path-cacc:1.0", "predictive:1.0", "--csv"]
    command += ["--suite", "convoy:67", "--radio", "bursty", "--out", str(tmp_path)]
    assert main([*command, "--worst", "0", "--workers", "1"]) == 0
    with (tmp_path / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    digests = Digests()
    for row in rows:
        for name, value in row.items():
            digests.add(name, value)
    assert len(rows) >= 200
    hold(expected, "evaluation", digests.found())


def test_logs_calibrate_as_they_did(expected, tmp_path):
    """The parameter file of a drive of six minutes that was made up."""
    run(
        tmp_path,
        *("logs", "synth", "--out", "logs", "--minutes", "6", "--preset", "bursty", "--seed", "3"),
    )
    logs = sorted(str(path) for path in (tmp_path / "logs").glob("*.csv"))
    run(tmp_path, "calibrate", *logs, "--out", "params.json")
    parameters = json.loads((tmp_path / "params.json").read_text())
    digests = Digests()
    for section in ("radio", "sensors"):
        digests.add(section, json.dumps(parameters[section], sort_keys=True))
    hold(expected, "calibration", digests.found())


def test_ppo_learns_as_it_did(expected, tmp_path):
    """Weights after one update on a small batch."""
    run(
        tmp_path,
        *("train", "--preset", "spec", "--num-envs", "8", "--total-timesteps", "1024"),
        *("--ppo.n-steps", "128", "--ppo.batch-size", "64", "--evaluation.every-steps", "0"),
        *("--position-common-share", "0"),  # as when they were recorded
    )
    (final,) = (tmp_path / "runs").glob("*/final.zip")
    digests = Digests()
    for name, tensor in ConvoyPPO.load(final, device="cpu").policy.state_dict().items():
        digests.add(name, tensor.numpy())
    hold(expected, "one update of PPO", digests.found())
