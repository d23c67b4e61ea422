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


def start(setup: Setup) -> list[str]:
    """Begin with a job: fix what TensorFlow fixes once per process, and name the job's devices.

    Threads belong to the process, not to a model: the first job's ``threads`` stay. That is also the rule by
    size: XLA runs small operations on the calling thread whatever the pool holds (mlp 128-64-32, batch 32:
    46 us per step with one thread, 56 with two, on a 2-core machine that others use too).
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
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setup.threads)
    devices = [tf.config.LogicalDeviceConfiguration()] * max(CPU_DEVICES, setup.devices)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
