"""The page of an episode: what it holds, what it refuses, and what a browser makes of it."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import dom_of, screenshot, sheets_of
from support.page_data import decoded
from support.planted_recording import planted_recording

from ml.evaluation.recording import Holder
from ml.reports.episode.page import (
    LOST,
    MODULES,
    NEWER,
    Drive,
    as_json,
    fates,
    page,
    shown_frames,
    viewer_script,
    write_json,
    write_page,
)

HOSTILE = (
    '</script><script>document.title="owned"</script><img src=x onerror=document.title="owned">'
)


class Scripts(HTMLParser):
    """Collects what stands in the scripts and styles of a page, and its policy."""

    def __init__(self, text):
        super().__init__()
        self.found, self._inside, self.policy = [], None, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Begin a script or a style."""
        said = dict(attrs)
        self._inside = (tag, said.get("type")) if tag in {"script", "style"} else None
        self.policy = said.get("content", "") if "http-equiv" in said else self.policy

    def handle_endtag(self, tag):
        """End it."""
        del tag
        self._inside = None

    def handle_data(self, data):
        """Keep what stands in it."""
        if self._inside:
            self.found.append((*self._inside, data))


def drive(driver="policy", **changes):
    """Return a planted drive."""
    return Drive(planted_recording(**changes), driver, "Nothing happens.", [("radio", "bursty")])


def test_the_json_reads_back_as_what_was_recorded():
    """Every column within half its unit, and nothing known where nothing was."""
    rng = np.random.default_rng(3)
    heard = rng.random((201, 3)) < 0.6
    gap_m = 25.0 + rng.normal(0.0, 3.0, (201, 3)).cumsum(axis=0)
    recording = planted_recording(
        heard=heard,
        believed_gap_m=np.where(heard, gap_m, np.inf),
        lateral_m=np.where(np.arange(4) == 1, 3.2, 0.0) * np.ones((201, 1)),
        gap_m=np.where(np.arange(201) < 50, np.inf, 20.0),
    )
    (found,) = json.loads(as_json("x", [Drive(recording, "d", "s")]))["drives"]
    for group, many in (("of_cars", 4), ("of_peers", 3)):
        for name, columns in found[group].items():
            assert len(columns) == many
            for place, column in enumerate(columns):
                wanted = getattr(recording, name)[:, place].astype(float)
                if group == "of_peers":
                    wanted = np.where(heard[:, place], wanted, np.nan)
                np.testing.assert_allclose(decoded(column), wanted, atol=0.51 * column["unit"])
    for name, column in found["of_ego"].items():
        wanted = recording.accel_mps2[:, 0] if name == "accel_mps2" else getattr(recording, name)
        wanted = np.where(np.isfinite(wanted), wanted, np.nan)
        np.testing.assert_allclose(decoded(column), wanted, atol=0.51 * column["unit"])
    sent_s = decoded(found["frames"]["sent_s"])
    np.testing.assert_allclose(sent_s, recording.frame_sent_s, atol=1e-4)


