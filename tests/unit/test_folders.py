"""Users without a home folder, and whose code runs where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml.errors import ConfigError
from ml.folders import default_cache_dir, expand_home, home
from ml.installation import code_folder, hidden_packages, require_own_python
from ml.training.deployment import read_deployment

ROOT = Path(__file__).parents[2]
NOBODY = """
import pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
"""


def _as_nobody(code: str, tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code as a user that the system does not know, without HOME."""
    return subprocess.run(
        [sys.executable, "-c", NOBODY + code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        | environ,
        capture_output=True,
        check=False,
        text=True,
    )


def test_a_user_whom_nobody_knows_has_a_cache_in_the_temporary_folder(tmp_path: Path):
    """Networks and compiled loops share a folder that only this user can write."""
    done = _as_nobody(
        "import ml.folders, ml.compiled; print(ml.folders.default_cache_dir());"
        "print(ml.compiled._cache_folder())",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    cache, compiled = done.stdout.split()
    assert cache == str(tmp_path / f"roadsense-{os.getuid()}")
    assert Path(compiled).is_relative_to(cache)
    assert Path(cache).stat().st_mode & 0o777 == 0o700


def test_the_doctor_says_that_there_is_no_home(tmp_path: Path):
    """With the folder that serves instead, and how to keep the cache."""
    done = _as_nobody("from ml.cli import main; main(['doctor', '--json'])", tmp_path)
    assert done.stderr == ""
    assert f"uid {os.getuid()} has none; the cache is in {tmp_path}/roadsense-" in done.stdout
    assert "ROADSENSE_CACHE_DIR=/a/folder" in done.stdout


@pytest.mark.parametrize("there", ["a file", "nothing", "a relative path"])
def test_a_home_that_cannot_be_used_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
):
    """HOME=/nonexistent, as Debian gives its user nobody, costs nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROADSENSE_CACHE_DIR", raising=False)
    folder = tmp_path / "home"
    if there == "a file":
        folder.touch()
    monkeypatch.setenv("HOME", "home" if there == "a relative path" else str(folder))
    assert home() is None
    assert default_cache_dir().is_dir()
    assert default_cache_dir() == default_cache_dir()


def test_somebody_elses_folder_is_not_taken_for_the_cache(tmp_path: Path):
    """A folder of that name that others can write could hold their code."""
    planted = tmp_path / f"roadsense-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    done = _as_nobody("import ml.folders; print(ml.folders.default_cache_dir())", tmp_path)
    found = Path(done.stdout.strip())
    assert found != planted
    assert found.parent == tmp_path


def test_a_tilde_is_replaced_where_a_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """RUNS_DIR=~/runs of a .env file is not a folder called ~; an unknown user's stays."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_deployment({"RUNS_DIR": "~/runs"}).runs_dir == tmp_path / "runs"
    assert expand_home(Path("~nobody-of-that-name/x")) == Path("~nobody-of-that-name/x")


def test_no_folder_called_ml_is_made_in_a_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Models go to ml/models/saved in the checkout, as the specification has it; else to models."""
    monkeypatch.chdir(tmp_path)
    assert read_deployment({}).models_dir == Path("models")
    monkeypatch.chdir(code_folder())
    assert read_deployment({}).models_dir == Path("ml/models/saved")
    assert read_deployment({"MODELS_DIR": "/x"}).models_dir == Path("/x")


def test_a_copied_virtual_environment_does_not_run_the_originals_code(tmp_path: Path):
    """Its programs name the original's Python: that is refused, with what mends it."""
    copied = tmp_path / "copy" / ".venv"
    (copied / "bin").mkdir(parents=True)
    (copied / "pyvenv.cfg").touch()
    program = copied / "bin" / "roadsense"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom ml.cli import main\nsys.exit(main())")
    program.chmod(0o755)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([program, "observation"], env=environ, capture_output=True, check=False)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert str(code_folder()) in said
    assert f"`make .venv/installed` in {tmp_path / 'copy'}" in said
    with pytest.raises(ConfigError, match="moved or copied"):
        require_own_python(str(program))
    require_own_python(str(Path(sys.prefix) / "bin" / "roadsense"))
    require_own_python(str(ROOT / "ml" / "cli.py"))


def _hide(folder: Path, constants: str) -> str:
    (folder / "traci").mkdir(parents=True)
    (folder / "traci" / "__init__.py").touch()
    (folder / "traci" / "constants.py").write_text(constants)
    return str(folder)


@pytest.mark.parametrize("others", [(), ("/usr/share/other",)])
def test_a_hidden_traci_is_named_with_what_uncovers_it(tmp_path: Path, others: tuple[str, ...]):
    """PYTHONPATH=$SUMO_HOME/tools of another release: the file, and the line that works."""
    assert hidden_packages() == []
    hiding = _hide(tmp_path / "tools", "")
    path = os.pathsep.join([str(ROOT), hiding, *others])
    environ = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", "audit-reward"],
        env=environ, cwd=tmp_path, capture_output=True, check=False, text=True,
    )  # fmt: skip
    rest = os.pathsep.join([str(ROOT), *others])
    assert done.returncode == 1, done.stderr
    assert f"is hidden by {hiding}/traci/__init__.py" in done.stderr
    assert f"export PYTHONPATH={rest}" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", "doctor", "--json"],
        env=environ, cwd=tmp_path, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"is hidden by {hiding}/traci/__init__.py" in done.stdout
    assert f"export PYTHONPATH={rest}" in done.stdout
    assert "make .venv/installed" not in done.stdout.partition("SUMO's packages")[2]
