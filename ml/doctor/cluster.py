"""The nodes of a Ray cluster: what each is, and whether it would find the same rows."""

from ml.doctor.programs import Finding, note, ok, wrong
from ml.errors import RoadSenseError
from ml.execution.executor import require_ray
from ml.execution.nodes import Machine
from ml.execution.workers import WorkerPool


def nodes(address: str) -> list[Finding]:
    """Ask each node of a cluster what it is; in a process of its own, which Ray may end.

    Raises:
        ConfigError: Ray is not installed.
    """
    require_ray()
    from ml.execution.ray_driver import ask_nodes  # noqa: PLC0415 (only where there is Ray)

    try:
        with WorkerPool(ask_nodes, 1) as pool:
            ((_, reports),) = pool.run([address])
    except RoadSenseError as error:
        mend = "ray start --head, another address, or the same Ray here and there"
        return [wrong("cluster", str(error), mend)]
    cpus = {report.machine.cpu for report in reports if report.machine is not None}
    findings = []
    for report in reports:
        name = f"node {report.name}"
        found = _found(report.machine, report.cores)
        if report.problem:
            findings.append(wrong(name, found or "no answer", report.problem))
        elif not report.cores:
            findings.append(note(name, found, "Ray gives out no core there; others do the work"))
        elif len(cpus) > 1:
            mend = "processors differ: rows may, in their last bits; use nodes of one kind"
            findings.append(note(name, found, mend))
        else:
            findings.append(ok(name, found))
    return findings


def _found(machine: Machine | None, cores: int) -> str:
    if machine is None:
        return ""
    free_gib, all_gib = machine.memory_gib
    return (
        f"RoadSense {machine.roadsense} (code {machine.code}), Ray {machine.packages['ray']}, "
        f"Python {machine.python}, SUMO {machine.packages['libsumo']} "
        f"{'starts' if not machine.sumo else 'does not start'}; {cores} of {machine.cores} cores "
        f"for Ray, {free_gib:.1f} of {all_gib:.1f} GB available, {machine.cpu}"
    )
