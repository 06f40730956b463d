"""A result folder of planted episodes, as `roadsense evaluate` would have left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from support.planted_rows import planted_row

from ml.evaluation.records import DriverSpec, RadioRecord
from ml.evaluation.result import Manifest, PartRecord, slug, write_part

if TYPE_CHECKING:
    from pathlib import Path

    from ml.evaluation.result import EpisodeRow

RADIOS = {"clean": (0.06, 0.3, 0.2), "bursty": (0.34, 1.2, 1.0), "shadowed": (0.84, 8.0, 8.0)}
"""Name to share lost, typical longest blackout (s) and how dangerous it is."""

CONTROLLERS = (
    ("policy-a", "policy", None, "radio"),
    ("policy-b", "policy", None, "radio"),
    *((f"CTH {gap:g} s", "cth", gap, "radio") for gap in (0.5, 0.8, 1.1, 1.5, 2.0)),
    *((f"predictive {gap:g} s", "predictive", gap, "radio") for gap in (0.5, 0.8, 1.1, 1.5)),
    *((f"IDM {gap:g} s", "idm", gap, "radio") for gap in (0.8, 1.1, 1.5, 2.0)),
    ("do-nothing", "do-nothing", None, "nothing"),
    ("always-brake", "always-brake", None, "nothing"),
    ("oracle", "oracle", 0.8, "truth"),
)


def write_planted_result(
    folder: Path,
    *,
    episodes: int = 60,
    controllers: tuple[tuple[str, str, float | None, str], ...] = CONTROLLERS,
    suites: tuple[str, ...] = ("convoy",),
    radios: tuple[str, ...] = tuple(RADIOS),
    seed: int = 0,
) -> Manifest:
    """Write a manifest and its parts; figures are random and look like what they are called."""
    records = [
        DriverSpec(
            name=name,
            spec=f"{slug(name)}.zip" if family == "policy" else family,
            family=family,
            knows=knows,
            standstill_m=9.0 if gap is not None else None,
            time_gap_s=gap,
            sha256="5" * 64 if family == "policy" else "",
        )
        for name, family, gap, knows in controllers
    ]
    parts = []
    for suite in suites:
        for radio in radios:
            for record in records:
                file = f"parts/{slug(suite)}__{slug(radio)}__{slug(record.name)}.jsonl"
                write_part(folder / file, _episodes(suite, radio, record, episodes, seed))
                parts.append(
                    PartRecord(
                        suite=suite, radio=radio, controller=record.name, seed=1_000_003,
                        episodes=episodes, file=file,
                    )
                )  # fmt: skip
    manifest = Manifest(
        version="0.1.0",
        git_commit="0123456789abcdef0123456789abcdef01234567",
        packages={"python": "3.11", "eclipse-sumo": "1.28.0", "torch": None},
        command="roadsense evaluate policy-a.zip <b>",
        created_utc="2026-01-02T03:04:05+00:00",
        seeds=(1_000_003,),
        suites={suite: {"cases": episodes, "episode_s": 50.0} for suite in suites},
        radios=tuple(RadioRecord(name=radio, sha256="a" * 64) for radio in radios),
        controllers=tuple(records),
        radio_position="reference",
        parts=tuple(parts),
    )
    manifest.write(folder)
    return manifest


def _episodes(
    suite: str, radio: str, record: DriverSpec, episodes: int, seed: int
) -> list[EpisodeRow]:
    loss, silence_s, danger = RADIOS[radio]
    draw = np.random.default_rng([seed, *record.name.encode(), *radio.encode()])
    of_case = np.random.default_rng([seed, *suite.encode(), *radio.encode()])
    gap_s = record.time_gap_s or {"policy": 0.6, "do-nothing": 1.4}.get(record.family, 0.8)
    risk = {"oracle": 0.0, "always-brake": 0.0, "do-nothing": 0.98}.get(
        record.family, 0.05 * danger * np.exp(-1.5 * gap_s)
    )
    headway_s = 12.0 if record.family == "always-brake" else gap_s + 0.4
    rows = []
    for case in range(episodes):
        kind = ("hazard", "hazard", "hazard", "benign", "free")[case % 5]
        avoidable = kind == "hazard" and of_case.random() > 0.03 * danger
        lost = float(np.clip(loss + 0.1 * of_case.standard_normal(), 0.0, 0.99))
        blackout_s = float(silence_s * of_case.exponential() + 0.1)
        crash = kind == "hazard" and bool(draw.random() < (risk if avoidable else 0.9))
        late_s = float(draw.exponential(0.2 + 0.2 * danger))
        crash_class = ("informed" if case % 2 else "blackout") if avoidable else "unavoidable"
        rows.append(
            planted_row(
                suite=suite,
                radio=radio,
                controller=record.name,
                case=case,
                env_index=case,
                episode=0,
                seed=1_000_003,
                kind=kind,
                num_peers=1 + case % 8,
                brake_rank=1 + (case // 8) % (1 + case % 8) if kind == "hazard" else 0,
                crash=crash,
                crash_class=crash_class if crash else "",
                avoidable=avoidable,
                impact_speed_mps=float(draw.uniform(0.3, 12.0)) if crash else float("nan"),
                min_ttc_s=0.0 if crash else float(draw.uniform(0.5, 20.0)),
                min_gap_m=0.0 if crash else float(draw.uniform(1.0, 20.0)),
                reaction_after_onset_s=0.6 + late_s if kind == "hazard" else float("nan"),
                reaction_after_message_s=0.2 + late_s / 2 if kind == "hazard" else float("nan"),
                false_brakes=int(draw.poisson(0.05 * gap_s)),
                headway_s=headway_s + float(0.1 * draw.standard_normal()),
                headway_net_s=headway_s - 0.4,
                jerk_p95_mps3=float(np.exp(0.8 + 0.4 * draw.standard_normal()) / gap_s),
                delivery_ratio=1.0 - lost,
                age_p50_s=0.1 + silence_s / 10,
                age_p95_s=0.2 + silence_s / 2,
                age_max_s=0.3 + blackout_s,
                longest_blackout_s=blackout_s,
                braking_share=0.1,
                progress=0.97,
                share_below_rss=0.2 / gap_s,
                delay_budget_s=float(of_case.uniform(0.3, 3.0)),
                message_delay_s=late_s,
            )
        )
    return rows
