"""One episode, or two of the same case, as a page that shows what the driver knew, and as JSON.

The page is one HTML file with everything inside: data, code and style; it asks no network, and its
content security policy lets nothing else in. docs/watch.md describes the page and the JSON.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.atomic_files import write_atomically
from ml.errors import EvaluationError
from ml.evaluation.recording import Recording
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

FORMAT, VERSION = "roadsense-episode", 1
MODULES = ("format", "moment", "paint", "road", "lines", "panel", "player", "main")
"""The viewer's modules, each behind those that it imports."""
LOST, NEWER, NOT_NEWER, COLLIDED = range(4)
"""What became of a frame at the ego."""
_EGO_BIT = 1
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|const|class|async)", re.MULTILINE)
_DOC_COMMENT = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}


@dataclass(frozen=True, slots=True)
class Drive:
    """An episode as one driver drove it, and what is said of it.

    Attributes:
        recording: What happened.
        driver: Who drove.
        story: What happened, in a sentence or two.
        about: Names and values: suite, radio, seed and so on.
    """

    recording: Recording
    driver: str
    story: str
    about: Sequence[tuple[str, str]] = ()


def write_page(file: Path, title: str, drives: Sequence[Drive]) -> None:
    """Write the page of an episode, whole or not at all.

    Args:
        file: Where to; what was there is replaced.
        title: In a line.
        drives: One, or two of the same case, which are shown side by side.

    Raises:
        EvaluationError: The file cannot be written.
    """
    _write(file, page(title, drives))


def write_json(file: Path, title: str, drives: Sequence[Drive]) -> None:
    """Write the same as JSON alone; see `as_json`.

    Raises:
        EvaluationError: The file cannot be written.
    """
    _write(file, as_json(title, drives) + "\n")


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text)
    except OSError as error:
        raise EvaluationError(
            f"cannot write {file}: {error.strerror or error}. Name another file with --out."
        ) from error


def page(title: str, drives: Sequence[Drive]) -> str:
    """Return the page; see `write_page`."""
    style, script = _part("viewer.css"), viewer_script()
    data = re.sub("[<>&\u2028]", lambda found: _IN_SCRIPT[found[0]], as_json(title, drives))
    stories = [f"{drive.driver}: {drive.story}" for drive in drives]
    filled = {
        "POLICY": f"script-src '{_hash(script)}'; style-src '{_hash(style)}'",
        "TITLE": escape(title),
        "STORY": "".join(f"<p>{escape(story)}</p>" for story in stories),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": data,
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: filled[found[1]], _part("viewer.html"))


def viewer_script() -> str:
    """Join the viewer's modules to one script, without what is for their readers alone."""
    text = "".join(_part(f"{name}.js") for name in MODULES)
    for pattern in (_DOC_COMMENT, _IMPORT, _EXPORT):
        text = pattern.sub("", text)
    return f'"use strict";\n(() => {{\n{text}}})();\n'


def _part(name: str) -> str:
    return files("ml.reports.episode").joinpath("viewer", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode('ascii')}"


