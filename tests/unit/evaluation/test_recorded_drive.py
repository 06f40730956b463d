"""A recorded drive, from logs to who fired: planted brakings, counted by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support import small_logs
from support.planted_drive import LATENCY_MS, OFFSET_MS, PHASE_MS, PlantedDrive, tick_after
from support.planted_rows import planted_row
from support.untrained import untrained_model

from ml.errors import ConfigError, LogError
from ml.espnow_emulator import PayloadField
from ml.evaluation.drive.chance import against_chance
from ml.evaluation.drive.decide import AnyPeerBrakes, decide
from ml.evaluation.drive.events import Event, warning_spans
from ml.evaluation.drive.read import read_recorded_drive
from ml.evaluation.drive.verdict import as_json, closed_figures, judge
from ml.evaluation.drivers import ControllerDriver, PolicyDriver
from ml.parameters import load_parameters
from ml.vehicle import DT_S

PEER_S = (70.0, 90.03, 110.05, 130.0)
EGO_S = tuple(at_s + after for at_s, after in zip(PEER_S, (1.5, 0.4, 2.8, 0.05), strict=True))
RULE = "rule: any peer ≤ −2.5 m/s²"


def in_the_braking_at_90(sender, receiver, at_ms):
    """Three of b's beacons from its second braking on do not reach a, and one of c's earlier."""
    if receiver != "a":
        return False
    return (sender == "b" and 90_030 <= at_ms < 90_330) or (sender == "c" and at_ms == 88_065)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Logs of three minutes in which b brakes hard four times, and a after it."""
    folder = tmp_path_factory.mktemp("drive")
    planted = PlantedDrive(3.2, {"b": PEER_S, "a": EGO_S}, in_the_braking_at_90)
    return planted.write(folder)


@pytest.fixture(scope="module")
def verdict(logs):
    """The rule, judged."""
    return judged(read_recorded_drive(logs, None))


def judged(drive, **how):
    """Judge the rule alone, beside itself."""
    parameters = load_parameters("clean")
    rule = ControllerDriver(AnyPeerBrakes(parameters.radio.time_to_live_ms / 1000.0))
    decided, heard = decide(drive, [rule], parameters)
    return judge(drive, {rule.name: decided[0]}, heard, policy=rule.name, rule=rule.name, **how)


def first_message_s(at_s, lost=0):
    """When the first beacon that b sends from a moment on has come, or one so many later."""
    sent_ms = PHASE_MS["b"] + 100 * (tick_after(at_s - PHASE_MS["b"] / 1000.0) + lost)
    return (sent_ms + LATENCY_MS) / 1000.0


def test_events_and_leads_are_exact_to_a_tick(verdict):
    """Onsets are the ticks planted; the rule fires in the tick after the message came."""
    assert verdict.drive.ego == "a"
    assert [told.event.tick for told in verdict.warnings] == [tick_after(at_s) for at_s in EGO_S]
    assert all(told.event.hardest_mps2 == pytest.approx(6.0, abs=0.05) for told in verdict.warnings)
    fires = [
        tick_after(first_message_s(at_s, lost))
        for at_s, lost in zip(PEER_S, (0, 3, 0, 0), strict=True)
    ]
    leads = [told.event.tick - tick for told, tick in zip(verdict.warnings, fires, strict=True)]
    assert leads == [14, 1, 27, 0]
    found = [told.fired_s[RULE] / DT_S for told in verdict.warnings]
    assert found == pytest.approx(leads)


def test_of_a_peers_braking_is_said_what_came_and_when(verdict):
    """Age at the onset, losses of the 3 s before, and the first message sent since.

    Who fires with the ego's driver answers nothing, and the event does not count.
    """
    lost = (0, 3, 0, 0)
    assert {told.event.who for told in verdict.answers} == {"b"}
    onsets = [tick_after(first_message_s(at_s)) for at_s in PEER_S]
    assert [told.event.tick for told in verdict.answers] == onsets
    for told, at_s, count in zip(verdict.answers, PEER_S, lost, strict=True):
        onset_s, came_s = told.event.tick * DT_S, first_message_s(at_s, count)
        assert told.message_delay_s == pytest.approx(max(came_s - onset_s, 0.0))
        answer_s = tick_after(came_s) * DT_S - onset_s
        if told is verdict.answers[-1]:
            answer_s = np.nan  # the ego's driver brakes in the same tick
        assert told.fired_s[RULE] == pytest.approx(answer_s, nan_ok=True)
        (heard,) = told.receptions
        assert (heard.peer, heard.sent) == ("b", 30)
        assert heard.sent - heard.received == min(count, 1)
    assert verdict.of(RULE).answered.hit.tolist() == [True] * 3


