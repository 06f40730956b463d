"""Every kind of picture: its text lies inside it, and it is saved in the one way."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.text import Text
from support.planted_drive import PlantedDrive
from support.planted_recording import planted_recording
from support.planted_result import write_planted_result

import ml
from ml.bench.report import BenchReport, Goal, Measured, ratio
from ml.calibration.fits.latency import LatencyFit
from ml.calibration.trials.logged_drive import Judgement
from ml.calibration.trials.loss_statistics import LossLog
from ml.calibration.trials.parameters import Behaviour, Minute
from ml.evaluation.drive.decide import AnyPeerBrakes, decide
from ml.evaluation.drive.read import read_recorded_drive
from ml.evaluation.drive.verdict import judge
from ml.evaluation.drivers import ControllerDriver
from ml.evaluation.rerun import WORST_FOLDER, recording_name
from ml.evaluation.selection import load_view, worst_episodes
from ml.parameters import load_parameters
from ml.reports import style
from ml.reports.acceptance.picture import write_picture
from ml.reports.calibration.pictures import pictures_of
from ml.reports.card.card import write_card
from ml.reports.curves import Curves, write_curves
from ml.reports.drive.pictures import pictures_of as pictures_of_drive
from ml.reports.episode.animation import write_animation
from ml.reports.parameters.picture import draw
from ml.reports.style import house_style, save_picture
from ml.tuning.objective import Outcome
from ml.tuning.report import draw_history, draw_importances
from ml.tuning.study import Tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ML = Path(ml.__file__).parent


def outside(figure: Figure) -> list[str]:
    """Texts that are drawn beyond the figure's edge, by more than half a pixel."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    unseen = {id(text) for axis in figure.findobj(Axis) for text in _unseen(axis)}
    found = []
    for text in figure.findobj(Text):
        if id(text) in unseen or not text.get_visible() or not text.get_text().strip():
            continue
        box, page = text.get_window_extent(renderer), figure.bbox
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > page.x1 + 0.5 or box.y1 > page.y1 + 0.5:
            found.append(text.get_text())
    return found


def _unseen(axis: Axis) -> list[Text]:
    """Labels of ticks that are not drawn: their place is beyond the axis, or the axis is hidden."""
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    hidden = [t for t in ticks if not low - room <= t.get_loc() <= high + room]
    return [label for tick in hidden for label in (tick.label1, tick.label2)]


def _targets(folder: Path) -> None:
    """Three radios, three models at three time gaps each, and eight baselines."""
    models = [SimpleNamespace(name=f"seed-{k}", spec=f"m{k}", is_model=True) for k in range(3)]
    variants = [
        SimpleNamespace(name=f"{model.name} {gap} s", spec=model.spec, is_model=True)
        for gap in (0.4, 0.6)
        for model in models
    ]
    names = ["predictive 0.445186 s 10.242 m, tuned", *(f"predictive 0.{k} s" for k in range(2, 9))]
    laws = [SimpleNamespace(name=name, is_model=False) for name in names]

    def figure(low: float, value: float, high: float) -> SimpleNamespace:
        return SimpleNamespace(low=low, value=value, high=high)

    results: list[Any] = [
        SimpleNamespace(
            benchmark=SimpleNamespace(
                part="convoy",
                cases=SimpleNamespace(radio=SimpleNamespace(name=radio)),
                bounds=radio,
            ),
            models=models,
            baselines=laws,
            drivers=[*models, *variants, *laws],
            figures={
                driver.name: {
                    "headway_s": figure(1.1, 1.2 + 0.05 * k, 1.9),
                    "crash_rate": figure(0.0, 0.001 * k, 0.02),
                }
                for k, driver in enumerate([*models, *variants, *laws])
            },
        )
        for radio in ("clean", "bursty", "shadowed")
    ]
    assert write_picture(results, folder / "targets.png")


