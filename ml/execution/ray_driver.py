"""The process that speaks with Ray: it hands jobs to nodes, and tries again what a node lost.

It is a process of its own, since Ray ends its process where the cluster's head is gone for long.
Whoever asked (`ml.execution.cluster`) starts another one then; nothing is kept here that is not
known there.

Jobs are pinned to nodes by us: a node is asked first what it is (`nodes.examine`), one that would
find other rows is left out by name, and a job that died with its process goes to another node.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from ml.errors import ConfigError, EvaluationError, RoadSenseError, UsageError
from ml.execution.jobs import Portable
from ml.execution.nodes import Machine, examine, problem_of
from ml.execution.ray_tasks import Errand, Mailbox, perform
from ml.execution.shipping import Parcel, digest_of, pack, read_folder

LOST = 3
"""Exit code where the connection to the cluster is lost."""
_KNOCK_S, _CONNECT_S, _RECONNECT_S, _PAUSE_S = 5.0, 60.0, 150.0, 2.0
_REFRESH_S = 5.0
_WAIT_S = 0.5
_REST_S = 2.0
_MOST_DEATHS = 4
_MOST_FAILURES_OF_A_NODE = 4
_WITHOUT_NODES_S = 90.0
_EXAMINE_S = 180.0
_NOT_THE_JOBS = frozenset(
    ("NodeDiedError", "TaskUnschedulableError", "ActorDiedError", "ActorUnavailableError",
     "ObjectLostError", "OwnerDiedError")
)  # fmt: skip
"""Errors of Ray's that say nothing about a job."""
_MORE_ROOM = "start Ray there with fewer cores (ray start --num-cpus=N), or give it more memory"
_GONE = "the node died or no longer answers"
_IN_WORDS = {
    "OutOfMemoryError": f"its memory ran out: {_MORE_ROOM}",
    "WorkerCrashedError": f"its process died; where memory ran out, {_MORE_ROOM}",
    "NodeDiedError": _GONE,
    "ActorDiedError": _GONE,
    "TaskUnschedulableError": _GONE,
}
"""What Ray says in many lines."""


@dataclass
class _Node:
    """A node, as far as it matters here.

    Attributes:
        machine: What it said of itself; None until it has.
        left_out: Why it is not used.
        free: Cores that no job of ours is on.
        failures: In a row.
        rests_until_s: When it is used again after one.
    """

    name: str
    cores: int
    free: int
    asked: Any = None
    asked_s: float = 0.0
    machine: Machine | None = None
    left_out: str = ""
    alive: bool = True
    failures: int = 0
    rests_until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node, as `roadsense doctor` shows it.

    Attributes:
        cores: That Ray gives out there.
        machine: What it is; None where it cannot be asked.
        problem: Why it is not used, and the remedy; empty where it is.
    """

    name: str
    cores: int
    machine: Machine | None
    problem: str


@dataclass
class _Running:
    number: int
    job: Any
    node: str
    cores: int


@dataclass
class _Waiting:
    number: int
    job: Any
    deaths: int = 0
    avoid: set[str] = field(default_factory=set)


def connect(address: str, *, again: bool = False) -> Any:
    """Connect this process to a cluster; return the module `ray`.

    Args:
        address: As `ray.init` takes it.
        again: After a loss, when a head may be about to come back.

    Raises:
        EvaluationError: Nothing answers there.
        ConfigError: It is no address, or a cluster of another version.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    # How long Ray waits for a head that is gone before it ends this process.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
    warnings.simplefilter("ignore")  # Ray's own deprecations
    import ray  # noqa: PLC0415 (slow, and an extra)

    began_s = time.monotonic()
    while True:
        listens = False
        try:
            listens = _knock(address)  # Ray ends this process where nobody does
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises what it likes
            said = str(error).strip() or type(error).__name__
            with suppress(Exception):
                ray.shutdown()
            if "ersion mismatch" in said or "ersions do not match" in said:
                raise ConfigError(
                    f"--cluster {address}: {' '.join(said.split())} Install the same Ray and "
                    "Python here and on every node, or use one image."
                ) from error
            patience_s = _CONNECT_S if isinstance(error, ConnectionAbortedError) else _KNOCK_S
            if time.monotonic() - began_s > (_RECONNECT_S if again else patience_s):
                why = _refused(said.splitlines()[-1][:300], listens=listens)
                raise EvaluationError(f"--cluster {address}: {why}") from error
            time.sleep(_PAUSE_S)
        else:
            return ray


