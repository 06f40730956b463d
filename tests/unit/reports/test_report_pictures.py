"""What goes into the pictures: the right episodes, in the right places."""

import base64
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image
from support.planted_recording import planted_recording
from support.planted_result import write_planted_result
from support.planted_rows import planted_row, planted_rows

from ml.errors import EvaluationError
from ml.evaluation.recording import Recording
from ml.evaluation.records import DriverSpec
from ml.evaluation.selection import (
    by_loss_and_silence,
    by_peers_and_radio,
    family_labels,
    load_view,
    representatives,
    rival_of,
    role_of,
    worst_episodes,
)
from ml.reports.card.frontiers import FrontierAxis, FrontierPoint, draw_frontier
from ml.reports.card.pictures import draw_crash_grid, draw_reactions
from ml.reports.episode.animation import write_animation
from ml.reports.episode.panels import EpisodePanels, draw_timeline
from ml.reports.episode.still import draw_still
from ml.reports.style import as_picture, family_styles, house_style, new_figure

NAN = float("nan")


def record(name, family, knows="radio", sha=None):
    """Return a controller's record."""
    family = "policy" if sha else family
    return DriverSpec(name=name, spec=name, family=family, knows=knows, sha256=sha or "")


def test_crashes_are_counted_by_peers_and_radio():
    """Avoidable hazards alone, each in its place."""
    rows = [
        planted_row(num_peers=2, crash=True),
        planted_row(num_peers=2),
        planted_row(num_peers=8, radio="bursty", crash=True),
        planted_row(num_peers=5, crash=True, avoidable=False),
        planted_row(num_peers=5, crash=True, kind="free"),
        planted_row(num_peers=5, crash=True, invalid=True),
    ]
    grid = by_peers_and_radio(rows, ["clean", "bursty"])
    assert (grid.row_labels, grid.column_labels) == (["2", "8"], ["clean", "bursty"])
    assert grid.episodes.tolist() == [[2, 0], [0, 1]]
    assert grid.crashes.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("ratio", "silence_s", "column", "row"),
    [(1.0, 0.1, "0–5", "0–0.3"), (0.65, 0.5, "20–40", "0.5–1"), (0.0, 60.0, "80–100", "≥ 5")],
)
def test_crashes_are_counted_by_loss_and_burst(ratio, silence_s, column, row):
    """Edges belong to the cell above them; nothing falls off the ends."""
    grid = by_loss_and_silence([planted_row(delivery_ratio=ratio, longest_blackout_s=silence_s)])
    place = grid.row_labels.index(row), grid.column_labels.index(column)
    assert grid.episodes[place] == grid.episodes.sum() == 1


def test_every_picture_can_be_empty():
    """A result without hazards has pictures that say so."""
    with house_style():
        grid = by_loss_and_silence([])
        for figure in (
            draw_crash_grid(grid, "t"),
            draw_reactions({"a": []}, "t"),
            draw_frontier([], FrontierAxis("y"), {}, "t"),
        ):
            (said,) = figure.axes[0].texts
            assert said.get_text().startswith("no ")


def point(name="a", family="A", role="classical", headway_s=1.0, value=1.0):
    """Return a point of a frontier."""
    return FrontierPoint(name, family, role, headway_s, value, value, value)


def test_a_frontier_joins_a_family_in_the_order_of_headway():
    """Whatever the order of its members; bounds and policies are not joined."""
    points = [
        point(headway_s=2.0, value=0.0),
        point(headway_s=0.5, value=3.0),
        point(headway_s=1.0, value=1.0),
        point("p", "policy", "policy", 0.8, 0.5),
        point("o", "bound", "bound", 0.7, 0.0),
    ]
    with house_style():
        axis = FrontierAxis("y", 0.1, 100.0)
        axes = draw_frontier(points, axis, family_styles(["A"]), "t").axes[0]
    joined = {
        tuple(line.get_xdata())
        for line in axes.get_lines()
        if line.get_linestyle() != "None" and len(line.get_xdata()) > 1
    }
    assert joined == {(0.5, 1.0, 2.0)}
    assert axes.get_ylim()[0] < 0.0
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert sorted(legend) == ["A", "o", "policy"]


