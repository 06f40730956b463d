"""Dockerfiles, docker-compose.yml and .env.example read as data; no Docker Engine is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "services").glob("*/Dockerfile"))
HARDENED = sorted(set(SERVICES) - {"prepare"})
ON_CLUSTER = ("evaluate", "ray-head", "ray-worker")
WITH_TRAIN = (*ON_CLUSTER, "watch")
"""What the trainer's Dockerfile serves beside it."""
APP_USER = "${APP_UID:-1000}:${APP_GID:-1000}"


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) in order, continued lines joined and comments dropped."""
    lines = [
        line
        for line in dockerfile.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (words[0], " ".join(words[1:])) for line in text.splitlines() if (words := line.split())
    ]


def first_stage(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions up to the second FROM."""
    steps = instructions(dockerfile)
    stages = [index for index, (name, _) in enumerate(steps) if name == "FROM"]
    return steps[: stages[1]]


def dockerfile_of(service: str) -> Path:
    """Return the Dockerfile that Compose builds a service from."""
    build = SERVICES[service]["build"]
    return ROOT / build["context"] / build["dockerfile"]


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Return {path in the container: (source, ro or rw)} of a service's volumes."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {part[1]: (part[0], "ro" if "ro" in options(part) else "rw") for part in parts}


def options(volume: list[str]) -> list[str]:
    """Return the options of a volume, SOURCE:PATH[:OPTION,…] in its parts."""
    return volume[2].split(",") if len(volume) > 2 else []


def test_each_dockerfile_makes_a_service() -> None:
    """No Dockerfile is left over, only the trainer's serves more, and no image is a stranger's."""
    others = [dockerfile_of(service) for service in SERVICES if service not in WITH_TRAIN]
    assert sorted(others) == DOCKERFILES
    assert {dockerfile_of(service) for service in WITH_TRAIN} == {dockerfile_of("train")}
    assert SERVICES["watch"]["build"] == SERVICES["train"]["build"]
    assert SERVICES["train"]["build"]["target"] == "train"
    assert {SERVICES[service]["build"]["target"] for service in ON_CLUSTER} == {"ray"}
    assert not [name for name, service in SERVICES.items() if "image" in service]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_last_user_is_not_root(dockerfile: Path) -> None:
    """An image started by hand does not run as root."""
    users = [arguments for name, arguments in instructions(dockerfile) if name == "USER"]
    assert users
    assert users[-1].split(":")[0] not in {"0", "root"}


def test_the_container_trains_as_the_command_does() -> None:
    """It runs `roadsense train`, which draws; the trainer's own module shows no pictures."""
    entry = dict(instructions(dockerfile_of("train")))["ENTRYPOINT"]
    assert entry == '["python", "-m", "ml.cli", "train"]'
    shown = dict(instructions(dockerfile_of("tensorboard")))["ENTRYPOINT"]
    assert '"--samples_per_plugin=images=100"' in shown


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_base_image_is_an_argument(dockerfile: Path) -> None:
    """All images come from one base, which can be replaced without editing a Dockerfile."""
    steps = instructions(dockerfile)
    assert steps[0] == ("ARG", "BASE_IMAGE=debian:bookworm-slim")
    stages = {"${BASE_IMAGE}"}
    for source in (arguments.split() for name, arguments in steps if name == "FROM"):
        assert source[0] in stages
        stages.add(source[-1])
    service = dockerfile.parent.name
    assert SERVICES[service]["build"]["args"] == {
        "BASE_IMAGE": "${BASE_IMAGE:-debian:bookworm-slim}"
    }


def test_images_with_sumo_share_their_first_layer() -> None:
    """The same instructions give the same layer: it is built and stored once."""
    assert first_stage(dockerfile_of("sumo")) == first_stage(dockerfile_of("train"))


