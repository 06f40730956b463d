"""What happened in an episode, in words."""

import math

from ml.evaluation.result import EpisodeRow


def tell(row: EpisodeRow) -> str:
    """Tell in a sentence or two what happened in an episode."""
    cars = f"{row.num_peers} car{'s' if row.num_peers > 1 else ''} ahead"
    place = {0: "nobody brakes hard", 1: "the car in front brakes"}.get(
        row.brake_rank, f"car {row.brake_rank} ahead brakes"
    )
    lane = row.labels.get("cuts_in")
    if lane is not None:
        place = "a slower car cuts in" if lane == "yes" else "a slower car stays in the other lane"
    said = [f"{row.kind.capitalize()}, {cars}: {place}."]
    if row.crash:
        how = f"at {row.impact_speed_mps:.1f} m/s" if not math.isnan(row.impact_speed_mps) else ""
        why = {
            "informed": "the message came in time",
            "blackout": "the message came later than the delay budget",
            "unavoidable": "the reference driver crashes, too",
        }.get(row.crash_class, "no hazard was planned")
        said.append(f"Crash {how} ({why}).".replace("  ", " "))
    else:
        least = f"gap {row.min_gap_m:.1f} m, time to collision {row.min_ttc_s:.1f} s"
        said.append(f"No crash; smallest {least}.")
    if not math.isnan(row.message_delay_s):
        what = "cut-in" if lane == "yes" else "braking"
        said.append(f"The {what} was known {row.message_delay_s:.2f} s after its onset.")
    if not math.isnan(row.reaction_after_onset_s):
        said.append(f"The ego braked {row.reaction_after_onset_s:.2f} s after it.")
    return " ".join(said)
