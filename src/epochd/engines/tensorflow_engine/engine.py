"""The TensorFlow engine, with Keras 3: training rows on the device, a chunk of steps in one call.

Keras ``fit`` returns to Python after every step; here the loop over steps is part of the graph (``devices``),
compiled where that is faster, and the step is a pure function of its state (``training_step``).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import InvalidSpec, Problem
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, programs
from epochd.engines.programs import PROGRAMS, ProgramSetup
from epochd.engines.tensorflow_engine import networks, runtime, training_step
from epochd.engines.tensorflow_engine.devices import ManyDevices, OneDevice, compiles
from epochd.engines.tensorflow_engine.runtime import Tensor, tf
from epochd.loop.engine import Arrays, Setup
from epochd.loop.state import Totals

EVALUATION_ROWS = 4096
"""Rows per forward pass in evaluation; limits memory, not speed."""


class TensorFlowEngine:
    """One network on one device or on several."""

    def __init__(self, setup: Setup, train: InMemoryDataset) -> None:
        devices = runtime.configure(setup)
        dtype = compute_dtype(setup)
        self._setup = setup
        self._capacity = programs.capacity(len(train))
        # a graph of fixed shapes: the batch rounded up to equal shares of the devices, and the steps of a full chunk
        self._batch = -(-min(setup.spec.batch_size, len(train)) // len(devices)) * len(devices)
        self._chunk_steps = network.batches(setup, len(train)).chunk_steps
        state = training_step.flattened(setup, dict(network.initial_weights(setup)))
        state |= training_step.initial_optimizer_state(setup, dtype)
        self._compiled = compiles(setup, len(train))
        rows = train.padded(self._capacity)
        self._trainer = (
            OneDevice(setup, rows, state, device=devices[0], dtype=dtype, compiled=self._compiled)
            if len(devices) == 1
            else ManyDevices(setup, rows, state, devices=devices, dtype=dtype, compiled=self._compiled)
        )
        self._devices = devices
        self._forward = outputs_program(ProgramSetup.of(setup))

    @property
    def description(self) -> dict[str, Any]:
        return {
            "framework": "tensorflow",
            "framework_version": str(tf.__version__),
            "keras_version": str(runtime.keras.__version__),
            "device": ", ".join(name.strip("/").lower() for name in self._devices),
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "compiled": self._compiled,
        }

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Padded to the capacity of the constructor's rows, so that fewer rows need no other graph."""
        self._trainer.load_rows(rows.padded(self._capacity))

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        loss, score = self._trainer.train(self._row_table(rows), len(rows), step, learning_rate)
        return Totals(len(rows), loss, score)

    def _row_table(self, rows: IntArray) -> Any:
        """Row numbers, int32 (steps, padded batch), padded to the shape that the graph was compiled for.

        Padding repeats a row of the batch, so that no other value enters the graph.
        """
        size = self._setup.spec.batch_size
        full, rest = len(rows) // size, rows[len(rows) // size * size :]
        self._chunk_steps = max(self._chunk_steps, full + bool(len(rest)))
        table = np.zeros((self._chunk_steps, self._batch), np.int32)
        if full:
            table[:full, :size] = rows[: full * size].reshape(full, size)
            table[:full, size:] = table[:full, :1]
        if len(rest):
            table[full, : len(rest)], table[full, len(rest) :] = rest, rest[0]
        return table

    def outputs(self, x: FloatArray) -> FloatArray:
        """Blocks of rows on the first device, traced once for any number of rows."""
        with tf.device(self._devices[0]):
            flat = tf.constant(self._trainer.state()["weights"])
            blocks = [x[first : first + EVALUATION_ROWS] for first in range(0, len(x), EVALUATION_ROWS)]
            found = [self._forward(flat, tf.constant(block)).numpy() for block in blocks]
        return np.concatenate(found) if found else np.zeros((0, self._setup.outputs), np.float32)

    def weights(self) -> Arrays:
        return training_step.unflattened(self._setup, self._trainer.state()["weights"])

    def load_weights(self, weights: Arrays) -> None:
        self._trainer.load(self._trainer.state() | training_step.flattened(self._setup, weights))

    def optimizer_state(self) -> Arrays:
        return {name: np.array(value) for name, value in self._trainer.state().items() if name != "weights"}

    def load_optimizer_state(self, state: Arrays) -> None:
        self._trainer.load(self._trainer.state() | state)

    def close(self) -> None:
        """Nothing to stop: all devices belong to this process."""


@lru_cache(PROGRAMS)
def outputs_program(shape: ProgramSetup) -> Callable[[Tensor, Tensor], Tensor]:
    """(flat weights, x) → outputs (rows, outputs), dropout off."""
    setup = shape.setup

    def outputs(flat: Tensor, x: Tensor) -> Tensor:
        return networks.forward(setup, networks.named(setup, flat), x, networks.no_dropout, compiled=False)

    any_rows = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([None, *setup.inputs], tf.float32)]
    return tf.function(outputs, input_signature=any_rows, autograph=False)  # type: ignore[no-any-return]


def compute_dtype(setup: Setup) -> str:
    """The type in which the network computes. Not tested on GPUs.

    Raises InvalidSpec for mixed precision on a CPU: XLA there computes bfloat16 no faster than float32 (256 x 1024 x
    1024 product, AVX512-BF16: 2.5-5.2 against 3.5-3.8 ms).
    """
    if not setup.spec.mixed_precision:
        return "float32"
    if not setup.gpus:
        message = "the tensorflow engine computes bfloat16 no faster than float32 on a CPU"
        raise InvalidSpec([Problem("mixed_precision", message, "leave it out, or train on a GPU")])
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpus[index]) for index in setup.gpus]
    return "bfloat16" if all(gpu.get("compute_capability", (0, 0)) >= (8, 0) for gpu in details) else "float16"