def test_before_the_egos_braking_all_peers_are_told_of(verdict):
    """Of each its age and its losses; one of c's beacons and three of b's were lost."""
    heard = {one.peer: one for one in verdict.warnings[1].receptions}
    assert {name: one.sent - one.received for name, one in heard.items()} == {"b": 3, "c": 1}
    now_ms = verdict.warnings[1].event.tick * 100
    assert heard["b"].age_s == pytest.approx((now_ms - 90_430 - LATENCY_MS) / 1000.0)


def test_the_rule_fires_nowhere_else(verdict):
    """Its share of moving ticks is that of the brakings' messages; it never starts in the calm."""
    rule = verdict.of(RULE)
    moving_s = verdict.moving.sum() * DT_S
    assert rule.firing_share == pytest.approx(
        (10 + 7 + 10 + 10) * DT_S / moving_s, abs=2 * DT_S / moving_s
    )
    assert rule.starts_per_km == 0.0
    assert verdict.quiet.any()
    assert verdict.distance_m == pytest.approx(1500.0, rel=0.2)


def test_four_events_are_too_few(verdict):
    """The line says so, and nobody is above chance."""
    assert verdict.line.startswith("Cannot tell: the drive has 4 hard brakings")
    assert not verdict.is_above_chance
    figures = as_json(verdict)
    assert figures["drivers"][0]["standing"] == "cannot tell"
    assert figures["own_brakings"][0]["lead_s"][RULE] == pytest.approx(1.4)


def test_p_is_uniform_where_labels_are_shuffled(tmp_path):
    """Fourteen planted events: the rule is above chance; with their times drawn anew p is uniform.

    A policy that is not stays so beside it.
    400 shuffles, held against the uniform distribution by Kolmogorov and Smirnov.
    """
    rng = np.random.default_rng(9)
    peer_s = 60.0 + np.cumsum(12.0 + 9.0 * rng.random(14))
    planted = PlantedDrive(6.5, {"b": peer_s.tolist(), "a": (peer_s + 1.2).tolist()})
    found = judged(read_recorded_drive(planted.write(tmp_path), None))
    rule = found.of(RULE)
    assert rule.warned.hits == 14
    assert rule.warned.p_value < 0.01
    assert found.is_above_chance
    assert "better than chance (it warned of 14 of 14" in found.line
    silent = replace(rule, name="silent", warned=rule.warned._replace(p_value=1.0))
    other = replace(found, drivers=[silent, rule], policy="silent")
    assert not other.is_above_chance
    moving = np.flatnonzero(found.moving)
    shuffled = []
    for _ in range(400):
        onsets = np.sort(rng.choice(moving, 14, replace=False))
        events = [Event("a", tick, tick, tick + 10, 6.0) for tick in onsets.tolist()]
        spans = warning_spans(events)
        shuffled.append(against_chance(rule.firing, found.moving, spans).p_value)
    assert stats.kstest(shuffled, "uniform").pvalue > 0.01


def test_in_closed_loop_invalid_cases_and_unknown_headways_do_not_count():
    """Nor does anything warn where nobody has a headway."""
    labels = {"real_min_gap_m": 7.0, "real_headway_s": float("nan")}
    of = {"controller": "one", "labels": labels, "headway_s": float("nan")}
    rows = [
        planted_row(**of, case=0, min_gap_m=5.0, max_decel_mps2=4.0),
        planted_row(**of, case=1, min_gap_m=0.0, max_decel_mps2=9.0, crash=True, invalid=True),
    ]
    one, real = closed_figures(rows)
    assert one[:4] == ("one", 1, 0, 5.0)
    assert one.max_decel_mps2 == 4.0
    assert real[:4] == ("", 1, 0, 7.0)
    assert all(np.isnan([one.headway_s, real.headway_s, real.max_decel_mps2]))
    assert closed_figures([]) == []


