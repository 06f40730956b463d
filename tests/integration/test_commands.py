"""The commands as a user types them, on real SUMO."""

import json

import pytest

from ml.cli import main
from ml.envs import EnvConfig, RewardWeights
from ml.evaluation.reward_audit import audit_reward

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
    for words in ("everything on", "g / h", "≥ 0.5", "relays off", "3 hops", "≤ 10", "≤ 25"):
        assert words in printed, words
    assert "field's usual way" not in printed
    said = json.loads(file.read_text())
    assert len(said["workloads"]) == 2
    assert 0.0 < said["ratios"][0]["value"] < 1.5
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fly"], "no command 'fly'"),
        (["audit-reward", "--episodes", "0"], "--episodes = 0; allowed is 1 or more"),
        (["audit-reward", "--radio", "burst"], "did you mean 'bursty'"),
        (["bench", "--rounds", "0"], "--rounds = 0"),
        (["bench", "--num-peers", "0"], "--num-peers = 0"),
        (["bench", "--only", "radio", "--radio", "burst"], "did you mean 'bursty'"),
        (["bench", "--json", "nowhere/bench.json"], "there is no folder nowhere"),
        (["evaluate", "nothing.zip"], "nothing.zip"),
    ],
)
def test_a_users_mistake_exits_with_2_and_a_remedy(arguments, complaint, capsys):
    """One line that says what and where, and no traceback."""
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err