def test_a_bound_far_to_the_right_is_named_and_not_drawn():
    """Always-brake keeps so much headway that the others would be a dot."""
    points = [point(), point("always-brake", "bound", "bound", 40.0, 0.0)]
    with house_style():
        axes = draw_frontier(points, FrontierAxis("y"), family_styles(["A"]), "t").axes[0]
    assert axes.get_xlim()[1] < 2.0
    assert "always-brake (40.0 s)" in axes.get_xlabel()


def test_reactions_that_never_came_are_said_and_not_drawn():
    """Half of the hazards without a reaction: the box is of the other half."""
    rows = planted_rows(10, reaction_after_onset_s=lambda i: NAN if i < 5 else 0.7)
    with house_style():
        axes = draw_reactions({"slow": rows}, "t").axes[0]
    assert axes.get_yticklabels()[0].get_text() == "slow\nnever: 50%"
    assert (0.7, 0.7) in {tuple(line.get_xdata()) for line in axes.get_lines()}


def test_reactions_of_nobody_still_name_the_colours():
    """Where the first controller never braked, the legend is there all the same."""
    rows = planted_rows(3, reaction_after_onset_s=NAN, reaction_after_message_s=NAN)
    with house_style():
        figure = draw_reactions({"asleep": rows}, "t")
    assert len(figure.legends[0].get_texts()) == 2


def test_families_are_named_by_what_their_members_share():
    """Time gaps are no part of a family's name; an only member's neither."""
    labels = family_labels(
        [record("CTH 0.5 s", "cth"), record("CTH 1.1 s", "cth"), record("IDM 1.5 s", "idm"),
         record("careful driver", "r157")]
    )  # fmt: skip
    assert labels == {"cth": "CTH", "idm": "IDM", "r157": "careful driver"}


def test_a_policy_without_its_radio_is_a_bound():
    """So is whoever knows the truth."""
    assert role_of(record("p", "policy", sha="5" * 64)) == "policy"
    assert role_of(record("p, radio off", "policy", "nothing", "5" * 64)) == "bound"
    assert role_of(record("oracle", "oracle", "truth")) == "bound"
    assert role_of(record("CTH", "cth")) == "classical"


def view_of(tmp_path, rows_by_name, families):
    """Return a view of a planted result whose rows are replaced."""
    write_planted_result(
        tmp_path,
        episodes=1,
        radios=("clean",),
        controllers=tuple((n, families[n], None, "radio") for n in rows_by_name),
    )
    view = load_view(tmp_path)
    for name, rows in rows_by_name.items():
        view.rows["convoy", "clean", name] = [replace(row, controller=name) for row in rows]
    return view


def test_the_law_to_beat_keeps_no_more_distance_than_the_policy(tmp_path):
    """Of those it is the one that crashes least; where all keep more, the closest."""
    view = view_of(
        tmp_path,
        {
            "p": planted_rows(10, headway_s=1.0),
            "close": planted_rows(10, headway_s=0.6, crash=lambda i: i < 5),
            "good": planted_rows(10, headway_s=1.02, crash=lambda i: i < 2),
            "far": planted_rows(10, headway_s=2.0),
        },
        {"p": "policy", "close": "a", "good": "b", "far": "c"},
    )
    policy = view.manifest.controller("p")
    assert rival_of(view, "convoy", "clean", policy).name == "good"
    view.rows["convoy", "clean", "p"] = planted_rows(10, headway_s=0.3)
    assert rival_of(view, "convoy", "clean", policy).name == "close"


def test_of_each_family_the_member_at_the_policys_headway_is_shown(tmp_path):
    """Frontiers are compared where two keep the same distance."""
    view = view_of(
        tmp_path,
        {
            "p": planted_rows(5, headway_s=1.0),
            "A 0.5 s": planted_rows(5, headway_s=0.6),
            "A 1 s": planted_rows(5, headway_s=1.1),
            "A 2 s": planted_rows(5, headway_s=2.1),
        },
        {"p": "policy", "A 0.5 s": "a", "A 1 s": "a", "A 2 s": "a"},
    )
    assert [c.name for c in representatives(view, "convoy", "clean")] == ["p", "A 1 s"]


