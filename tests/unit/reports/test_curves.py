"""Learning curves are read from run directories as people have them."""

import json

import pytest

from ml.commands.curves import main
from ml.errors import ConfigError
from ml.reports.curves import read_curves


def a_run(folder, *lines):
    """A run directory of preset `ppo` with these lines of figures."""
    run = folder / "20260102T120005Z-ppo-s7"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    return run


def test_a_curve_has_its_steps_and_values(tmp_path):
    """By name, in order; what was not finite is no point; the preset is that of the folder."""
    lines = [{"step": s, "rollout/ep_rew_mean": v} for s, v in ((8, 1.5), (16, None), (24, 3.0))]
    curves = read_curves(a_run(tmp_path, *map(json.dumps, lines)))
    assert curves.preset == "ppo"
    assert curves.points == {"rollout/ep_rew_mean": [(8, 1.5), (24, 3.0)]}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "has not finished a rollout yet"),
        (('{"step": 8, "a": 1}', '{"step": 16, "a"'), "metrics.jsonl:2: no line of figures"),
        (("[1]",), "metrics.jsonl:1: no line of figures"),
    ],
)
def test_what_is_no_curve_is_refused_with_its_place(tmp_path, lines, said):
    """A run that has just begun, one that was killed, a file of something else."""
    with pytest.raises(ConfigError, match=said):
        read_curves(a_run(tmp_path, *lines))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    """And so is naming none."""
    with pytest.raises(ConfigError, match="is no run directory"):
        main([str(tmp_path)])
    with pytest.raises(ConfigError, match="no run is named"):
        main([])


def test_runs_become_a_picture(tmp_path):
    """One run suffices."""
    run = a_run(tmp_path, '{"step": 8, "rollout/ep_rew_mean": 1.0}')
    assert main([str(run), "--out", str(tmp_path / "c.png")]) == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
