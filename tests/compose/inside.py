"""Run inside a container: say what this process can write, reach and see, as JSON.

python3 - < inside.py        (needs the standard library only)
"""

import json
import os
import socket
from pathlib import Path

KERNELS = ("/proc", "/sys")
PORTS = {"sumo": 8813, "train": 22, "tensorboard": 6006, "watch": 6007, "prepare": 22}
SECRETS = (".env", ".git", ".ssh", ".netrc", ".pypirc", ".aws", ".docker", "id_rsa", "id_ed25519")


def writable() -> list[str]:
    """Topmost directories in which files can be made."""
    found: list[str] = []
    for folder, inner, _ in os.walk("/"):
        if folder.startswith(KERNELS):
            inner.clear()
        elif os.access(folder, os.W_OK | os.X_OK):
            found.append(folder)
            inner.clear()
    return sorted(found)


def reachable() -> dict[str, str]:
    """For each service: whether its name is known and its port answers a connection."""
    results = {}
    for name, port in PORTS.items():
        try:
            address = socket.getaddrinfo(name, port)[0][4]
        except socket.gaierror:
            results[name] = "unknown"
            continue
        # SUMO's only client is the trainer: its name is enough, no connection is tried.
        if name == "sumo":
            results[name] = "known"
            continue
        try:
            socket.create_connection(address[:2], timeout=3).close()
            results[name] = "answers"
        except OSError as error:
            results[name] = type(error).__name__
    return results


def secrets() -> list[str]:
    """Files that are named like secrets."""
    found = []
    for folder, inner, files in os.walk("/"):
        if folder.startswith(KERNELS):
            inner.clear()
            continue
        found += [str(Path(folder, name)) for name in (*inner, *files) if name in SECRETS]
    return sorted(found)


def docker_sockets() -> list[str]:
    """Ways to the engine."""
    return [name for name in ("/var/run/docker.sock", "/run/docker.sock") if Path(name).exists()]


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "writable": writable(),
                "reachable": reachable(),
                "secrets": secrets(),
                "docker_sockets": docker_sockets(),
            }
        )
    )