def as_json(title: str, drives: Sequence[Drive]) -> str:
    """Return an episode as the JSON that the page holds; docs/watch.md has the format."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "drives": [_drive(drive) for drive in drives],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _drive(drive: Drive) -> dict[str, Any]:
    recording = drive.recording
    peers = recording.heard
    time_s = recording.time_s
    return {
        "driver": drive.driver,
        "story": drive.story,
        "about": [list(pair) for pair in drive.about],
        "cars": recording.num_peers + 1,
        "ticks": int(time_s.size),
        "start_s": round(float(time_s[0]), 6),
        "tick_s": DT_S,
        "car_length_m": CAR_LENGTH_M,
        "limits_mps2": [-MAX_BRAKING_MPS2, MAX_ACCEL_MPS2],
        "safety_layer": bool(recording.safety_layer),
        "time_gap_s": round(float(recording.time_gap_s), 3),
        "cut_in": recording.in_another_lane,
        "brake_slot": int(recording.brake_slot),
        "events_s": {
            name: None if np.isnan(moment) else round(float(moment), 4)
            for name, moment in (
                ("onset", recording.onset_s),
                ("informed", recording.informed_s),
                ("crash", recording.crash_s),
            )
        },
        # Of each car, the ego first.
        "of_cars": {
            "route_pos_m": _columns(recording.route_pos_m, 0.01, order=2),
            "speed_mps": _columns(recording.speed_mps, 0.01, order=2),
            "lateral_m": _columns(recording.lateral_m, 0.01, order=1),
        },
        # Of each peer, the car in front first; null where it is not heard.
        "of_peers": {
            name: _columns(values, unit, order=order, where=peers)
            for name, values, unit, order in (
                ("age_s", recording.age_s, 0.001, 2),
                ("number", recording.number, 1, 1),
                ("believed_gap_m", recording.believed_gap_m, 0.01, 2),
                ("believed_speed_mps", recording.believed_speed_mps, 0.1, 1),
                ("position_sd_m", recording.position_sd_m, 0.1, 1),
                ("needed_mps2", recording.needed_mps2, 0.01, 1),
            )
        },
        "of_ego": {
            name: _column(values, unit, order=1)
            for name, values, unit in (
                ("gap_m", recording.gap_m, 0.01),
                ("ttc_s", recording.ttc_s, 0.01),
                ("lead_slot", recording.lead_slot, 1),
                ("accel_mps2", recording.accel_mps2[:, 0], 0.01),
                ("floor_mps2", recording.floor_mps2, 0.01),
                ("soft_mps2", recording.soft_mps2, 0.01),
                ("hard_mps2", recording.hard_mps2, 0.01),
                ("wish_mps2", recording.wish_mps2, 0.01),
                ("command_mps2", recording.command_mps2, 0.01),
                ("holder", recording.holder, 1),
                ("deciding_slot", recording.deciding_slot, 1),
                ("needless", recording.needless, 1),
                ("own_error_m", recording.own_error_m, 0.01),
                ("own_sd_m", recording.own_sd_m, 0.01),
            )
        },
        "frames": _frames(recording),
    }


def shown_frames(recording: Recording) -> NDArray[np.int64]:
    """Return the frames that a page shows: the peers' own, and relayed ones that told the ego.

    A relayed one is on the way of a message to the ego if it reached the ego, or a relay of such a
    one; what only others learnt is left out.

    Returns:
        Their places in the recording, in the order of time.
    """
    source, number = recording.frame_source, recording.frame_number
    receivers, hops = recording.frame_receivers, recording.frame_hops
    shown = (hops == 0) & (source > 0)
    wanted: set[tuple[int, int, int, int]] = set()
    for frame in range(hops.size - 1, -1, -1):  # from the last on: who relayed is asked for first
        if hops[frame] == 0 or source[frame] == 0:
            continue
        message = (int(source[frame]), int(number[frame]), int(hops[frame]))
        told = bool(receivers[frame] & _EGO_BIT)
        nodes = [n for n in range(1, 32) if (receivers[frame] >> n) & 1]
        if told or any((*message, node) in wanted for node in nodes):
            shown[frame] = True
            wanted.add((*message[:2], message[2] - 1, int(recording.frame_sender[frame])))
    return np.flatnonzero(shown)


def fates(recording: Recording) -> NDArray[np.int64]:
    """(F,) int64, what became of each frame at the ego: `LOST`, `NEWER`, `NOT_NEWER`, `COLLIDED`.

    Lost is also what reached only others. A copy of a message that the ego holds already is not
    received again, and counts as lost.
    """
    reached = recording.frame_receivers & _EGO_BIT > 0
    found = np.where(recording.frame_alone, LOST, COLLIDED)
    newest = np.full(recording.num_peers + 1, -1)
    for frame in np.flatnonzero(reached)[
        np.argsort(recording.frame_arrival_s[reached], kind="stable")
    ]:
        source, number = recording.frame_source[frame], recording.frame_number[frame]
        is_newer = number > newest[source]
        found[frame] = NEWER if is_newer else NOT_NEWER
        newest[source] = max(newest[source], number)
    return found


def _frames(recording: Recording) -> dict[str, Any]:
    shown = shown_frames(recording)
    source, number = recording.frame_source[shown], recording.frame_number[shown]
    since_last = np.empty_like(number)
    for peer in range(recording.num_peers + 1):
        own = source == peer
        since_last[own] = np.diff(number[own], prepend=0)
    sent_s = recording.frame_sent_s[shown]
    return {
        "sent_s": _column(sent_s, 0.0001, order=1),
        "flight_s": _column(recording.frame_arrival_s[shown] - sent_s, 0.0001, order=1),
        "sender": _column(recording.frame_sender[shown], 1),
        "source": _column(source, 1),
        "number": _column(since_last, 1),
        "hops": _column(recording.frame_hops[shown], 1),
        "receivers": _column(recording.frame_receivers[shown], 1),
        "fate": _column(fates(recording)[shown], 1),
    }


def _columns(
    values: NDArray[Any], unit: float, *, order: int, where: NDArray[np.bool_] | None = None
) -> list[dict[str, Any]]:
    """Code (T, n) values, column by column; null where `where`, of the same shape, is False."""
    held = np.where(where, values, np.nan) if where is not None else values
    return [_column(held[:, column], unit, order=order) for column in range(values.shape[1])]


def _column(values: NDArray[Any], unit: float, *, order: int = 0) -> dict[str, Any]:
    """Code (T,) values: whole multiples of a unit, of which `order` times the differences are kept.

    Values that are not finite are null, and no difference is taken over them. n zeros in a row, two
    or more, are the text "n".
    """
    finite = np.isfinite(values)
    steps = np.rint(np.asarray(values, dtype=np.float64)[finite] / unit).astype(np.int64)
    for _ in range(order):
        steps = np.diff(steps, prepend=0)
    coded: list[int | str | None] = []
    rest, zeros = iter(steps.tolist()), 0
    for known in (*finite.tolist(), None):
        step = next(rest) if known else None
        if step == 0:
            zeros += 1
            continue
        if zeros:
            coded.append(str(zeros) if zeros > 1 else 0)
            zeros = 0
        if known is not None:
            coded.append(step)
    return {"unit": unit, "order": order, "values": coded}
