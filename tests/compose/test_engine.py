"""The services on a real Docker Engine, from a copy of this folder as a fresh clone has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker.models.containers import Container

pytestmark = [pytest.mark.compose, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SERVERS = ("sumo", "tensorboard", "watch")
RUNNING = ("sumo", "tensorboard", "train", "watch")
DEADLINE_S = 300.0  # compiling the loops takes a while where the cores are shared
EXIT_SIGTERM = 143
# Ours; as root, any that is neither root nor the images' own 1000.
APP_UID = os.getuid() or 4321
APP_GID = os.getgid() or 4321


@dataclass
class Stack:
    """A running Compose project.

    Attributes:
        clone: Its folder.
        environment: Variables that Compose was given.
        engine: Client of the Docker Engine.
    """

    clone: Path
    environment: dict[str, str]
    engine: docker.DockerClient

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` in the clone; a failure fails the test with what it printed."""
        done = subprocess.run(
            ["docker", "compose", *arguments],  # noqa: S607 (wherever docker is)
            cwd=self.clone,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done

    def container(self, service: str) -> Container:
        """Return a service's container with its present state."""
        project = self.environment["COMPOSE_PROJECT_NAME"]
        labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
        (found,) = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def execute(self, service: str, *command: str) -> tuple[int, str]:
        """Run a command in a container; return its status and what it printed."""
        status, output = self.container(service).exec_run(list(command))
        return status, output.decode()


def wait_for(probe: Callable[[], Any], what: str) -> Any:
    """Return the first true result of `probe`."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if result := probe():
            return result
        time.sleep(0.5)
    return pytest.fail(f"no {what} within {DEADLINE_S:.0f} s")


def copy_as_cloned(target: Path) -> None:
    """Copy every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Bring everything up, with a training that outlasts the tests; take it down after them."""
    clone = tmp_path_factory.mktemp("clone")
    copy_as_cloned(clone)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        watch_port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": f"roadsense-test-{os.getpid()}",
        "TENSORBOARD_PORT": str(port),
        "WATCH_PORT": str(watch_port),
        "APP_UID": str(APP_UID),
        "APP_GID": str(APP_GID),
        "PRESET": "spec",  # it learns from its first minute on
        "TOTAL_TIMESTEPS": "5000000",
        "WORKERS": "2",
    }
    engine = docker.from_env()
    running = Stack(clone, environment, engine)
    try:
        running.compose("up", "--detach", "--build")
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")
        engine.close()


@pytest.mark.parametrize("service", SERVERS)
def test_server_is_healthy(stack: Stack, service: str) -> None:
    """SUMO passes its health check with a client connected, the others pass their own."""
    wait_for(lambda: stack.container(service).health == "healthy", f"healthy {service}")


def test_training_writes_events_that_belong_to_the_user(stack: Stack) -> None:
    """Curves appear on the host while the training runs."""

    def written() -> Path | None:
        for events in stack.clone.glob("runs/*/tb/**/events.out.tfevents.*"):
            accumulator = EventAccumulator(str(events))
            accumulator.Reload()
            if accumulator.Tags()["scalars"]:
                return events
        return None

    events = wait_for(written, "TensorBoard events")
    assert events.stat().st_uid == APP_UID
    assert events.stat().st_gid == APP_GID
    assert stack.container("train").status == "running"


def test_tensorboard_shows_the_run(stack: Stack) -> None:
    """The page on 127.0.0.1 knows the run that is being trained."""
    address = f"http://127.0.0.1:{stack.environment['TENSORBOARD_PORT']}"

    def runs() -> list[str]:
        with urllib.request.urlopen(f"{address}/data/runs", timeout=10) as reply:  # noqa: S310
            return list(json.load(reply))

    wait_for(lambda: stack.container("tensorboard").health == "healthy", "healthy tensorboard")
    assert "-spec-s" in wait_for(runs, "run in TensorBoard")[0]


def test_watch_shows_the_run(stack: Stack) -> None:
    """Its list on 127.0.0.1 knows the run that is being trained."""
    address = f"http://127.0.0.1:{stack.environment['WATCH_PORT']}/runs.json"

    def runs() -> list[dict[str, str]]:
        with urllib.request.urlopen(address, timeout=10) as reply:
            return list(json.load(reply)["runs"])

    wait_for(lambda: stack.container("watch").health == "healthy", "healthy watch")
    assert "-spec-s" in wait_for(runs, "run in watch")[0]["name"]


@pytest.mark.parametrize("service", RUNNING)
def test_service_runs_without_any_privilege(stack: Stack, service: str) -> None:
    """Not root, no capability left or to be had, system calls filtered."""
    _, text = stack.execute(service, "cat", "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(APP_UID)] * 4
    assert status["Gid"].split() == [str(APP_GID)] * 4
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("service", RUNNING)
def test_root_file_system_cannot_be_written(stack: Stack, service: str) -> None:
    """Only the mounted folders and /tmp take files."""
    status, output = stack.execute(service, "touch", "/opt/mark")
    assert status != 0
    assert "Read-only file system" in output
    status, output = stack.execute(service, "touch", "/tmp/mark")  # noqa: S108
    assert status == 0, output


def test_only_what_shows_runs_has_a_published_port(stack: Stack) -> None:
    """The engine itself says what is reachable from outside its networks."""
    published = {
        service: {port: hosts for port, hosts in stack.container(service).ports.items() if hosts}
        for service in RUNNING
    }
    port, watch_port = (stack.environment[f"{name}_PORT"] for name in ("TENSORBOARD", "WATCH"))
    assert published == {
        "sumo": {},
        "tensorboard": {"6006/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]},
        "train": {},
        "watch": {"6007/tcp": [{"HostIp": "127.0.0.1", "HostPort": watch_port}]},
    }


@pytest.mark.parametrize("service", ["sumo", "train"])
def test_simulation_has_no_way_out(stack: Stack, service: str) -> None:
    """An address outside the internal network cannot even be tried."""
    # 192.0.2.0/24 is nobody's (RFC 5737).
    attempt = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    status, output = stack.execute(service, "python3", "-c", attempt)
    assert status != 0
    assert "Network is unreachable" in output


@pytest.mark.parametrize("service", ["sumo", "train"])
def test_simulation_cannot_reach_this_machine(stack: Stack, service: str) -> None:
    """What listens on every address of the host is no neighbour of the containers."""
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    network = stack.engine.networks.get(f"{project}_simulation")
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))  # noqa: S104 (that is the point)
        listening.listen()
        where = (gateway, listening.getsockname()[1])
        attempt = f"import socket; socket.create_connection({where!r}, timeout=5)"
        status, output = stack.execute(service, "python3", "-c", attempt)
    assert status != 0
    assert "ConnectionRefused" not in output


def test_tensorboard_cannot_find_sumo(stack: Stack) -> None:
    """What is published is not on the simulation's network."""
    attempt = "import socket; socket.getaddrinfo('sumo', 8813)"
    status, output = stack.execute("tensorboard", "python3", "-c", attempt)
    assert status != 0
    assert "gaierror" in output


def test_sumo_cannot_write_what_it_loads(stack: Stack) -> None:
    """The generated networks are there for SUMO, read-only."""
    status, output = stack.execute("sumo", "ls", "/var/cache/roadsense")
    assert status == 0
    assert output.split()
    status, output = stack.execute("sumo", "touch", "/var/cache/roadsense/mark")
    assert status != 0
    assert "Read-only file system" in output


def test_prepare_leaves_a_strangers_folder_alone_and_says_so(stack: Stack) -> None:
    """A folder that is neither root's nor APP_UID's keeps its owner; the remedy is printed."""
    done = stack.compose(
        "run", "--rm", "--no-deps", "--env", "APP_UID=54321", "prepare", "/outputs/runs"
    )
    assert f"APP_UID={APP_UID}\nAPP_GID={APP_GID}" in done.stdout + done.stderr
    assert (stack.clone / "runs").stat().st_uid == APP_UID


@pytest.mark.parametrize(
    ("service", "writable", "known"),
    [
        ("sumo", [], {"sumo": "known", "train": "ConnectionRefusedError"}),
        (
            "train",
            ["/app/ml/models/saved", "/app/runs", "/var/cache/roadsense"],
            {"sumo": "known", "train": "ConnectionRefusedError"},
        ),
        ("tensorboard", [], {"tensorboard": "answers", "watch": "answers"}),
        ("watch", [], {"tensorboard": "answers", "watch": "answers"}),
    ],
)
def test_what_a_container_can_write_reach_and_see(
    stack: Stack, service: str, writable: list[str], known: dict[str, str]
) -> None:
    """Seen from inside: its own folders, its own network, no secret and no way to the engine."""
    script = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")
    status, output = stack.execute(service, "python3", "-c", script)
    assert status == 0, output
    seen = json.loads(output)
    temporary = {"/dev/mqueue", "/dev/shm", "/tmp"}  # noqa: S108 (tmpfs, gone with the container)
    assert sorted(set(seen["writable"]) - temporary) == writable
    assert {name: how for name, how in seen["reachable"].items() if how != "unknown"} == known
    assert seen["secrets"] == []
    assert seen["docker_sockets"] == []


@pytest.mark.parametrize("service", RUNNING)
def test_a_containers_variables_are_those_of_the_file(stack: Stack, service: str) -> None:
    """Nothing of the user's own environment is passed on, and no image was built with a secret."""
    container = stack.container(service)
    ours = {
        "train": {"PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "WORKERS", "RESUME", "RUNS_DIR",
                  "MODELS_DIR", "SUMO_HOST", "SUMO_PORT", "NUMBA_CACHE_DIR", "HOME",
                  "ROADSENSE_CACHE_DIR"},
        "sumo": {"SUMO_HOME", "SUMO_PORT"},
        "tensorboard": {"HOME"},
        "watch": {"NUMBA_CACHE_DIR", "HOME", "ROADSENSE_CACHE_DIR"},
    }[service]  # fmt: skip
    names = {entry.partition("=")[0] for entry in container.attrs["Config"]["Env"]}
    assert names - ours <= {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    for layer in container.image.history():
        command = layer["CreatedBy"].lower()
        assert not re.search(r"token|password|secret|api_?key", command), command


def test_a_killed_sumo_container_does_not_end_the_training(stack: Stack) -> None:
    """Docker takes `docker kill` for a wish and restarts nothing: SUMO goes on in the trainer."""

    def figure(name: str) -> float:
        lines = [
            json.loads(line)
            for file in stack.clone.glob("runs/*/metrics.jsonl")
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        return max((line.get(name, 0.0) for line in lines), default=0.0)

    wait_for(lambda: figure("step") > 0, "first rollout")
    stack.container("sumo").kill()
    wait_for(lambda: figure("simulator/restarts") == 1.0, "restart in the curves")
    assert figure("simulator/truncated_episodes") >= 1.0
    assert stack.container("train").status == "running"
    assert stack.container("sumo").status == "exited"
    said = stack.container("train").logs().decode()
    assert "SUMO is lost" in said
    assert "From here on it runs inside this process" in said
    stack.compose("start", "sumo")


def test_stopped_training_saves_and_says_why_it_ended(stack: Stack) -> None:
    """`docker compose stop train` leaves a checkpoint that training can go on from."""
    stack.compose("stop", "train")
    assert stack.container("train").attrs["State"]["ExitCode"] == EXIT_SIGTERM
    (latest,) = stack.clone.glob("runs/*/checkpoints/latest")
    assert (latest.parent / latest.read_text(encoding="utf-8").strip()).is_file()


def test_killed_sumo_comes_back_in_its_container(stack: Stack) -> None:
    """SIGKILL to SUMO's process: its supervisor starts another one and the service is healthy."""
    find = (
        "import pathlib; print(*(p.parent.name for p in pathlib.Path('/proc').glob('[0-9]*/exe')"
        " if p.exists() and p.resolve().name == 'sumo'))"
    )

    def listening_sumo() -> str:
        _, pids = stack.execute("sumo", "python3", "-c", find)
        status, _ = stack.execute("sumo", "python3", "/opt/supervisor/healthcheck.py")
        return pids.strip() if status == 0 else ""

    before = wait_for(listening_sumo, "SUMO")
    kill = f"import os; os.kill({before}, {signal.SIGKILL:d})"
    status, output = stack.execute("sumo", "python3", "-c", kill)
    assert status == 0, output
    assert wait_for(lambda: listening_sumo() not in {"", before}, "new SUMO")
    assert stack.container("sumo").attrs["RestartCount"] == 0


def test_training_takes_every_sumo_there_is(stack: Stack) -> None:
    """`docker compose up --scale sumo=2 train`: half of the convoys drives on each, to the end."""
    stack.environment["TOTAL_TIMESTEPS"] = "8192"
    up = ("up", "--scale", "sumo=2", "--no-color", "--exit-code-from", "train", "train")
    said = stack.compose(*up).stdout
    assert "convoys: 64, SUMOs: 2" in said
    assert "is lost" not in said


def test_a_fresh_clone_can_evaluate(tmp_path: Path) -> None:
    """`docker compose run --rm evaluate …` alone: rows and card are the user's, nothing stays."""
    copy_as_cloned(tmp_path)
    project = f"roadsense-evaluate-{os.getpid()}"
    ours = {"APP_UID": str(APP_UID), "APP_GID": str(APP_GID), "COMPOSE_PROJECT_NAME": project}
    engine = docker.from_env()
    fresh = Stack(tmp_path, {**os.environ, **ours}, engine)
    try:
        done = fresh.compose(
            "run", "--rm", "evaluate", "--suite", "ncap:1", "--radio", "clean",
            "--controllers", "cth:1.1", "oracle", "sumo", "--out", "evaluations/small",
        )  # fmt: skip
        assert "card: evaluations/small/card.html" in done.stdout
        folder = tmp_path / "evaluations" / "small"
        assert len(list((folder / "parts").glob("*.jsonl"))) == 3
        card = folder / "card.html"
        assert card.stat().st_uid == APP_UID
        assert "data:image/svg+xml;base64" in card.read_text(encoding="utf-8")
        labels = [f"com.docker.compose.project={project}"]
        left = engine.containers.list(all=True, filters={"label": labels})
        assert {container.labels["com.docker.compose.service"] for container in left} == {"prepare"}
    finally:
        fresh.compose("--profile", "evaluate", "down", "--volumes", "--rmi", "local")
        engine.close()
