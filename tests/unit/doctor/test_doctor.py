"""`roadsense doctor`: what is broken on purpose is found, with the command that mends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml.cli import main
from ml.doctor import machine, programs
from ml.sumo.sumo_process import SYSTEM_PACKAGES

if TYPE_CHECKING:
    from ml.doctor.programs import Finding

PREFLIGHT = Path(__file__).parents[3] / "scripts" / "preflight"


@pytest.fixture(autouse=True)
def _a_healthy_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUMO_HOST", "SUMO_PORT", "APP_UID", "TENSORBOARD_PORT", "WATCH_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)


def _report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    code = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    return code, {finding["name"]: finding for finding in findings}


def _only(findings: list[Finding], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def test_a_machine_that_runs_the_tests_is_fine(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Every verdict but a note is ok, nothing is written, and real SUMO has been asked."""
    code, found = _report(capsys)
    assert code == 0, found
    assert {finding["verdict"] for finding in found.values()} <= {"ok", "note"}
    assert "1.28.0" in found["SUMO"]["found"]
    assert "1.28.0" in found["embedded SUMO (libsumo)"]["found"]
    for name in ("RoadSense", "system", "Python", "SUMO's system libraries", "DISPLAY", "cores",
                 "memory", "folder of runs", "user", "ports"):  # fmt: skip
        assert name in found
    for finding in found.values():
        assert (finding["verdict"] == "ok") == (not finding["remedy"])
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_the_same(capsys: pytest.CaptureFixture[str]):
    """For people: one line each, and a verdict on top."""
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "nothing has to be mended" in shown
    assert "embedded SUMO" in shown


def test_a_wrong_option_is_exit_code_two(capsys: pytest.CaptureFixture[str]):
    """As in every command."""
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--jsno"])
    assert caught.value.code == 2
    assert "--jsno" in capsys.readouterr().err


def test_missing_libraries_are_named_by_package(monkeypatch: pytest.MonkeyPatch):
    """The apt-get line has exactly what is missing."""
    monkeypatch.setitem(programs.SUMO_LIBRARIES, "libNowhere.so.9", "libnowhere9")
    found = programs.system_libraries()
    assert found.verdict == "wrong"
    assert found.remedy == "sudo apt-get install libnowhere9"


def test_the_libraries_are_those_of_the_preflight_and_of_the_hint():
    """One list, wherever it stands."""
    listed = PREFLIGHT.read_text(encoding="utf-8")
    for library, package in programs.SUMO_LIBRARIES.items():
        assert f"{library} " in listed
        assert package in listed
    assert set(programs.SUMO_LIBRARIES.values()) == set(SYSTEM_PACKAGES.split())


def test_a_folder_that_cannot_be_written_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """A file in its place, on a file system where nobody may write."""
    monkeypatch.setenv("RUNS_DIR", "/proc/self/runs")
    code, found = _report(capsys)
    assert code == 1
    assert found["folder of runs"]["verdict"] == "wrong"
    assert "/proc" in found["folder of runs"]["found"]
    assert found["folder of models"]["verdict"] == "ok"


def test_a_wrong_variable_is_told_and_the_rest_still_examined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """One mistake does not hide the others."""
    monkeypatch.setenv("SUMO_PORT", "88l3")
    code, found = _report(capsys)
    assert code == 1
    assert "88l3" in found["environment variables"]["found"]
    assert "cores" in found


@pytest.mark.parametrize(
    ("variable", "service"), [("TENSORBOARD_PORT", "tensorboard"), ("WATCH_PORT", "watch")]
)
def test_a_taken_port_is_noted(variable: str, service: str, monkeypatch: pytest.MonkeyPatch):
    """It may be our own TensorBoard, or watch, so it is no fault."""
    monkeypatch.setattr(machine, "_PAGES", {variable: machine._PAGES[variable]})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv(variable, str(taken.getsockname()[1]))
        found = machine.ports()
    assert found.verdict == "note"
    assert f"{variable}=6016 docker compose up -d {service}" in found.remedy


def test_a_host_that_nobody_knows_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """SUMO_HOST of a container, outside of its network."""
    monkeypatch.setenv("SUMO_HOST", "sumo.invalid")
    code, found = _report(capsys)
    assert code == 1
    assert "docker compose up --detach sumo" in found["SUMO elsewhere"]["remedy"]


def test_another_uid_is_noted_with_the_lines_for_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What `.env` says counts, and the variable over it."""
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert "APP_UID=1234" in machine.owner().remedy
    (tmp_path / ".env").write_text("# mine\nAPP_UID=1234\n")
    assert machine.owner().verdict == "ok"
    monkeypatch.setenv("APP_UID", "77")
    assert machine.owner().verdict == "note"


def test_no_docker_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Training in the process needs none; an engine that does not answer has its own remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.docker()[0].verdict in {"note", "ok"}  # ok: these tests run in a container
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    docker.chmod(0o755)
    engine = _only(programs.docker(), "Docker Engine")
    assert engine.verdict == "note"
    assert engine.remedy == "sudo systemctl start docker"
    docker.write_text("#!/bin/sh\necho 'permission denied while trying' >&2\nexit 1\n")
    assert "usermod" in _only(programs.docker(), "Docker Engine").remedy


def test_an_old_compose_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Compose 1 does not know the conditions that the file uses."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 1.29.2\n")
    docker.chmod(0o755)
    assert _only(programs.docker(), "Docker Compose").verdict == "note"
    docker.write_text("#!/bin/sh\necho v2.26.1-desktop\n")
    assert _only(programs.docker(), "Docker Compose").verdict == "ok"


def test_it_imports_neither_torch_nor_sumo():
    """It must run where these cannot be loaded."""
    script = (
        "import sys, ml.commands.doctor;"
        "print(sorted({'torch', 'libsumo', 'traci', 'sumo', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
