"""A board on this machine: a sketch compiled against the stubs, fed and heard by a test."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ml.espnow_emulator.wire import GeoReference, mac_of_name
from ml.export.toolchain import run

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRMWARE = Path(__file__).parents[2] / "firmware"
STUBS, NODE = FIRMWARE / "stubs", FIRMWARE / "node"
HOST = Path(__file__).with_name("node_host.cpp")
CHIPS = ("ESP32", "ESP32C3", "ESP32S3")
STRICT = ("-O2", "-Wall", "-Wextra", "-Werror")
C_STRICT = (*STRICT, "-Wshadow", "-Wconversion", "-pedantic")
PLACE = GeoReference.at(32.8, 35.0)
GRAVITY_MPS2 = 9.80665
TICK_US = 100_000
POWER_ON, TASK_WATCHDOG = 1, 6


def c_library(sources: Iterable[Path], out: Path, *flags: str) -> ctypes.CDLL:
    """Compile sources in C for this machine, with all warnings, and load them."""
    run(["gcc", "-std=c99", *C_STRICT, *flags, "-shared", "-fPIC", *map(str, sources), "-lm",
         "-o", str(out)])  # fmt: skip
    return ctypes.CDLL(str(out))


def compile_sketch(sketch: Path, folders: Iterable[Path], chip: str, out: Path) -> None:
    """Compile a sketch's .ino against the stubs, as the Arduino IDE does, for a chip's pins."""
    include = [f"-I{folder}" for folder in (STUBS, *folders)]
    chosen = f"-DCONFIG_IDF_TARGET_{chip}=1"
    run(["g++", "-std=gnu++17", *STRICT, chosen, *include, "-x", "c++", "-include", "Arduino.h",
         "-fPIC", "-fno-gnu-unique", "-c", str(sketch), "-o", str(out)])  # fmt: skip


def build_board(sketch: Path, folders: tuple[Path, ...], work: Path) -> Path:
    """Compile a sketch with its sources and the host's shims; return the library."""
    work.mkdir(parents=True, exist_ok=True)
    include = [f"-I{folder}" for folder in (STUBS, *folders)]
    sources = [source for folder in folders for source in sorted(folder.glob("*.c*"))]
    brain = ["-DWITH_BRAIN"] if any(source.name == "brain.c" for source in sources) else []
    for source in (*sources, HOST):
        renamed = ["-Dbrain_step=brain_step_itself"] if source.name == "brain.c" else []
        driver = ["gcc", "-std=gnu11"]
        if source.suffix == ".cpp":
            driver = ["g++", "-std=gnu++17", "-fno-gnu-unique", *brain]
        run([*driver, *STRICT, *renamed, *include, "-fPIC", "-c", str(source),
             "-o", str(work / f"{source.stem}.o")])  # fmt: skip
    return build_changed(sketch, folders, work, work)


def build_changed(sketch: Path, folders: tuple[Path, ...], built: Path, work: Path) -> Path:
    """Compile a changed sketch, and link it with the objects of `build_board`."""
    work.mkdir(parents=True, exist_ok=True)
    compile_sketch(sketch, folders, "ESP32", work / "board.obj")
    library = work / "board.so"
    objects = [str(work / "board.obj"), *map(str, sorted(built.glob("*.o")))]
    run(["g++", "-shared", "-Wl,-Bsymbolic", *objects, "-o", str(library)])
    return library


def nmea(text: str) -> bytes:
    """Put a sentence between `$` and its checksum."""
    checksum = 0
    for byte in text.encode():
        checksum ^= byte
    return f"${text}*{checksum:02X}\r\n".encode()


def rmc(
    lat_deg: float, lon_deg: float, speed_mps: float, heading_deg: float | None, talker: str = "GP"
) -> bytes:
    """Return what a NEO-6M says of a fix; without a heading the field is empty."""
    angles = []
    for value, width, names in ((lat_deg, 2, "NS"), (lon_deg, 3, "EW")):
        degrees, minutes = divmod(abs(value) * 60.0, 60.0)
        angles.append(f"{int(degrees):0{width}d}{minutes:08.5f},{names[value < 0]}")
    course = "" if heading_deg is None else f"{heading_deg:.2f}"
    knots = speed_mps / 0.514444444
    return nmea(f"{talker}RMC,120000.00,A,{angles[0]},{angles[1]},{knots:.3f},{course},301126,,,A")