def test_a_relayed_message_is_heard_when_it_came_first(tmp_path):
    """B's first message of its second braking reaches a by c alone: the rule fires by it."""
    planted = PlantedDrive(3.2, {"b": PEER_S, "a": EGO_S}, in_the_braking_at_90)
    files = planted.write(tmp_path)
    rx = tmp_path / "a-rx.csv"
    head, *rows = rx.read_text().splitlines()
    for hops, came_ms in ((1, 90_112), (2, 90_180)):
        said = planted.message("b", 90_030).rsplit(",", 2)
        rows.append(f"{came_ms + OFFSET_MS['a']},{said[0]},{hops},{said[2]}")
    rows.sort(key=lambda row: int(row.split(",", 1)[0]))
    rx.write_text("\n".join([head, *rows]) + "\n")
    found = judged(read_recorded_drive(files, None))
    assert found.answers[1].fired_s[RULE] / DT_S == pytest.approx(902 - 901)
    assert found.warnings[1].fired_s[RULE] / DT_S == pytest.approx(905 - 902)
    of = found.drive.receptions
    assert of.hops[of.received_us == 90_112_000].tolist() == [1]
    assert not (of.received_us == 90_180_000).any()


def test_a_peer_without_a_log_says_what_came_of_it(logs, verdict):
    """By its messages alone the rule fires as before; what it sent is unknown."""
    few = [file for file in logs if not file.name.startswith("b-")]
    found = judged(read_recorded_drive(few, "a"))
    assert found.drive.peers == ("b", "c")
    assert [told.fired_s for told in found.warnings] == [t.fired_s for t in verdict.warnings]
    heard = {one.peer: one for one in found.warnings[1].receptions}
    assert (heard["b"].sent, heard["b"].received) == (None, 27)
    assert heard["c"].sent == 30
    whole = verdict.drive.receptions
    assert found.drive.receptions.received_us.tolist() == whole.received_us.tolist()


def with_column(files, folder, column, value):
    """Copies of logs with one column more, filled by what is said of a file and its row number."""
    for file in files:
        head, *rows = file.read_text().splitlines()
        more = [f"{row},{value(file.name, k)}" for k, row in enumerate(rows)]
        (folder / file.name).write_text("\n".join([f"{head},{column}", *more]) + "\n")
    return sorted(folder.glob("*.csv"))


def test_a_peer_without_a_log_is_heard_the_same_with_a_sequence(logs, tmp_path):
    """Whether or not the ego's RX log numbers the messages, the same is received."""
    few = [file for file in logs if file.name in ("a-tx.csv", "a-rx.csv")]
    plain = read_recorded_drive(few, "a")
    files = with_column(few, tmp_path, "sequence", lambda _name, k: k)
    numbered = read_recorded_drive(files, "a")
    assert numbered.peers == plain.peers == ("b", "c")
    for one, other in zip(numbered.receptions, plain.receptions, strict=True):
        assert one == pytest.approx(other, abs=1e-9)


def test_the_logs_of_the_ego_alone_tell_how_peers_braked(logs, verdict):
    """By what was heard: in the ticks planted, but where the first messages were lost."""
    few = [file for file in logs if file.name in ("a-tx.csv", "a-rx.csv")]
    found = judged(read_recorded_drive(few, None))
    assert {told.event.who for told in found.answers} == {"b"}
    expected = [told.event.tick for told in verdict.answers]
    expected[1] += 3  # the first three of its messages were lost
    assert [told.event.tick for told in found.answers] == expected
    assert found.quiet.sum() == pytest.approx(verdict.quiet.sum(), abs=3)


