"""The server of runs as they go: real HTTP on real folders."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.browser import dom_at
from support.planted_recording import planted_recording

from ml.cli import main
from ml.errors import ConfigError
from ml.reports import live
from ml.reports.episode.page import Drive, page
from ml.reports.live.runs import last_values
from ml.reports.live.server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = "20260101T120000Z-spec-s0"
HOSTILE = "20260101T120001Z-<img src=x onerror=document.title='owned'>-s1"
PRIVATE = "nobody's business"


def plant_run(folder: Path, *, pages: tuple[int, ...] = (), lines: str | None = None) -> Path:
    """Make what a run leaves, with an episode's page after each of some steps."""
    evaluation = folder / "evaluation"
    evaluation.mkdir(parents=True)
    (folder / "config.yaml").write_text("preset: spec\n")
    for step in pages:
        words = page(f"after {step} steps", [Drive(planted_recording(), "policy", "Hazard")])
        (evaluation / f"episode_{step:09d}.html").write_text(words)
    if lines is None:
        rows: list[dict[str, Any]] = [
            {"step": 100, "rollout/ep_rew_mean": -3.5, "evaluation/safety_score": 0.25},
            {"step": 200, "rollout/ep_rew_mean": -2.5},
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run that has two episodes."""
    plant_run(tmp_path / "runs" / RUN, pages=(100, 200))
    return tmp_path / "runs"


@pytest.fixture
def serve() -> Iterator[Callable[[Path], LiveServer]]:
    """Return what serves a folder on a free port, until the test ends."""
    started: list[LiveServer] = []

    def start(folder: Path) -> LiveServer:
        server = LiveServer(folder, "127.0.0.1", 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def ask(
    server: LiveServer, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, str]:
    """Ask for a path as it stands, which no client tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply, reply.read().decode()
    finally:
        connection.close()


def listed(server: LiveServer) -> dict[str, dict[str, Any]]:
    """Return the runs that a server lists, by name."""
    return {run["name"]: run for run in json.loads(ask(server, "/runs.json")[1])["runs"]}


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return when each file and folder was written, and what files hold."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


def test_a_run_is_listed_with_its_last_values_and_newest_episode(runs, serve):
    """Each curve's last value, from whichever line; what comes later is there at the next look."""
    server = serve(runs)
    run = listed(server)[RUN]
    assert (run["preset"], run["step"], run["note"]) == ("spec", 200, "")
    assert run["values"] == {"rollout/ep_rew_mean": -2.5, "evaluation/safety_score": 0.25}
    assert run["episode"] == "episode_000000200.html"
    with (runs / RUN / "metrics.jsonl").open("a") as file:
        file.write('{"step": 300, "evaluation/safety_score": 0.75}\n{"step": 4')
    (runs / RUN / "evaluation" / "episode_1000000000.html").write_text("<p>newer")
    run = listed(server)[RUN]
    assert (run["step"], run["note"]) == (300, "")
    assert run["values"] == {"rollout/ep_rew_mean": -2.5, "evaluation/safety_score": 0.75}
    assert run["episode"] == "episode_1000000000.html"
    assert ask(server, f"/episode/{RUN}/episode_1000000000.html")[1] == "<p>newer"


def test_runs_of_several_seeds_are_found_below_their_folder(tmp_path, serve):
    """A run in a folder of a folder has a name of two parts, and its episode is served."""
    plant_run(tmp_path / "several" / "seed-1" / RUN, pages=(100,))
    server = serve(tmp_path)
    name = f"several/seed-1/{RUN}"
    assert list(listed(server)) == [name]
    reply, words = ask(server, f"/episode/{name}/episode_000000100.html")
    assert (reply.status, "after 100 steps" in words) == (200, True)


def test_a_run_that_is_half_written_is_told_of_in_words(runs, serve):
    """No figures yet, damaged lines, a pipe for a file: the others are listed all the same."""
    plant_run(runs / "begun", lines="")
    (runs / "begins").mkdir()
    (runs / "begins" / "config.yaml").touch()
    plant_run(
        runs / "damaged", lines='{"step": 7, "a": 1.5}\n\x00\x00\n[1]\n{"step": 8, "a": NaN}\n'
    )
    plant_run(runs / "pipe")
    (runs / "pipe" / "metrics.jsonl").unlink()
    os.mkfifo(runs / "pipe" / "metrics.jsonl")
    found = listed(serve(runs))
    assert found["begun"]["note"] == found["begins"]["note"] == "has begun; no figures yet"
    assert found["damaged"]["note"] == "2 lines of metrics.jsonl are damaged, and left out"
    assert (found["damaged"]["step"], found["damaged"]["values"]) == (8, {"a": 1.5})
    assert "no plain file" in found["pipe"]["note"]
    assert found[RUN]["note"] == ""


def test_the_cut_first_line_of_a_long_file_is_no_damage():
    """Of the end of a file the first line may be a half."""
    text = '7, "a": 1.0}\n{"step": 8, "a": 2}\n'
    assert last_values(text, whole=False) == (8, {"a": 2}, "")
    assert last_values(text)[2] == "1 line of metrics.jsonl is damaged, and left out"


@pytest.mark.parametrize(
    "path",
    [
        "/episode/../outside/episode_000000001.html",
        "/episode/%2e%2e/outside/episode_000000001.html",
        "/episode/..%2foutside/episode_000000001.html",
        f"/episode/{RUN}/../../outside/episode_000000001.html",
        f"/episode/{RUN}%2f..%2f..%2foutside/episode_000000001.html",
        f"/episode/{RUN}/%2e%2e/config.yaml",
        f"/episode/{RUN}/config.yaml",
        f"/episode/{RUN}/episode_000000100.html%00",
        "/episode/linked/episode_000000001.html",
        f"/episode/{RUN}/episode_000000001.html",
        "/episode/inner/episode_000000001.html",
        "/episode/pipe/episode_000000001.html",
        "/../outside/evaluation/episode_000000001.html",
        "//etc/passwd",
        "/page/live.html",
        "/live.js/../runs.py",
    ],
)
def test_nothing_outside_and_nothing_but_episodes_is_served(path, runs, tmp_path, serve):
    """Neither by dots, plain or encoded, nor by links of a run, a folder or a page; nor a pipe."""
    outside = plant_run(tmp_path / "outside")
    (outside / "evaluation" / "episode_000000001.html").write_text(PRIVATE)
    (runs / "linked").symlink_to(outside)
    name = "episode_000000001.html"
    (runs / RUN / "evaluation" / name).symlink_to(outside / "evaluation" / name)
    inner = plant_run(runs / "inner") / "evaluation"
    inner.rmdir()
    inner.symlink_to(outside / "evaluation")
    pipe = plant_run(runs / "pipe") / "evaluation" / name
    os.mkfifo(pipe)
    server = serve(runs)
    reply, words = ask(server, path)
    assert reply.status == 404
    assert PRIVATE not in words
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    found = listed(server)
    assert "linked" not in found
    assert found["inner"]["episode"] == ""


def test_figures_behind_a_link_are_not_read(runs, tmp_path, serve):
    """A link for a file of figures leads nowhere, and is told of."""
    outside = tmp_path / "metrics.jsonl"
    outside.write_text('{"step": 9, "secret": 1.0}\n')
    (runs / RUN / "metrics.jsonl").unlink()
    (runs / RUN / "metrics.jsonl").symlink_to(outside)
    run = listed(serve(runs))[RUN]
    assert run["values"] == {}
    assert run["note"].startswith("cannot be read")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"])
def test_it_is_for_reading_alone(method, runs, serve):
    """Every other method is refused in words, with those that are there."""
    reply, words = ask(serve(runs), "/runs.json", method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert words == "this server is for reading: GET and HEAD\n"


def test_a_name_of_somebody_else_is_not_answered(runs, serve):
    """A page whose name leads to 127.0.0.1 reads nothing; an address and localhost are fine."""
    server = serve(runs)
    for host in ("evil.example", "evil.example:6007", "127.0.0.1.evil.example", "[::1", ""):
        assert ask(server, "/runs.json", Host=host)[0].status == 421, host
    for host in ("localhost:6007", "127.0.0.1:6007", "[::1]:6007", "192.0.2.7", "LOCALHOST"):
        assert ask(server, "/runs.json", Host=host)[0].status == 200, host


@pytest.mark.parametrize(
    ("path", "kind", "rule"),
    [
        ("/", "text/html; charset=utf-8", "script-src 'self'"),
        ("/live.js", "text/javascript; charset=utf-8", "default-src 'none'"),
        ("/live.css", "text/css; charset=utf-8", "default-src 'none'"),
        ("/runs.json", "application/json", "default-src 'none'"),
        (f"/episode/{RUN}/episode_000000100.html", "text/html; charset=utf-8", "sandbox allow-s"),
    ],
)
def test_each_answer_says_what_it_is_and_what_it_may(path, kind, rule, runs, serve):
    """Type, no guessing, a policy, nothing kept; HEAD says the same without content."""
    server = serve(runs)
    for method in ("GET", "HEAD"):
        reply, words = ask(server, path, method)
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
        assert rule in reply.headers["Content-Security-Policy"]
        assert "allow-same-origin" not in reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert bool(words) == (method == "GET")
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30) as raw:
        raw.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert b"".join(iter(lambda: raw.recv(65536), b"")).endswith(b"\r\n\r\n")


def test_in_a_browser_a_hostile_name_is_text_and_an_episode_plays(runs, tmp_path, serve):
    """Names go in as text; the newest episode is framed, and runs in its sandbox."""
    plant_run(runs / HOSTILE, pages=(300,))
    os.utime(runs / HOSTILE / "metrics.jsonl", (2e9, 2e9))
    server = serve(runs)
    document = dom_at(server.address, tmp_path / "profile")
    assert "<title>RoadSense: runs</title>" in document
    assert "&lt;img src=x onerror" in document
    assert "<img" not in document
    address = f"/episode/{quote(HOSTILE, safe='~()*!')}/episode_000000300.html"
    assert f'src="{address}"'.replace("'", "%27") in document.replace("'", "%27")
    assert "2 runs, the newest first" in document
    assert "0.25" in document
    episode = dom_at(f"{server.address.rstrip('/')}{address}", tmp_path / "profile")
    assert '<div id="stage">' in episode
    assert "after 300 steps" in episode


@pytest.mark.parametrize("follow", [True, False])
def test_in_a_browser_a_newer_episode_takes_the_place_of_the_last(
    follow, runs, tmp_path, serve, monkeypatch
):
    """It comes while the page is open, and is shown at the next look; not without *follow*."""
    server = serve(runs)
    looked, as_json = [], server.runs.as_json

    def and_write_a_newer() -> dict[str, Any]:
        found = as_json()
        looked.append(found["runs"][0]["episode"])
        (runs / RUN / "evaluation" / "episode_000000300.html").write_text("<p>newer")
        return found

    monkeypatch.setattr(server.runs, "as_json", and_write_a_newer)
    if not follow:
        page_of = "ml.reports.live.server.files"
        pages = tmp_path / "pages"
        shutil.copytree(Path(live.__file__).parent / "page", pages / "page")
        html = pages / "page" / "live.html"
        html.write_text(html.read_text().replace(" checked", ""))
        monkeypatch.setattr(page_of, lambda _: pages)
    document = dom_at(server.address, tmp_path / "profile")
    assert looked[0] == "episode_000000200.html"
    assert looked[-1] == "episode_000000300.html"
    assert "step 300" in document
    assert f'src="/episode/{RUN}/episode_000000{300 if follow else 200}.html"' in document


def test_nothing_is_written(runs, serve):
    """After every kind of question the folder is what it was."""
    before = state_of(runs)
    server = serve(runs)
    for path in ("/", "/runs.json", f"/episode/{RUN}/episode_000000100.html", "/nowhere"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            ask(server, path, method)
    assert state_of(runs) == before


def test_a_port_that_is_taken_is_told_with_the_remedy(runs, serve, capsys):
    """As the command says it: which, what it may be, and what to type."""
    port = serve(runs).server_address[1]
    assert main(["watch", "--serve", str(runs), "--port", str(port), "--no-open"]) == 2
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is taken" in said
    assert f"--port {port + 1}" in said


@pytest.mark.parametrize(
    ("host", "port", "complaint"),
    [
        ("127.0.0.1", 70000, "a port lies between 0 and 65535"),
        ("127.0.0.1", -1, "a port lies between 0 and 65535"),
        ("192.0.2.1", 0, "cannot listen on --host 192.0.2.1"),
        ("no such host", 0, "cannot listen on --host no such host"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_words(host, port, complaint, tmp_path):
    """Before anything is served."""
    with pytest.raises(ConfigError, match=complaint):
        LiveServer(tmp_path, host, port)


def test_a_folder_that_is_not_there_is_refused_with_the_remedy(tmp_path, capsys):
    """And none is made."""
    assert main(["watch", "--serve", str(tmp_path / "runs"), "--no-open"]) == 2
    assert "there is no such folder. Train first" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_command_serves_until_it_is_interrupted(runs):
    """As a user types it, in a process of its own; Ctrl-C is the way it ends, and no failure."""
    command = [sys.executable, "-m", "ml.cli", "watch", "--serve", str(runs), "--port", "0"]
    with subprocess.Popen(
        [*command, "--no-open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            port = int(line.rpartition("http://127.0.0.1:")[2].partition("/")[0])
            with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
                raw.sendall(b"GET /runs.json HTTP/1.0\r\n\r\n")
                assert RUN.encode() in b"".join(iter(lambda: raw.recv(65536), b""))
            process.send_signal(2)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert "Traceback" not in out
