"""The commands as a user types them, on real SUMO."""

import json
from pathlib import Path

import pytest

from ml.cli import main
from ml.envs import EnvConfig, RewardWeights
from ml.evaluation.reward_audit import audit_reward

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.sumo


def test_the_reward_ranks_drivers_as_a_person_would(capsys):
    """`roadsense audit-reward` finds nothing wrong with the default weights and exits with 0."""
    assert main(["audit-reward", "--episodes", "16"]) == 0
    printed = capsys.readouterr().out
    assert "the ranking is right" in printed
    assert all(name in printed for name in ("do-nothing", "always-brake", "oracle"))


def test_the_audit_notices_a_reward_that_lets_crashes_pay():
    """Without a price on collisions, and paid for nothing else, the ranking is wrong."""
    weights = RewardWeights(headway=0.0, safety=0.0, collision=0.0, comfort=1.0)
    report = audit_reward(EnvConfig(reward=weights), episodes=8)
    assert any("crashing must not pay" in complaint for complaint in report.complaints)


def test_the_profile_names_the_parts_of_a_tick(capsys):
    """`roadsense bench --profile` shows where the time goes on both backends."""
    assert main(["bench", "--profile", "--num-envs", "2", "--num-peers", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("sensors", "radio", "observation", "libsumo", "traci"))


def test_the_bench_states_radio_and_training_with_everything_on(capsys, tmp_path):
    """`roadsense bench --only` measures what it names, and says it in words, file and picture."""
    picture, file = tmp_path / "bench.png", tmp_path / "bench.json"
    command = ["bench", "--only", "training", "radio", "--num-envs", "4", "--rounds", "1"]
    assert main([*command, "--json", str(file), "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    for words in ("everything on", "g / h", "≥ 0.9", "relays off", "3 hops", "≤ 10", "≤ 12"):
        assert words in printed, words
    assert "naive baseline" not in printed
    said = json.loads(file.read_text())
    assert len(said["workloads"]) == 2
    assert said["ratios"][0]["value"] > 0.0
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fly"], "no command 'fly'"),
        (["audit-reward", "--episodes", "0"], "--episodes must be ≥ 1, got 0"),
        (["audit-reward", "--radio", "burst"], "Did you mean 'bursty'"),
        (["bench", "--rounds", "0"], "--rounds must be ≥ 1"),
        (["bench", "--num-peers", "0"], "--num-peers must be ≥ 1"),
        (["bench", "--only", "radio", "--radio", "burst"], "Did you mean 'bursty'"),
        (["bench", "--json", "nowhere/bench.json"], "there is no folder nowhere"),
        (["bench", "--picture", "bench.txt"], "--picture must end in .png or .svg"),
        (["evaluate", "nothing.zip"], "nothing.zip"),
    ],
)
def test_a_users_mistake_exits_with_2_and_a_remedy(arguments, complaint, capsys):
    """One line that says what and where, and no traceback."""
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


OUTPUTS = (
    ["bench", "--json", "OUT.json"],
    ["bench", "--picture", "OUT.png"],
    ["params", "show", "clean", "--picture", "OUT.png"],
    ["params", "show", "--docs", "FOLDER"],
    ["calibrate", "--coverage", "OUT.md"],
    ["calibrate", "nothing.csv", "--out", "OUT.json"],
    ["logs", "synth", "--out", "OUT"],
    ["evaluate", "--out", "OUT", "--controllers", "oracle"],
    ["targets", "ml/models/convoy.zip", "--out", "OUT"],
    ["ablate", "--out", "OUT"],
    ["tune", "--out", "OUT"],
)


@pytest.mark.parametrize("arguments", OUTPUTS, ids=" ".join)
def test_where_nothing_can_be_written_nothing_is_measured(arguments, capsys, monkeypatch):
    """A folder that even root cannot write is told of at once, by the option's name."""
    monkeypatch.chdir(ROOT)
    options = [a.replace("OUT", "/proc/out").replace("FOLDER", "/proc") for a in arguments]
    assert main(options) == 2
    said = capsys.readouterr().err
    assert "cannot write in /proc" in said
    assert next(option for option in reversed(options) if option.startswith("--o")
                or option in {"--json", "--picture", "--docs", "--coverage"}) in said  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["bench", "--only", "radio", "--rounds", "1"], ["params", "show", "ideal"]]
)
def test_no_picture_is_written_unasked(arguments, tmp_path, monkeypatch, capsys):
    """A folder in which somebody looks something up stays as it was."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 0
    assert capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