def test_the_worst_episodes_are_the_policys_avoidable_crashes_hardest_first(tmp_path):
    """Then crashes that nobody avoids, then the narrowest escapes; other controllers' never."""
    rows = [
        planted_row(case=0, min_ttc_s=9.0),
        planted_row(case=1, min_ttc_s=0.2),
        planted_row(case=2, crash=True, impact_speed_mps=3.0),
        planted_row(case=3, crash=True, impact_speed_mps=9.0),
        planted_row(case=4, crash=True, impact_speed_mps=20.0, avoidable=False),
        planted_row(case=5, crash=True, impact_speed_mps=30.0, invalid=True),
    ]
    law = [planted_row(case=9, crash=True, impact_speed_mps=40.0)]
    view = view_of(tmp_path, {"p": rows, "A": law}, {"p": "policy", "A": "a"})
    assert [row.case for row in worst_episodes(view)] == [3, 2, 4, 1, 0]
    assert [row.case for row in worst_episodes(view, 2)] == [3, 2]


def test_the_worst_episodes_are_not_all_of_one_suite(tmp_path):
    """Three of a suite and radio, then the others' worst, then the rest."""
    crashes = [planted_row(case=i, crash=True, impact_speed_mps=10.0 + i) for i in range(8)]
    view = view_of(tmp_path, {"p": crashes}, {"p": "policy"})
    other = planted_row(case=99, suite="ncap", controller="p", crash=True, impact_speed_mps=1.0)
    view.rows["ncap", "clean", "p"] = [other]
    assert [row.case for row in worst_episodes(view, 5)] == [7, 6, 5, 4, 99]


def test_a_recording_survives_its_file(tmp_path):
    """Every array, bit for bit."""
    recording = planted_recording()
    recording.save(tmp_path / "r.npz")
    again = Recording.load(tmp_path / "r.npz")
    for field in fields(Recording):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(recording, field.name))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no archive"])
def test_a_damaged_recording_is_an_error(tmp_path, content):
    """Not a traceback."""
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(EvaluationError, match="no recording"):
        Recording.load(tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("onset_s", "crash_s", "window_s"),
    [(5.0, NAN, (1.0, 20.0)), (5.0, 7.0, (1.0, 9.0)), (NAN, NAN, (0.0, 20.0)),
     (NAN, 15.0, (0.0, 17.0)), (2.0, 19.5, (0.0, 20.0))],
)  # fmt: skip
def test_the_window_holds_the_hazard_and_the_crash(onset_s, crash_s, window_s):
    """From 4 s before the onset until 2 s after a crash, within the episode."""
    recording = planted_recording(onset_s=np.array(onset_s), crash_s=np.array(crash_s))
    assert recording.window_s == pytest.approx(window_s)


def test_an_animation_uncovers_the_episode_up_to_now():
    """Lines end at the moment shown, and no message is there before it arrives."""
    recording = planted_recording()
    with house_style():
        axes = list(new_figure(5.0, 5.0).subplots(5, 1))
        story = EpisodePanels(recording, axes)
        story.show_until(60)
    lines = [axes[0].get_lines()[1], axes[4].get_lines()[0]]
    for line in lines:
        assert len(line.get_xdata()) > 0
        assert max(line.get_xdata()) <= 6.0 - 5.0 + 1e-9


def test_after_the_crash_the_ego_is_not_drawn():
    """It is held still there, which would look like a braking of 100 m/s²."""
    recording = planted_recording(crash_s=np.array(8.0))
    with house_style():
        figure = draw_timeline(recording)
    ego = next(line for line in figure.axes[1].get_lines() if line.get_label() == "ego")
    known = ego.get_xdata()[~np.isnan(ego.get_ydata())]
    assert known.max() == pytest.approx(3.0)