@pytest.mark.parametrize("name", HARDENED)
def test_service_is_hardened(name: str) -> None:
    """Not root, nothing to write to, no capability, no way to gain one, limits on everything."""
    service = SERVICES[name]
    assert service["user"] == APP_USER
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]  # noqa: S108
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_prepare_may_change_owners_and_nothing_else() -> None:
    """The one service that runs as root has one capability, no network and ends by itself."""
    prepare = SERVICES["prepare"]
    assert prepare["user"] == "0:0"
    assert prepare["cap_drop"] == ["ALL"]
    assert prepare["cap_add"] == ["CHOWN"]
    assert prepare["network_mode"] == "none"
    assert prepare["read_only"] is True
    assert prepare["security_opt"] == ["no-new-privileges:true"]
    assert prepare["restart"] == "no"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_asks_for_no_privilege(name: str) -> None:
    """No service reaches the host by another door."""
    service = SERVICES[name]
    doors = {"privileged", "devices", "pid", "ipc", "userns_mode", "volumes_from", "cgroup_parent"}
    assert not doors & set(service)
    assert service.get("network_mode") in {None, "none"}
    assert not [source for source, _ in mounts(name).values() if "docker.sock" in source]


def test_only_what_shows_runs_publishes_and_only_on_this_machine() -> None:
    """No port but TensorBoard's and watch's leaves Docker's networks, and none this machine."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "tensorboard": ["127.0.0.1:${TENSORBOARD_PORT:-6006}:6006"],
        "watch": ["127.0.0.1:${WATCH_PORT:-6007}:6007"],
    }


def test_simulation_network_has_no_way_out() -> None:
    """SUMO and the trainer meet on an internal network, where TensorBoard is not, nor the host."""
    assert COMPOSE["networks"]["simulation"] == {
        "internal": True,
        "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"},
    }
    assert SERVICES["sumo"]["networks"] == ["simulation"]
    assert SERVICES["train"]["networks"] == ["simulation"]
    assert SERVICES["tensorboard"]["networks"] == ["dashboard"]
    assert SERVICES["watch"]["networks"] == ["dashboard"]


def test_watch_reads_runs_and_waits_for_no_training() -> None:
    """As TensorBoard: up with plain `up`, needed by nothing, and nothing to write to."""
    watch = SERVICES["watch"]
    assert "profiles" not in watch
    assert mounts("watch") == {"/app/runs": ("./runs", "ro")}
    assert not [name for name, other in SERVICES.items() if "watch" in other.get("depends_on", {})]
    assert watch["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
    command = " ".join(watch["entrypoint"])
    assert command == "python -m ml.cli watch --serve /app/runs --host 0.0.0.0 --port 6007"
    assert watch["restart"] == "unless-stopped"
    assert "http://127.0.0.1:6007/runs.json" in watch["healthcheck"]["test"][-1]


def test_training_waits_for_what_it_needs() -> None:
    """Folders first, then a SUMO that listens; and SIGTERM leaves time to save."""
    train = SERVICES["train"]
    assert train["depends_on"] == {
        "prepare": {"condition": "service_completed_successfully"},
        "sumo": {"condition": "service_healthy"},
    }
    assert train["restart"] == "no"
    assert int(train["stop_grace_period"].removesuffix("s")) >= 30


def test_evaluation_runs_on_request_and_writes_where_it_may() -> None:
    """It starts with its profile alone, reaches nobody, and may change nothing but its results."""
    evaluate = SERVICES["evaluate"]
    assert evaluate["profiles"] == ["evaluate"]
    assert evaluate["networks"] == ["cluster"]
    assert evaluate["restart"] == "no"
    assert evaluate["entrypoint"] == ["python", "-m", "ml.cli", "evaluate"]
    assert evaluate["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}
    writable = {path: source for path, (source, mode) in mounts("evaluate").items() if mode == "rw"}
    assert writable == {"/app/evaluations": "./evaluations", "/var/cache/roadsense": "cache"}
    assert mounts("evaluate")["/app/ml/models/saved"] == ("./ml/models/saved", "ro")
    assert mounts("evaluate")["/app/runs"] == ("./runs", "ro")
    ready = {source: path for path, (source, _) in mounts("prepare").items()}
    assert ready["./evaluations"] in SERVICES["prepare"]["command"]


def test_a_cluster_comes_up_on_request_and_is_reached_by_evaluations_alone() -> None:
    """By its profile; its network has no way in or out, and Ray tells nobody of itself."""
    head, worker, evaluate = (SERVICES[name] for name in ("ray-head", "ray-worker", "evaluate"))
    assert COMPOSE["networks"]["cluster"] == COMPOSE["networks"]["simulation"]
    on_it = [name for name, service in SERVICES.items() if "cluster" in service.get("networks", [])]
    assert sorted(on_it) == sorted(ON_CLUSTER)
    for node in (head, worker):
        assert node["profiles"] == ["cluster"]
        assert node["networks"] == ["cluster"]
        assert "ports" not in node
        assert "--disable-usage-stats" in node["command"][0]
        assert node["entrypoint"] == ["sh", "-c"]
    assert "--include-dashboard=false" in head["command"][0]
    assert evaluate["environment"] == {"RAY_ADDRESS": "ray://ray-head:10001"}
    assert "--ray-client-server-port=10001" in head["command"][0]
    assert "--address=ray-head:6379" in worker["command"][0]
    for name in ("ray-head", "ray-worker"):  # started before it where the profile is asked for
        assert evaluate["depends_on"][name]["required"] is False
    assert evaluate["depends_on"]["ray-head"]["condition"] == "service_healthy"


@pytest.mark.parametrize("name", ["sumo", "tensorboard"])
def test_servers_come_back_and_tell_how_they_are(name: str) -> None:
    """A server that ends is started again, and its image has a health check."""
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert "HEALTHCHECK" in [step for step, _ in instructions(dockerfile_of(name))]


def test_health_check_of_sumo_does_not_connect() -> None:
    """A connection would use up SUMO's one client."""
    check = (ROOT / "services/sumo/healthcheck.py").read_text(encoding="utf-8")
    table = (ROOT / "services/sumo/socket_table.py").read_text(encoding="utf-8")
    assert "import socket\n" not in check + table
    assert "connect(" not in check + table


