"""The devices that JAX uses, and its number of threads.

JAX reads both once, at the first use of a device, so the first engine of a process determines them. A worker process
trains only jobs that need the same (``needed``); other processes that build several engines over CPU devices
set ``JAX_NUM_CPU_DEVICES``.
"""

import os
from contextlib import suppress
from math import prod

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
    with suppress(RuntimeError):  # JAX has started with another number; whether it is enough is checked below
        jax.config.update("jax_num_cpu_devices", device_count(setup))  # type: ignore[no-untyped-call]
    threads_are_set = "NPROC" in os.environ
    os.environ.setdefault("NPROC", str(threads_for(setup)))  # XLA reads it when it starts its thread pool
    try:
        cpus = _devices("cpu")
    finally:
        if not threads_are_set:
            del os.environ["NPROC"]
    _require(len(cpus) >= setup.devices, "num_devices", f"{setup.devices} CPU devices", f"JAX has {len(cpus)}")
    return Mesh(np.array(cpus[: setup.devices]), ROWS)


def needed(setup: Setup) -> str:
    """The threads and CPU devices that a process has to have for this setup, such as ``1x1``."""
    return f"{os.environ.get('NPROC') or threads_for(setup)}x{device_count(setup)}"


def device_count(setup: Setup) -> int:
    """The number of CPU devices that JAX starts with."""
    return max(setup.devices, int(os.environ.get("JAX_NUM_CPU_DEVICES", 1)))


def threads_for(setup: Setup) -> int:
    """One thread, or all threads of the slot where the matrix products are large.

    Measured on two busy hyperthreads, best milliseconds per step with one / two threads, by work
    per step: mlp 2e6 flops 0.026 / 0.038, 9e7 0.57 / 0.77, 1e9 5.5 / 17, 7e9 37 / 40. A recurrent network's
    products are those of one time step.
    """
    if setup.chosen_threads is not None:
        return setup.chosen_threads
    work = network.flops_per_row(setup) * setup.spec.batch_size / setup.devices
    if setup.spec.model_type in network.GATES:
        work /= prod(setup.inputs[:-1])
    return setup.threads if work >= THREAD_FLOPS else 1


def _devices(platform: str) -> list[jax.Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:
        return []


def _require(holds: bool, field: str, requested: str, present: str) -> None:
    if not holds:
        raise InvalidSpec([Problem(field, f"{requested} were requested, but {present}", f"lower {field}")])
