"""The JAX engine: training rows on the device, a chunk of steps as one compiled program (``program``).

Several devices split each batch: every device has all weights and all rows, and takes its share of the positions in
each batch. Not tested on GPUs.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import InvalidSpec, Problem
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, programs
from epochd.engines.jax_engine import devices, program
from epochd.engines.programs import ProgramSetup
from epochd.loop.engine import Arrays, Setup
from epochd.loop.state import Totals

EVALUATION_FLOPS = 1e9
EVALUATION_ROWS = 1024
"""The most rows per forward pass in evaluation, fewer for a large network; limits memory."""
FEW_ROWS = 128
"""Up to so many rows are one forward pass of this size: the report of a small dataset predicts them some hundred
times."""
BF16_CAPABILITY = 8.0
"""CUDA compute capability from which a GPU has bfloat16 units (Ampere)."""


class JaxEngine:
    """One network on one device or on several."""

    def __init__(self, setup: Setup, train: InMemoryDataset) -> None:
        self._setup = setup
        self._mesh = devices.mesh_for(setup)
        check_precision(setup, self._mesh.devices.flat[0])
        self._batch = min(setup.spec.batch_size, len(train))
        self._chunk = network.batches(setup, len(train)).chunk_steps
        self._evaluation_rows = int(np.clip(EVALUATION_FLOPS / network.flops_per_row(setup), 1, EVALUATION_ROWS))
        self._capacity = programs.capacity(len(train))
        self.load_rows(train)

        shape = ProgramSetup.of(setup)
        self._hyper = {name: self._replicate(value) for name, value in programs.hyperparameters(setup).items()}
        self._train = program.training_program(shape, self._batch, self._mesh)
        self._outputs = program.outputs_program(shape)
        self.load_weights(dict(network.initial_weights(setup)))
        state = jax.eval_shape(program.build_optimizer(setup.spec.optimizer, self._hyper).init, self._flat)
        self._optimizer_state = jax.tree.map(lambda part: self._replicate(np.zeros(part.shape, part.dtype)), state)

    @property
    def description(self) -> dict[str, Any]:
        return {
            "framework": "jax",
            "framework_version": jax.__version__,
            "device": ", ".join(str(device) for device in self._mesh.devices.flat),
            "threads": devices.threads_for(self._setup),
        }

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Padded to the capacity of the constructor's rows, so that fewer rows need no other program."""
        padded = rows.padded(self._capacity)
        labels = padded.y.astype(np.int32) if padded.y.dtype == np.int64 else padded.y  # JAX has no int64
        self._x, self._y = self._replicate(padded.x), self._replicate(labels)
        self._weights = None if padded.weights is None else self._replicate(padded.weights)

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        size = self._chunk * self._batch
        sums = [
            self._train_chunk(rows[first : first + size], step + first // self._batch, learning_rate)
            for first in range(0, len(rows), size)
        ]
        loss, score = np.concatenate([np.asarray(part) for part in sums]).astype(np.float64).sum(axis=0)
        return Totals(len(rows), float(loss), float(score))

    def outputs(self, x: FloatArray) -> FloatArray:
        flat = self._flat.addressable_data(0)
        size = self._evaluation_rows if len(x) > FEW_ROWS else min(FEW_ROWS, self._evaluation_rows)
        parts = []
        for first in range(0, len(x), size):
            rows = x[first : first + size]
            if len(rows) < size:
                rows = np.concatenate([rows, np.zeros((size - len(rows), *x.shape[1:]), np.float32)])
            parts.append(self._outputs(flat, rows))
        return np.concatenate([np.asarray(part) for part in parts])[: len(x)]

    def weights(self) -> Arrays:
        named = program.named_weights(self._setup, np.asarray(self._flat))
        return {name: weight.copy() for name, weight in named.items()}

    def load_weights(self, weights: Arrays) -> None:
        names = network.shapes(self._setup)
        self._flat = self._replicate(np.concatenate([np.ravel(weights[name]) for name in names], dtype=np.float32))

    def optimizer_state(self) -> Arrays:
        return {jax.tree_util.keystr(path): np.array(part) for path, part in self._state_parts()}

    def load_optimizer_state(self, state: Arrays) -> None:
        parts = [self._replicate(state[jax.tree_util.keystr(path)]) for path, _ in self._state_parts()]
        self._optimizer_state = jax.tree.unflatten(jax.tree.structure(self._optimizer_state), parts)

    def close(self) -> None:
        """Nothing to stop."""

    def _train_chunk(self, rows: IntArray, step: int, learning_rate: float) -> jax.Array:
        """Start up to a chunk's number of steps → sums of loss and score per step, zero for missing steps."""
        count = self._mesh.size
        table = np.zeros((self._chunk, -(-self._batch // count) * count), np.int32)
        for i, first in enumerate(range(0, len(rows), self._batch)):
            batch = rows[first : first + self._batch]
            table[i, : len(batch)] = batch
        positions = table if count == 1 else jax.device_put(table, NamedSharding(self._mesh, devices.SPLIT))
        self._flat, self._optimizer_state, sums = self._train(
            self._flat,
            self._optimizer_state,
            self._x,
            self._y,
            self._weights,
            positions,
            np.uint32(step & 0xFFFFFFFF),
            np.int32(len(rows)),
            np.float32(learning_rate),
            self._hyper,
        )
        return sums

    def _replicate(self, array: np.ndarray[Any, Any]) -> jax.Array:
        """A copy on each device, owned by JAX, since weights are donated."""
        sharding = NamedSharding(self._mesh, devices.REPLICATED)
        copied: jax.Array = jax.device_put(np.array(array), sharding, may_alias=False)
        return copied

    def _state_parts(self) -> list[tuple[Any, jax.Array]]:
        return jax.tree_util.tree_leaves_with_path(self._optimizer_state)


def check_precision(setup: Setup, device: jax.Device) -> None:
    """Raise InvalidSpec if the spec asks for bfloat16 and ``device`` does not compute faster in it."""
    if not setup.spec.mixed_precision:
        return
    capability = getattr(device, "compute_capability", None)
    if device.platform == "gpu" and (capability is None or float(capability) >= BF16_CAPABILITY):
        return
    kind = "a CPU" if device.platform == "cpu" else f"this GPU (compute capability {capability})"
    raise InvalidSpec([Problem("mixed_precision", f"JAX is not faster in bfloat16 on {kind}", "leave it out")])