@pytest.mark.parametrize("example", [0, 1], ids=["JSON", "arrays"])
def test_the_examples_of_the_documentation_run(example, tmp_path, monkeypatch, capsys):
    """docs/watch.md reads what was written."""
    page = (Path(__file__).parents[3] / "docs" / "watch.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[example]
    write_json(tmp_path / "episode.json", "An episode", [drive()])
    planted_recording().save(tmp_path / "episode.npz")
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102 (our own page)
    said = capsys.readouterr().out
    assert {0: "25.5", 1: "age_of_car_1_s"}[example] in said


def test_a_page_shows_the_relays_that_told_the_ego_and_no_others():
    """A chain of two relays stays whole; what only other cars learnt is left out."""
    columns = {  # car 3 → car 2 → car 1 → ego, and copies that only others learn of
        "sent_s": [0.0, 0.1, 0.15, 0.2, 0.3],
        "arrival_s": [0.01, 0.11, 0.16, 0.21, 0.31],
        "sender": [3, 2, 2, 1, 3],
        "source": [3, 3, 3, 3, 2],
        "number": [0, 0, 0, 0, 0],
        "hops": [0, 1, 1, 2, 1],
        "receivers": [0b100, 0b10, 0b1000, 0b1, 0b10],
        "alone": [True] * 5,
    }
    recording = planted_recording(**{f"frame_{k}": np.array(v) for k, v in columns.items()})
    assert shown_frames(recording).tolist() == [0, 1, 3]
    assert fates(recording).tolist() == [LOST, LOST, LOST, NEWER, LOST]


def test_who_decides_is_who_holds_the_wish_back():
    """The peer that demands most, the silent car in front, the floor; nobody without a layer."""
    recording = planted_recording()
    tick = 60
    assert recording.holder[tick] == Holder.NEED
    assert recording.deciding_slot[tick] == 2
    assert recording.holder[40] == Holder.NOBODY
    silent = planted_recording(soft_mps2=np.full(201, -1.0))
    assert silent.holder[40] == Holder.SILENCE
    assert silent.deciding_slot[40] == 1
    braking = planted_recording(wish_mps2=np.full(201, -3.0))
    assert braking.holder[40] == Holder.FLOOR
    free = planted_recording(safety_layer=np.zeros((), dtype=bool))
    assert not free.holder.any()


def test_a_page_lets_nothing_run_but_its_own_script():
    """A hostile name is text: one script, one style, by hash, and the data as they were."""
    text = page(HOSTILE, [drive(HOSTILE)])
    scripts = Scripts(text)
    assert [(tag, kind) for tag, kind, _ in scripts.found] == [
        ("style", None),
        ("script", None),
        ("script", "application/json"),
    ]
    style, script, data = (content for *_, content in scripts.found)
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in scripts.policy
    assert scripts.policy.startswith("default-src 'none'")
    assert json.loads(data)["title"] == HOSTILE
    assert HOSTILE not in text


def test_the_viewer_is_one_script_without_a_name_twice():
    """Its modules share one scope on the page: a second function of a name would win silently."""
    names = re.findall(
        r"^(?:async )?(?:function|const|let|class) (\w+)", viewer_script(), re.MULTILINE
    )
    assert len(names) > 30
    assert len(names) == len(set(names))
    assert not re.search(r"^(import|export) ", viewer_script(), re.MULTILINE)


def test_every_module_stands_behind_those_that_it_imports():
    """As `MODULES` says."""
    from importlib.resources import files  # noqa: PLC0415

    folder = files("ml.reports.episode").joinpath("viewer")
    for place, name in enumerate(MODULES):
        text = folder.joinpath(f"{name}.js").read_text(encoding="utf-8")
        assert set(re.findall(r'from "\./(\w+)\.js"', text)) <= set(MODULES[:place])
    modules = {file.name for file in folder.iterdir() if file.name.endswith(".js")}
    assert modules == {f"{name}.js" for name in MODULES}


def shown(dom, name):
    """Return the text of what has a class, without tags."""
    found = re.search(rf'<[^>]*\bclass="{name}"[^>]*>(.*?)</(?:dd|p|td|tr)>', dom, re.DOTALL)
    assert found, name
    return re.sub(r"<[^>]*>", "", found[1]).strip()


def test_a_browser_shows_what_was_recorded(tmp_path):
    """Gap, belief, speed, who decides and which packets are lost, at the moment of the address."""
    write_page(tmp_path / "page.html", "An episode", [drive()])
    dom = dom_of(tmp_path / "page.html", "t=6")
    assert shown(dom, "gap") == "25.5 m"
    assert shown(dom, "believed") == "25.0 ± 5.0 m"
    assert shown(dom, "speed") == "16.0 m/s"
    said = "Car 2 decides: its message demands braking at 4.0 m/s²; wished 0.0, held to −4.0."
    assert shown(dom, "decides") == said
    rows = re.findall(
        r"<tr.*?</tr>", dom.partition("<tbody>")[2].partition("</tbody>")[0], re.DOTALL
    )
    packets = [
        re.sub(r"<[^>]*>", "", re.search(r'class="packets">(.*?)</td>', row)[1]) for row in rows
    ]
    # Ticks 50 to 59; every third is lost, of car 2 they come a tick later by a relay.
    assert packets == ["×●●×●●×●●×", "◆●●◆●●◆●●×", "×●●×●●×●●×"]
    assert [row.startswith('<tr class="decides"') for row in rows] == [False, True, False]
    told = re.search(r'id="told"[^>]*>(.*?)</p>', dom)[1]
    assert told.startswith("At 6.0 s gap 25.5 m, believed 25.0 ± 5.0 m from a message 0.05 s old")
    assert 'id="refusal" class="refusal" role="alert" hidden' in dom


def test_a_browser_shows_two_drivers_side_by_side(tmp_path):
    """Each with what it wished."""
    drives = [drive("one"), drive("other", safety_layer=np.zeros((), dtype=bool))]
    write_page(tmp_path / "page.html", "An episode", drives)
    dom = dom_of(tmp_path / "page.html", "t=6")
    assert dom.count('<section class="drive">') == 3  # and the template
    assert "no safety layer" in dom


@pytest.mark.parametrize("drivers", [1, 2])
def test_a_printed_driver_takes_a_sheet(tmp_path, drivers):
    """Whole: the road, the figures, the table and the time lines of nine cars."""
    drives = [drive(num_peers=8) for _ in range(drivers)]
    write_page(tmp_path / "page.html", "An episode", drives)
    assert sheets_of(tmp_path / "page.html", "t=6", tmp_path / "page.pdf") == drivers


def test_where_nothing_is_demanded_no_car_is_marked(tmp_path):
    """Or next to nothing: the driver decides, and no row of the table stands out."""
    next_to_nothing = drive(needed_mps2=np.full((201, 3), 0.02))
    write_page(tmp_path / "page.html", "An episode", [next_to_nothing])
    dom = dom_of(tmp_path / "page.html", "t=2")
    assert shown(dom, "decides").startswith("The driver decides")
    assert '<tr class="decides"' not in dom


def pressed(tmp_path, *keys):
    """Press keys on a page that is at 6 s, and return its document; S- stands for shift."""
    events = [{"key": key.removeprefix("S-"), "shiftKey": key.startswith("S-")} for key in keys]
    press = (
        "<script>addEventListener('load', () => { for (const key of KEYS) document.dispatchEvent("
        "new KeyboardEvent('keydown', {...key, bubbles: true, cancelable: true})); });</script>"
    ).replace("KEYS", json.dumps(events))
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page("x", [drive()]))
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", press + "</body>"), encoding="utf-8")
    return dom_of(file, "t=6")


