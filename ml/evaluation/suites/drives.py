"""Recorded convoys: the cars ahead drive as they were recorded, the ego in the last one's place.

`drives:FOLDER` takes the recordings that training never sees (`--episodes-from`), halved by their
content; `drives-all:FOLDER` takes all of them, for drivers that were trained on none. A case is cut
around each hard braking of a car ahead, 20 s before to 25 s after it (docs/drives.md). The ego
starts at the gap and the speed of the real last car, whose own smallest gap and headway are labels.
"""

from pathlib import Path

from ml.calibration.convoys.cases import TICKS
from ml.calibration.convoys.folder import Half, cut_all, digest_of, require_cases, told_of
from ml.envs.episodes.recorded import cases_for, manoeuvre, recordings_in
from ml.evaluation.suites.suite import Suite, scripted_suite
from ml.sumo.scenarios import load_scenario

HALVES: dict[str, Half] = {"drives": "held out", "drives-all": "all"}
MOST_PEERS = 20


def drives(name: str, folder: Path, half: Half, scenario: str) -> Suite:
    """Build the suite of a folder; `name` is its specification.

    Raises:
        LogError: A recording is wrong, or there is no case.
        ScenarioError: The road cannot carry a case.
    """
    convoys = recordings_in(str(folder))
    cuts = cut_all(convoys, half=half, most_peers=MOST_PEERS)
    cases, refused = cases_for(cuts, load_scenario(scenario).road)
    require_cases(cases, refused, folder, half)
    suite = scripted_suite(
        name,
        [manoeuvre(case) for case in cases],
        ticks=TICKS,
        reference_gap="own",
        scenario=scenario,
    )
    suite.options.update(
        recordings=len(cuts), recordings_sha256=digest_of(convoys), refused=told_of(refused)
    )
    return suite
