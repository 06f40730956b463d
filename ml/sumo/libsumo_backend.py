"""SUMO inside this process.

libsumo holds one simulation per process, and starting another silently destroys the first. So one
backend owns it at a time, and a second one is refused.
"""

import importlib
import os
import platform
import weakref
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

import numpy as np

from ml.arrays import Floats
from ml.errors import SimulatorError, SimulatorInUseError
from ml.sumo import commands as telling
from ml.sumo.backend import Backend
from ml.sumo.fleet import Admission
from ml.sumo.fleet_kernels import Orders
from ml.sumo.plain_names import plainly_named
from ml.sumo.protocol import Placement
from ml.sumo.sumo_process import MISSING_LIBRARIES_HINT
from ml.sumo.tiling import NET_FILE, load_options, tile_scenario

_owner: weakref.ref["LibsumoSimulator"] | None = None
_started_in: int | None = None
"""The process in which the owner was started; a fork copies a running SUMO as well."""

_TURNS = 10
"""A car's place that was worked out is compared with SUMO's every so many ticks."""
_ROUNDS_AS_WRITTEN = platform.machine().lower() in {"x86_64", "amd64"}
"""Elsewhere SUMO may be compiled to multiply and add at once, which rounds once less."""

_IN_USE = (
    "An embedded SUMO runs in this process already, and libsumo holds one only. Ways out: close "
    "the other environment first; many convoys on one SUMO, ConvoyVecEnv(num_envs=4); "
    "a process for each, make_vec_env(..., vec_env_cls=SubprocVecEnv) in Stable-Baselines3 or "
    'gymnasium.make_vec(..., vectorization_mode="async", vector_kwargs={"context": "spawn"}); '
    'or a SUMO outside, backend="traci".'
)
_FORKED = (
    "This process is a fork of one in which an embedded SUMO was running, and the copy of it is "
    "in the way. Start the process afresh instead of by fork: Gymnasium's AsyncVectorEnv(..., "
    'context="spawn"), Stable-Baselines3\'s SubprocVecEnv(..., start_method="spawn"), '
    'multiprocessing.get_context("spawn"). Or fork before the first reset.'
)


def _import_libsumo() -> tuple[Any, Any]:
    """Return libsumo and the compiled module under it."""
    try:
        return importlib.import_module("libsumo"), importlib.import_module("libsumo._libsumo")
    except ImportError as error:
        raise SimulatorError(
            f"libsumo cannot be loaded: {error}. {MISSING_LIBRARIES_HINT}"
        ) from error


