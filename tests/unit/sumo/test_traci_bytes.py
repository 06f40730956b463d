"""TraCI's bytes, written and read, and the connection's errors against a socket of our own."""

import socket
import struct
import threading
from importlib.metadata import version as release

import numpy as np
import pytest
from traci import constants as tc

from ml.errors import SimulatorError, SimulatorTimeoutError, SimulatorVersionError
from ml.sumo import traci_bytes as wire
from ml.sumo.names import vehicle_id
from ml.sumo.traci_connection import TraciConnection


def ok(*numbers):
    """The statuses of commands that went well."""
    return b"".join(bytes((7, number, 0, 0, 0, 0, 0)) for number in numbers)


def refusal(number, text):
    """The status of a command that SUMO refuses."""
    body = bytes((number, 0xFF)) + wire.string(text)
    return bytes((len(body) + 1,)) + body


def answers(name, lane_pos_m, speed_mps, variable=tc.VAR_LANEPOSITION):
    """The answers to the questions after a car's values."""
    packed = b""
    for asked, value in ((variable, lane_pos_m), (tc.VAR_SPEED, speed_mps)):
        body = bytes((0xB4, asked)) + wire.string(name) + wire.typed(value)
        packed += ok(0xA4) + bytes((len(body) + 1,)) + body
    return packed


def as_array(data):
    """Bytes as the connection hands them on."""
    return np.frombuffer(data, dtype=np.uint8)


def test_a_command_is_its_length_number_and_content():
    """Short commands have a one-byte length, long ones a four-byte length behind a 0."""
    assert wire.command(0x7F) == b"\x02\x7f"
    assert wire.command(0x01, b"x" * 253) == b"\xff\x01" + b"x" * 253
    assert wire.command(0x01, b"x" * 254) == b"\x00\x00\x00\x01\x04\x01" + b"x" * 254


def test_a_script_packs_the_calls_of_libsumos_functions():
    """In their order, and with the number of each command."""
    script = wire.Script()
    script.vehicletype_setTau("peer", 1.5)
    script.vehicle_setPreviousSpeed("c0000.v01", 12.5, 0.0)
    real, text = wire.typed, wire.string
    both = wire.compound(12.5, 0.0)
    single = [
        wire.command(0xC5, b"\x48" + text("peer") + real(1.5)),
        wire.command(0xC4, bytes((tc.VAR_PREV_SPEED,)) + text("c0000.v01") + both),
    ]
    assert script.body == b"".join(single)
    assert script.numbers == bytes((0xC5, 0xC4))


def test_whole_numbers_are_doubles_where_sumo_wants_doubles():
    """15 m/s is packed as 15.0, as libsumo takes it; modes are integers."""
    told = []
    for speed_mps in (15, 15.0):
        script = wire.Script()
        script.vehicle_setSpeed("c0000.v01", speed_mps)
        script.vehicle_setPreviousSpeed("c0000.v01", speed_mps, 0)
        script.vehicle_moveTo("c0000.v01", "lane", speed_mps)
        script.vehicle_setSpeedMode("c0000.v01", 0)
        told.append(bytes(script.body))
    assert told[0] == told[1]
    assert told[0].count(struct.pack("!Bd", tc.TYPE_DOUBLE, 15.0)) == 3
    assert told[0].endswith(struct.pack("!Bi", tc.TYPE_INTEGER, 0))


def test_speed_commands_of_a_tick_equal_single_ones():
    """Packing many at once gives the bytes of packing each."""
    names = [vehicle_id(env, slot) for env in range(3) for slot in range(2)]
    index = np.array([4, 1])
    packed = wire.set_floats(tc.VAR_SPEED, names).pack(index, np.array([12.5, 0.0]))
    single = [
        ("c0002.v00", 12.5),
        ("c0000.v01", 0.0),
    ]
    script = wire.Script()
    for name, speed_mps in single:
        script.vehicle_setSpeed(name, speed_mps)
    assert packed == script.body


def test_statuses_take_seven_bytes_each():
    """A reply whose statuses are all well says where the rest begins."""
    data = as_array(ok(0xC4, 0xC4, 0x02) + b"rest")
    assert wire.check_statuses(data, bytes((0xC4, 0xC4, 0x02))) == 21


