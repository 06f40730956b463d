"""The exported C is Python's board over minutes, and among cars that are not ahead.

No road that SUMO drives on brings a board either: the traffic is written by hand here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.board_code import first_difference, needs

from ml.export.folder import SOURCE
from ml.export.host import HostBrain
from ml.export.network import network_of
from ml.export.rehearsal import RADIOS, Rehearsal
from ml.export.weights import weights_header
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
TICKS = 4000
OWN_MPS = 20.0
DRIFT_PPM = -5000.0
TIMES = 5.0
"""What float32 may cost more: who is silent for a minute is taken to have driven a kilometre."""

pytestmark = [pytest.mark.board, needs("gcc")]


class Written:
    """Traffic in the place of a batch of one convoy, on a straight road to the east.

    `at` gives the cars of a moment, s: x from the ego and y in m, speed in m/s, heading in degrees
    and acceleration in m/s², or None for a car that is out of reach.
    """

    num_envs = 1

    def __init__(self, at) -> None:
        self._at = at
        self.num_slots = 1 + len(at(0.0))
        self.tick, self.status = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.on_first_step = lambda: None
        self.reset()

    @property
    def now_us(self):
        """Of the tick."""
        return self.tick * 100_000

    def reset(self):
        """Begin."""
        self.tick[:] = 0
        self._place()

    def step(self, _accel_mps2):
        """Move on; the ego drives at a steady speed, whatever it is told."""
        if self.tick[0] == 0:
            self.on_first_step()
        self.tick += 1
        self._place()

    def pose(self, _route_pos_m):
        """Where all are."""
        return self._pose

    def close(self):
        """End."""

    def _place(self):
        now_s = self.tick[0] * 0.1
        cars = [(0.0, 0.0, OWN_MPS, 90.0, 0.0), *self._at(now_s)]
        present = np.array([[car is not None for car in cars]])
        x, y, speed, heading, accel = np.array([car or (0.0,) * 5 for car in cars]).T[:, None]
        self._pose = (x + OWN_MPS * now_s, y, heading)
        self.truth = SimpleNamespace(
            route_pos_m=x,
            present=present,
            speed_mps=speed,
            accel_mps2=accel,
            gap_m=np.full(1, 70.0),
        )


def at(now_s):
    """A leader not heard for 57 and for 70 s, a passer-by, oncoming cars, one heard once."""
    is_silent = 100.0 <= now_s < 157.0 or 200.0 <= now_s < 270.0
    leader = None if is_silent else (60.0 + 5.0 * np.sin(now_s), 0.0, 20.0, 90.0, 0.0)
    beside_m = 45.0 * np.sin(now_s / 12.0)
    beside = (beside_m, 1.0, 20.0, 90.0, 0.0) if not 215.0 <= now_s < 275.0 else None
    oncoming_m = 400.0 - 40.0 * (now_s % 50.0)
    oncoming = (oncoming_m, 3.5, 20.0, 270.0, 0.0) if abs(oncoming_m) < 300.0 else None
    once = (30.0, 0.0, 20.0, 90.0, -4.0) if 10.0 <= now_s < 10.6 else None
    return [leader, beside, oncoming, once]


@pytest.fixture(scope="module")
def driven():
    """400 s of it, as Python's board met them, the peers' clocks half a percent slow."""
    model = load_model(MODEL)
    rehearsal = Rehearsal(model, model.interface, load_parameters("clean"), num_envs=1, seed=4)
    traffic = Written(at)
    rehearsal._batch = rehearsal._road = traffic

    def slow_down():
        rehearsal._airs[0]._ppm[:] = DRIFT_PPM

    traffic.on_first_step = slow_down
    (episode,) = rehearsal.run(TICKS)
    return episode


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compile the fixed code, with a part of it changed."""
    model = load_model(MODEL)
    header = weights_header(network_of(model), model.interface, load_parameters("clean"), "convoy")

    def built(part="", changed=""):
        folder = tmp_path_factory.mktemp("brain")
        (folder / "weights.h").write_text(header)
        (folder / "replay").mkdir()
        code = (SOURCE / "brain.c").read_text()
        assert part in code
        (folder / "brain.c").write_text(code.replace(part, changed) if part else code)
        for name in ("brain.h", "replay/replay.c", "replay/replay.h"):
            (folder / name).write_bytes((SOURCE / name).read_bytes())
        return HostBrain(folder, folder / "libbrain.so", ("-w",))

    return built


def test_minutes_among_all_kinds_of_cars_are_pythons(driven, build):
    """Every command, observation and bound; somebody is shown, and for a while nobody."""
    ticks = build().replay(bytes(driven.content))
    assert driven.radio == RADIOS[0].name
    assert first_difference(driven, ticks, TIMES) == ""
    assert np.bincount(ticks["num_rows"], minlength=3)[:3].min() > 100


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("#define FORGOTTEN_S 60.0f", "#define FORGOTTEN_S 62.0f"),
        ("#define BEHIND_M 25.0f", "#define BEHIND_M 27.0f"),
        ("#define ONCOMING_DEG 135.0f", "#define ONCOMING_DEG 400.0f"),
        ("peer->behind ? CAR_LENGTH_M", "0 ? CAR_LENGTH_M"),
        ("peer->newest = peer->followed = 0;", ""),
        ("peer->bucket_ms[place] = EMPTY_MS;", ""),
        ("offset_ms = peer->received_ms - peer->timestamp_ms;", "offset_ms = 0;"),
    ],
)
def test_what_only_minutes_show_is_seen(driven, build, part, changed):
    """A rule that is another one in C is named."""
    ticks = build(part, changed).replay(bytes(driven.content))
    assert first_difference(driven, ticks, TIMES)