def _refused(said: str, *, listens: bool) -> str:
    """Say what to do where no connection came about."""
    if listens:
        return (
            f"it is open, but Ray {version('ray')} cannot connect to it ({said}). Where its head "
            "has another Ray, install the same here and on every node, or use one image; where it "
            "asks for a token, set RAY_AUTH_MODE=token."
        )
    return (
        f"no Ray cluster answers ({said}). Start one with `ray start --head` on this machine, set "
        "RAY_ADDRESS, or name its head: ray://HOST:10001."
    )


def _knock(address: str) -> bool:
    """Connect to an address, and leave again; returns False where it does not say where that is.

    Raises:
        OSError: Nobody listens there.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
        return True
    return False


def main(connection: Connection, address: str, *, again: bool) -> None:
    """Connect, say so, hear what is to be done, and do it until whoever asked has no more."""
    _be_quiet()
    driver = None
    try:
        ray = connect(address, again=again)
        connection.send(("ready",))
        driver = _Driver(ray, connection, *connection.recv())
        driver.run()
    except RoadSenseError as error:
        with suppress(OSError):
            connection.send(("failed", error))
    except (EOFError, BrokenPipeError):  # whoever asked is gone
        if driver is not None:
            driver.cancel()
        if "://" in address or "://" in os.environ.get("RAY_ADDRESS", ""):
            ray.shutdown()  # else the head would wait for us to come back
        os._exit(0)  # Ray ends with us what still runs; a shutdown would wait for it
    except Exception as error:  # noqa: BLE001 (Ray raises what it likes where its head is gone)
        with suppress(OSError):
            connection.send(("lost", f"{type(error).__name__}: {_last_line(error)}"))
        os._exit(LOST)
    with suppress(Exception):
        ray.shutdown()


def _be_quiet() -> None:
    """Keep what Ray writes of its own from coming between our lines; ends with the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