def test_a_fix_of_a_peer_without_a_log_is_as_old_as_was_heard(logs, tmp_path):
    """What b says of itself is the same by its messages as by its own log, fix ages and all."""
    files = with_column(logs, tmp_path, "fix_age_ms", lambda _name, _k: 400)
    whole = read_recorded_drive(files, "a").receptions
    few = [file for file in files if not file.name.startswith("b-")]
    heard = read_recorded_drive(few, "a").receptions
    for name in (PayloadField.POSITION_SD_M, PayloadField.X_M):
        of_b = [of.payload[of.source == 0, name] for of in (whole, heard)]
        # Until its lost messages, whose rows its own log has.
        assert of_b[1][:900] - of_b[1][0] == pytest.approx(of_b[0][:900] - of_b[0][0], abs=0.05)


def with_row_times(files, folder, row_time, stamp=lambda ms: ms):
    """Copies of logs whose senders write other times beside their stamps, or other stamps."""
    for file in files:
        head, *rows = file.read_text().splitlines()
        written = [head]
        for row in rows:
            local, stamped, rest = row.split(",", 2)
            local = row_time(int(local)) if "-tx" in file.name else local
            written.append(f"{local},{stamp(int(stamped))},{rest}")
        (folder / file.name).write_text("\n".join(written) + "\n")
    return sorted(folder.glob("*.csv"))


@pytest.mark.parametrize(
    ("row_time", "stamp"),
    [
        (lambda ms: f"{ms}.600", lambda ms: ms),
        (lambda ms: ms, lambda ms: ms + 5_000_000),
    ],
    ids=["row later than its floored stamp", "stamps of another clock"],
)
def test_a_message_says_what_its_own_row_says(logs, verdict, tmp_path, row_time, stamp):
    """Whatever the row's time is beside the stamp; peers brake in the ticks planted, too."""
    drive = read_recorded_drive(with_row_times(logs, tmp_path, row_time, stamp), "a")
    planted = PlantedDrive(3.2, {"b": PEER_S, "a": EGO_S}, in_the_braking_at_90)
    of, source = drive.receptions, drive.receptions.source
    assert drive.peers == ("b", "c")
    stamps_ms = of.timestamp_ms[source == 0] - stamp(OFFSET_MS["b"])
    said = of.payload[source == 0, PayloadField.ACCEL_MPS2]
    assert said == pytest.approx(planted.accel["b"][stamps_ms], abs=0.01)
    assert stamps_ms.size == (verdict.drive.receptions.source == 0).sum()
    expected = [told.event.tick for told in verdict.answers]
    assert [told.event.tick for told in judged(drive).answers] == expected


def test_messages_that_are_of_no_use_are_counted(logs, tmp_path):
    """Those that the sender's log lacks, and those sent without a fix; who has none left is out."""
    for file in logs:
        head, *rows = file.read_text().splitlines()
        if file.name == "b-tx.csv":
            del rows[-700:-680]
        if file.name == "c-tx.csv":  # it has a fix for the last seconds alone, in which none came
            heads = [row.split(",") for row in rows]
            rows = [",".join([*r[:3], "", "", *r[5:]]) for r in heads[:-40]] + rows[-40:]
        if file.name == "a-rx.csv":
            last = max(k for k, row in enumerate(rows) if ",c," in row)
            rows = [row for k, row in enumerate(rows) if ",c," not in row or k < last - 200]
        (tmp_path / file.name).write_text("\n".join([head, *rows]) + "\n")
    drive = read_recorded_drive(sorted(tmp_path.glob("*.csv")), "a")
    assert any("left out are 20 that b's own log lacks" in note for note in drive.notes)
    assert drive.peers == ("b",)
    assert any("c is left out" in note for note in drive.notes)


def test_what_a_board_has_fused_itself_stands(logs, tmp_path):
    """Messages with the spread that their sender believed in are taken as they are.

    One of the senders, b, wrote no log of its own.
    """
    for file in logs:
        if file.name.startswith("b-"):
            continue
        head, *rows = file.read_text().splitlines()
        believed = [f"{head},position_sd_m", *(f"{row},2.5" for row in rows)]
        (tmp_path / file.name).write_text("\n".join(believed) + "\n")
    drive = read_recorded_drive(sorted(tmp_path.glob("*.csv")), "a")
    payload, source = drive.receptions.payload, drive.receptions.source
    assert set(payload[:, PayloadField.POSITION_SD_M].tolist()) == {2.5}
    planted = PlantedDrive(3.2, {"b": PEER_S, "a": EGO_S}, in_the_braking_at_90)
    stamps_ms = drive.receptions.timestamp_ms[source == 0] - OFFSET_MS["b"]
    exact = planted.accel["b"][stamps_ms]
    assert payload[source == 0, PayloadField.ACCEL_MPS2] == pytest.approx(exact, abs=1e-3)
    assert judged(drive).warnings[0].fired_s[RULE] == pytest.approx(1.4)


