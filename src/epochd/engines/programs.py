"""What compiled training programs of the same shape share.

XLA compiles a program for fixed shapes, which takes longer than many trainings. A program therefore takes as arguments
whatever does not change its operations: the seed, the learning rate, the strength of dropout, decay and clipping, class
weights, and rows up to a capacity. Trainings that differ in nothing else use the same program: of the same process, or
of JAX's persistent cache.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.specs import TrainingSpec
from epochd.loop.engine import Setup

PROGRAMS = 16
"""The number of programs that a process keeps of each kind; the least recently used one is released first."""
COMPILED_FIELDS = (
    "model_type",
    "hidden_units",
    "activation",
    "kernel_size",
    "bidirectional",
    "batch_size",
    "optimizer",
    "mixed_precision",
)
"""The fields of a spec that determine the operations of a program. No other field of the spec is known to one."""
SMALLEST_CAPACITY, CAPACITIES_PER_DOUBLING = 64, 8

Hyperparameters = dict[str, npt.NDArray[np.generic]]
"""The arguments of a program by name, each left out where it has no effect: see ``hyperparameters``."""


@dataclass(frozen=True, slots=True)
class ProgramSetup:
    """A network and its optimizer as a compiled program knows them; equal for trainings of the same shape."""

    key: str
    setup: Setup = field(compare=False)

    @classmethod
    def of(cls, setup: Setup) -> "ProgramSetup":
        """The setup without all that is an argument of the program."""
        spec = TrainingSpec.model_construct(
            target_column="", **{name: getattr(setup.spec, name) for name in COMPILED_FIELDS}
        )
        common = replace(
            setup, spec=spec, threads=1, chosen_threads=None, class_weights=None, rows=None, target_log=None
        )
        fields = {name: getattr(spec, name) for name in COMPILED_FIELDS}
        parts = common.task, common.inputs, common.outputs, common.gpus, common.devices, common.embeddings
        return cls(repr((fields, *parts, common.masked)), common)


def hyperparameters(setup: Setup) -> Hyperparameters:
    """The values of a training for its program.

    ``dropout``: uint32 (2,), the seed and the limit below which a mask's random number drops a unit. ``dropout_scale``:
    float32 (), the factor of the units that are kept. ``decay``, ``clip`` and ``smoothing``: float32 (), as in the
    spec. ``class_weights``: float32 (classes,). ``target_log``: float32 (2,), as in ``Setup``.
    """
    spec = setup.spec
    found: dict[str, Any] = {}
    if rate := spec.dropout_rate:
        found["dropout"] = np.array([spec.seed, min(round(rate * 2**32), 2**32 - 1)], np.uint32)
        found["dropout_scale"] = np.float32(1 / (1 - rate))
    for name, value in (
        ("decay", spec.decay),
        ("clip", spec.gradient_clip),
        ("smoothing", spec.label_smoothing),
        ("class_weights", setup.class_weights),
        ("target_log", setup.target_log),
    ):
        if value:
            found[name] = np.asarray(value, np.float32)
    return found


def shape_of(setup: Setup) -> str:
    """A short name of all that determines the programs of a training, whose ``rows`` are known: equal if a second one
    need not compile them again."""
    batch = min(setup.spec.batch_size, setup.rows or 0)
    parts = ProgramSetup.of(setup).key, sorted(hyperparameters(setup)), batch, capacity(setup.rows or 0)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def capacity(rows: int) -> int:
    """The number of rows, at least ``rows``, for which a program is compiled: a multiple of an eighth of the next lower
    power of two, so that at most an eighth is padding and similar datasets share a program."""
    if rows <= SMALLEST_CAPACITY:
        return SMALLEST_CAPACITY
    unit = max(1, (1 << (rows.bit_length() - 1)) // CAPACITIES_PER_DOUBLING)
    return -(-rows // unit) * unit
