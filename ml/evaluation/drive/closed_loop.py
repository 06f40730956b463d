"""A recorded drive in closed loop: the cars ahead drive as recorded, a driver drives the ego.

Around each hard braking of a car ahead (`ml.calibration.convoys.cases`) the peers drive their
recorded ways in SUMO, packets are lost and late as they were, and the ego begins where and as fast
as the real one was. What it then does is the driver's.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from ml.arrays import Floats
from ml.calibration.convoys.boards import lay_out
from ml.calibration.convoys.cases import RecordedCase, cut_cases, piece_of
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.recorded import manoeuvre
from ml.envs.episodes.scripted import START_M
from ml.envs.worlds.received import ReceivedStack
from ml.envs.worlds.recovery import SimulatorKeeper
from ml.envs.worlds.world import World
from ml.errors import LogError
from ml.espnow_emulator import GeoReference
from ml.espnow_emulator.air import AirFrames
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.wire import quantise
from ml.evaluation.drive.read import Receptions, RecordedDrive
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import CaseRunner
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.result import EpisodeRow
from ml.evaluation.seeds import TEST_SEED
from ml.evaluation.suites.suite import Suite, scripted_suite
from ml.parameters import load_parameters
from ml.sumo.factory import create_simulator
from ml.sumo.road import Lane, Road
from ml.sumo.scenarios import DEFAULT_SCENARIO, load_scenario
from ml.vehicle import DT_S, TICK_US

NAME: Final = "closed loop"
_TICK_MS: Final = TICK_US / 1000.0
_KNOT_M, _SMOOTHED_ROWS = 10.0, 21
_AHEAD_M: Final = 20.0
_X, _Y = int(PayloadField.X_M), int(PayloadField.Y_M)


class Ways(NamedTuple):
    """A recorded drive as a convoy behind which the ego drives, and what its board received.

    Attributes:
        convoy: The ego and the cars ahead of it; one row per tick of the drive.
        received: `source` is the slot − 1; sources that are no car ahead come last.
        num_sources: How many there are.
    """

    convoy: RecordedConvoy
    received: Receptions
    num_sources: int


def ways_of(drive: RecordedDrive) -> Ways:
    """Put the ego and the cars ahead of it one behind another, in ticks of the ego's clock.

    Raises:
        LogError: No car with a log drives ahead of the ego, or cars overtake one another.
    """
    at_ms = drive.start_ms + _TICK_MS * np.arange(drive.ticks, dtype=np.float64)
    boards = {board.name: board for board in drive.drive.boards}
    times_ms = {
        name: clock.to_sender(at_ms) for name, clock in drive.clocks.items() if name in boards
    }
    times_ms[drive.ego] = at_ms
    log = boards[drive.ego].tx
    digest = sha256("".join(sorted(boards[name].tx.sha256 for name in times_ms)).encode())
    convoy = lay_out(drive.drive, times_ms, log.path.parent, digest.hexdigest())
    own = convoy.names.index(drive.ego)
    convoy = replace(
        convoy,
        speed_mps=convoy.speed_mps[:, own:],
        gap_m=convoy.gap_m[:, own:],
        names=convoy.names[own:],
    )
    ahead = convoy.names[1:]
    if not ahead:
        raise LogError(
            f"{log.path}: no board with a TX log drives ahead of {drive.ego}, so there is nobody "
            "to drive behind. Add the TX logs of the cars ahead, or name another --ego."
        )
    others = [name for name in drive.peers if name not in ahead]
    slot = {name: k for k, name in enumerate([*ahead, *others])}
    sources = np.array([slot[name] for name in drive.peers], dtype=np.int64)
    received = drive.receptions._replace(source=sources[drive.receptions.source])
    return Ways(convoy, received, len(slot))


def closed_loop(
    drive: RecordedDrive,
    drivers: Sequence[Driver],
    *,
    radio: str = "clean",
    seed: int = TEST_SEED,
    ticks: tuple[int, int] | None = None,
    scenario: str | None = None,
    on_part: Callable[[str, float], None] = lambda _what, _share: None,
    on_tick: Callable[[ConvoyBatch], None] = lambda _: None,
    on_drive: Callable[[EpisodeRow, Recording], None] = lambda *_: None,
) -> tuple[list[EpisodeRow], Counter[str]]:
    """Drive a recorded drive again.

    Args:
        drive: The drive.
        drivers: Who drives; distinct objects, and none that is SUMO's own.
        radio: Preset or file whose sensors the ego has; its radio does not count.
        seed: Of the sensors' errors.
        ticks: First and last tick of the one piece that is driven; None for the cases around hard
            brakings of cars ahead.
        scenario: The road on which the drive was simulated, for one that was; None for the way
            that the ego's board recorded.
        on_part: Told what is being done, and how far it is in [0, 1].
        on_tick: Told the batch after every tick.
        on_drive: Told each row, and what the driver knew, as soon as they are there.

    Returns:
        A row per driver and case, case by case, whose labels have the real last car's figures; and
        for which reason how many cases were refused.

    Raises:
        LogError: No car ahead has a log, or the piece that was asked for cannot be driven.
    """
    ways = ways_of(drive)
    refused = Counter[str]()
    if ticks is None:
        cases, refused = cut_cases(ways.convoy)
    else:
        found = piece_of(ways.convoy, *ticks)
        if isinstance(found, str):
            raise LogError(f"{ways.convoy.source}: ticks {ticks[0]} to {ticks[1]}: {found}")
        cases = [found]
    place = _Place(drive, radio, scenario)
    road = load_scenario(scenario or DEFAULT_SCENARIO)
    num_vehicles = 1 + ways.num_sources
    create = partial(create_simulator, "libsumo", road, num_envs=1, num_vehicles=num_vehicles)
    keeper = SimulatorKeeper(create(), return_within_s=0.0)
    rows = []
    with closing(keeper):
        for k, case in enumerate(cases):
            start_m, here = place.of(case)
            suite = _suite_of(case, start_m, ways.num_sources, scenario or DEFAULT_SCENARIO)
            config = suite.config.model_copy(update={"radio": radio, "radio_position": "own"})
            heard = place.told(_since(ways.received, case.start_row))
            for j, driver in enumerate(drivers):
                on_part("closed loop", (k + j / len(drivers)) / len(cases))
                world = World(keeper, ReceivedStack(heard, config, here))
                runner = CaseRunner(driver, suite, config, seed=seed, num_envs=1, world=world)
                recorder = Recorder()
                watch = partial(_tell, (recorder.watch, on_tick))
                (row,) = runner.run([0], on_tick=watch, on_start=recorder.watch)
                row.case, row.radio = k, "recorded"
                rows.append(row)
                on_drive(row, _with_arrivals(recorder.recording(), heard))
    return rows, refused


def _tell(listeners: Sequence[Callable[[ConvoyBatch], None]], batch: ConvoyBatch) -> None:
    for listener in listeners:
        listener(batch)


def _with_arrivals(recording: Recording, heard: Receptions) -> Recording:
    """Add to a recording, as frames on the air, what arrived of the cars ahead.

    Frames are numbered as the peer table numbers messages: as newer ones come. Of a relayed message
    the source's own frame is added, as lost. Others that were lost are not in the receptions.
    """
    newest = np.full(recording.num_peers, -1)
    latest_us = np.full(recording.num_peers, np.iinfo(np.int64).min)
    last_us = round(float(recording.time_s[-1]) / DT_S) * TICK_US
    rows: list[tuple[int, ...]] = []
    for k in np.flatnonzero((heard.received_us >= 0) & (heard.received_us <= last_us)):
        source, hops, sent_us = int(heard.source[k]), int(heard.hops[k]), int(heard.generated_us[k])
        if source >= recording.num_peers:
            continue
        if is_newer := sent_us > latest_us[source]:
            latest_us[source] = sent_us
            newest[source] += 1
        slot, number = source + 1, int(newest[source])
        # In the order of `AirFrames`; who relayed is not recorded, and the ego is bit 0.
        arrival_us = int(heard.received_us[k])
        rows.append((sent_us, arrival_us, slot, slot, number, hops, 1, 1))
        if hops and is_newer:
            rows.append((sent_us, arrival_us, slot, slot, number, 0, 0, 1))
    log = np.array(sorted(rows), dtype=np.int64).reshape(-1, len(AirFrames._fields))
    frames = AirFrames.of(log)._asdict()
    return replace(recording, **{f"frame_{name}": values for name, values in frames.items()})


def _since(received: Receptions, tick: int) -> Receptions:
    """Count time from a tick on."""
    us = tick * TICK_US
    return received._replace(
        received_us=received.received_us - us, generated_us=received.generated_us - us
    )


def _suite_of(case: RecordedCase, start_m: float, num_sources: int, scenario: str) -> Suite:
    """Make a suite of one case, with room for all who are heard."""
    one = replace(manoeuvre(case), start_m=start_m)
    ticks = case.gap_m.shape[0] - 1
    suite = scripted_suite(NAME, [one], ticks=ticks, reference_gap="own", scenario=scenario)
    config = suite.config.model_copy(update={"num_peers": (1, num_sources)})
    return replace(suite, config=config)


class _Place:
    """Where the ego is, in the coordinates of the messages.

    Args:
        drive: The drive.
        radio: Its wire has the plane of a simulated road.
        scenario: That road; None for the way that the ego's board recorded.
    """

    def __init__(self, drive: RecordedDrive, radio: str, scenario: str | None) -> None:
        self._drive = drive
        own = drive.own
        self._xy_m = np.stack([own.x_m, own.y_m], axis=-1)
        if drive.plane is None:
            raise LogError(f"the logs of {drive.ego} hold no position. Record with GPS.")
        self._of_messages = drive.plane
        self._of_road = GeoReference.of(load_parameters(radio).radio.wire)
        self._road = None if scenario is None else load_scenario(scenario).road
        steps = 0.5 * (own.speed_mps[1:] + own.speed_mps[:-1]) * DT_S
        self._driven_m = np.concatenate(([0.0], np.cumsum(steps)))

    def of(self, case: RecordedCase) -> tuple[float, Road]:
        """Return where along a road the ego begins, and that road."""
        row = case.start_row
        if self._road is None:
            return START_M, self._way_from(self._driven_m[row] - START_M)
        return _nearest_m(self._road, self._moved(self._xy_m[row : row + 1])[0]), self._road

    def told(self, received: Receptions) -> Receptions:
        """Return messages with positions in the plane of the road, rounded as their bytes are."""
        if self._road is None:
            return received
        payload = received.payload.copy()
        payload[:, [_X, _Y]] = self._moved(payload[:, [_X, _Y]])
        quantise(payload, self._of_road)
        return received._replace(payload=payload)

    def _moved(self, xy_m: Floats) -> Floats:
        """Move positions (K, 2) from the plane of the messages to that of the road."""
        one, other = self._of_messages, self._of_road
        lon = one.lon_deg + xy_m[:, 0] / one.east_m_per_deg
        lat = one.lat_deg + xy_m[:, 1] / one.north_m_per_deg
        east_m = (lon - other.lon_deg) * other.east_m_per_deg
        north_m = (lat - other.lat_deg) * other.north_m_per_deg
        return np.stack([east_m, north_m], axis=-1)

    def _way_from(self, start_m: float) -> Road:
        """Make a road of the way that the ego's board recorded, from a place on it on.

        It has the length of the road in SUMO; before its beginning and after its end it goes on
        straight.
        """
        length_m = load_scenario(DEFAULT_SCENARIO).road.length_m
        moving = np.diff(self._driven_m, prepend=-1.0) > 0.0
        driven_m = self._driven_m[moving]
        smooth = uniform_filter1d(self._xy_m, _SMOOTHED_ROWS, axis=0, mode="nearest")[moving]
        at_m = start_m + np.arange(0.0, length_m + _KNOT_M, _KNOT_M)
        xy_m = np.stack([np.interp(at_m, driven_m, axis) for axis in smooth.T], axis=-1)
        for ends, row, inner in (
            (at_m < driven_m[0], 0, _AHEAD_M),
            (at_m > driven_m[-1], -1, -_AHEAD_M),
        ):
            near = [np.interp(driven_m[row] + inner, driven_m, axis) for axis in smooth.T]
            slope = (np.array(near) - smooth[row]) / inner
            xy_m[ends] = smooth[row] + (at_m[ends, None] - driven_m[row]) * slope
        shapes = np.concatenate([xy_m, np.zeros((len(xy_m), 1))], axis=1)
        limit_mps = load_scenario(DEFAULT_SCENARIO).road.fastest_mps
        pieces = [
            Lane(f"way_{k}", _KNOT_M, limit_mps, internal=False, shape_m=shapes[k : k + 2])
            for k in range(len(shapes) - 1)
        ]
        return Road(pieces)


def _nearest_m(road: Road, xy_m: Floats) -> float:
    """Find the place along a road that is nearest to a position, to the centimetre."""
    places_m = np.arange(0.0, road.length_m, 1.0)
    x_m, y_m, heading_deg = road.pose(places_m)
    k = int(np.argmin(np.hypot(x_m - xy_m[0], y_m - xy_m[1])))
    turn = np.radians(heading_deg[k])
    beyond_m = (xy_m[0] - x_m[k]) * np.sin(turn) + (xy_m[1] - y_m[k]) * np.cos(turn)
    return round(float(places_m[k] + beyond_m), 2)