def test_sumos_complaint_is_handed_on():
    """The first refused command's text is in the error, wherever it stands."""
    data = as_array(ok(0xC4) + refusal(0xC4, "Vehicle 'c0001.v02' is not known") + ok(0x02))
    with pytest.raises(SimulatorError, match=r"0xc4 with an error: Vehicle 'c0001\.v02' is not kn"):
        wire.check_statuses(data, bytes((0xC4, 0xC4, 0x02)))


@pytest.mark.parametrize("data", [b"", ok(0xC4)[:-1], ok(0xC5), b"\x00\x7f"])
def test_statuses_that_make_no_sense_are_an_error(data):
    """Too short, or of a command that was not sent."""
    with pytest.raises(SimulatorError, match="cannot be understood"):
        wire.check_statuses(as_array(data), bytes((0xC4,)))


NAMES = [vehicle_id(env, slot) for env in range(2) for slot in range(12)]


def read(data, cars):
    """Read answers about some of `NAMES`."""
    return wire.answers(NAMES).read(as_array(data), np.array(cars, dtype=np.int64))


def test_questions_of_many_cars_equal_single_ones():
    """Packing many at once gives the bytes of packing each."""
    packed = wire.questions(NAMES)[np.array([13, 2])].tobytes()
    values = (tc.VAR_LANEPOSITION, tc.VAR_SPEED)
    single = [wire.get(0xA4, v, n) for n in ("c0001.v01", "c0000.v02") for v in values]
    assert packed == b"".join(single)


def test_values_are_read_to_the_bit():
    """Numbers come out as they were packed, in the order of the cars."""
    data = answers("c0001.v03", 1.0 / 3.0, 20.0) + answers("c0000.v10", -2.5, 1e-300)
    lane_pos_m, speed_mps = read(data, [15, 10])
    assert lane_pos_m.tolist() == [1.0 / 3.0, -2.5]
    assert speed_mps.tolist() == [20.0, 1e-300]
    assert [values.size for values in read(b"", [])] == [0, 0]


@pytest.mark.parametrize(
    "data",
    [
        answers("c0000.v00", 1.0, 2.0)[:-1],
        answers("c0000.v00", 1.0, 2.0) + b"x",
        answers("c0000.v00", 1.0, 2.0, variable=tc.VAR_ANGLE),
        answers("c0000.v01", 1.0, 2.0),
        answers("c0001.v00", 1.0, 2.0),
        answers("c0000.v00", 1.0, 2.0).replace(b"\xa4\x00", b"\xa4\xff"),
        refusal(0xA4, "Vehicle 'c0000.v00' is not known.") * 2,
    ],
)
def test_answers_of_another_form_are_noticed(data):
    """Another length, variable, car or status is not read as a value."""
    assert read(data, [0]) is None


def test_teleports_come_first():
    """The number of teleports is read; anything else in its place is an error."""
    body = bytes((0xBB, tc.VAR_TELEPORT_STARTING_VEHICLES_NUMBER)) + wire.string("")
    body += wire.typed_int(259)
    data = ok(0xAB) + bytes((len(body) + 1,)) + body
    assert wire.read_teleports(as_array(data + b"more")) == (259, len(data))
    for other in (data[:-1], b"", data.replace(b"\xbb", b"\xbc")):
        with pytest.raises(SimulatorError, match="do not start with the number of teleports"):
            wire.read_teleports(as_array(other))


class Server:
    """A socket that sends prepared replies and keeps what it was sent."""

    def __init__(self, *answers):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._answers = answers
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listening.accept()
        with connection:
            for answer in self._answers:
                connection.recv(65536)
                if answer is None:
                    return
                for part in answer if isinstance(answer, list) else [answer]:
                    connection.sendall(part)
            connection.recv(65536)

    def close(self):
        """Stop listening and wait for the thread."""
        self._listening.close()
        self._thread.join()


@pytest.fixture
def serve():
    """Start servers that are closed at the end."""
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


def message(body):
    """A whole TraCI message."""
    return struct.pack("!i", len(body) + 4) + body


OUR_SUMO = f"SUMO {release('eclipse-sumo')}"


def version(api, name=OUR_SUMO):
    """The reply to the version command."""
    body = struct.pack("!Bi", 0, api) + wire.string(name)
    return message(ok(0) + bytes((len(body) + 1,)) + body)


