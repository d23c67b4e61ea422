"""The devices that JAX uses, and its number of threads.

JAX reads both once, at the first use of a device, so the first engine of a process determines them. A worker process
trains one job; a process that builds several engines over CPU devices sets ``JAX_NUM_CPU_DEVICES``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from epochd.core.errors import InvalidSpec, Problem
from epochd.engines import network
from epochd.loop.engine import Setup

ROWS = "rows"
"""The only axis of the mesh: the rows of a batch are split along it."""
REPLICATED = PartitionSpec()  # type: ignore[no-untyped-call]
"""A complete copy of the array on every device."""
SPLIT = PartitionSpec(None, ROWS)  # type: ignore[no-untyped-call]
"""(steps, rows): each device has its share of the positions in every batch."""
THREAD_FLOPS = 5e9
"""Operations per step from which more CPU threads are not slower (see ``threads_for``)."""


def mesh_for(setup: Setup) -> Mesh:
    """The devices that split each batch; raises InvalidSpec if there are fewer than requested."""
    if setup.gpus:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        found = {device.id: device for device in _devices("gpu")}
        _require(set(setup.gpus) <= found.keys(), "num_gpus", f"GPUs {list(setup.gpus)}", f"JAX sees {sorted(found)}")
        return Mesh(np.array([found[i] for i in setup.gpus]), ROWS)
    cpus = _cpus(setup.devices, threads_for(setup))
    _require(len(cpus) >= setup.devices, "num_devices", f"{setup.devices} CPU devices", f"JAX has {len(cpus)}")
    return Mesh(np.array(cpus[: setup.devices]), ROWS)


def threads_for(setup: Setup) -> int:
    """One thread, or all threads of the slot where the matrix products are large.

    Measured on two busy hyperthreads, best milliseconds per step with one / two threads, by work
    per step: mlp 2e6 flops 0.026 / 0.038, 9e7 0.57 / 0.77, 1e9 5.5 / 17, 7e9 37 / 40. A recurrent network's
    products are those of one time step.
    """
    work = network.flops_per_row(setup) * setup.spec.batch_size / setup.devices
    if setup.spec.model_type in network.GATES:
        work /= prod(setup.inputs[:-1])
    return setup.threads if work >= THREAD_FLOPS else 1


def _cpus(count: int, threads: int) -> list[jax.Device]:
    count = max(count, int(os.environ.get("JAX_NUM_CPU_DEVICES", 1)))
    with suppress(RuntimeError):  # JAX has started with another number; the caller checks whether it is enough
        _configure("jax_num_cpu_devices", count)
    with _environment("NPROC", str(threads)):
        return _devices("cpu")


def _configure(name: str, value: Any) -> None:
    jax.config.update(name, value)  # type: ignore[no-untyped-call]


def _devices(platform: str) -> list[jax.Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:
        return []


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable that XLA reads when it starts its thread pool; an existing value takes precedence."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _require(holds: bool, field: str, requested: str, present: str) -> None:
    if not holds:
        raise InvalidSpec([Problem(field, f"{requested} were requested, but {present}", f"lower {field}")])
