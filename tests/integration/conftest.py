"""Fixtures of the tests on real SUMO."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.ray_cluster import RayCluster, ray_cluster
from support.sumo_service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

# Training runs here are of some hundred steps: further processes would take longer to start than
# they save. What workers do is tested where it says so.
os.environ["WORKERS"] = "1"


@pytest.fixture
def service() -> Iterator[Service]:
    """A SUMO that is started again whenever it ends, on a port of its own."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """The head of a Ray cluster, which outlives the nodes that tests add and kill."""
    with ray_cluster() as running:
        yield running