class Board:
    """A board that runs a sketch, by its own clock.

    Args:
        library: Of `build_board`.
        folder: Where this board's own copy of it lies.
        name: Of the car; its address follows from it.
        at_us: What its clock says as it is switched on.
        reason: Why it starts.
    """

    def __init__(
        self,
        library: Path,
        folder: Path,
        name: str = "v0",
        at_us: int = 0,
        reason: int = POWER_ON,
    ) -> None:
        self.mac = mac_of_name(name)
        own = folder / f"{name}-{len(list(folder.glob('*.so')))}.so"
        shutil.copyfile(library, own)
        self._host = ctypes.CDLL(str(own))
        self._host.host_now_us.restype = ctypes.c_int64
        self._host.host_bitten_us.restype = ctypes.c_int64
        self._host.host_lit_us.restype = ctypes.c_int64
        self.raw = b""
        self.imu()
        self.is_stuck = bool(self._host.host_begin(ctypes.c_int64(at_us), reason, self.mac))

    @property
    def now_us(self) -> int:
        """What its clock says."""
        return self._host.host_now_us()

    @property
    def bitten_us(self) -> int:
        """When its watchdog started it anew; -1 for never."""
        return self._host.host_bitten_us()

    def run(self, until_us: int) -> None:
        """Let it run."""
        self._host.host_run(ctypes.c_int64(until_us))

    def gps(self, data: bytes) -> None:
        """Let its receiver say something."""
        self._host.host_gps(data, len(data))

    def serial(self, data: bytes) -> None:
        """Write to its serial port."""
        self._host.host_serial(data, len(data))

    def hear(self, frame: bytes) -> None:
        """Let its radio bring a frame."""
        self._host.host_hear(frame, len(frame))

    def imu(
        self,
        accel_mps2: tuple[float, float, float] = (0.0, 0.0, GRAVITY_MPS2),
        turn_dps: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        answers: bool = True,
    ) -> None:
        """Say what its inertial sensor reads from now on."""
        words = [round(value / GRAVITY_MPS2 * 16384) for value in accel_mps2]
        words += [0, *(round(value * 131.0) for value in turn_dps)]
        self._host.host_imu((ctypes.c_int16 * 7)(*words), int(answers))

    def imu_sleeps(self) -> None:
        """Let its inertial sensor lose its power for a moment."""
        self._host.host_imu_sleeps()

    def step_takes(self, us: int) -> None:
        """Say how long the brain takes for its step from now on."""
        self._host.host_step_us(us)

    def radio_takes(self, *, takes: bool) -> None:
        """Say whether the radio takes what is to be sent."""
        self._host.host_radio_takes(int(takes))

    def serial_room(self, room: int) -> None:
        """Say how many bytes the serial port takes at once."""
        self._host.host_serial_room(room)

    def led(self, pin: int) -> int:
        """Return an LED's brightness, 0 to 255."""
        return self._host.host_led(pin)

    def lit_us(self, pin: int, level: int, from_us: int) -> int:
        """Return when an LED was first set to a level, at a time or later; -1 for never."""
        return self._host.host_lit_us(pin, level, ctypes.c_int64(from_us))

    def beacons(self) -> list[tuple[int, bytes]]:
        """Take what it has sent, its own beacons alone."""
        return [(at_us, frame) for at_us, frame in self.sent() if frame.endswith(self.mac)]

    def sent(self) -> list[tuple[int, bytes]]:
        """Take what it has sent: when, and the frame."""
        most = 4096
        frames, at_us = ctypes.create_string_buffer(90 * most), (ctypes.c_int64 * most)()
        count = self._host.host_sent(frames, at_us, most)
        return [(at_us[k], frames.raw[90 * k : 90 * (k + 1)]) for k in range(count)]

    def written(self) -> bytes:
        """Take what it has written to its serial port."""
        text = ctypes.create_string_buffer(1 << 20)
        data = b""
        while size := self._host.host_written(text, len(text)):
            data += text.raw[:size]
        self.raw += data
        return data

    def rows(self, kind: str) -> list[dict[str, str]]:
        """Return all lines of a kind that it has written so far, by the names of its header."""
        self.written()
        lines = [line.split(",") for line in self.raw.decode().splitlines()]
        found = [line[1:] for line in lines if line[0] == kind]
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]] if found else []


def place(east_m: float, north_m: float) -> tuple[float, float]:
    """Latitude and longitude of a place beside the reference."""
    return (
        PLACE.lat_deg + north_m / PLACE.north_m_per_deg,
        PLACE.lon_deg + east_m / PLACE.east_m_per_deg,
    )