class LibsumoSimulator(Backend):
    """`Simulator` on libsumo."""

    _sumo: Any = None
    # The compiled module under it: libsumo.vehicle wraps its functions in Python ones, at half
    # their own cost again, and they are called for every car in every tick.
    _native: Any = None
    _failures: tuple[type[Exception], ...] = ()
    _turn = 0

    def start(self) -> None:
        """Start the embedded SUMO; does nothing if this simulator runs already.

        Raises:
            SimulatorInUseError: Another embedded simulation lives in this process.
            SimulatorError: libsumo cannot be loaded, or SUMO refuses the network.
        """
        global _owner, _started_in
        if self._sumo is not None:
            return
        libsumo, native = _import_libsumo()
        if _owner is not None and _owner() in {None, self} and libsumo.isLoaded():
            libsumo.close()  # its owner was dropped without close(), or its start was broken off
        if libsumo.isLoaded():
            forked = _owner is not None and _started_in != os.getpid()
            raise SimulatorInUseError(_FORKED if forked else _IN_USE)
        tiles = tile_scenario(self._scenario, self.num_envs, cache_dir=self._cache_dir)
        _owner, _started_in = weakref.ref(self), os.getpid()
        self._failures = (libsumo.TraCIException, libsumo.FatalTraCIError)
        try:
            with plainly_named(tiles) as named:
                libsumo.start(["sumo", *load_options(named)])
        except self._failures as error:
            raise SimulatorError(
                f"The embedded SUMO could not load {tiles / NET_FILE}: {error}. SUMO has said why "
                f"above. If the file is damaged, delete {tiles} and try again."
            ) from error
        self._begin()
        self._sumo, self._native = libsumo, native

    def close(self) -> None:
        """End the embedded simulation; may be called again."""
        global _owner  # noqa: PLW0603 - see start
        if self._sumo is None:
            return
        libsumo, self._sumo = self._sumo, None
        libsumo.close()
        _owner = None

    def _runs(self) -> bool:
        return self._sumo is not None

    def _note_live(self) -> None:
        self._live_ids = [self._fleet.ids[index] for index in self._fleet.live.tolist()]
        self._found = np.zeros((2, len(self._live_ids)))
        self._pack = Struct(f"{len(self._live_ids)}d")

    def _insert(self, placement: Placement, admission: Admission) -> tuple[Floats, Floats]:
        native, ids = self._native, self._fleet.ids
        try:
            telling.place(native, ids, placement, self.road, admission)
            names = [ids[index] for index in admission.placed.tolist()]
            return _read(native.vehicle_getLanePosition, names), _read(
                native.vehicle_getSpeed, names
            )
        except self._failures as error:
            raise SimulatorError(f"SUMO refused to insert a convoy: {error}.") from error

    def _tick(
        self, orders: Orders, changes: Sequence[tuple[int, bool]]
    ) -> tuple[Floats, Floats, list[str]]:
        native, ids = self._native, self._fleet.ids
        try:
            telling.hand_over(native, ids, orders)
            for tell, cars, values in (
                (native.vehicle_setSpeed, orders.speed_index, orders.speed_mps),
                (native.vehicle_setSpeedFactor, orders.factor_index, orders.factor),
            ):
                for index, value in zip(cars.tolist(), values.tolist(), strict=True):
                    tell(ids[index], value)
            telling.change_lanes(native, ids, changes, self.road)
            native.simulation_step()
            self._teleports += native.simulation_getStartingTeleportNumber()
            if native.simulation_getArrivedNumber():
                self._drop_arrived(native.vehicle_getIDList())
            lane_pos_m, speed_mps = self._found
            self._pack.pack_into(speed_mps.data, 0, *map(native.vehicle_getSpeed, self._live_ids))
            self._locate([index for index, _ in changes])
            lanes = [native.vehicle_getLaneID(ids[index]) for index, _ in changes]
        except self._failures as error:
            raise SimulatorError(f"The embedded SUMO failed in a tick: {error}.") from error
        return lane_pos_m, speed_mps, lanes

    def _locate(self, changing: Sequence[int]) -> None:
        """Find the lane positions of all live cars: work out most, and ask SUMO for the others.

        Asking takes as long as a third of SUMO's tick. So what can be worked out to the bit is (see
        `Fleet.predict` and ADR 47), and a tenth of the cars in turn are asked for all the same.

        Args:
            changing: Indices of the cars that are changing lanes.

        Raises:
            SimulatorError: SUMO has another place for a car than was worked out.
        """
        names, (lane_pos_m, speed_mps) = self._live_ids, self._found
        position = self._native.vehicle_getLanePosition
        if not _ROUNDS_AS_WRITTEN:
            self._pack.pack_into(lane_pos_m.data, 0, *map(position, names))
            return
        unsure = self._fleet.predict(speed_mps, lane_pos_m).tolist()
        if changing:
            unsure += np.searchsorted(self._fleet.live, changing).tolist()
        for at in unsure:
            lane_pos_m[at] = position(names[at])
        self._turn = (self._turn + 1) % _TURNS
        asked_m = list(map(position, names[self._turn :: _TURNS]))
        if asked_m != lane_pos_m[self._turn :: _TURNS].tolist():
            wrong = int(np.flatnonzero(lane_pos_m[self._turn :: _TURNS] != asked_m)[0])
            at = self._turn + wrong * _TURNS
            raise SimulatorError(
                f"{names[at]} is at lane position {asked_m[wrong]!r} m, by its speeds at "
                f"{lane_pos_m[at]!r} m. Is this SUMO of another release? The backend traci asks "
                "for every place."
            )

    def _colliding(self) -> Sequence[str]:
        try:
            names: Sequence[str] = self._native.simulation_getCollidingVehiclesIDList()
        except self._failures as error:
            raise SimulatorError(f"The embedded SUMO failed: {error}.") from error
        return names


def _read(getter: Callable[[str], float], names: list[str]) -> Floats:
    return np.fromiter(map(getter, names), np.float64, len(names))
