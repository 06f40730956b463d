"""Names of convoys, lanes and vehicles inside SUMO.

They have a fixed length, so that over TCP a record's place follows from its number.
"""

MAX_TILES = 8192
MAX_VEHICLES = 100


def tile_prefix(env_index: int) -> str:
    """Return what stands before each identifier of a convoy's copy of the road."""
    return f"c{env_index:04d}."


def tile_lane(env_index: int, lane_id: str) -> str:
    """Return a lane's identifier on a convoy's copy of the road."""
    return prefixed(lane_id, tile_prefix(env_index))


def prefixed(identifier: str, prefix: str) -> str:
    """Return an identifier with something before it; ":", which marks junctions, stays in front."""
    inside = identifier.startswith(":")
    return f":{prefix}{identifier[1:]}" if inside else f"{prefix}{identifier}"


def vehicle_id(env_index: int, slot: int) -> str:
    """Return a vehicle's identifier, e.g. ``c0003.v05``."""
    return f"c{env_index:04d}.v{slot:02d}"


def parse_vehicle_id(vehicle: str) -> tuple[int, int]:
    """Return a vehicle's convoy and slot."""
    return int(vehicle[1:5]), int(vehicle[7:9])
