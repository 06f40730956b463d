"""Learning curves are read from run directories as people have them."""

import json
import re

import numpy as np
import pytest

from ml.commands.curves import main
from ml.errors import ConfigError
from ml.reports import curves
from ml.reports.curves import Curves, read_curves, write_curves


def a_run(folder, *lines):
    """A run directory of preset `ppo` with these lines of figures."""
    run = folder / "20260102T120005Z-ppo-s7"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    return run


def test_a_curve_has_its_steps_and_values(tmp_path):
    """By name, in order; what was not finite is no point; the preset is that of the folder."""
    lines = [{"step": s, "rollout/ep_rew_mean": v} for s, v in ((8, 1.5), (16, None), (24, 3.0))]
    found = read_curves(a_run(tmp_path, *map(json.dumps, lines)))
    assert found.preset == "ppo"
    assert found.points == {"rollout/ep_rew_mean": [(8, 1.5), (24, 3.0)]}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "has not finished a rollout yet"),
        (('{"step": 8, "a": 1}', '{"step": 16, "a"'), "metrics.jsonl:2: no line of figures"),
        (("[1]",), "metrics.jsonl:1: no line of figures"),
        (('{"step": 8, "a": "b"}',), "metrics.jsonl:1: no line of figures"),
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


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_same_curves_make_the_same_file(tmp_path, ending):
    """No date, no version of a program in it."""
    run = a_run(tmp_path, '{"step": 8, "rollout/ep_rew_mean": 1.0}')
    files = [tmp_path / f"{name}{ending}" for name in "ab"]
    for file in files:
        main([str(run), "--out", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not re.search(rb"<dc:date>|Matplotlib version", files[0].read_bytes())


def test_runs_become_a_picture(tmp_path):
    """One run suffices."""
    run = a_run(tmp_path, '{"step": 8, "rollout/ep_rew_mean": 1.0}')
    assert main([str(run), "--out", str(tmp_path / "c.png")]) == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_an_ending_that_pictures_have(tmp_path, capsys):
    """Which is said before anything is drawn; brackets in its name are told as they are."""
    run = a_run(tmp_path, '{"step": 8, "rollout/ep_rew_mean": 1.0}')
    with pytest.raises(ConfigError, match=r"--out must end in \.png or \.svg, got .*c\.txt"):
        main([str(run), "--out", str(tmp_path / "c.txt")])
    assert main([str(run), "--out", str(tmp_path / "c[b].svg")]) == 0
    assert "c[b].svg" in capsys.readouterr().out


def test_what_a_warm_start_scores_is_not_drawn_at_another_step(tmp_path, monkeypatch):
    """Step 0 has no place on a logarithmic axis: no line leads there."""
    drawn = []
    monkeypatch.setattr(curves, "save_picture", lambda figure, _path: drawn.append(figure))
    name = "evaluation/time_headway_s"
    write_curves([Curves("convoy", {name: [(0, 1.0), (8, 2.0), (16, 3.0)]})], tmp_path / "c.png")
    (line,) = drawn[0].axes[2].get_lines()
    assert not np.isfinite(line.get_transform().transform(line.get_xydata())[0]).all()
