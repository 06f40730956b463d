"""What the presets promise: a policy that has learnt to drive, not only a run that ends."""

import json

import pytest
from support.training_runs import Place

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


def closing_table(place):
    """The closing table of the only run, by driver."""
    rows = json.loads((place.run / "evaluation" / "closing.json").read_text(encoding="utf-8"))
    return {row["driver"]: row for row in rows}


def test_the_specifications_own_preset_learns(tmp_path):
    """`spec` as it is: it brakes for hazards, follows otherwise, and far outdoes doing nothing."""
    place = Place(tmp_path)
    done = place.train("--preset", "spec", "--seed", "0", "--evaluation.every-steps", "0")
    assert done.returncode == 0, done.stderr
    table = closing_table(place)
    policy, nothing = table["trained policy (final)"], table["do-nothing"]
    hazards, others = policy["hazard_crashes"], policy["other_crashes"]
    assert min(hazards["trials"], others["trials"]) > 40
    assert hazards["hits"] <= 0.20 * hazards["trials"]
    assert others["hits"] <= 0.05 * others["trials"]
    assert policy["mean_return"] >= nothing["mean_return"] + 25.0
