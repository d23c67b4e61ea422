"""JAX: rows resident on the device, a chunk of steps as one compiled program.

``jax_program`` holds the program, ``jax_models`` the networks, ``jax_dropout`` the masks and ``jax_backend`` the
devices and threads; this is the engine that the loop sees. Several devices split each batch: every device has all
weights and all rows, and takes its share of the places in each batch. Untested on GPUs.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import InvalidSpec, Problem
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network
from epochd.engines.jax_engine import devices as jax_backend
from epochd.engines.jax_engine import program
from epochd.loop.engine import Arrays, Setup
from epochd.loop.state import Totals

EVALUATION_FLOPS = 1e9
EVALUATION_ROWS = 1024
"""Rows per forward pass when scoring: at most these, fewer of a large network, to bound memory."""
BF16_CAPABILITY = 8.0
"""CUDA compute capability from which a GPU has bfloat16 units (Ampere)."""


class JaxEngine:
    """One network, trained by JAX on one device or on several."""

    def __init__(self, setup: Setup, train: InMemoryDataset) -> None:
        self._setup = setup
        self._mesh = jax_backend.mesh_for(setup)
        check_precision(setup, self._mesh.devices.flat[0])
        self._batch = min(setup.spec.batch_size, len(train))
        work = network.flops_per_row(setup)
        self._chunk = network.batches(setup, len(train)).chunk_steps
        self._scored = int(np.clip(EVALUATION_FLOPS / work, 1, EVALUATION_ROWS))
        self._capacity = len(train)
        self.load_rows(train)

        optimizer = program.build_optimizer(setup.spec)
        self._train = program.training_program(setup, optimizer, self._batch, self._mesh)
        self._outputs = program.outputs_program(setup)
        self.load_weights(dict(network.initial_weights(setup)))
        memory = jax.eval_shape(optimizer.init, self._flat)
        self._memory = jax.tree.map(lambda part: self._everywhere(np.zeros(part.shape, part.dtype)), memory)

    @property
    def description(self) -> dict[str, Any]:
        return {
            "framework": "jax",
            "framework_version": jax.__version__,
            "device": ", ".join(str(device) for device in self._mesh.devices.flat),
            "threads": jax_backend.threads_for(self._setup),
        }

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Padded to the constructor's number of rows, so that a smaller window needs no other program."""
        window = rows.padded(self._capacity)
        self._x, self._y = self._everywhere(window.x), self._everywhere(_narrow(window.y))

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        whole = self._chunk * self._batch
        sums = [
            self._take(rows[first : first + whole], step + first // self._batch, learning_rate)
            for first in range(0, len(rows), whole)
        ]
        loss, score = np.concatenate([np.asarray(part) for part in sums]).astype(np.float64).sum(axis=0)
        return Totals(len(rows), float(loss), float(score))

    def outputs(self, x: FloatArray) -> FloatArray:
        flat = self._flat.addressable_data(0)
        parts = []
        for first in range(0, len(x), self._scored):
            rows = x[first : first + self._scored]
            padding = [(0, self._scored - len(rows))] + [(0, 0)] * (x.ndim - 1)
            parts.append(self._outputs(flat, jax.numpy.asarray(np.pad(rows, padding))))
        return np.concatenate([np.asarray(part) for part in parts])[: len(x)]

    def weights(self) -> Arrays:
        named = program.named_weights(self._setup, np.array(self._flat))
        return {name: np.array(weight) for name, weight in named.items()}

    def load_weights(self, weights: Arrays) -> None:
        names = network.shapes(self._setup)
        self._flat = self._everywhere(np.concatenate([np.ravel(weights[name]) for name in names], dtype=np.float32))

    def optimizer_state(self) -> Arrays:
        return {jax.tree_util.keystr(path): np.array(part) for path, part in self._memory_parts()}

    def load_optimizer_state(self, state: Arrays) -> None:
        parts = [self._everywhere(state[jax.tree_util.keystr(path)]) for path, _ in self._memory_parts()]
        self._memory = jax.tree.unflatten(jax.tree.structure(self._memory), parts)

    def close(self) -> None:
        """Nothing was started."""

    def _take(self, rows: IntArray, step: int, learning_rate: float) -> jax.Array:
        """Up to a chunk's length of steps, without waiting for them → sums of loss and score per step, zero beyond."""
        devices = self._mesh.size
        table = np.zeros((self._chunk, -(-self._batch // devices) * devices), np.int32)
        for i, first in enumerate(range(0, len(rows), self._batch)):
            batch = rows[first : first + self._batch]
            table[i, : len(batch)] = batch
        sums: jax.Array
        self._flat, self._memory, sums = self._train(
            self._flat,
            self._memory,
            self._x,
            self._y,
            jax.device_put(table, NamedSharding(self._mesh, jax_backend.SPLIT)),
            np.uint32(step & 0xFFFFFFFF),
            np.int32(len(rows)),
            np.float32(learning_rate),
        )
        return sums

    def _everywhere(self, array: np.ndarray[Any, Any]) -> jax.Array:
        """A copy on each device: one that JAX owns, since weights are donated."""
        copied: jax.Array = jax.device_put(
            np.array(array), NamedSharding(self._mesh, jax_backend.COPIED), may_alias=False
        )
        return copied

    def _memory_parts(self) -> list[tuple[Any, jax.Array]]:
        return jax.tree_util.tree_leaves_with_path(self._memory)


def check_precision(setup: Setup, device: jax.Device) -> None:
    """Raise InvalidSpec if bfloat16 was asked for and ``device`` gains nothing from it."""
    if not setup.spec.mixed_precision:
        return
    capability = getattr(device, "compute_capability", None)
    if device.platform == "gpu" and (capability is None or float(capability) >= BF16_CAPABILITY):
        return
    kind = "a CPU" if device.platform == "cpu" else f"this GPU (compute capability {capability})"
    raise InvalidSpec([Problem("mixed_precision", f"JAX gains nothing from bfloat16 on {kind}", "leave it out")])


def _narrow(y: FloatArray | IntArray) -> np.ndarray[Any, Any]:
    """Class numbers as int32, which JAX counts in; other targets as they are."""
    return y.astype(np.int32) if y.dtype == np.int64 else y