class _Driver:
    """Does jobs; `cores` is 0 where they are not watched."""

    def __init__(
        self, ray: Any, connection: Connection, work: Callable[..., Any], cores: int
    ) -> None:
        from ray.util.scheduling_strategies import (  # noqa: PLC0415
            NodeAffinitySchedulingStrategy,
        )

        self._ray, self._connection, self._work = ray, connection, work
        self._pin = NodeAffinitySchedulingStrategy
        self._perform = ray.remote(num_cpus=1, max_retries=0)(perform)
        self._examine = ray.remote(num_cpus=0, max_retries=0)(examine)
        self._cores = cores
        self._mailbox: Any = None
        self._here = examine(sumo=False)
        self._nodes: dict[str, _Node] = {}
        self._refreshed_s = -_REFRESH_S
        self._usable_s = time.monotonic()
        self._running: dict[Any, _Running] = {}
        self._waiting: deque[_Waiting] = deque()
        self._more = True
        self._sent: dict[str, Any] = {}

    def run(self) -> None:
        """Do all jobs."""
        while self._more or self._waiting or self._running:
            self._look_at_nodes()
            self._hand_out()
            refs = [*self._running, *(n.asked for n in self._nodes.values() if n.asked is not None)]
            if refs:
                done, _ = self._ray.wait(refs, num_returns=1, timeout=_WAIT_S)
                for ref in done:
                    if ref in self._running:
                        self._settle(ref)
            else:
                time.sleep(_WAIT_S)
            self._read_mail()
            if self._connection.poll():  # nobody speaks unasked: the pipe has ended
                self._connection.recv()
        self._read_mail()
        self._connection.send(("end",))

    def cancel(self) -> None:
        """End what runs."""
        for ref in self._running:
            with suppress(Exception):  # it may have ended, or its node
                self._ray.cancel(ref, force=True)

    def _look_at_nodes(self) -> None:
        """Note who joined and who is gone, ask who is new, and leave out who does not fit."""
        now_s = time.monotonic()
        if now_s - self._refreshed_s >= _REFRESH_S:
            self._refreshed_s = now_s
            self._list_nodes(now_s)
        for node_id, node in self._nodes.items():
            if node.asked is None or now_s < node.rests_until_s:
                continue
            if self._ray.wait([node.asked], timeout=0)[0]:
                early = now_s - node.asked_s < _EXAMINE_S
                if early and _is_not_placed(self._ray, node.asked):
                    node.asked, node.rests_until_s = self._ask(node_id), now_s + _REST_S
                    continue
                node.left_out = self._verdict(node)
            elif now_s - node.asked_s > _EXAMINE_S:
                node.left_out = f"it did not answer within {_EXAMINE_S:.0f} s"
            else:
                continue
            node.asked = None
            if node.left_out:
                self._say(f"node {node.name} is left out: {node.left_out}")
        alive = [node for node in self._nodes.values() if node.alive]
        if any(not node.left_out for node in alive):
            self._usable_s = now_s
        elif alive or now_s - self._usable_s > _WITHOUT_NODES_S:
            raise EvaluationError(_no_node([n for n in self._nodes.values() if n.left_out]))

    def _list_nodes(self, now_s: float) -> None:
        found = {n["NodeID"]: n for n in self._ray.nodes() if n["Alive"]}
        for node_id, node in self._nodes.items():
            if node.alive and node_id not in found:
                node.alive, node.asked = False, None
                self._say(f"node {node.name} is gone; what it was doing is done elsewhere")
        for node_id, of in found.items():
            cores = int(of["Resources"].get("CPU", 0))
            if node_id not in self._nodes and cores:
                asked = self._ask(node_id)
                self._nodes[node_id] = _Node(name_of(of), cores, cores, asked, now_s)

    def _ask(self, node_id: str) -> Any:
        """Ask a node what it is."""
        pin = self._pin(node_id, soft=False)
        return self._examine.options(scheduling_strategy=pin).remote()

    def _verdict(self, node: _Node) -> str:
        node.machine, problem = _answer_of(self._ray, node.asked, self._here)
        return problem

    def _hand_out(self) -> None:
        """Give each free core a job; ask for one where none waits."""
        now_s = time.monotonic()
        usable = {
            node_id: node
            for node_id, node in self._nodes.items()
            if node.alive and node.machine and not node.left_out and now_s >= node.rests_until_s
        }
        ahead = 0 if self._cores else len(usable)  # so that no core waits for the pipe
        room = sum(node.free // self._wants(node) for node in usable.values())
        while self._more and len(self._waiting) < room + ahead:
            self._connection.send(("want",))
            kind, *content = self._connection.recv()
            if kind == "job":
                self._waiting.append(_Waiting(*content))
            else:
                self._more = kind != "end"
                break
        for waiting in list(self._waiting):
            free = [i for i, node in usable.items() if node.free >= self._wants(node)]
            if not free:
                break
            elsewhere = [i for i in free if i not in waiting.avoid]
            if not elsewhere and any(i not in waiting.avoid for i in usable):
                continue  # a node that it did not die on will be free
            node_id = max(elsewhere or free, key=lambda i: usable[i].free)
            self._waiting.remove(waiting)
            self._begin(waiting, node_id)

    def _wants(self, node: _Node) -> int:
        return max(min(self._cores, node.cores), 1)

    def _begin(self, waiting: _Waiting, node_id: str) -> None:
        node, job = self._nodes[node_id], waiting.job
        cores = self._wants(node)
        parcels, refs = [], []
        if isinstance(job, Portable):
            for files in job.files():
                parcel, content = pack(files)
                parcels.append(parcel)
                refs.append(self._put(parcel, content))
        folder = ""
        if isinstance(job, Portable) and job.home is not None:
            job.home.mkdir(parents=True, exist_ok=True)
            there = read_folder(job.home)
            folder = digest_of(there)
            refs.append(self._ray.put(there))
        if self._cores and self._mailbox is None:
            self._mailbox = self._ray.remote(num_cpus=0)(Mailbox).remote()
        errand = Errand(waiting.number, tuple(parcels), folder, self._mailbox, cores)
        options = self._perform.options(
            num_cpus=cores, scheduling_strategy=self._pin(node_id, soft=False), name=str(job)[:80]
        )
        ref = options.remote(self._work, job, errand, *refs)
        node.free -= cores
        self._running[ref] = _Running(waiting.number, waiting, node_id, cores)

    def _put(self, parcel: Parcel, content: Any) -> Any:
        if parcel.digest not in self._sent:
            self._sent[parcel.digest] = self._ray.put(content)
        return self._sent[parcel.digest]

    def _settle(self, ref: Any) -> None:
        """Pass on an answer, or try again what was lost."""
        running = self._running.pop(ref)
        node, waiting = self._nodes[running.node], running.job
        node.free += running.cores
        try:
            answer, failure, _ = self._ray.get(ref)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 (Ray raises what it likes)
            self._lost(waiting, running.node, error)
            return
        if failure is None:
            node.failures = 0
            self._read_mail()  # its files come before its answer
            self._connection.send(("done", waiting.number, answer))
        elif isinstance(failure, UsageError) or waiting.deaths + 1 >= _MOST_DEATHS - 1:
            if isinstance(failure, RoadSenseError):
                raise failure
            kind = type(failure).__name__
            raise EvaluationError(f"{waiting.job} on node {node.name}: {kind}: {failure}")
        else:  # it may be the node's: once more, elsewhere if there is an elsewhere
            self._lost(waiting, running.node, failure)

    def _lost(self, waiting: _Waiting, node_id: str, error: Exception) -> None:
        node, kind = self._nodes[node_id], type(error).__name__
        of_node = kind in _NOT_THE_JOBS
        self._sent.clear()  # what was put may be gone with a node
        if kind.startswith("Actor"):
            self._mailbox = None
        self._refreshed_s = -_REFRESH_S
        node.rests_until_s = time.monotonic() + _REST_S
        node.failures += 1
        why = _why(error)
        if not of_node:
            waiting.deaths += 1
        waiting.avoid.add(node_id)
        self._say(f"{waiting.job}: lost on node {node.name} ({why}); it is done again")
        if waiting.deaths >= _MOST_DEATHS:
            raise EvaluationError(
                f"{waiting.job} was lost {waiting.deaths} times, the last time on node "
                f"{node.name}: {why}. Run the same command again: what was finished is kept."
            )
        if node.failures >= _MOST_FAILURES_OF_A_NODE and not node.left_out:
            node.left_out = f"{node.failures} jobs in a row were lost on it, the last: {why}"
            self._say(f"node {node.name} is left out: {node.left_out}")
        self._waiting.appendleft(waiting)

    def _read_mail(self) -> None:
        """Pass on reports and files of watched jobs, and the answers back."""
        if self._mailbox is None:
            return
        try:
            news = self._ray.get(self._mailbox.news.remote(), timeout=60.0)
        except self._ray.exceptions.RayError:
            self._mailbox = None  # its node is gone; so are the reports, and jobs begin again
            return
        for kind, number, content in news:
            self._connection.send((kind, number, content))
            if kind == "report":
                answer, give_up = self._connection.recv()
                assert answer == "answer"  # noqa: S101 - the other end is ours
                self._mailbox.answer.remote(number, give_up=give_up)

    def _say(self, text: str) -> None:
        self._connection.send(("say", text))


def ask_nodes(address: str) -> list[NodeReport]:
    """Ask each node of a cluster what it is; for a process of its own.

    Raises:
        EvaluationError: Nothing answers at the address.
        ConfigError: It is no address, or a cluster of another version.
    """
    _be_quiet()
    ray = connect(address)
    from ray.util.scheduling_strategies import (  # noqa: PLC0415
        NodeAffinitySchedulingStrategy,
    )

    here, remote = examine(sumo=False), ray.remote(num_cpus=0, max_retries=0)(examine)
    asked = {}
    for node in (node for node in ray.nodes() if node["Alive"]):
        pin = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        cores = int(node["Resources"].get("CPU", 0))
        asked[name_of(node)] = cores, remote.options(scheduling_strategy=pin).remote()
    reports = [
        NodeReport(name, cores, *_answer_of(ray, ref, here, _EXAMINE_S))
        for name, (cores, ref) in asked.items()
    ]
    ray.shutdown()
    return reports


def _is_not_placed(ray: Any, ref: Any) -> bool:
    """Whether Ray found no such node: it lists one for a while that has just died."""
    try:
        ray.get(ref, timeout=0.0)
    except Exception as error:  # noqa: BLE001 (Ray raises what it likes)
        return type(error).__name__ == "TaskUnschedulableError"
    return False


def _answer_of(
    ray: Any, ref: Any, here: Machine, timeout_s: float = 0.0
) -> tuple[Machine | None, str]:
    """Return what a node says it is, and why it is not used; empty where it is."""
    try:
        machine: Machine = ray.get(ref, timeout=timeout_s)
    except Exception as error:  # noqa: BLE001 (Ray raises what it likes)
        said = _why(error)
        if type(error).__name__ == "OutOfMemoryError":
            return None, f"before a job {said}"
        if "ModuleNotFoundError" in said or "No module named" in said:
            return None, (
                f"RoadSense cannot be imported there ({said}): install the same version into the "
                "Python that `ray start` runs with"
            )
        if isinstance(error, TypeError | AttributeError):
            return None, f"it has another version of RoadSense ({said}): install one version"
        return None, f"it cannot be asked what it is ({said}): see its logs in /tmp/ray"
    return machine, problem_of(here, machine)


def name_of(node: Mapping[str, Any]) -> str:
    """Name a node of `ray.nodes()`: two of them may be on one machine."""
    host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return f"{host} ({address}, {node['NodeID'][:6]})"


def _no_node(left_out: Sequence[_Node]) -> str:
    """Say that no node can do the work, and why."""
    if not left_out:
        return "the cluster has no node with a core. Start one: ray start --address=HEAD:6379"
    said = "; ".join(f"node {node.name}: {node.left_out}" for node in left_out)
    return (
        f"the cluster has no node that can do the work. {said}. Mend that, and run the same "
        "command again: what was finished is kept."
    )


def _why(error: Exception) -> str:
    """Say what happened to a job, in words where Ray's are long."""
    kind = type(error).__name__
    if kind in _IN_WORDS:
        return _IN_WORDS[kind]
    return _last_line(error)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
