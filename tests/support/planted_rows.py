"""Episodes of which the truth is known, for tests of what is made from results."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ml.evaluation.result import EpisodeRow


def planted_row(**changes: Any) -> EpisodeRow:
    """Return an ordinary hazard episode without a crash, with changes; labels are empty."""
    values: dict[str, Any] = {}
    for field in fields(EpisodeRow):
        values[field.name] = {float: 1.0, int: 1, bool: False, str: ""}.get(field.type, {})
    values |= {
        "suite": "convoy",
        "radio": "clean",
        "controller": "candidate",
        "kind": "hazard",
        "status": "time_limit",
        "crash_class": "",
        "avoidable": True,
        "informed": True,
        "duration_s": 50.0,
        "distance_m": 1000.0,
        "false_brakes": 0,
        "impact_speed_mps": float("nan"),
        "labels": {},
    }
    return EpisodeRow(**{**values, **changes})


def planted_rows(count: int, **changes: Any) -> list[EpisodeRow]:
    """Return `count` cases, numbered from 0; a callable is asked for each case's value."""
    usual = planted_row()
    return [
        replace(
            usual,
            case=case,
            env_index=case,
            **{name: v(case) if callable(v) else v for name, v in changes.items()},
        )
        for case in range(count)
    ]