@pytest.mark.parametrize("api", [tc.TRACI_VERSION, tc.TRACI_VERSION - 1])
def test_another_version_is_refused(serve, api):
    """Of another release, although of the same protocol; the message names both versions."""
    port = serve(version(api, "SUMO 9.9.9"))
    with pytest.raises(
        SimulatorVersionError, match=rf"'SUMO 9\.9\.9'.*{api}.*docker compose build"
    ):
        TraciConnection.open("127.0.0.1", port, deadline_s=5.0)


def test_a_reply_in_pieces_is_put_together(serve):
    """A message longer than the buffer, arriving piece by piece, comes out whole."""
    body = ok(0x02) + bytes(200_000)
    whole = message(body)
    pieces = [whole[:2], whole[2:9], whole[9:100_000], whole[100_000:]]
    connection = TraciConnection.open(
        "127.0.0.1", serve(version(tc.TRACI_VERSION), pieces), deadline_s=5.0
    )
    reply, offset = connection.exchange(wire.SIMULATION_STEP, bytes((0x02,)))
    assert reply.tobytes() == body
    assert offset == 7
    connection.abandon()


def test_two_messages_get_their_own_replies(serve):
    """Two replies that come as one stream, in pieces, are told apart, also beyond the buffer."""
    first, second = ok(0x02) + bytes(4), bytes(range(256)) * 600
    whole = message(first) + message(second)
    for pieces in ([whole], [whole[:13], whole[13:17], whole[17:70_000], whole[70_000:]]):
        port = serve(version(tc.TRACI_VERSION), pieces)
        connection = TraciConnection.open("127.0.0.1", port, deadline_s=5.0)
        reply, _ = connection.exchange(wire.SIMULATION_STEP, b"\x02", wire.GET_TELEPORTS)
        assert reply.tobytes() == second
        connection.abandon()


def test_a_refusal_in_the_first_of_two_messages_is_an_error(serve):
    """The first reply's complaint is handed on."""
    reply = message(refusal(0xC4, "no such car") + ok(0x02)) + message(b"second")
    port = serve(version(tc.TRACI_VERSION), reply)
    connection = TraciConnection.open("127.0.0.1", port, deadline_s=5.0)
    with pytest.raises(SimulatorError, match="no such car"):
        connection.exchange(wire.SIMULATION_STEP, b"\xc4\x02", wire.GET_TELEPORTS)
    connection.abandon()


def test_many_commands_are_not_sent_ahead(serve, monkeypatch):
    """With very many commands the second message waits for the first reply."""
    monkeypatch.setattr("ml.sumo.traci_connection._MAX_AHEAD", 0)
    port = serve(version(tc.TRACI_VERSION), message(ok(0x02) + bytes(4)), message(b"second"))
    connection = TraciConnection.open("127.0.0.1", port, deadline_s=5.0)
    reply, _ = connection.exchange(wire.SIMULATION_STEP, b"\x02", wire.GET_TELEPORTS)
    assert reply.tobytes() == b"second"
    connection.abandon()


def test_half_a_reply_is_a_timeout(serve):
    """The deadline holds for the whole reply, and the connection is spoilt after it."""
    port = serve(version(tc.TRACI_VERSION), message(ok(0x02))[:6])
    connection = TraciConnection.open("127.0.0.1", port, deadline_s=5.0)
    connection._deadline_s = 0.2
    with pytest.raises(SimulatorTimeoutError, match=rf"127\.0\.0\.1:{port} did not answer"):
        connection.exchange(wire.SIMULATION_STEP, bytes((0x02,)))
    with pytest.raises(SimulatorError, match="interrupted"):
        connection.exchange(wire.SIMULATION_STEP, bytes((0x02,)))
    assert connection.close() is False


def test_something_else_that_listens_is_named(serve):
    """A server that does not speak TraCI is an error at the deadline that says so."""
    port = serve(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(SimulatorTimeoutError, match=rf"No SUMO answered at 127\.0\.0\.1:{port}"):
        TraciConnection.open("127.0.0.1", port, deadline_s=0.3)


def test_a_connection_that_closes_at_once_is_tried_again(serve):
    """A server that hangs up is not yet SUMO; the last cause is in the message."""
    port = serve(None)
    with pytest.raises(SimulatorTimeoutError, match=r"within 0\.3 s; last error"):
        TraciConnection.open("127.0.0.1", port, deadline_s=0.3)
