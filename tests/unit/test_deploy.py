"""The files in deploy/, read as data: neither SLURM nor Kubernetes is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RAY = re.search(r"^ray==(\S+)", (ROOT / "requirements-ray.txt").read_text(), re.MULTILINE)[1]
# Of KubeRay's CRD ray.io/v1: fields beside these are refused by a strict server.
JOB = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
       "rayClusterSpec"}  # fmt: skip
CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def test_each_says_that_it_is_untried():
    """What nobody ran is not told as if somebody had."""
    files = sorted(DEPLOY.iterdir())
    assert [file.name for file in files] == ["rayjob.yaml", "roadsense.sbatch"]
    assert all("\n# UNTRIED: " in file.read_text() for file in files)


def test_the_job_on_kubernetes():
    """Its fields are those of a RayJob, of the pinned Ray, with a token, not as root."""
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) == JOB
    assert spec["entrypoint"].startswith("roadsense targets ")
    assert spec["entrypoint"].endswith(" --cluster auto")
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == CLUSTER
    assert cluster["rayVersion"] == RAY
    assert f"ray[default]=={RAY}" in (DEPLOY / "rayjob.yaml").read_text()
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert [set(group) - GROUP for group in groups] == [set(), set()]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["resources"]["requests"] == container["resources"]["limits"]
        named = {variable["name"]: variable["value"] for variable in container["env"]}
        assert named["RAY_USAGE_STATS_ENABLED"] == "0"
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes


def test_the_script_for_slurm():
    """One Ray for each node with the cores that were asked for, guarded by a token."""
    text = (DEPLOY / "roadsense.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, flags=re.MULTILINE))
    assert options["ntasks-per-node"] == "1"
    assert {"nodes", "cpus-per-task", "mem-per-cpu", "time"} <= options.keys()
    assert text.index("RAY_AUTH_MODE=token") < text.index("ray symmetric-run --address")
    assert '--num-cpus="$SLURM_CPUS_PER_TASK"' in text
    assert text.rstrip().endswith('-- .venv/bin/roadsense "$@" --cluster auto')
