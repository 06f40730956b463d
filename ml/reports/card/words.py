"""The card's words: what it says in sentences."""

import math

from ml.evaluation.console import spread_over, spread_sentence
from ml.evaluation.selection import ResultView
from ml.reports.card.tables import Summaries


def subtitle_of(view: ResultView) -> str:
    """Say how much was evaluated."""
    episodes = sum(len(cell) for cell in view.rows.values())
    suites, radios = ", ".join(view.suites), ", ".join(r.name for r in view.manifest.radios)
    return (
        f"{episodes:,} episodes of {len(view.manifest.controllers)} controllers in {suites}, on "
        f"the radios {radios}; {view.manifest.created_utc}"
    )


def brief_of(view: ResultView, summaries: Summaries) -> list[str]:
    """Say in a sentence per policy and radio how safe, calm and close it is, and how far apart."""
    suite = view.main_suite
    lines = []
    for policy in view.policies():
        for radio in view.radios(suite):
            summary = summaries.get((suite, radio, policy.name))
            if summary is None:
                continue
            figures = summary.figures
            crash, false = figures["crash_rate"], figures["false_brakes_per_km"]
            headway, jerk = figures["headway_s"], figures["jerk_p95_mps3"]
            share, low, high = (f"{100.0 * x:.1f}" for x in (crash.value, crash.low, crash.high))
            crashed = (
                f"crashed in {crash.hits:,} of {crash.count:,} avoidable hazards "
                f"({share} %; 95 % interval {low} to {high} %)"
            )
            said = [crashed if crash.count else "met no avoidable hazard"]
            if not math.isnan(false.value):
                said.append(f"braked without cause {false.value:.2f} times per km")
            if not math.isnan(headway.value):
                said.append(f"kept {headway.value:.2f} s of headway")
            if not math.isnan(jerk.value):
                said.append(f"jerk {jerk.value:.1f} m/s³")
            lines.append(f"{policy.name} on {radio}: {', '.join(said)}.")
    names = [policy.name for policy in view.policies()]
    spreads = spread_over([s for s in summaries.values() if s.suite == suite], names)
    for radio in view.radios(suite):
        here = [spread for spread in spreads if spread.radio == radio]
        lines += [spread_sentence(here)] if here else []
    return lines


def notes_of(view: ResultView) -> list[str]:
    """Say what a reader must know before believing a figure."""
    notes = []
    invalid = sum(row.invalid for cell in view.rows.values() for row in cell)
    if invalid:
        notes.append(
            f"{invalid:,} episodes were invalid (peers collided, or a vehicle went missing) and "
            "count nowhere."
        )
    missing = [c.controller for c in view.manifest.parts
               if (c.suite, c.radio, c.controller) not in view.rows]  # fmt: skip
    if missing:
        notes.append(f"{len(missing)} parts hold no episode: {', '.join(missing)}.")
    if view.manifest.radio_position == "own":
        notes.append(
            "Each controller's own position decided its packets' fates, so that controllers did "
            "not meet the same ones; differences between them are part controller, part luck."
        )
    if not view.policies():
        notes.append("No trained policy was evaluated.")
    return notes


def provenance_of(view: ResultView) -> list[tuple[str, str]]:
    """Say what the result was made from, as pairs of name and value."""
    manifest = view.manifest
    radios = "; ".join(f"{radio.name} {radio.sha256[:12]}" for radio in manifest.radios)
    suites = "; ".join(
        f"{name} ({', '.join(f'{key} {value}' for key, value in options.items())})"
        for name, options in manifest.suites.items()
    )
    packages = ", ".join(f"{name} {said}" for name, said in manifest.packages.items() if said)
    position = {
        "reference": "along the reference ego's trajectory: the same for every controller",
        "own": "at each controller's own position",
    }[manifest.radio_position]
    return [
        ("Command", manifest.command),
        ("Made", manifest.created_utc),
        ("RoadSense", f"{manifest.version}, commit {manifest.git_commit or 'unknown'}"),
        ("Packages", packages),
        ("Seeds", ", ".join(map(str, manifest.seeds))),
        ("Suites", suites),
        ("Radios", f"{radios} (sha256 of the effective parameters)"),
        ("Packets' fates", position),
    ]
