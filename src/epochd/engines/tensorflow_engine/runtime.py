"""Import and configuration of TensorFlow and Keras.

Some settings must be made before the import (backend, log level), others before the first operation (threads, logical
devices). Every module of this engine therefore imports ``tf`` and ``keras`` from here. The import takes 3-6 s on a
small machine; workers do it in advance.
"""

import os
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeAlias

from epochd.core.errors import InvalidSpec, Problem
from epochd.engines import network
from epochd.loop.engine import Setup

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# Before TensorFlow reads its log level it writes to file descriptor 2.
_stderr, _null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
try:
    keras: Any = import_module("keras")
    tf: Any = import_module("tensorflow")
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_null)

Tensor: TypeAlias = Any
"""A ``tf.Tensor``; TensorFlow has too few annotations for a type checker."""
CPU_DEVICES = 8
"""Logical CPU devices of a process; they share threads and memory, so that unused ones cost nothing
(measured: 8 against 1 the same threads, 0.3 MB more)."""
THREAD_FLOPS = 1e10
"""Operations per step from which a second CPU thread may be faster. Thousand rows/s with one thread / two, on 2 busy
cores: mlp 128-64-32, batch 32 (1e6) 1061 / 526; mlp 256-128-64-32, batch 256 (9e7) 409 / 272; lstm, gru,
cnn 64-32 7.2 / 5.1, 10.1 / 7.2, 79 / 50; mlp 1024-1024, batch 256 (2e9) 21 / 5-10; mlp 3 x 2048, batch 512 (3e10)
3.6 / 1.5-2.5. No size was faster there; that the largest are faster on idle cores is expected, not measured."""


def configure(setup: Setup) -> list[str]:
    """Configure TensorFlow for a job and return the names of the job's devices.

    Threads and CPU devices are fixed by the first job of a process, which takes only jobs that need the same.
    Raises InvalidSpec when there are fewer CPU devices than the job needs.
    """
    with suppress(RuntimeError):  # "cannot be modified after initialization": an earlier job has configured it
        tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU") if setup.gpus else ():
            tf.config.experimental.set_memory_growth(gpu, True)
        threads = threads_for(setup)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        devices = [tf.config.LogicalDeviceConfiguration()] * max(CPU_DEVICES, setup.devices)
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    if setup.gpus:
        return [f"/GPU:{index}" for index in setup.gpus]
    available = len(tf.config.list_logical_devices("CPU"))
    if setup.devices > available:
        message = f"{setup.devices} CPU devices are requested; TensorFlow in this worker has {available}"
        raise InvalidSpec([Problem("num_devices", message, f"use at most {available}")])
    return [f"/CPU:{index}" for index in range(setup.devices)]


def needed(setup: Setup) -> str:
    """The threads and CPU devices that a process has to have for this setup, such as ``1x8``."""
    return f"{threads_for(setup)}x{max(CPU_DEVICES, setup.devices)}"


def threads_for(setup: Setup) -> int:
    """One thread, since more are slower; all threads of the slot for very large steps."""
    if setup.chosen_threads is not None:
        return setup.chosen_threads
    work = network.flops_per_row(setup) * setup.spec.batch_size
    return setup.threads if work >= THREAD_FLOPS else 1