def test_networks_are_seen_under_one_path_and_written_by_training_alone() -> None:
    """SUMO loads what the trainer wrote: same volume, same path, read-only for SUMO."""
    path = "/var/cache/roadsense"
    assert mounts("train")[path] == ("cache", "rw")
    assert mounts("sumo")[path] == ("cache", "ro")
    environment = dict(
        assignment.split("=", 1)
        for step, arguments in instructions(dockerfile_of("train"))
        if step == "ENV"
        for assignment in arguments.split()
    )
    assert environment["ROADSENSE_CACHE_DIR"] == path


def test_no_image_takes_the_shared_volume_back() -> None:
    """While it is empty, Docker would give it the owner that its folder has in the image."""
    for name in ("sumo", "train", "evaluate"):
        volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
        (shared,) = [volume for volume in volumes if volume[0] == "cache"]
        assert "nocopy" in options(shared), name


@pytest.mark.parametrize("name", HARDENED)
def test_mount_points_exist_and_belong_to_the_user(name: str) -> None:
    """A volume that is mounted over a folder of the user's begins as the user's."""
    made = {
        folder
        for step, arguments in instructions(dockerfile_of(name))
        if step == "RUN" and "install -d -o 1000 -g 1000 " in arguments
        for folder in arguments.split("install -d -o 1000 -g 1000 ")[1].split()
    }
    shared = [service for service in HARDENED if dockerfile_of(service) == dockerfile_of(name)]
    assert made == {path for service in shared for path in mounts(service)}


def test_prepare_is_given_each_folder_that_training_and_evaluation_write() -> None:
    """What they write to is made the user's before."""
    written = {
        source
        for service in ("train", "evaluate")
        for source, options in mounts(service).values()
        if options == "rw"
    }
    assert {source for source, _ in mounts("prepare").values()} == written
    assert SERVICES["prepare"]["command"] == ["--volume", *mounts("prepare")]


def test_each_variable_is_documented_with_its_default() -> None:
    """docker-compose.yml, its header and .env.example name the same variables and defaults."""
    code = "\n".join(line for line in COMPOSE_TEXT.splitlines() if not line.startswith("#"))
    assert not re.findall(r"\$\w", code), "write ${NAME:-default}"
    uses = set(re.findall(r"\$\{([^}]*)\}", code))
    used = dict(use.split(":-") for use in uses)
    assert len(used) == len(uses), "one variable has two defaults"

    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = dict(
        line.split("=", 1)
        for line in example.splitlines()
        if line.strip() and not line.startswith("#")
    )
    assert documented == used

    header = COMPOSE_TEXT.split("\n\n", 1)[0]
    rows = re.findall(r"^#   ([A-Z_]+) {2,}(.*)$", header, flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(used)
    for name, text in rows:
        if used[name]:
            assert text.startswith(f"{used[name]} "), f"{name}: the header has another default"
