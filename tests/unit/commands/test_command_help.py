"""`--help` of every command: it explains, and needs nothing that is slow to import."""

import subprocess
import sys

import pytest

from ml.commands.catalogue import COMMANDS

_SLOW = {"torch", "stable_baselines3", "scipy", "matplotlib", "numba", "libsumo", "traci",
         "optuna"}  # fmt: skip
_SCRIPT = """
import sys
from ml.cli import main
try:
    main([sys.argv[1], "--help"])
except SystemExit as end:
    assert not end.code
print("slow:", *sorted(set(sys.argv[2:]) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_explains_and_imports_nothing_slow(command):
    """A user who asks what a command does waits for a second, not for seven."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, command, *_SLOW],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"roadsense {command}" in done.stdout
    assert len(done.stdout.split()) > 8
    assert done.stderr.splitlines()[-1] == "slow:"
