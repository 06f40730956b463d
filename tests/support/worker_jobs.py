"""What the workers of the tests do; a process of its own imports this."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ml.errors import ConfigError
from ml.execution.cluster import Cluster
from ml.execution.jobs import Files, Portable


def work(job):
    """Square a number, or fail in the way that is asked for."""
    if job == "mistake":
        raise ConfigError("the user's mistake")
    if job == "bug":
        return 1 / 0
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return int(job) ** 2, os.getpid()


def blocked(_):
    """Whether Ctrl-C is kept from this process."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@dataclass(frozen=True)
class Errand(Portable):
    """A job that names a file, and what is to be done with it."""

    name: str
    file: Path | None = None
    folder: Path | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def home(self):
        """Return its folder."""
        return self.folder

    def files(self):
        """List its file."""
        return [] if self.file is None else [Files.of(str(self.file), [self.file])]

    def at(self, places):
        """Return it with these elsewhere."""
        moved = {}
        if self.file is not None:
            moved["file"] = Path(places[str(self.file)])
        if self.folder is not None:
            moved["folder"] = Path(places[str(self.folder)])
        return replace(self, **moved)


def run_errand(job):
    """Read the file, or fail in the way that is asked for; returns content, path and process."""
    kind, _, more = job.name.partition(":")
    if kind == "mistake":
        raise ConfigError("the user's mistake")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "die-once" and not Path(more).exists():
        Path(more).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sleep":
        time.sleep(float(more))
    if kind == "note":  # which process this is
        Path(more).write_text(str(os.getpid()))
        time.sleep(60.0)
    if kind == "eat":  # memory, GiB
        eaten = bytearray(int(float(more) * 2**30))
        eaten[::4096] = bytes([1]) * len(eaten[::4096])
        time.sleep(20.0)
    content = "" if job.file is None else job.file.read_text()
    return content, str(job.file), os.getpid()


def watched_errand(job, link):
    """Write into the folder, report what was there before, and say whether to give up."""
    (job.folder / "new.txt").write_text("new")
    (job.folder / "old.txt").unlink()
    (job.folder / "config.yaml").write_text(f"file: {job.file}\n")
    return link("found", job.file.read_text())


def keep_answers(address, folder):
    """Store the answers of two jobs as they come; the second lasts a minute."""
    jobs = [Errand("first"), Errand(f"note:{folder}/pid")]
    for job, _ in Cluster(address, tell=print).run(run_errand, jobs):
        (folder / "kept").write_text(job.name)