def test_boards_believe_what_their_sensors_are_said_to_be(logs):
    """Worse GPS in the parameters: the ego and what it heard are less sure, and no farther off."""
    usual = read_recorded_drive(logs, "a")
    sensors = load_parameters("clean").sensors
    worse = sensors.model_copy(
        update={"position": sensors.position.model_copy(update={"sd_m": 9.0})}
    )
    found = read_recorded_drive(logs, "a", sensors=worse)
    assert np.allclose(found.own.x_m, usual.own.x_m)
    assert found.own.position_sd_m[600:-600].min() > 8.9
    assert usual.own.position_sd_m[600:-600].max() < 4.0
    for drive, low, high in ((usual, 2.0, 4.0), (found, 8.9, 11.0)):
        said_m = drive.receptions.payload[500:-500, PayloadField.POSITION_SD_M]
        assert low < said_m.min() <= said_m.max() < high


def test_a_threshold_makes_other_events(logs):
    """Beyond 6.5 m/s² nobody brakes; beyond 1.2 the stop at the end counts, too."""
    drive = read_recorded_drive(logs, None)
    assert judged(drive, hard_mps2=6.5).warnings == []
    assert len(judged(drive, hard_mps2=1.2).warnings) == 5


def test_a_driver_without_a_radio_hears_nothing(logs):
    """The policy with its radio off decides the same whatever was received, the other does not."""
    drive = read_recorded_drive(logs, None)
    model = untrained_model(0, swing=30.0)
    drivers = [PolicyDriver(model, "on"), PolicyDriver(model, "off", radio_off=True)]
    parameters = load_parameters("clean")
    (on, off), heard = decide(drive, drivers, parameters)
    assert np.isfinite(heard.age_s[-1]).all()
    of = drive.receptions
    deaf = type(of)(*(values[:0] for values in of))
    (on_deaf, off_deaf), _ = decide(replaced(drive, deaf), drivers, parameters)
    assert off.tolist() == off_deaf.tolist()
    assert on.tolist() != on_deaf.tolist()
    assert on_deaf.tolist() == off.tolist()


def replaced(drive, receptions):
    """The same drive on which other messages came."""
    return replace(drive, receptions=receptions)


def test_the_last_of_the_convoy_is_the_ego_and_another_can_be_named(logs):
    """The others are ahead of it; `ego` names any that has an RX log."""
    assert "100% of the time" in read_recorded_drive(logs, None).notes[0]
    assert read_recorded_drive(logs, "b").ego == "b"
    assert read_recorded_drive(logs, "b").peers == ("a", "c")


def test_the_last_is_the_ego_by_rows_whatever_clock_the_stamps_are_of(logs, tmp_path):
    """Senders stamp by a clock that is an hour and more off that of their rows."""
    files = with_row_times(logs, tmp_path, lambda ms: ms, lambda ms: ms + 5_000_000)
    drive = read_recorded_drive(files, None)
    assert drive.ego == "a"
    assert "100% of the time" in drive.notes[0]


def test_where_nobody_can_tell_who_is_last_the_ego_is_asked_for(tmp_path):
    """Boards that only stood: the candidates are named."""
    places = {name: np.full(700, 20.0 * k) for k, name in enumerate("abc")}
    files = small_logs.write_all(tmp_path, small_logs.drive(places, receivers=["a", "b"]))
    with pytest.raises(ConfigError, match=r"a, b have RX logs.*Name one with --ego"):
        read_recorded_drive(files, None)


def test_an_ego_that_is_not_there_is_refused_with_the_nearest(logs):
    """By its name, with all that there are."""
    with pytest.raises(ConfigError, match=r"--ego bb: .*Did you mean 'b'\?.*a, b, c"):
        read_recorded_drive(logs, "bb")


