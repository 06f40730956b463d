"""What a user is told when SUMO's wheels do not work on this system."""

import importlib

import pytest

from ml.errors import SimulatorError
from ml.sumo import sumo_process
from ml.sumo.libsumo_backend import _import_libsumo

APT_LINE = "apt-get install libx11-6 libxext6 libxrender1 libgl1 libatomic1"


def test_missing_system_libraries_are_named(monkeypatch):
    """When libsumo cannot be imported the message has the line that mends it."""

    def refuse(_name):
        raise ImportError("libX11.so.6: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(SimulatorError, match=f"libX11.*{APT_LINE}"):
        _import_libsumo()


def test_missing_libraries_of_a_program_are_named(monkeypatch, tmp_path):
    """The same line comes when a SUMO in another process cannot be loaded."""
    program = tmp_path / "sumo"
    program.write_text("#!/bin/sh\necho error while loading shared libraries >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setattr(sumo_process, "sumo_program", lambda _name: program)
    started = sumo_process.SumoProcess([])
    started._process.wait(10.0)
    with pytest.raises(SimulatorError, match=f"exit status 127.*{APT_LINE}"):
        started.require_alive()
    started.kill()


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    """A damaged installation is an error that says how to mend it."""
    monkeypatch.setattr(sumo_process, "sumo_home", lambda: tmp_path)
    with pytest.raises(SimulatorError, match=r"'sumo-gui' is missing at .*pip install"):
        sumo_process.sumo_program("sumo-gui")
