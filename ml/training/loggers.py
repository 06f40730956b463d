"""Where numbers go: TensorBoard events and `metrics.jsonl`, both continued on resume."""

import json
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, TensorBoardOutputFormat
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from ml.atomic_files import finite, write_atomically
from ml.errors import CheckpointError
from ml.training.config import TrainConfig
from ml.training.config_files import as_markdown, flatten, shown

_FLUSH_S = 30
_LONGEST_WAIT_S = 2.0
_EVENT_FILES = "events.out.tfevents."
_PNG_SIZE_AT = 16
"""Where a PNG says its width and height, as two integers of four bytes, the highest first."""
_RGBA = 4
_OVERVIEW = {
    "Overview": {
        "crashes in avoidable episodes, evaluated": [
            "Multiline",
            ["evaluation/avoidable_crash_rate$", "evaluation/avoidable_crash_rate_high$"],
        ],
        "crashes in hazards, training": ["Multiline", ["episodes/collision_rate_hazard$"]],
        "time headway, s": ["Multiline", ["evaluation/time_headway_s$"]],
        "false brakes per km": ["Multiline", ["evaluation/false_brakes_per_km$"]],
        "return, evaluated, 95 %": [
            "Margin",
            ["evaluation/mean_return", "evaluation/return_low", "evaluation/return_high"],
        ],
        "return, training": ["Multiline", ["rollout/ep_rew_mean$"]],
        "steps per second": ["Multiline", ["time/steps_per_second$"]],
    }
}
"""The curves that matter, on TensorBoard's page of custom scalars; its lines are named by
patterns."""
_OUTCOMES = ("evaluation/safety_score", "evaluation/mean_return", "rollout/ep_rew_mean")


class TensorBoardWriter(TensorBoardOutputFormat):
    """SB3's TensorBoard output, on a curve that may continue an earlier one.

    Its event file sorts after all that the folder has, which may take until the clock's next
    second: readers go through event files by name, and a name begins with the second it was made.

    Args:
        folder: Where the event files go.
        start_step: Step of the checkpoint that is continued; events beyond it, which the earlier
            process wrote and the resumed one will write again, are purged by TensorBoard.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        purge_step = start_step + 1 if start_step else None
        _wait_for_a_later_second(folder)
        self.writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=_FLUSH_S)
        self._is_closed = False
        self.writer.add_custom_scalars(_OVERVIEW)
        # TensorBoard writes in a thread of its own. What fails there is raised here at the next
        # write; the thread's traceback beside it would only frighten.
        self._excepthook, threading.excepthook = threading.excepthook, self._tell_others

    def describe(self, config: TrainConfig, step: int) -> None:
        """Write a run's configuration: as a table, and as hyperparameters to compare runs by."""
        self.writer.add_text("hyperparameters", as_markdown(config), step)
        values = {
            ".".join(path): value if isinstance(value, bool | int | float) else shown(value)
            for path, value in flatten(config).items()
        }
        into: Any = self.writer.file_writer  # `add_hparams` would begin a run beside this one
        for summary in hparams(values, dict.fromkeys(_OUTCOMES)):  # type: ignore[no-untyped-call]
            into.add_summary(summary)

    def add_picture(self, tag: str, content: bytes, step: int) -> None:
        """Write a picture, a PNG, for TensorBoard's page of images.

        It goes out as it is: `SummaryWriter.add_image` takes pixels and compresses them again.
        """
        width, height = struct.unpack_from(">2I", content, _PNG_SIZE_AT)
        image = Summary.Image(
            height=height, width=width, colorspace=_RGBA, encoded_image_string=content
        )
        into: Any = self.writer.file_writer
        into.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def close(self) -> None:
        """Write what is left, and end the thread."""
        super().close()
        if threading.excepthook == self._tell_others:
            threading.excepthook = self._excepthook

    def _tell_others(self, failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            self._excepthook(failure)


def _wait_for_a_later_second(folder: Path) -> None:
    """Wait until an event file made now sorts after those that are there.

    Names are `events.out.tfevents.<second>.<host>.<process>.<number>`. Within a second, host and
    process decide, as text: a short run and what resumed it would be read the wrong way round, and
    the purge of what is written again would come before what it purges. Where the clock was set
    back by more than two seconds no wait helps, and there is none.
    """
    parts = [file.name.removeprefix(_EVENT_FILES) for file in folder.glob(f"{_EVENT_FILES}*")]
    seconds = [int(second) for second in (part.split(".")[0] for part in parts) if second.isdigit()]
    if seconds and 0.0 < (lacking_s := max(seconds) + 1 - time.time()) <= _LONGEST_WAIT_S:
        time.sleep(lacking_s)


class JsonLinesWriter(KVWriter):
    """One JSON object a line: `step`, then every number by name; what is not finite is null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Append a line."""
        del key_excluded
        numbers = {k: np.asarray(v).item() for k, v in key_values.items() if not isinstance(v, str)}
        values = finite(dict(sorted(numbers.items())))
        if values:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def truncate_metrics(path: Path, step: int) -> None:
    """Drop the lines beyond a step, and a last line that a killed process left unfinished.

    Raises:
        CheckpointError: Another line is not JSON with a step.
    """
    if not path.exists():
        return
    kept = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            line_step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise CheckpointError(
                f"{path}:{number}: not a line of metrics: {line[:60]!r}. Remove the line, or "
                "move the file away."
            ) from error
        if line_step <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))
