"""How much memory and disk a training takes, estimated before it starts.

An estimate errs on the large side by little: it is to refuse what the machine would kill, not to fill it to the brim.
"""

from dataclasses import dataclass
from math import prod

from epochd.engines import network
from epochd.loop.engine import Setup

MIB = 1 << 20
FRAMEWORK = 400 * MIB
"""What a process takes with a framework imported."""
COPIES_OF_ROWS = 3
"""Encoded rows, as they are made: in the table's types, encoded, and on the engine's device."""
COPIES_OF_WEIGHTS = 6
"""Weights, gradients, two moments of the optimizer, the best weights, and a copy on its way to a checkpoint."""
COPIES_OF_OUTPUTS = 4
"""Of each layer's outputs: before and after activation and dropout, and their gradient."""
OPTIMIZER_COPIES = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
"""How many numbers an optimizer remembers for each weight."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a training takes, by what takes them."""

    rows: int
    weights: int
    batch: int
    framework: int = FRAMEWORK

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


def need(setup: Setup, rows: int, resident_mb: int, framework: int = FRAMEWORK) -> Need:
    """The memory for training on ``rows`` examples, of which ``resident_mb`` stay in memory at most.

    What lies on GPUs is not counted. ``framework`` is 0 where only what comes on top of it counts.
    """
    encoded = min(4 * rows * prod(setup.inputs), resident_mb * MIB)
    if setup.gpus:
        return Need(COPIES_OF_ROWS * encoded, 0, 0, framework)
    weights = 4 * network.parameters(setup)
    outputs = 4 * min(setup.spec.batch_size, max(rows, 1)) * outputs_per_row(setup)
    return Need(COPIES_OF_ROWS * encoded, COPIES_OF_WEIGHTS * weights, COPIES_OF_OUTPUTS * outputs, framework)


def outputs_per_row(setup: Setup) -> int:
    """How many numbers the layers give for one row, the features among them."""
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
    """What one checkpoint takes on the disk: weights, best weights, the optimizer's memory; small files not counted."""
    return 4 * (2 + OPTIMIZER_COPIES[setup.spec.optimizer]) * network.parameters(setup)