def test_an_ego_without_an_rx_log_is_refused(logs):
    """Nobody knows what it heard; who else can be the ego is said."""
    few = [file for file in logs if file.name != "a-rx.csv"]
    with pytest.raises(LogError, match=r"--ego a: .*a-tx\.csv.*no RX log.*b or c"):
        read_recorded_drive(few, "a")
    assert read_recorded_drive(few, None).ego == "b"
    with pytest.raises(LogError, match=r"no board has an RX log"):
        read_recorded_drive([file for file in logs if "-tx" in file.name], None)
    with pytest.raises(LogError, match=r"no board has a TX log"):
        read_recorded_drive([file for file in logs if file.name == "a-rx.csv"], None)


def test_two_drives_are_refused(logs, tmp_path):
    """In two folders: one drive at a time. In one: clocks that do not belong together."""
    other = PlantedDrive(2.0, {})
    files = other.write(tmp_path)
    with pytest.raises(LogError, match=r"logs of 2 folders"):
        read_recorded_drive([*logs, *files], None)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for file in logs:
        shutil.copy(files[0].parent / file.name if file.name == "b-tx.csv" else file, mixed)
    late = mixed / "b-tx.csv"
    lines = late.read_text().splitlines()
    shifted = [lines[0]] + [moved(line, 7_000_050) for line in lines[1:]]
    late.write_text("\n".join(shifted) + "\n")
    with pytest.raises(LogError, match=r"a-rx\.csv.*b-tx\.csv.*different drives"):
        read_recorded_drive(sorted(mixed.glob("*.csv")), None)


def moved(line, by_ms):
    """A row of a board whose clock shows something else."""
    local, stamp, rest = line.split(",", 2)
    return f"{int(local) + by_ms},{int(stamp) + by_ms},{rest}"


def test_clocks_that_never_meet_are_refused(tmp_path):
    """The ego's RX log holds nobody: file, lines, and what to do."""
    folder = tmp_path / "alone"
    folder.mkdir()
    planted = PlantedDrive(
        2.0, {}, lambda sender, receiver, _at_ms: receiver == "a" and sender != "c"
    )
    files = planted.write(folder)
    rx = folder / "a-rx.csv"
    lines = rx.read_text().splitlines()
    rx.write_text("\n".join(lines[:6]) + "\n")
    with pytest.raises(LogError, match=r"(?s)a-rx\.csv, lines 2 to 6: .*5 of c.*--ego"):
        read_recorded_drive(files, "a")


def test_a_drive_of_seconds_is_refused(tmp_path):
    """With the lines between which it lies."""
    short = PlantedDrive(3.2, {}).write(tmp_path)
    for file in short:
        lines = file.read_text().splitlines()
        file.write_text("\n".join(lines[:500]) + "\n")
    with pytest.raises(
        LogError, match=r"a-tx\.csv: 49\.8 s from line 2 to line 500, allowed are 60 s"
    ):
        read_recorded_drive(short, "a")


def test_a_board_that_fuses_may_not_know_its_spread_at_first(logs, tmp_path):
    """Rows without a spread are no beliefs, the others stand; each sender of a log for itself."""
    few = [file for file in logs if not file.name.startswith("b-")]
    for file in few:
        head, *rows = file.read_text().splitlines()
        believed = [f"{head},position_sd_m"]
        for k, row in enumerate(rows):
            fuses = ",c," not in row  # c does not fuse
            believed.append(f"{row},{'2.5' if fuses and k >= 100 else ''}")
        (tmp_path / file.name).write_text("\n".join(believed) + "\n")
    drive = read_recorded_drive(sorted(tmp_path.glob("*.csv")), "a")
    of = drive.receptions
    spread = of.payload[:, PayloadField.POSITION_SD_M]
    assert drive.peers == ("b", "c")
    assert set(spread[of.source == 0].tolist()) == {2.5}
    assert 2.5 not in spread[of.source == 1]
    assert (of.source == 0).sum() == pytest.approx(1917 - 50, abs=1)
    assert (of.source == 1).sum() > 1900
    assert not drive.known[:100].any()
    assert drive.known[100:].all()
