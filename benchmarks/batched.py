"""Whether several small networks of one shape would train faster together than one after another (JAX).

The training program of the engine is applied to a batch of networks by ``jax.vmap``: weights, optimizer states, orders
of rows, learning rates and seeds have an axis for the networks, the rows are shared. It is compared with the same
program, called once for each network. Both sides take turns; figures are medians of microseconds per step and network.
The last column is the largest difference of a weight after the first epoch: with 0, a network could leave the batch,
when it is paused, and go on alone as if it had never been in it.

epochd does not batch the tasks of its queue, and docs/benchmarks.md says what was found. On a machine with a GPU
this script finds out what they would gain there.
"""

import argparse
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import jax
import numpy as np
from cases import Case
from rich.console import Console
from rich.table import Table

from epochd.engines import network, programs
from epochd.engines.jax_engine import devices, program
from epochd.engines.programs import ProgramSetup
from epochd.loop.engine import Setup

CASES = (
    Case("455 x 30, mlp 8, batch 32", 455, (30,), "mlp", (8,), 32),
    Case("455 x 30, mlp 32-16, batch 32", 455, (30,), "mlp", (32, 16), 32),
    Case("455 x 30, mlp 64-32, batch 32", 455, (30,), "mlp", (64, 32), 32),
    Case("455 x 3, mlp 128-64-32, batch 32", 455, (3,), "mlp", (128, 64, 32), 32),
    Case("10,000 x 50, mlp 256-128, batch 256", 10_000, (50,), "mlp", (256, 128), 256),
    Case("128 x 50 x 8, gru 64-32, batch 32", 128, (50, 8), "gru", (64, 32), 32),
)


class Batch:
    """An epoch of ``count`` networks that differ in their seeds."""

    def __init__(self, case: Case, count: int, device: str) -> None:
        part, alone = case.data(), case.setup
        gpus = () if device == "cpu" else (0,)
        setups = [replace(alone, spec=alone.spec.model_copy(update={"seed": seed}), gpus=gpus) for seed in range(count)]
        self.steps = -(-case.rows // case.batch_size)
        self._program = program.training_program(
            ProgramSetup.of(setups[0]), case.batch_size, devices.mesh_for(setups[0])
        )
        shared = (0, 0, None, None, None, 0, None, None, None, 0)
        self._batched = jax.jit(jax.vmap(self._program, in_axes=shared), donate_argnums=(0, 1))
        self._rows = tuple(jax.device_put(values) for values in (part.x, part.y))
        orders = [np.random.default_rng(seed).permutation(case.rows) for seed in range(count)]
        table = np.zeros((count, self.steps * case.batch_size), np.int32)
        table[:, : case.rows] = orders
        self._orders = table.reshape(count, self.steps, case.batch_size)
        self._numbers = np.uint32(0), np.int32(case.rows), np.float32(0.001)
        self._hyper = [programs.hyperparameters(setup) for setup in setups]
        self._states = [self._initial(setup, hyper) for setup, hyper in zip(setups, self._hyper, strict=True)]
        self._stacked = jax.tree.map(lambda *parts: np.stack(parts), *self._states)
        self._stacked_hyper = jax.tree.map(lambda *parts: np.stack(parts), *self._hyper)

    def _initial(self, setup: Setup, hyper: dict[str, Any]) -> tuple[Any, Any]:
        """Weights and optimizer state before the first step, in this machine's memory."""
        weights = network.initial_weights(setup)
        flat = np.concatenate([np.ravel(weights[name]) for name in network.shapes(setup)], dtype=np.float32)
        state = program.build_optimizer(setup.spec.optimizer, jax.tree.map(jax.numpy.asarray, hyper)).init(flat)
        return flat, jax.tree.map(np.asarray, state)

    def one_by_one(self) -> None:
        """An epoch of each network after the other."""
        self._states = [
            self._program(*state, *self._rows, None, order, *self._numbers, hyper)[:2]
            for state, order, hyper in zip(self._states, self._orders, self._hyper, strict=True)
        ]
        jax.block_until_ready(self._states)

    def together(self) -> None:
        """An epoch of all."""
        found = self._batched(*self._stacked, *self._rows, None, self._orders, *self._numbers, self._stacked_hyper)
        self._stacked = jax.block_until_ready(found[:2])

    def difference(self) -> float:
        """The largest difference of a weight between the two sides."""
        alone = np.stack([np.asarray(flat) for flat, _ in self._states])
        return float(np.abs(alone - np.asarray(self._stacked[0])).max())


def main() -> None:
    options = parse()
    devices.mesh_for(replace(CASES[0].setup, chosen_threads=options.threads))  # JAX starts with so many
    device = jax.devices()[0].platform
    title = f"{options.networks} networks, {device}, microseconds per step and network"
    table = Table(title=title)
    for column in ("training", "one by one", "together", "gain", "largest difference after an epoch"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for case in CASES:
        batch = Batch(case, options.networks, device)
        times: dict[str, list[float]] = {"one by one": [], "together": []}
        for turn in range(options.rounds + 1):
            for name, epoch in (("one by one", batch.one_by_one), ("together", batch.together)):
                began = perf_counter()
                epoch()
                if turn:
                    times[name].append((perf_counter() - began) / batch.steps / options.networks * 1e6)
            if not turn:  # the first one compiles
                difference = batch.difference()
        alone, together = (median(values) for values in times.values())
        table.add_row(case.title, f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.2f}", f"{difference:.1e}")
    Console().print(table)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; 1 is what epochd takes for such networks")
    parser.add_argument("--rounds", type=int, default=15, help="epochs that are timed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
