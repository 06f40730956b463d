"""What the environment asks of a simulator, and what it gets back.

Shapes: E convoys, K of them in a placement, V vehicle slots each. Slot 0 is the ego, the last car;
slot k is the peer of rank k, 1 being directly ahead of the ego.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ml.arrays import Bools, Floats, Ints
from ml.sumo.road import Road


@dataclass(frozen=True, slots=True)
class DriverParameters:
    """How SUMO's car-following drives each car; arrays (K, V) float64.

    Attributes:
        tau_s: Desired time headway.
        accel_mps2: Largest acceleration.
        decel_mps2: Comfortable deceleration.
        min_gap_m: Gap kept to the car ahead at standstill.
        speed_factor: Desired speed over the speed limit.
    """

    tau_s: Floats
    accel_mps2: Floats
    decel_mps2: Floats
    min_gap_m: Floats
    speed_factor: Floats


@dataclass(frozen=True, slots=True)
class Placement:
    """Convoys to be inserted anew; whatever those convoys had on the road is removed first.

    Values of slots that are not present are ignored.

    Attributes:
        env_indices: (K,) int64, distinct.
        present: (K, V) bool.
        route_pos_m: (K, V) float64, front bumper; not inside a junction.
        speed_mps: (K, V) float64.
        controlled: (K, V) bool, as in `TickCommands`; a controlled car holds its speed until it
            is commanded otherwise.
        drivers: Car-following parameters.
        left: (K, V) bool, cars that start in the lane to the left of the convoy's; None for nobody.
            Only on a road with such a lane (`Road.left_lane_ids`).
    """

    env_indices: Ints
    present: Bools
    route_pos_m: Floats
    speed_mps: Floats
    controlled: Bools
    drivers: DriverParameters
    left: Bools | None = None


@dataclass(frozen=True, slots=True)
class TickCommands:
    """What the cars are told for one tick. Values of absent vehicles are ignored.

    Attributes:
        controlled: (E, V) bool. True: the car obeys our speed command and SUMO checks nothing;
            False: SUMO's car-following drives it.
        speed_mps: (E, V) float64, the speed at the tick's end. NaN: no new command; an earlier one
            stays live. A car that becomes controlled without a command holds its present speed.
        speed_factor: (E, V) float64; NaN: unchanged.
        left: (E, V) bool, cars that shall be in the lane to the left of the convoy's at the tick's
            end, whoever drives beside them; None: everybody stays where he is.
    """

    controlled: Bools
    speed_mps: Floats
    speed_factor: Floats
    left: Bools | None = None


@dataclass(frozen=True, slots=True)
class TrafficState:
    """Ground truth after a tick; arrays (E, V); values of absent vehicles are 0.0.

    Attributes:
        present: bool. A car that reached the road's end is absent from then on.
        route_pos_m: float64, front bumper along the route.
        speed_mps: float64.
    """

    present: Bools
    route_pos_m: Floats
    speed_mps: Floats


class SumoAccess(NamedTuple):
    """How to get a SUMO; for the backend `traci` alone.

    Attributes:
        host: Host of a running SUMO; None starts one.
        port: Its TraCI port; None for 8813.
        gui: Open sumo-gui.
        deadline_s: Longest wait for SUMO: to connect, to answer, to come back after a loss.
        embedded_spare: Go on with an embedded SUMO where one that was lost does not come back.
    """

    host: str | None = None
    port: int | None = None
    gui: bool = False
    deadline_s: float = 30.0
    embedded_spare: bool = False


OWN_SUMO = SumoAccess()
"""One that the simulator starts itself."""


class Simulator(Protocol):
    """One SUMO that carries every convoy of the batch, each on its own copy of the road.

    All methods raise `SimulatorError` (or one of its children) when SUMO cannot do as asked; after
    that the simulator is only good for `close`, and for another `start` after it.

    Attributes:
        road: The road that is not offset.
        num_envs: E.
        num_vehicles: V.
    """

    road: Road
    num_envs: int
    num_vehicles: int

    def start(self) -> None:
        """Start SUMO and load the roads; does nothing if it runs."""

    def place(self, placement: Placement) -> None:
        """Insert convoys; every car is at its exact position and speed before the next tick."""

    def step(self, commands: TickCommands) -> TrafficState:
        """Give the commands, simulate one tick and read every car."""

    def read_collisions(self) -> Bools:
        """Return (E, V) bool: the cars that SUMO itself reported as colliding in the last tick."""

    def teleport_count(self) -> int:
        """Return how many cars SUMO has teleported since the start; anything but 0 is a fault."""

    def close(self) -> None:
        """End the simulation and free what it holds; may be called again."""
