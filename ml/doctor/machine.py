"""Cores, memory, folders and who owns them, room on the disk, ports, environment variables."""

import os
import shutil
import socket
from pathlib import Path

from ml.doctor import programs
from ml.doctor.programs import Finding, note, ok, wrong
from ml.errors import ConfigError
from ml.folders import CACHE_DIR_VARIABLE, default_cache_dir, expand_home, home
from ml.installation import usable_cores
from ml.training.deployment import Deployment, is_port, read_deployment

_GIB = 2**30
_LEAST_MEMORY_GIB = 3.0  # a training run with its evaluation child takes about 1.5
_LEAST_FREE_GIB = 1.0
_CONTAINER_UID = "1000"
_PAGES = {"TENSORBOARD_PORT": ("6006", "TensorBoard"), "WATCH_PORT": ("6007", "watch")}
"""Variables of Compose that hold a port: the default, and what is there."""
_ANOTHER_PORT = "6016"


def environment() -> tuple[Finding, Deployment | None]:
    """Read the environment variables as the trainer does."""
    try:
        deployment = read_deployment()
    except ConfigError as error:
        return wrong("environment variables", str(error), "unset or correct it"), None
    names = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "WORKERS", "RESUME", "RUNS_DIR",
             "MODELS_DIR", "SUMO_HOST", "SUMO_PORT", CACHE_DIR_VARIABLE)  # fmt: skip
    given = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    return ok("environment variables", " ".join(given) or "none of ours is set"), deployment


def cores() -> Finding:
    """Count the cores that this process may use."""
    usable = usable_cores()
    load = ", load " + " ".join(f"{value:.1f}" for value in os.getloadavg())
    found = f"{usable} of {os.cpu_count()} usable{load}"
    if usable > 1:
        return ok("cores", found)
    return note("cores", found, "training simulates and learns on as many as there are")


def memory() -> Finding:
    """Look at the memory, and at what is free of it."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return note("memory", "unknown on this system", "training needs about 3 GB")
    rows = (line.split() for line in table.read_text(encoding="ascii").splitlines())
    sizes = {row[0].rstrip(":"): int(row[1]) * 1024 / _GIB for row in rows}
    found = f"{sizes['MemAvailable']:.1f} of {sizes['MemTotal']:.1f} GB available"
    if sizes["MemAvailable"] >= _LEAST_MEMORY_GIB:
        return ok("memory", found)
    return note("memory", found, "end other programs, or train with fewer --num-envs")


def folders(deployment: Deployment | None) -> list[Finding]:
    """Look whether the output folders and the cache can be written, and by whom."""
    named = [("cache of networks", default_cache_dir(), CACHE_DIR_VARIABLE)]
    findings = []
    if home() is None and not os.environ.get(CACHE_DIR_VARIABLE):
        told = os.environ.get("HOME")
        found = f"HOME={told} cannot be written" if told else f"uid {os.getuid()} has none"
        mend = f"HOME or {CACHE_DIR_VARIABLE}=/a/folder that can be written, which keeps the cache"
        findings.append(
            note("home folder", f"{found}; the cache is in {default_cache_dir()}", mend)
        )
    if deployment is not None:
        named += [
            ("folder of runs", deployment.runs_dir, "RUNS_DIR"),
            ("folder of models", deployment.models_dir, "MODELS_DIR"),
        ]
    return findings + [
        _folder(name, expand_home(path).absolute(), variable) for name, path, variable in named
    ]


def _folder(name: str, path: Path, variable: str) -> Finding:
    there = next(p for p in (path, *path.parents) if p.exists())
    status = there.stat()
    free_gib = shutil.disk_usage(there).free / _GIB
    found = f"{path}{'' if there == path else ' (will be made)'}"
    found += f", of uid {status.st_uid}, {free_gib:.1f} GB free"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return wrong(name, f"{found}; the file system is read-only", f"{variable}=/another/one")
        mend = f"sudo chown -R {os.getuid()}:{os.getgid()} {there}"
        if programs.in_container():
            mend = "docker compose up prepare, which gives the folders to APP_UID"
        return wrong(name, f"{found}; uid {os.getuid()} cannot write there", mend)
    if free_gib < _LEAST_FREE_GIB:
        return wrong(name, found, f"make room: du -sh {path}/*, or {variable}=/another/disk")
    return ok(name, found)


def owner() -> Finding:
    """Compare this user with the one that containers write as."""
    uid, gid = os.getuid(), os.getgid()
    theirs = os.environ.get("APP_UID") or _dotenv().get("APP_UID") or _CONTAINER_UID
    found = f"uid {uid}, gid {gid}"
    if str(uid) == theirs or uid == 0:
        return ok("user", f"{found}; containers write as uid {theirs}")
    mend = f"printf 'APP_UID={uid}\\nAPP_GID={gid}\\n' >> .env"
    return note("user", f"{found}, but containers write as uid {theirs}", mend)


def ports() -> Finding:
    """Look whether the pages' ports are free; a port of SUMO's is never connected to."""
    given, free = _dotenv() | dict(os.environ), []
    for variable, (default, what) in _PAGES.items():
        text = given.get(variable) or default
        if not is_port(text):
            return note("ports", f"{variable}={text} is no port", f"{variable}={_ANOTHER_PORT}")
        found = f"127.0.0.1:{text} for {what}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(text)))
            except OSError as error:
                mend = (
                    f"open http://localhost:{text} if that is {what}; else "
                    f"{variable}={_ANOTHER_PORT} docker compose up -d {what.lower()}"
                )
                return note("ports", f"{found}: {error.strerror}", mend)
        free.append(found)
    return ok("ports", f"{' and '.join(free)} are free")


def remote_sumo(deployment: Deployment | None) -> list[Finding]:
    """Resolve the names in SUMO_HOST; connecting would use up that SUMO's only client."""
    if deployment is None or not deployment.sumo_hosts:
        return []
    findings, name = [], "SUMO elsewhere"
    for host, port in deployment.sumo_hosts:
        try:
            socket.getaddrinfo(host, port)
        except OSError as error:
            mend = "docker compose up --detach sumo, or unset SUMO_HOST"
            findings.append(wrong(name, f"{host}:{port}: {error.strerror or error}", mend))
        else:
            findings.append(ok(name, f"{host}:{port}: the name is known (not connected to)"))
    return findings


def _dotenv() -> dict[str, str]:
    """Read the .env file that Compose would read here; an unreadable one says nothing."""
    try:
        lines = Path(".env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}