@pytest.mark.parametrize("crash_s", [NAN, 7.0])
def test_pictures_of_one_episode_line_up(crash_s):
    """Their time axis is the same with a crash and without; a crash is marked in each panel.

    So is the onset of the braking.
    """
    recording = planted_recording(crash_s=np.array(crash_s))
    with house_style():
        figure = draw_still(recording, "after 0 steps")
    marks = [
        {line.get_xdata()[0] for line in axes.get_lines()
         if line.get_xdata()[0] == line.get_xdata()[-1] and line.get_visible()}
        for axes in figure.axes
    ]  # fmt: skip
    assert len(marks) == 5
    crash = {2.0} - ({2.0} if np.isnan(crash_s) else set())
    for axes, marked in zip(figure.axes, marks, strict=True):
        assert axes.get_xlim() == pytest.approx((-4.0, 15.0))
        assert marked & {0.0, 2.0} == {0.0} | crash
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert ("crash" in named) == (not np.isnan(crash_s))
    assert figure.get_suptitle() == "after 0 steps"


def test_the_animated_picture_moves(tmp_path):
    """A GIF with a frame per 0.2 s of the window, which differ, and a last one that stays."""
    told = []
    recording = planted_recording(crash_s=np.array(7.0))
    write_animation(recording, tmp_path / "a.gif", "t", lambda n, of: told.append((n, of)))
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == len(told) == 41
        assert told[-1] == (41, 41)
        first = np.asarray(gif.convert("RGB")).astype(int)
        gif.seek(gif.n_frames - 1)
        last = np.asarray(gif.convert("RGB")).astype(int)
        assert gif.info["duration"] > 1000
    assert (abs(first - last).max(axis=2) > 60).mean() > 0.002


def test_an_animation_that_cannot_be_written_is_an_error(tmp_path):
    """With what to do."""
    with pytest.raises(EvaluationError, match="--out"):
        write_animation(planted_recording(), tmp_path / "missing" / "a.gif", "t")


@pytest.mark.parametrize("num_peers", [1, 2, 12])
def test_time_lines_of_any_convoy_are_drawn(num_peers):
    """Of one car ahead, too, and of free driving, in which nobody brakes and nothing is heard."""
    quiet = {
        "brake_slot": 0,
        "onset_s": np.array(NAN),
        "informed_s": np.array(NAN),
        "heard": np.zeros((201, num_peers), dtype=bool),
        "believed_gap_m": np.full((201, num_peers), np.inf),
        "arrival_s": np.zeros(0),
        "arrival_source": np.zeros(0, dtype=np.int64),
    }
    with house_style():
        for changes in ({"brake_slot": 1}, {"brake_slot": num_peers}, quiet):
            uri = as_picture(
                draw_timeline(planted_recording(num_peers=num_peers, **changes)), ""
            ).uri
            picture = base64.b64decode(uri.partition(",")[2]).decode()
            assert len(re.findall(r"<path", picture)) > 50


@pytest.mark.slow
def test_pictures_are_the_same_bytes_again_and_heed_no_users_style(monkeypatch):
    """Whatever matplotlibrc says."""
    with house_style():
        first = as_picture(draw_timeline(planted_recording()), "")
    import matplotlib as mpl  # noqa: PLC0415

    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(mpl.rcParams, "font.size", 30.0)
    for _ in range(8):
        with house_style():
            again = as_picture(draw_timeline(planted_recording()), "")
        assert again == first
    assert mpl.rcParams["font.size"] == 30.0


def texts_of(figure):
    """Every text of a figure that names a line or an axis."""
    named = [legend.get_texts() for legend in figure.legends]
    return {text.get_text() for texts in named for text in texts} | {
        axes.get_xlabel() for axes in figure.axes
    }


def test_a_car_from_the_other_lane_is_called_so():
    """Its time line speaks of a cut-in; all others of braking and of the car in front."""
    plain = planted_recording(brake_slot=1)
    aside_m = np.zeros_like(plain.lateral_m)
    aside_m[:60, 1] = 3.5
    cut_in = replace(plain, lateral_m=aside_m)
    with house_style():
        said, usual = texts_of(draw_timeline(cut_in)), texts_of(draw_timeline(plain))
    assert {"car from the other lane", "onset of the cut-in"} <= said
    assert {"car in front", "onset of the braking"} <= usual
    assert not {"car in front", "onset of the braking"} & said