def _card(folder: Path) -> None:
    """Every picture of a card, a time line included."""
    write_planted_result(folder / "result", episodes=25, radios=("clean", "shadowed"))
    (folder / "result" / WORST_FOLDER).mkdir()
    for row in worst_episodes(load_view(folder / "result"), 1):
        planted_recording(num_peers=8).save(
            folder / "result" / WORST_FOLDER / f"{recording_name(row)}.npz"
        )
    write_card(folder / "result", worst=1)


def _calibration(_: Path) -> None:
    draws = np.random.default_rng(7)
    shape = (3000, 2)
    distance_m = np.broadcast_to(20.0 + 60.0 * draws.random((3000, 1)), shape)
    between = np.broadcast_to(np.array([0, 2]), shape)

    def log(share: float) -> LossLog:
        return LossLog(draws.random(shape) < share, np.ones(shape, bool), distance_m, between)

    models = {name: [log(0.3), log(0.3)] for name in ("emulated", "Gilbert–Elliott", "independent")}
    shares = np.diff(np.array([0.0, 0.5, 0.8, 0.95, 0.999, *np.ones(8)]))
    latency = LatencyFit(1.0, 0.1, 2.0, np.ones((3, 2)), 12_345, np.arange(13.0), shares, shares)
    gallery = pictures_of(Judgement(log(0.3), models, []), latency)
    assert (len(gallery.pictures), gallery.failed) == (7, [])


def _parameters(folder: Path) -> None:
    time_s = np.arange(600) * 0.1
    curve = (np.linspace(5.0, 240.0, 30), np.linspace(1.0, 0.0, 30))
    lost = np.arange(600) % 7 == 0
    behaviour = Behaviour(
        dict.fromkeys(range(3), curve),
        {rank: np.linspace(0.0, 4.0, 50_000) for rank in (1, 3, 8)},
        Minute(time_s, 0.1 + time_s % 0.7, lost),
    )
    with house_style():
        save_picture(draw(behaviour, "gilbert-elliott", measured=True), folder / "radio.png")


def _tuning(folder: Path) -> None:
    tried = [Tried(n, {"x": 1.0}, Outcome("complete", 0.1 * n), {0: 0.5}) for n in range(30)]
    tried.append(Tried(30, {"x": 1.0}, Outcome("pruned"), {0: 0.2}))
    shares = {f"imitation.a_parameter_with_a_long_name_{k}": 0.1 * k for k in range(9)}
    with house_style():
        save_picture(draw_history(tried), folder / "history.png")
        save_picture(draw_importances(shares), folder / "importance.png")


def _bench(folder: Path) -> None:
    report = BenchReport(num_envs=64, num_peers=5, radio="clean")
    name = "g: preset `ppo` with everything on (relays, sensors, 1 to 8 peers, parameters drawn)"
    report.workloads.append(Measured(name, [104_670.0]))
    report.ratios.append(ratio("g / h: training with everything on", [1.0], [3.0], 0.5))
    report.radio_costs.append(Goal("relays over up to 3 hops", [9.9], 25.0, at_most=True))
    report.cost_us.update({(1, 2): 90.0, (64, 2): 8.0})
    report.draw(folder / "bench.png")


def _curves(folder: Path) -> None:
    names = ("episodes/collision_rate_hazard", "rollout/ep_rew_mean", "evaluation/time_headway_s")
    points = {name: [(8192 * (i + 1), 1e4 * i) for i in range(9)] for name in names}
    runs = [Curves(preset, points) for preset in ("convoy", "convoy", "a preset of my own")]
    write_curves(runs, folder / "curves.png")


def _animation(folder: Path) -> None:
    write_animation(planted_recording(num_peers=8), folder / "a.gif", "a title\nof two lines")


