"""The configuration: where values come from, who wins, and how mistakes are answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ml.envs.config import RewardWeights
from ml.errors import ConfigError
from ml.evaluation.seeds import TEST_SEED, VALIDATION_SEED
from ml.training import train_convoy
from ml.training.command_line import Invocation, option_name, parse_command_line
from ml.training.config import CurriculumConfig, TrainConfig, check_combinations
from ml.training.config_files import Layers, flatten, preset_names, to_yaml
from ml.training.deployment import read_deployment

if TYPE_CHECKING:
    from pathlib import Path


def _parse(*argv: str, **environ: str) -> Invocation:
    return parse_command_line(argv, read_deployment(environ))


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _refusal(text: str) -> str | None:
    layers = Layers()
    try:
        layers.put_yaml(text, "fuzz.yaml")
        layers.build()
    except ConfigError as error:
        return str(error)
    return None


def test_the_specified_defaults():
    """The preset `spec` has the numbers of the specification."""
    config = _parse("--preset", "spec").config
    assert config.preset == "spec"
    assert config.total_timesteps == train_convoy.TOTAL_TIMESTEPS == 100_000
    assert config.ppo.ent_coef == train_convoy.ENTROPY_COEF == 0.01
    assert config.ppo.learning_rate == train_convoy.LEARNING_RATE == 3e-4
    assert config.ppo.n_steps == train_convoy.N_STEPS == 2048
    assert config.checkpoints.every_steps == 10_000
    assert config.steps_per_env * config.num_envs == 2048


def test_the_default_preset_is_the_recipe_of_the_shipped_model():
    """Without options: a warm start, the safety layer, and time gaps of a range."""
    config = _parse().config
    assert config.preset == "convoy"
    assert config.imitation_rounds == config.imitation.rounds > 0
    assert config.interface.safety_layer
    assert config.interface.time_gap_s == config.evaluation.time_gap_s
    low_s, high_s = config.env.time_gap_s
    assert low_s <= config.interface.time_gap_s < high_s


def test_a_run_shorter_than_a_round_of_imitation_has_none():
    """A smoke test of a few thousand steps does not drive for minutes first."""
    assert _parse("--total-timesteps", "4096").config.imitation_rounds == 0


def test_the_preset_from_nothing():
    """`--preset ppo` rolls out 64 convoys for 128 ticks, in minibatches of 1024, four times."""
    config = _parse("--preset", "ppo").config
    assert (config.num_envs, config.steps_per_env) == (64, 128)
    assert (config.ppo.batch_size, config.ppo.n_epochs) == (1024, 4)


def test_a_curriculum_ends_with_the_rewards_own_weights():
    """Linear from the first weights to those of env.reward, at half of the run; others stay."""
    last = RewardWeights(comfort=0.2, false_braking=0.6)
    curriculum = CurriculumConfig(comfort=0.0, share=0.5)
    assert curriculum.weights(last, 0.0) == last.model_copy(update={"comfort": 0.0})
    assert curriculum.weights(last, 0.25).comfort == pytest.approx(0.1)
    assert curriculum.weights(last, 0.25).false_braking == 0.6
    assert curriculum.weights(last, 0.5) == curriculum.weights(last, 1.0) == last


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_complete(name: str):
    """A preset can be run as it is, and carries its name."""
    config = _parse("--preset", name).config
    check_combinations(config)
    assert config.preset == name


def test_precedence(tmp_path: Path):
    """Command line over environment over file over preset over defaults, value by value."""
    path = _file(
        tmp_path,
        "total_timesteps: 1\nnum_envs: 2\nseed: 3\nppo: {gamma: 0.5, n_steps: 1024}\n",
    )
    found = _parse(
        "--preset", "ppo", "--config", path, "--total-timesteps", "7",
        NUM_ENVS="4", TOTAL_TIMESTEPS="6",
    )  # fmt: skip
    config = found.config
    assert config.total_timesteps == 7  # command line
    assert config.num_envs == 4  # environment
    assert config.seed == 3  # file
    assert (config.ppo.gamma, config.ppo.n_steps) == (0.5, 1024)  # file
    assert config.ppo.batch_size == 1024  # preset
    assert config.ppo.clip_range == 0.2  # default
    assert found.changes == {
        "total_timesteps": "--total-timesteps",
        "num_envs": "environment variable NUM_ENVS",
        "seed": f"{path}:3",
        "ppo.gamma": f"{path}:4",
        "ppo.n_steps": f"{path}:4",
    }


def test_preset_from_the_environment():
    """`PRESET` chooses the preset; `--preset` wins over it."""
    assert _parse(PRESET="ppo").config.preset == "ppo"
    assert _parse("--preset", "spec", PRESET="ppo").config.preset == "spec"


def test_an_empty_variable_is_unset():
    """Compose passes what the user left out as an empty string."""
    empty = dict.fromkeys(("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME"), "")
    found = _parse(**empty, SUMO_HOST="", SUMO_PORT="", RUNS_DIR="", MODELS_DIR="")
    assert found == _parse()
    assert str(found.deployment.runs_dir) == "runs"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NUM_ENVS", "many"),
        ("NUM_ENVS", "0"),
        ("TOTAL_TIMESTEPS", "-5"),
        ("SEED", "1.5"),
        ("SUMO_PORT", "70000"),
        ("SUMO_PORT", "x"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str):
    """The message names the variable and the value that it holds."""
    with pytest.raises(ConfigError, match=f"environment variable {variable}.*{value}"):
        _parse(**{variable: value})


def test_sumo_host_makes_traci_the_default():
    """Where a SUMO is waiting it is used, unless the command line or a file says otherwise."""
    found = _parse(SUMO_HOST="sumo", SUMO_PORT="9999")
    assert found.config.env.backend == "traci"
    assert found.deployment.sumo_hosts == (("sumo", 9999),)
    assert _parse("--backend", "libsumo", SUMO_HOST="sumo").config.env.backend == "libsumo"
    assert _parse().config.env.backend == "libsumo"


def test_an_unknown_key_gets_the_nearest_match(tmp_path: Path):
    """A typo in a file is an error with file, line, and the key that was probably meant."""
    path = _file(tmp_path, "seed: 1\nppo:\n  learning_rat: 0.1\nnum_env: 4\n")
    with pytest.raises(ConfigError) as caught:
        _parse("--config", path)
    message = str(caught.value)
    assert f"{path}:3: unknown key 'ppo.learning_rat'. Did you mean 'learning_rate'?" in message
    assert f"{path}:4: unknown key 'num_env'. Did you mean 'num_envs'?" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: -1\n", ":1: seed = -1: it must be greater than or equal to 0."),
        ("ppo:\n  gamma: 1.5\n", ":2: ppo.gamma = 1.5: it must be less than or equal to 1."),
        ("ppo: 5\n", ":1: ppo"),
        ("env:\n  episode_mix:\n    hazard: 0.9\n", ":3: env.episode_mix: hazard + benign + free"),
        ("seed: 1\nseed: 2\n", ":2: seed is set twice, first in line 1"),
        ("- 1\n", ":1: expected `key: value` lines"),
        ("seed: [1\n", "not valid YAML"),
        ("? [a, b]\n: 1\n", ":1: a key must be a plain word"),
        ("seed: 2001-99-99\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_answered_with_the_place(tmp_path: Path, text: str, expected: str):
    """Every mistake in a file is answered with its line and what is allowed."""
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        _parse("--config", path)
    assert str(caught.value).startswith(path)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    """A file that was asked for and is missing is an error, not a default."""
    with pytest.raises(ConfigError, match=r"absent\.yaml.*No such file"):
        _parse("--config", str(tmp_path / "absent.yaml"))


def test_a_file_that_is_not_text(tmp_path: Path):
    """Binary content is recognised."""
    path = tmp_path / "model.zip"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        _parse("--config", str(path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*TrainConfig.model_fields, "gamma", "episode_mix", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_yaml_document_is_accepted_or_refused_in_words(document: object):
    """Whatever a file holds, the outcome is a configuration or a ConfigError."""
    refusal = _refusal(yaml.safe_dump(document))
    lines = (refusal or "").splitlines()
    assert all(re.match(r"fuzz\.yaml|and \d+ more$", line) for line in lines)


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused_in_words(text: str):
    """Text that is not YAML, or hardly, is refused with its name."""
    refusal = _refusal(text)
    assert refusal is None or refusal.startswith("fuzz.yaml")


def test_an_unknown_preset_gets_the_nearest_match():
    """`--preset pppo` is answered with `ppo`."""
    with pytest.raises(ConfigError, match="Did you mean 'ppo'"):
        _parse("--preset", "pppo")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--ppo.gamma", "3"), r"--ppo\.gamma: ppo\.gamma = 3\.0: it must be less than or equal"),
        (("--num-peers", "0", "2"), r"--num-peers: env\.num_peers\.0 = 0: it must be greater"),
        (("--num-peers", "5", "2"), r"--num-peers: env: num_peers = \(5, 2\)"),
        (("--episode-mix.hazard", "0.9"), r"--episode-mix\.hazard: .* the shares must sum to 1"),
    ],
)
def test_a_wrong_option_is_named(argv: tuple[str, ...], expected: str):
    """The message names the option, the value and what is allowed."""
    with pytest.raises(ConfigError, match=expected):
        _parse(*argv)


@pytest.mark.parametrize("argv", [("--num-env", "4"), ("--num-envs", "many"), ("--seed",)])
def test_an_option_that_cannot_be_parsed_exits_with_2(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    """An unknown option, a word for a number or a missing value: exit code 2 and a box."""
    with pytest.raises(SystemExit) as caught:
        _parse(*argv)
    assert caught.value.code == 2
    assert argv[0] in capsys.readouterr().err


def test_the_remedy_for_an_uneven_rollout_works():
    """Rollouts that cannot be shared out are refused, and the suggested value is accepted."""
    with pytest.raises(ConfigError, match=r"n_steps = 2048.*num_envs = 10\. Use --num-envs 8"):
        _parse("--preset", "spec", "--num-envs", "10")
    assert _parse("--preset", "spec", "--num-envs", "8").config.steps_per_env == 256


def test_the_remedy_for_an_uneven_minibatch_works():
    """A minibatch that does not divide the rollout is refused, with the rest in numbers."""
    with pytest.raises(ConfigError, match=r"hold 48 samples\. Use --ppo\.batch-size 64"):
        _parse("--preset", "spec", "--ppo.batch-size", "100")
    with pytest.raises(ConfigError, match="at least 2"):
        _parse("--ppo.batch-size", "1")


def test_a_configuration_survives_its_file():
    """What is written to config.yaml reads back as the same configuration."""
    config = _parse("--num-peers", "2", "7", "--ppo.gamma", "0.97", "--radio", "bursty").config
    layers = Layers()
    layers.put_yaml(to_yaml(config), "config.yaml")
    assert layers.build() == config


def test_a_configuration_is_frozen_and_closed():
    """Nothing changes after the checks, and nothing unknown slips in."""
    with pytest.raises(ValidationError):
        TrainConfig().seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        TrainConfig(sead=3)  # type: ignore[call-arg]


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]):
    """`--help` lists each value with its meaning and the default of the chosen preset."""
    with pytest.raises(SystemExit) as caught:
        _parse("--help", "--preset", "ppo")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for path in flatten(TrainConfig()):
        assert option_name(path) in text
    assert "default: 12000000" in text
    assert "Step size of Adam" in text


def test_every_value_has_an_explanation():
    """No option comes without help."""
    sections = [TrainConfig, *(type(v) for _, v in TrainConfig() if isinstance(v, BaseModel))]
    for section in sections:
        for name, info in section.model_fields.items():
            nested = isinstance(getattr(section(), name), BaseModel)
            assert nested or info.description, f"{section.__name__}.{name}"


def test_an_option_that_breaks_a_section_of_the_file_is_blamed(tmp_path: Path):
    """Where a file and the command line do not go together, the later one is named."""
    path = _file(tmp_path, "env:\n  episode_mix: {hazard: 0.5, benign: 0.5, free: 0.0}\n")
    with pytest.raises(ConfigError, match=r"^--episode-mix\.free: "):
        _parse("--config", path, "--episode-mix.free", "0.25")


def test_help_works_beside_a_mistake(capsys: pytest.CaptureFixture[str]):
    """A wrong variable does not keep the help from being shown."""
    with pytest.raises(SystemExit) as caught:
        _parse("--help", NUM_ENVS="many")
    assert caught.value.code == 0
    assert "--num-envs" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--seed", "--evaluation.seed"])
def test_the_cards_cases_are_never_trained_or_chosen_on(option):
    """The test seed is refused, and the validation seed is the default of the evaluation."""
    with pytest.raises(ConfigError, match="this is the test seed"):
        _parse(option, str(TEST_SEED))
    assert _parse().config.evaluation.seed == VALIDATION_SEED
