"""The one door to TensorFlow and Keras.

What they read once has to be set before they are imported (Keras's backend, how much they log) or before
their first operation (threads, logical devices), so every module of this engine takes ``tf`` and ``keras``
from here. The import takes 3-6 s on a small machine: workers pay it ahead of the job.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeAlias

from epochd.core.errors import InvalidSpec, Problem
from epochd.engines import network
from epochd.loop.engine import Setup

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow greets on file descriptor 2 before it reads its log level; send that to nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silent_stderr():
    keras: Any = import_module("keras")
    tf: Any = import_module("tensorflow")

Tensor: TypeAlias = Any
"""A ``tf.Tensor``; TensorFlow's own annotations are too few for a type checker to follow."""
CPU_DEVICES = 8
"""Logical CPU devices of a process; they share one thread pool and one memory, so that spare ones cost nothing
(measured: 8 against 1 the same threads, 0.3 MB more)."""
THREAD_FLOPS = 1e10
"""Work of one step from which a second CPU thread may pay. Thousand rows/s with one thread / two, on 2 cores that had
other work besides: mlp 128-64-32, batch 32 (1e6) 1061 / 526; mlp 256-128-64-32, batch 256 (9e7) 409 / 272; lstm, gru,
cnn 64-32 7.2 / 5.1, 10.1 / 7.2, 79 / 50; mlp 1024-1024, batch 256 (2e9) 21 / 5-10; mlp 3 x 2048, batch 512 (3e10)
3.6 / 1.5-2.5. So no size gained there; that the largest gain on idle cores is expected, not measured."""


def start(setup: Setup) -> list[str]:
    """Begin with a job: fix what TensorFlow fixes once per process, and name the job's devices.

    The first job decides for all that may follow in its process; the dispatcher gives each its own.
    Raises InvalidSpec when there are fewer CPU devices than the job wants.
    """
    with suppress(RuntimeError):  # "cannot be modified after initialization": an earlier job has done it
        _configure(setup)
    if setup.gpus:
        return [f"/GPU:{index}" for index in setup.gpus]
    there = len(tf.config.list_logical_devices("CPU"))
    if setup.devices > there:
        message = f"{setup.devices} CPU devices are asked for; this worker's TensorFlow has {there}"
        raise InvalidSpec([Problem("num_devices", message, f"use at most {there}")])
    return [f"/CPU:{index}" for index in range(setup.devices)]


def _configure(setup: Setup) -> None:
    tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU") if setup.gpus else ():
        tf.config.experimental.set_memory_growth(gpu, True)
    threads = threads_for(setup)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    devices = [tf.config.LogicalDeviceConfiguration()] * max(CPU_DEVICES, setup.devices)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)


def threads_for(setup: Setup) -> int:
    """One thread, which more only slow down; all that the slot has for very large steps."""
    work = network.flops_per_row(setup) * setup.spec.batch_size
    return setup.threads if work >= THREAD_FLOPS else 1
