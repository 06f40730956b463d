"""The parts of a node that need no board, compiled for this machine."""

from __future__ import annotations

import pytest
from support.board_code import needs
from support.nodes import NODE, c_library


@pytest.fixture(scope="session")
def node_parts(tmp_path_factory):
    """GPS, IMU and ticks, which end at any undefined behaviour; skips where no compiler is."""
    if needs("gcc").args[0]:
        pytest.skip(needs("gcc").kwargs["reason"])
    out = tmp_path_factory.mktemp("node") / "node.so"
    checked = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    return c_library([NODE / name for name in ("gps.c", "imu.c", "tick.c")], out, *checked)