def _drive(folder: Path) -> None:
    """A drive with brakings of a peer and of the ego's driver, and a driver with a long name."""
    braking_s = (70.0, 90.0, 110.0, 130.0)
    planted = PlantedDrive(3.2, {"b": braking_s, "a": tuple(at_s + 1.5 for at_s in braking_s)})
    drive = read_recorded_drive(planted.write(folder), None)
    parameters = load_parameters("clean")
    rule = ControllerDriver(AnyPeerBrakes(parameters.radio.time_to_live_ms / 1000.0))
    decided, heard = decide(drive, [rule], parameters)
    names = rule.name, "a policy with a long name, without its safety layer"
    judged = judge(drive, dict.fromkeys(names, decided[0]), heard, policy=names[1], rule=names[0])
    assert len(pictures_of_drive(judged)) == 3


KINDS = {
    "reports/acceptance/picture.py": _targets,
    "reports/calibration/pictures.py": _calibration,
    "reports/card/frontiers.py": _card,
    "reports/card/pictures.py": _card,
    "reports/curves.py": _curves,
    "reports/episode/panels.py": _card,
    "reports/episode/animation.py": _animation,
    "reports/drive/pictures.py": _drive,
    "reports/parameters/picture.py": _parameters,
    "tuning/report.py": _tuning,
    "bench/report.py": _bench,
}
"""What makes figures, and a way to have it do so."""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if kind is _card else [])
        for kind in dict.fromkeys(KINDS.values())
    ],
)
def test_the_text_of_every_picture_lies_inside_it(kind, tmp_path, monkeypatch):
    """Titles, labels, ticks, legends and numbers, with names as long as they get."""
    figures: list[Figure] = []
    lay_out = style.lay_out

    def seen(figure: Figure) -> None:
        lay_out(figure)
        figures.append(figure)
        assert outside(figure) == []

    for module in ("ml.reports.style", "ml.reports.episode.animation"):
        monkeypatch.setattr(f"{module}.lay_out", seen, raising=False)
    kind(tmp_path)
    assert figures


def test_a_label_that_is_cut_off_is_seen(tmp_path, monkeypatch):
    """Without the layout, the picture of the acceptance tests has a label beyond its edge."""
    found: list[str] = []
    monkeypatch.setattr(style, "lay_out", lambda figure: found.extend(outside(figure)))
    _targets(tmp_path)
    assert "crashes in avoidable hazards, %" in found


def test_the_picture_of_the_acceptance_tests_shows_bounds_and_limits_apart(tmp_path, monkeypatch):
    """Dashed what must be reached, dotted the limit; shadowed has none of crashes."""
    found: list[list[tuple[str, str, str, float]]] = []

    def seen(figure: Figure) -> None:
        for axes in figure.axes:
            lines = [line for line in axes.lines if line.get_label() in {"must", "limit"}]
            along = [(line, *np.ptp(line.get_xydata(), axis=0).astype(bool)) for line in lines]
            found.append([
                (line.get_label(), line.get_linestyle(), "crash", line.get_ydata()[0]) if flat
                else (line.get_label(), line.get_linestyle(), "headway", line.get_xdata()[0])
                for line, flat, _ in along
            ])  # fmt: skip

    monkeypatch.setattr(style, "lay_out", seen)
    _targets(tmp_path)
    clean, bursty, shadowed = found
    assert clean[0] == ("must", "--", "headway", 1.3)
    assert clean[1:] == [("must", "--", "crash", 0.05), ("limit", ":", "crash", 0.0)]
    assert [line[3] for line in bursty] == pytest.approx([1.5, 0.06, 0.03])
    assert [line[0] for line in shadowed] == ["must", "must"]


def _calls(file: Path) -> set[str]:
    """Names of the functions and methods that a file calls."""
    calls = [
        n.func for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Call)
    ]
    return {
        call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls
    }


def test_every_picture_is_one_of_these_and_saved_in_the_one_way():
    """Whoever makes a figure is drawn above; no module but the style's saves one."""
    files = {str(file.relative_to(ML)): _calls(file) for file in ML.rglob("*.py")}
    assert {name for name, calls in files.items() if "new_figure" in calls} == KINDS.keys()
    made = {name for name, calls in files.items() if calls & {"savefig", "imsave", "print_png"}}
    assert made == {"reports/style.py"}
