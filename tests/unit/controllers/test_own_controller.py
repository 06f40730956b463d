"""A controller of a user's own: a Python file with one class."""

import numpy as np
import pytest

from ml.controllers.registry import make_controller
from ml.errors import ConfigError
from ml.evaluation.drivers import controller_spec
from ml.onboard.views import EgoView, PeerView

LAW = """
import numpy as np

from ml.controllers.protocol import Follower


class Timid(Follower):
    kind, usual_gap_s = "timid", 2.5

    def law(self, lead, ego):
        return np.where(lead.gap_m < self.standstill_m + self.time_gap_s * ego.speed_mps, -1.0, 0.5)
"""


def test_it_drives_by_its_law(tmp_path):
    """Its name, its gap and what it decides are the file's."""
    file = tmp_path / "timid.py"
    file.write_text(LAW)
    controller = make_controller(f"own@{file}")
    assert (controller.name, controller.time_gap_s) == ("timid 2.5 s", 2.5)
    assert make_controller(f"off:own@{file}").knows == "nothing"
    assert type(controller).__name__ == "Timid"


def test_results_know_its_content(tmp_path):
    """An edited file is another driver: no row of the old one is taken for it."""
    file = tmp_path / "timid.py"
    file.write_text(LAW)
    before = controller_spec(f"own@{file}")
    file.write_text(LAW.replace("-1.0", "-2.0"))
    after = controller_spec(f"own@{file}")
    assert before.sha256 != after.sha256
    assert before.name == after.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines none"),
        (LAW + LAW.replace("Timid", "Bold"), "defines Bold, Timid"),
        ("import nowhere_to_be_found\n", "line 1: ModuleNotFoundError: No module named 'nowhere"),
        ("x = 1\ndef f(:\n", "line 2: SyntaxError"),
        (LAW.split("    def law", maxsplit=1)[0], "Timid has neither a method law nor act"),
        (LAW.replace("    kind,", "    bad = 1 / 0\n    kind,"), "ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_controller_is_told(tmp_path, text, said):
    """With the file, the cause and the line; never by a traceback."""
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        make_controller(f"own@{file}")
    assert "wrong.py" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nowhere", r"line 11: NameError: name 'nowhere' is not defined"),
        ("'hard'", r"own@\S+timid.py: "),
        ("np.zeros(3)", r"shape \(3,\); expected is .* 2 convoys, shape \(2,\)"),
        ("lead.gap_m * np.nan", r"a NaN or ∞"),
    ],
)
def test_a_wrong_law_is_told_when_it_drives(tmp_path, answer, said):
    """With the file, and the line where it has one; never by a traceback."""
    file = tmp_path / "timid.py"
    file.write_text(LAW[: LAW.index("        return")] + f"        return {answer}\n")
    controller = make_controller(f"own@{file}")
    view = PeerView(*np.ones((9, 2, 1)), np.zeros((2, 1, 1)), *np.ones((3, 2, 1)))
    view = view._replace(heard=np.ones((2, 1), bool), hops=np.zeros((2, 1), int))
    with pytest.raises(ConfigError, match=said):
        controller.act(view, EgoView(*np.ones((8, 2))))


def test_a_missing_file_is_told(tmp_path):
    """By its name."""
    with pytest.raises(ConfigError, match=r"there is no such Python file"):
        make_controller(f"own@{tmp_path / 'none.py'}")