def clock(dom):
    """Return the moment that is shown, s."""
    return float(re.search(r'id="clock">([\d.]+) s<', dom)[1])


@pytest.mark.parametrize(
    ("keys", "moment"),
    [
        (["ArrowRight", "ArrowRight", "ArrowRight"], 6.3),
        (["S-ArrowLeft", "ArrowRight"], 5.1),
        (["Home", "ArrowLeft"], 0.0),
        (["End", "ArrowRight"], 20.0),
        (["Home", "n"], 5.0),
        (["Home", "n", "n"], 5.3),
        (["p"], 5.3),
    ],
)
def test_keys_go_through_an_episode(tmp_path, keys, moment):
    """Ticks, seconds, ends and events; never past an end."""
    assert clock(pressed(tmp_path, *keys)) == moment


def test_keys_play_and_change_the_view(tmp_path):
    """Space lets time go on; other keys switch what is shown."""
    dom = pressed(tmp_path, "ArrowUp", "ArrowUp", "ArrowUp", " ")
    assert clock(dom) > 6.0
    dom = pressed(tmp_path, "z", "w", "?")
    assert re.search(r'<button id="zoom"[^>]*aria-pressed="true"', dom)
    assert re.search(r'<button id="span"[^>]*aria-pressed="true"', dom)
    assert re.search(r'<dialog id="help"[^>]*open', dom)


def test_a_hostile_name_does_not_run_in_a_browser(tmp_path):
    """It is read as it is written."""
    write_page(tmp_path / "page.html", "An episode", [drive(HOSTILE)])
    dom = dom_of(tmp_path / "page.html")
    assert "<title>An episode</title>" in dom
    assert "&lt;/script&gt;&lt;script&gt;" in dom


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[:-2000], "cut off or changed"),
        (lambda text: text[: text.index("</template>")], "This page has not started"),
        (lambda text: text.replace(':"roadsense-', ':"'), "This is no episode"),
        (lambda text: text.replace('"version":1', '"version":9'), "of version 9"),
        (lambda text: text.replace('"ticks":201', '"ticks":200'), "values instead of 200"),
        (lambda text: text.replace('"cars":4', '"cars":"4"'), "“cars” is 4; it must lie"),
        (lambda text: re.sub(r'"drives":\[.*\]\}<', '"drives":[]}<', text), "has 0 drives"),
    ],
)
def test_a_cut_or_foreign_page_says_so_in_words(tmp_path, spoil, words):
    """Where the data cannot be shown, the page says why, and what to do."""
    text = page("An episode", [drive()])
    (tmp_path / "page.html").write_text(spoil(text), encoding="utf-8")
    dom = dom_of(tmp_path / "page.html")
    (said,) = re.findall(r'<p id="refusal"([^>]*)>(.*?)</p>', dom, re.DOTALL)
    assert "hidden" not in said[0]
    assert words in said[1]
    assert "roadsense watch" in said[1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_drawn_in_light_and_in_dark(tmp_path, theme):
    """The ego's colour is on the road, and the ground is the theme's."""
    write_page(tmp_path / "page.html", "An episode", [drive()])
    file = tmp_path / "page.png"
    screenshot(tmp_path / "page.html", f"t=6&theme={theme}", file, width=1000, height=900)
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    ego = {"light": (0xD5, 0x5E, 0x00), "dark": (0xFF, 0x8A, 0x3C)}[theme]
    assert (pixels == ego).all(axis=2).sum() > 200
    assert (pixels[-1, 0] > 200).all() == (theme == "light")
