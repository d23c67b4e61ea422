"""A Ray cluster for all tests of executors."""

from collections.abc import Iterator

import pytest
from tests.support.ray_cluster import RayCluster


@pytest.fixture(scope="session")
def ray_processes() -> Iterator[RayCluster]:
    """One node with two processors."""
    processes = RayCluster(head_cpus=2)
    yield processes
    processes.close()
