"""`roadsense hil`: episodes on SUMO with a board at the wheel, their record, and its replay."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
from support.board_code import needs
from support.board_on_a_line import MODEL, Line, UnpluggedError
from support.page_data import decoded

from ml.cli import main
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.espnow_emulator.wire import mac_of_name
from ml.evaluation.recording import Holder
from ml.hil import build
from ml.hil.build import code_of, host_board
from ml.hil.driver import LoopDriver
from ml.hil.protocol import LATE, Answer, Kind, Message
from ml.hil.record import Note, Record, done_body, done_of, json_of, read_record, truth_of
from ml.hil.session import Session

QUICK = ("--suite", "ncap:1", "--radio", "bursty", "--episodes", "1", "--no-beside")
TICKS = 200  # of an episode of that suite

pytestmark = [pytest.mark.board, pytest.mark.sumo, needs("gcc")]
on_qemu = needs("riscv64-unknown-elf-gcc", "qemu-system-riscv32")


@pytest.fixture(scope="module")
def code():
    """The shipped model's."""
    return code_of(MODEL)


@pytest.fixture(scope="module")
def image(code):
    """The host build."""
    return build._image(code, "host")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The record of an episode on this machine."""
    file = tmp_path_factory.mktemp("hil") / "episode.hil"
    assert main(["hil", *QUICK, "--out", str(file)]) == 0
    return file


def of_kind(messages, kind):
    """Those of a kind."""
    return [message for message in messages if message.kind == kind]


@pytest.mark.parametrize("radio", ["bursty", "shadowed"])
def test_a_board_believes_what_pythons_board_believes(code, tmp_path, radio):
    """By bytes and fixes it learns where it is, whom it hears, how old that is and how far away."""
    config = EnvConfig(radio=radio, num_peers=(5, 5), **LoopDriver.config_changes)
    answers = []

    def listen(wire):
        message = Message.from_wire(wire[:-1])
        if message.kind == Kind.ANSWERS:
            answers.append(Answer.of(message.body))

    batch = ConvoyBatch(config, num_envs=1, seed=5)
    slots = {mac_of_name(f"v{slot}"): slot - 1 for slot in range(1, 6)}
    own_m, gaps_m, ages_s, heard = [], [], [], []
    try:
        batch.reset()
        with host_board(code) as port, Record(tmp_path / "a.hil", {}) as record:
            session = Session(port, deadline_s=10.0, on_message=listen)
            driver = LoopDriver(session, record, deadline_s=10.0, name="board")
            for _ in range(150):
                accel_mps2 = driver.accel(batch, {})
                known, measured, answer = batch.board.estimate(), batch.stack.measured, answers[-1]
                own_m.append(
                    [
                        answer.x_um * 1e-6 - measured.x_m[0, 0],
                        answer.y_um * 1e-6 - measured.y_m[0, 0],
                        answer.own_mps - measured.speed_mps[0, 0],
                        answer.own_sd_m - measured.position_sd_m[0, 0],
                    ]
                )
                told = {slots[peer.mac]: peer for peer in answer.peers}
                heard.append(set(told) == set(np.flatnonzero(batch.board.peers.heard[0]).tolist()))
                for source, peer in told.items():
                    gaps_m.append(peer.gap_m - known.gap_m[0, source])
                    ages_s.append(peer.age_s - known.age_s[0, source])
                batch.step(accel_mps2)
    finally:
        batch.close()
    assert all(heard)
    assert len(gaps_m) > 100
    assert np.abs(own_m).max() < 0.05
    assert np.abs(ages_s).max() < 0.0011
    assert np.abs(gaps_m).max() < 0.3


def test_a_record_has_what_was_said_and_what_was_true(recorded):
    """Of each tick the truth, what was handed over, the answer, and what the vehicle did."""
    header, found = read_record(recorded)
    messages = list(found)
    assert (header["suite"], header["radio"], header["cases"]) == ("ncap:1", "bursty", [0])
    assert messages[0].kind == Kind.HELLO
    (episode,) = of_kind(messages, Note.EPISODE)
    assert json_of(episode)["num_peers"] == 1
    ticks = [message.tick for message in of_kind(messages, Kind.TICK)]
    assert ticks == list(range(TICKS))
    assert [message.tick for message in of_kind(messages, Kind.ANSWERS)] == ticks
    done = [done_of(message.body) for message in of_kind(messages, Note.DONE)]
    answered = [Answer.of(message.body) for message in of_kind(messages, Kind.ANSWERS)]
    assert done == [(answer.accel_mps2, False) for answer in answered]
    truth = [truth_of(message.body)[1] for message in of_kind(messages, Note.TRUTH)]
    assert len(truth) == TICKS + 1
    assert {len(cars) for cars in truth} == {2}
    ego = np.array([cars[0] for cars in truth])
    moved_m = np.hypot(*np.diff(ego[:, 2:4], axis=0).T)
    assert moved_m == pytest.approx(np.diff(ego[:, 0]), abs=0.01)
    # The vehicle did what it was told, as far as its limits and standstill let it.
    driven = np.diff(ego[:, 4]) / 0.1
    told = np.array([accel_mps2 for accel_mps2, _ in done])
    moving = ego[1:, 4] > 0.0
    assert driven[moving] == pytest.approx(told[moving], abs=0.01)
    (result,) = of_kind(messages, Note.RESULT)
    assert json_of(result)["duration_s"] == pytest.approx(TICKS / 10)
    assert recorded.stat().st_size < 100_000


def page_of(record):
    """The drive on the page beside a record."""
    text = record.with_suffix(".html").read_text()
    data = re.search(r'id="episode">(.*?)</script>', text, re.DOTALL)
    (drive,) = json.loads(data[1])["drives"]
    return drive


def test_a_page_shows_what_the_board_answered(recorded):
    """Wish, bounds, who decides, and what the board knew of each car: those of the record."""
    answers = [Answer.of(m.body) for m in of_kind(read_record(recorded)[1], Kind.ANSWERS)]
    drive = page_of(recorded)
    assert drive["driver"].startswith("board ")
    assert dict(drive["about"])["answers not in time"] == "0"
    for name in ("wish_mps2", "soft_mps2", "hard_mps2", "floor_mps2", "own_sd_m"):
        shown = decoded(drive["of_ego"][name])[:TICKS]
        assert shown == pytest.approx([getattr(answer, name) for answer in answers], abs=0.006)
    known = [answer.peers[0] if answer.peers else None for answer in answers]
    assert sum(peer is not None for peer in known) > TICKS / 2
    for name, unit in (("age_s", 0.001), ("believed_gap_m", 0.01), ("needed_mps2", 0.01)):
        told = [getattr(p, name.removeprefix("believed_")) if p else np.nan for p in known]
        shown = decoded(drive["of_peers"][name][0])[:TICKS]
        assert shown == pytest.approx(told, abs=0.51 * unit, nan_ok=True)
    holder = decoded(drive["of_ego"]["holder"])[:TICKS].astype(int)
    reasons = {
        Holder.NOBODY: set(range(4)),
        Holder.FLOOR: {1},
        Holder.SILENCE: {2},
        Holder.NEED: {3},
    }
    assert set(holder) > {Holder.NOBODY}
    for who, answer in zip(holder, answers, strict=True):
        # What is held back by next to nothing passed, for who looks at it; what peers demand may
        # decide on the command behind the low-pass, too (3), whatever decided on the wish.
        assert answer.reason in {*reasons[Holder(who)], 3}
    assert np.abs(decoded(drive["of_ego"]["own_error_m"])).max() < 20.0
    assert drive["frames"]["fate"]["values"]


def test_of_several_episodes_the_page_is_of_the_worst(tmp_path, capsys):
    """Wherever among them it is; a page that is there is not replaced."""
    file = tmp_path / "a.hil"
    options = ("--suite", "ncap", "--radio", "bursty", "--episodes", "3", "--no-beside")
    assert main(["hil", *options, "--out", str(file)]) == 0
    rows = [json_of(note) for note in of_kind(read_record(file)[1], Note.RESULT)]
    worst = min(rows, key=lambda row: (not row["crash"], row["min_ttc_s"], row["min_gap_m"]))
    assert dict(page_of(file)["about"])["episode"].startswith(f"{worst['case']}, ")
    assert f"page: {file.with_suffix('.html')}" in capsys.readouterr().out.replace("\n", "")
    file.unlink()
    assert main(["hil", *options, "--out", str(file)]) == 2
    assert "--page" in capsys.readouterr().err
    assert not file.exists()


def test_a_replay_is_the_same_bits(recorded, capsys):
    """On the machine that it was recorded on."""
    assert main(["hil", "--replay", str(recorded)]) == 0
    assert f"{TICKS} ticks of 1 episode: the same bits" in capsys.readouterr().out


@on_qemu
@pytest.mark.slow
@pytest.mark.parametrize("core", ["rv32imc", "rv32imafc"])
def test_a_replay_on_another_core_is_the_same_bits(recorded, core, capsys):
    """All fields of all answers, and all frames that it sent."""
    assert main(["hil", "--replay", str(recorded), "--board", "qemu", "--core", core]) == 0
    assert "the same bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "at", "field"),
    [
        (Kind.ANSWERS, 12, "wish_mps2"),
        (Kind.ANSWERS, 32, "x_um"),
        (Kind.ANSWERS, 60, "digest"),
        (Kind.ANSWERS, 66 + 12, r"peers[0].gap_m"),
        (Kind.SENDS, 20, "frames that it sends"),
    ],
)
def test_a_difference_is_named_with_tick_and_field(recorded, tmp_path, capsys, kind, at, field):
    """A byte of the record is another one."""
    header, messages = read_record(recorded)
    with Record(tmp_path / "other.hil", header) as record:
        for message in messages:
            if message.kind == kind and message.tick == 37:
                body = bytearray(message.body)
                body[at] ^= 1
                message = message._replace(body=bytes(body))  # noqa: PLW2901
            record.write(message.to_wire())
    assert main(["hil", "--replay", str(tmp_path / "other.hil")]) == 1
    shown = capsys.readouterr().out
    assert f"episode 1, tick 37: {field} was " in shown
    assert f"1 of {TICKS} ticks of 1 episode differ" in shown


@on_qemu
@pytest.mark.slow
def test_an_episode_of_fifty_seconds_goes_through_qemu(tmp_path, capsys):
    """With a record that this machine answers with the same bits."""
    file = tmp_path / "qemu.hil"
    options = ("--board", "qemu", "--episodes", "1", "--no-beside", "--out", str(file))
    assert main(["hil", *options]) == 0
    assert "in 500 ticks: 0 late answers" in capsys.readouterr().out
    assert main(["hil", "--replay", str(file)]) == 0
    assert "500 ticks of 1 episode: the same bits" in capsys.readouterr().out


def test_answers_that_are_late_put_the_vehicle_into_its_safe_state(image, tmp_path, capsys):
    """Held, then braking, and counted. They are in the record: a replay has the same bits."""

    def delay(message):
        body = bytearray(message.body)
        if message.kind == Kind.ANSWERS and 20 <= message.tick < 25:
            body[29] |= LATE
        return message._replace(body=bytes(body)).to_wire()

    file = tmp_path / "a.hil"
    with Line(image, to_us=delay) as line:
        options = ("--board", line.device, "--deadline-ms", "20000", "--out", str(file))
        assert main(["hil", *QUICK, *options]) == 0
    assert f"in {TICKS} ticks: 5 late answers" in capsys.readouterr().out
    done = [done_of(m.body) for m in of_kind(read_record(file)[1], Note.DONE)]
    assert [tick for tick, (_, is_safe) in enumerate(done) if is_safe] == list(range(20, 25))
    assert done[20][0] <= 0.0
    assert [accel <= -1.5 for accel, _ in done[22:25]] == [True] * 3
    of_ego = page_of(file)["of_ego"]
    wish, command = decoded(of_ego["wish_mps2"]), decoded(of_ego["command_mps2"])
    assert np.flatnonzero(np.isnan(wish)).tolist() == [*range(20, 25), TICKS]
    assert np.isfinite(command[:TICKS]).all()
    assert main(["hil", "--replay", str(file), str(MODEL)]) == 0
    assert f"{TICKS} ticks of 1 episode: the same bits" in capsys.readouterr().out


def test_ticks_without_an_answer_are_left_out_of_a_replay(recorded, tmp_path, capsys):
    """And counted; the others are compared."""
    header, messages = read_record(recorded)
    with Record(tmp_path / "other.hil", header) as record:
        for message in messages:
            if message.kind != Kind.ANSWERS or not 20 <= message.tick < 25:
                record.write(message.to_wire())
    assert main(["hil", "--replay", str(tmp_path / "other.hil")]) == 0
    shown = capsys.readouterr().out
    assert "5 ticks without an answer" in shown
    assert f"{TICKS - 5} ticks of 1 episode: the same bits" in shown


def test_a_cut_record_is_told_to_be_one(recorded, tmp_path, capsys):
    """What is there is compared, and that there was more is said."""
    file = tmp_path / "cut.hil"
    file.write_bytes(recorded.read_bytes()[:-2000])
    assert main(["hil", "--replay", str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"{file} is cut" in shown.replace("\n", " ")
    assert "the same bits" in shown
    assert f"{TICKS} ticks" not in shown


def test_a_board_that_is_unplugged_leaves_its_record(image, tmp_path, capsys):
    """Whole until then, and the file is named."""

    def pull(message):
        if message.kind == Kind.ANSWERS and message.tick == 50:
            raise UnpluggedError
        return message.to_wire()

    file = tmp_path / "a.hil"
    with Line(image, to_us=pull) as line:
        options = ("--board", line.device, "--deadline-ms", "5000", "--out", str(file))
        assert main(["hil", *QUICK, *options]) == 1
    told = capsys.readouterr().err
    assert "was unplugged" in told
    assert f"All until then is in {file}: 0 whole episodes, 50 ticks." in told
    answers = of_kind(read_record(file)[1], Kind.ANSWERS)
    assert [message.tick for message in answers] == list(range(50))
    assert main(["hil", "--replay", str(file), str(MODEL)]) == 0
    assert "50 ticks of 1 episode: the same bits" in capsys.readouterr().out


def test_a_board_that_runs_another_model_is_refused(image, tmp_path, capsys):
    """Where one is named; and no record is left of what never drove."""

    def other(message):
        body = bytearray(message.body)
        if message.kind == Kind.IS_HELLO:
            body[4] ^= 1
        return message._replace(body=bytes(body)).to_wire()

    file = tmp_path / "a.hil"
    with Line(image, to_us=other) as line:
        options = ("--board", line.device, "--out", str(file))
        assert main(["hil", str(MODEL), *QUICK, *options]) == 1
    told = capsys.readouterr().err
    assert "runs 'host', model " in told
    assert "Flash it with that" in told
    assert not file.exists()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--board", "qmu"), 2, "--board must be host, qemu or a serial port"),
        (("--board", "qmu"), 2, "Did you mean 'qemu'?"),
        (("--board", "/dev/ttyNONE"), 2, "no such device"),
        (("--suite", "convy"), 2, "Did you mean 'convoy'?"),
        (("--radio", "claen"), 2, "Did you mean 'clean'?"),
        (("--episodes", "0"), 2, "--episodes must be ≥ 1"),
        (("--deadline-ms", "0"), 2, "--deadline-ms must be ≥ 1"),
        (("--deadline-ms", "5000000"), 2, "--deadline-ms must be ≤ 60000"),
        (("missing.zip",), 2, "missing.zip"),
        (("--replay", "missing.hil"), 2, "missing.hil cannot be read"),
        (("--replay", str(MODEL)), 2, "is no record of `roadsense hil`"),
        (("--replay", "a.hil", "--page", "a.html"), 2, "a.hil cannot be read"),
        (("--replay", str(MODEL), "--page", "a.html"), 2, "is no record of `roadsense hil`"),
        (("--page", "a.png"), 2, "--page must end in .html"),
        (("--out", "a.html"), 2, "--page = a.html is the record"),
    ],
)
def test_a_users_mistake_is_told_and_nothing_written(
    options, code, told, tmp_path, monkeypatch, capsys
):
    """What is wrong, and what was meant."""
    monkeypatch.chdir(tmp_path)
    assert main(["hil", *options]) == code
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_record_that_is_there_stays(tmp_path, capsys):
    """Told before the board is asked."""
    file = tmp_path / "a.hil"
    file.write_text("mine")
    assert main(["hil", *QUICK, "--out", str(file)]) == 2
    assert "exists. Name another file" in capsys.readouterr().err
    assert file.read_text() == "mine"


PLANTED_MPS2 = -3.25


def rewritten(record, file, change):
    """A record whose header and messages went through a change, (header, messages) to the same."""
    header, messages = read_record(record)
    header, messages = change(header, list(messages))
    with Record(file, header) as made:
        for message in messages:
            made.write(message.to_wire())
    return file


def test_a_page_of_a_record_is_the_page_of_the_run(recorded, tmp_path, monkeypatch, capsys):
    """Lost packets and all, without the board and what builds one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path / "cache"))
    page = tmp_path / "a.html"
    assert main(["hil", "--replay", str(recorded), "--page", str(page)]) == 0
    assert page.read_text() == recorded.with_suffix(".html").read_text()
    assert "a.html" in capsys.readouterr().out
    assert main(["hil", "--replay", str(recorded), "--page", str(page)]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_page_of_a_record_shows_the_answers_that_stand_in_it(recorded, tmp_path):
    """A planted wish; and a tick of the safe state, which has none."""

    def plant(header, messages):
        wish = struct.pack("<f", PLANTED_MPS2)
        for number, message in enumerate(messages):
            if message.kind == Kind.ANSWERS and message.tick == 7:
                messages[number] = message._replace(
                    body=message.body[:12] + wish + message.body[16:]
                )
            if message.kind == Note.DONE and message.tick == 9:
                body = done_body(done_of(message.body)[0], is_safe_state=True)
                messages[number] = message._replace(body=body)
        return header, messages

    file = rewritten(recorded, tmp_path / "planted.hil", plant)
    assert main(["hil", "--replay", str(file), "--page", str(tmp_path / "planted.html")]) == 0
    drive = page_of(file)
    wish = decoded(drive["of_ego"]["wish_mps2"])
    assert wish[7] == pytest.approx(PLANTED_MPS2)
    assert np.flatnonzero(np.isnan(wish)).tolist() == [9, TICKS]
    assert dict(drive["about"])["answers not in time"] == "1"


def reseeded(header, messages):
    """Other figures than the commands bring."""
    for number, message in enumerate(messages):
        if message.kind == Note.RESULT:
            body = json.dumps(json_of(message) | {"seed": 1}).encode()
            messages[number] = message._replace(body=body)
    return header, messages


def of_another_version(header, messages):
    """A result without a column."""
    for number, message in enumerate(messages):
        if message.kind == Note.RESULT:
            row = json_of(message)
            del row["min_gap_m"]
            messages[number] = message._replace(body=json.dumps(row).encode())
    return header, messages


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (reseeded, "comes out otherwise"),
        (of_another_version, "min_gap_m"),
        (lambda header, messages: (header, messages[: len(messages) // 2]), "no whole episode"),
        (lambda header, messages: (header | {"suite": "nonsense"}, messages), "nonsense"),
    ],
)
def test_a_record_that_cannot_be_driven_again_is_refused(recorded, tmp_path, capsys, change, words):
    """In words, and no page is written."""
    file = rewritten(recorded, tmp_path / "other.hil", change)
    assert main(["hil", "--replay", str(file), "--page", str(tmp_path / "a.html")]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a.html").exists()
