"""Every row of `roadsense ablate` names options that training takes, and changes something."""

import pytest

from ml.commands.ablate import ABLATIONS
from ml.training.command_line import parse_command_line

TRAINED = [ablation for ablation in ABLATIONS if ablation.options is not None]


@pytest.mark.parametrize("ablation", TRAINED, ids=lambda ablation: ablation.name)
def test_its_options_are_taken(ablation, monkeypatch):
    """As on the command line; only the recipe itself is as the preset is."""
    for name in ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME"):
        monkeypatch.delenv(name, raising=False)
    recipe = parse_command_line(["--preset", "convoy"]).config
    config = parse_command_line(["--preset", "convoy", *ablation.options]).config
    assert (config == recipe) == (not ablation.options)


def test_names_are_distinct():
    """A name is a folder."""
    assert len({ablation.name for ablation in ABLATIONS}) == len(ABLATIONS)
