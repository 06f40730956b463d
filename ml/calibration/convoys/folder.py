"""A folder of recordings: read, halved by their content, cut into cases.

Each file in OpenACC's layout is a recording; so are the TX and RX logs of one folder together. The
half of a recording is decided by the digest of its content, so that training and evaluation never
see the same one, whatever it is called and whatever lies beside it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from ml.calibration.convoys.boards import convoy_of
from ml.calibration.convoys.cases import RecordedCase, cut_cases, nearest_cars
from ml.calibration.convoys.openacc import is_openacc, read_openacc
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.calibration.logs.log_map import LogMap, read_log_map
from ml.calibration.logs.reader import read_log
from ml.calibration.logs.schema import LogKind
from ml.errors import LogError

MAP: Final = "map.toml"
"""Says in a folder of recordings how logs in other formats are read."""
Half = Literal["train", "held out", "all"]
REMEDY = "`roadsense drives FOLDER` shows what there is, and why cases were refused."


@dataclass(frozen=True, slots=True)
class Cut:
    """A recording and what was cut out of it.

    Attributes:
        convoy: As it was read.
        cases: With as many cars as were asked for.
        refused: Reason to number of brakings around which no case could be cut.
    """

    convoy: RecordedConvoy
    cases: list[RecordedCase]
    refused: Counter[str]


def is_for_training(sha256_hex: str) -> bool:
    """Tell whether a recording is of the train half: the first digit of its digest is even."""
    return int(sha256_hex[0], 16) % 2 == 0


def files_in(folder: Path) -> list[list[Path]]:
    """List the recordings in a folder and those below it, each by its files.

    Raises:
        LogError: It is no folder, or holds no CSV file.
    """
    if folder.is_file():
        raise LogError(f"{folder} is a file. Name the folder that it is in: {folder.parent}.")
    if not folder.is_dir():
        raise LogError(f"{folder}: no such folder. Name one with recordings (docs/drives.md).")
    files = sorted(folder.rglob("*.csv"))
    if not files:
        raise LogError(f"{folder} holds no .csv file. Put recordings there: docs/drives.md.")
    recordings, logs = [], dict[Path, list[Path]]()
    for file in files:
        if is_openacc(file):
            recordings.append([file])
        else:
            logs.setdefault(file.parent, []).append(file)
    return recordings + list(logs.values())


def read_folder(
    folder: Path, on_recording: Callable[[int, int], None] = lambda *_: None
) -> list[RecordedConvoy]:
    """Read all recordings of a folder; `on_recording` is told (read, in all).

    Logs in other formats are read by its `map.toml`, and what they are then is the recording: by
    another map it is another one.

    Raises:
        LogError: With file, line and value of what is wrong, and the remedy.
    """
    found: dict[str, RecordedConvoy] = {}
    recordings = files_in(folder)
    log_map = read_log_map(folder / MAP) if (folder / MAP).is_file() else None
    for k, files in enumerate(recordings):
        convoy = read_openacc(files[0]) if is_openacc(files[0]) else _of_logs(files, log_map)
        same = found.setdefault(convoy.sha256, convoy)
        if same is not convoy:
            raise LogError(
                f"{convoy.source} and {same.source} are the same recording. Remove one of them."
            )
        on_recording(k + 1, len(recordings))
    return list(found.values())


def _of_logs(files: Sequence[Path], log_map: LogMap | None) -> RecordedConvoy:
    forms = [log_map.format_of(file) if log_map else None for file in files]
    logs = [read_log(file, form=form) for file, form in zip(files, forms, strict=True)]
    logs = [log for log in logs if log.kind is not LogKind.RTT]
    if not logs:
        raise LogError(
            f"{files[0].parent}: RTT logs alone. A convoy takes the TX and RX logs of its boards."
        )
    convoy, how = convoy_of(logs), "".join(form.model_dump_json() for form in forms if form)
    if not how:
        return convoy
    return replace(convoy, sha256=sha256(f"{convoy.sha256}{how}".encode()).hexdigest())


def cut_all(
    convoys: Sequence[RecordedConvoy], *, half: Half = "all", most_peers: int | None = None
) -> list[Cut]:
    """Cut the cases of one half.

    Args:
        convoys: All that there are.
        half: Which recordings.
        most_peers: Cars farther ahead of the last one are left out.
    """
    found = []
    for convoy in convoys:
        if half != "all" and is_for_training(convoy.sha256) != (half == "train"):
            continue
        near = convoy if most_peers is None else nearest_cars(convoy, most_peers)
        found.append(Cut(convoy, *cut_cases(near)))
    return found


def require_cases(
    cases: Sequence[RecordedCase], refused: Counter[str], folder: Path, half: Half
) -> None:
    """Check that there are cases.

    Raises:
        LogError: There are none; with the counts of what was refused.
    """
    if not cases:
        of = "" if half == "all" else f" in its half {half!r}"
        raise LogError(
            f"{folder}: no case{of}: {told_of(refused) or 'no car ahead of the last brakes hard'}. "
            f"{REMEDY}"
        )


def told_of(refused: Counter[str]) -> str:
    """Say how many were refused for which reason; nothing where none were."""
    return ", ".join(f"{count} refused ({why})" for why, count in refused.most_common())


def digest_of(convoys: Sequence[RecordedConvoy]) -> str:
    """Digest recordings, whatever they are called."""
    return sha256("".join(sorted(convoy.sha256 for convoy in convoys)).encode()).hexdigest()
