"""Training on one device or on several: many steps in one call.

Data and state stay on the devices; a call sends row numbers and receives two sums. One device runs the whole chunk as
one graph, compiled by XLA where that is faster. Several devices (``MirroredStrategy``) each take their rows of every
global batch, add up their gradients and take the same step. Not tested on GPUs.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, programs
from epochd.engines.programs import PROGRAMS, ProgramSetup
from epochd.engines.tensorflow_engine import training_step
from epochd.engines.tensorflow_engine.runtime import tf
from epochd.loop.engine import Arrays, Setup

COMPILE_STEPS = {"mlp": 5000, "cnn": 1500, "lstm": 600, "gru": 300}
"""Steps in the whole training from which compilation by XLA saves time on a CPU. Measured on the three benchmark
configs (2 cores): compiling takes 0.4 s (mlp, cnn), 1.0-1.7 s (lstm) and 0.6-1.3 s (gru) longer than tracing; a step
is then shorter by 0.09 ms (mlp: 0.03 instead of 0.12), 0.35 (cnn), 1.7-2.7 (lstm) and 2.1-2.9 (gru)."""
PATCHES, PATCH_VALUES = 25, 1 << 24
"""The largest kernel, in steps or pixels, and the largest matrix of patches of a batch for which XLA for CPU computes
convolutions as matrix products. ms per step compiled / not, kernel 3: layers 64-32, batch 32, at 8 x 8 x 1: 0.8 / 1.7;
layers 64-64, batch 32, at 32 x 32 x 3 (5 million values): 13 / 14; layers 32-64-64, batch 64, at 64 x 64 x 3 (19
million): 149 / 127."""


def compiles(setup: Setup, resident: int) -> bool:
    """Whether XLA compiles this training; depends on spec and data only, so that a resumed run does the same.

    ``resident``: the number of rows that the engine is built with.
    """
    if setup.gpus:
        return True
    if setup.spec.model_type == "cnn" and not patches_fit(setup):
        return False
    steps = ceil((setup.rows or resident) / setup.spec.batch_size)
    return setup.spec.epochs * steps >= COMPILE_STEPS[setup.spec.model_type]


def patches_fit(setup: Setup) -> bool:
    """Whether every convolution of a batch is small enough for a matrix product over patches."""
    *space, channels = network.hidden_inputs(setup)
    kernel = setup.spec.kernel_size ** len(space)
    largest = 0
    for filters in setup.spec.hidden_units:
        largest = max(largest, setup.spec.batch_size * prod(space) * kernel * channels)
        channels, space = filters, network.pooled(space)
    return kernel <= PATCHES and largest <= PATCH_VALUES


class OneDevice:
    """Training rows and state on one device, and a graph that loops over the steps of a chunk."""

    def __init__(
        self, setup: Setup, train: InMemoryDataset, state: Arrays, *, device: str, dtype: str, compiled: bool
    ) -> None:
        self._device = device
        self._chunk = chunk_program(ProgramSetup.of(setup), compiled, dtype)
        self.load_rows(train)
        self.load(state)
        with tf.device(device):
            self._hyper = {name: tf.constant(value) for name, value in programs.hyperparameters(setup).items()}

    def load_rows(self, rows: InMemoryDataset) -> None:
        with tf.device(self._device):
            self._x, self._y = tf.constant(rows.x), tf.constant(narrow(rows.y))
            self._weights = None if rows.weights is None else tf.constant(rows.weights)

    def state(self) -> Arrays:
        return {name: value.numpy() for name, value in self._state.items()}

    def load(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        with tf.device(self._device):
            self._state = {name: tf.constant(value) for name, value in state.items()}

    def train(self, rows: Any, count: int, step: int, rate: float) -> tuple[float, float]:
        """Row numbers (steps, batch), of which the first ``count`` are used → sums of losses and scores."""
        with tf.device(self._device):
            numbers = tf.constant(rows), *scalars(count, step, rate)
            self._state, sums = self._chunk(self._state, self._x, self._y, self._weights, *numbers, self._hyper)
        loss, score = sums.numpy().tolist()
        return loss, score


@lru_cache(PROGRAMS)
def chunk_program(shape: ProgramSetup, compiled: bool, dtype: str) -> Callable[..., Any]:
    """A graph for the steps of a chunk on one device: (state, x, y, weights of the rows or None, row numbers (steps,
    batch), number of rows, first step, learning rate, hyperparameters) → (state, sums of losses and scores)."""
    setup = shape.setup
    size = setup.spec.batch_size
    gradient = partial(training_step.gradient, setup, compiled=compiled and not setup.gpus, dtype=dtype)

    def chunk(
        state: Any, all_x: Any, all_y: Any, weights: Any, rows: Any, count: Any, step: Any, rate: Any, hyper: Any
    ) -> Any:
        def one(i: Any, state: Any, sums: Any) -> Any:
            real = tf.minimum(count - i * size, size)
            x = tf.ensure_shape(tf.gather(all_x, rows[i]), [rows.shape[1], *setup.inputs])
            number = step + tf.cast(i, tf.int64)
            of_rows = None if weights is None else tf.gather(weights, rows[i])
            slopes, loss, score = gradient(state, x, tf.gather(all_y, rows[i]), 0, real, number, of_rows, hyper)
            state = training_step.apply_gradient(setup.spec.optimizer, state, slopes, rate, hyper)
            return i + 1, state, sums + tf.cast(tf.stack([loss, score]), tf.float64)

        start = (tf.constant(0), state, tf.zeros(2, tf.float64))
        _, state, sums = tf.while_loop(lambda i, *_: i * size < count, one, start)
        return state, sums

    return tf.function(chunk, jit_compile=compiled, autograph=False)  # type: ignore[no-any-return]


class ManyDevices:
    """Training rows and state mirrored on several devices; XLA compiles each device's share of a step."""

    def __init__(
        self, setup: Setup, train: InMemoryDataset, state: Arrays, *, devices: list[str], dtype: str, compiled: bool
    ) -> None:
        self._setup = setup
        add_up = tf.distribute.NcclAllReduce() if setup.gpus else tf.distribute.ReductionToOneDevice()
        self._strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=add_up)
        own = {
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        with self._strategy.scope():
            self._x = tf.Variable(train.x, trainable=False)
            self._y = tf.Variable(narrow(train.y), trainable=False)
            self._weights = None if train.weights is None else tf.Variable(train.weights, trainable=False)
            self._state = {name: tf.Variable(value, trainable=False, **own) for name, value in state.items()}
        by_xla_on_cpu = compiled and not setup.gpus
        share = partial(training_step.gradient, setup, compiled=by_xla_on_cpu, dtype=dtype)
        self._gradient = tf.function(share, jit_compile=compiled, autograph=False)
        self._hyper = {name: tf.constant(value) for name, value in programs.hyperparameters(setup).items()}
        self._chunk = tf.function(self._loop, autograph=False)

    def load_rows(self, rows: InMemoryDataset) -> None:
        self._x.assign(rows.x)
        self._y.assign(narrow(rows.y))
        if self._weights is not None:
            self._weights.assign(rows.weights)

    def state(self) -> Arrays:
        return {name: self._strategy.experimental_local_results(v)[0].numpy() for name, v in self._state.items()}

    def load(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        for name, variable in self._state.items():
            for copy in self._strategy.experimental_local_results(variable):
                copy.assign(state[name])

    def train(self, rows: Any, count: int, step: int, rate: float) -> tuple[float, float]:
        """Row numbers (steps, batch), of which the first ``count`` are used → sums of losses and scores."""
        loss, score = self._chunk(tf.constant(rows), *scalars(count, step, rate)).numpy().tolist()
        return loss, score

    def _loop(self, rows: Any, count: Any, step: Any, rate: Any) -> Any:
        size = self._setup.spec.batch_size

        def one(i: Any, sums: Any) -> Any:
            real = tf.minimum(count - i * size, size)
            number = step + tf.cast(i, tf.int64)
            shares = self._strategy.run(self._replica_step, args=(rows[i], real, number, rate))
            total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None)
            return i + 1, sums + tf.cast(total, tf.float64)

        return tf.while_loop(lambda i, *_: i * size < count, one, (tf.constant(0), tf.zeros(2, tf.float64)))[1]

    def _replica_step(self, rows: Any, real: Any, step: Any, rate: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        size = rows.shape[0] // replica.num_replicas_in_sync
        first = replica.replica_id_in_sync_group * size
        mine = tf.reshape(rows, [-1, size])[replica.replica_id_in_sync_group]
        state = {name: variable.read_value() for name, variable in self._state.items()}
        x = tf.ensure_shape(tf.gather(self._x, mine), [size, *self._setup.inputs])
        of_rows = None if self._weights is None else tf.gather(self._weights, mine)
        y, hyper = tf.gather(self._y, mine), self._hyper
        slopes, loss, score = self._gradient(state, x, y, first, real, step, of_rows, hyper)
        slopes = replica.all_reduce(tf.distribute.ReduceOp.SUM, slopes)
        optimizer = self._setup.spec.optimizer
        for name, value in training_step.apply_gradient(optimizer, state, slopes, rate, hyper).items():
            self._state[name].assign(value)
        return tf.stack([loss, score])


def scalars(count: int, step: int, rate: float) -> tuple[Any, Any, Any]:
    """The arguments as tensors: each new Python number would cause a retrace."""
    return tf.constant(count, tf.int32), tf.constant(step, tf.int64), tf.constant(rate, tf.float32)


def narrow(y: Any) -> Any:
    """Class numbers as int32; other targets unchanged."""
    return y.astype(np.int32) if y.dtype == np.int64 else y
