"""How much memory and disk space a training takes, estimated before it starts.

The estimates are slightly too large on purpose: they exist to refuse what would exhaust the machine.
"""

from dataclasses import dataclass
from math import prod

from epochd.engines import network
from epochd.loop.engine import Setup

MIB = 1 << 20
FRAMEWORK_BYTES = 400 * MIB
"""The memory of a process that has imported a framework."""
COPIES_OF_ROWS = 3
"""Copies of the rows during encoding: in the table's types, encoded, and on the engine's device."""
COPIES_OF_WEIGHTS = 6
"""Weights, gradients, two moments of the optimizer, the best weights, and a copy while a checkpoint is saved."""
COPIES_OF_OUTPUTS = 4
"""Copies of each layer's outputs: before and after activation and dropout, and their gradient."""
OPTIMIZER_COPIES = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
"""The numbers in an optimizer's state per weight."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a training takes, by purpose."""

    rows: int
    weights: int
    batch: int
    framework: int = FRAMEWORK_BYTES

    @property
    def total(self) -> int:
        return self.rows + self.weights + self.batch + self.framework

    def __str__(self) -> str:
        framework = f", framework {mib(self.framework)}" if self.framework else ""
        return (
            f"about {mib(self.total)} MiB (encoded rows {mib(self.rows)}, weights and optimizer {mib(self.weights)}, "
            f"one batch {mib(self.batch)}{framework})"
        )


def mib(size: int) -> str:
    """Bytes as whole MiB."""
    return f"{-(-size // MIB):,}"


def estimate(setup: Setup, rows: int, resident_mb: int, framework: int = FRAMEWORK_BYTES) -> MemoryEstimate:
    """The memory for training on ``rows`` examples, of which at most ``resident_mb`` MiB are kept in memory.

    GPU memory is not counted. ``framework`` is 0 where the framework's own memory is not part of the limit.
    """
    encoded = min(4 * rows * prod(setup.inputs), resident_mb * MIB)
    if setup.gpus:
        return MemoryEstimate(COPIES_OF_ROWS * encoded, 0, 0, framework)
    weights = 4 * network.model_parameters(setup)
    copies = COPIES_OF_ROWS + setup.spec.members - 1  # each engine has its own; the parts of folds are one more
    copies += setup.spec.folds is not None
    outputs = 4 * min(setup.spec.batch_size, max(rows, 1)) * outputs_per_row(setup)
    return MemoryEstimate(copies * encoded, COPIES_OF_WEIGHTS * weights, COPIES_OF_OUTPUTS * outputs, framework)


def outputs_per_row(setup: Setup) -> int:
    """The number of output values of all layers for one row, including the features."""
    spec, (*space, channels) = setup.spec, network.hidden_inputs(setup)
    found = prod(space) * channels + setup.outputs
    for units in spec.hidden_units:
        match spec.model_type:
            case "mlp":
                found += units
            case "cnn":
                found += units * prod(space)
                space = network.pooled(space)
            case _:
                found += space[0] * units * (network.GATES[spec.model_type] + 2) * (1 + spec.bidirectional)
    return found


def checkpoint_bytes(setup: Setup) -> int:
    """The disk space of one checkpoint: weights, best weights and optimizer state, without the small files."""
    return 4 * (2 + OPTIMIZER_COPIES[setup.spec.optimizer]) * network.model_parameters(setup)
