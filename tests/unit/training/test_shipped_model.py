"""The model that is in the repository can be driven with as it is."""

from pathlib import Path

import ml
from ml.training.checkpoints import load_model

SHIPPED = Path(ml.__file__).parent / "models" / "convoy.zip"


def test_the_shipped_model_is_of_this_version_and_says_how_it_is_driven():
    """Loading refuses another version of the observation; the interface is that of the recipe."""
    model = load_model(SHIPPED)
    interface = model.interface
    assert interface.safety_layer
    assert interface.time_gaps_s == (0.4, 2.0)
    assert interface.time_gap_s == 0.88
    assert interface.action_lag_s == 0.3
    assert interface.position_common_share == 0.28


def test_it_is_small_enough_for_a_board():
    """Under 20,000 parameters, those of the critic left out."""
    model = load_model(SHIPPED)
    actor = [p for name, p in model.policy.named_parameters() if "value" not in name]
    assert sum(p.numel() for p in actor) < 20_000
