"""The average of several networks, whose outputs all have one row for each example.

Class probabilities are averaged, and values of a regression in the unit of the target. The average is given as the raw
output of one network would be, as logits or as a standardised value, so that all that follows from outputs (metrics,
thresholds, reports, predictions) need not know how many networks there are.

Weights of several networks are saved together, under the names ``members.0.…``, ``members.1.…``; those of a single one
have no prefix.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray
from epochd.core.spec_fields import Task
from epochd.core.target_scale import TargetScale

ArrayT = TypeVar("ArrayT")
SMALLEST = float(np.log(np.finfo(np.float64).tiny))
"""The logarithm of the smallest mean probability: a logit has to be finite."""


def averaged(outputs: Sequence[FloatArray], task: Task, units: TargetScale) -> FloatArray:
    """Raw outputs of each network, (rows, outputs) → those that stand for their average; of a single network its own.

    ``units`` are those of the target of a regression.
    """
    if len(outputs) == 1:
        return outputs[0]
    wide = np.stack(outputs).astype(np.float64)
    if task == "regression":
        return units.standardised(units.restored(wide).mean(axis=0)).astype(np.float32)
    with np.errstate(invalid="ignore"):  # the loop looks for outputs that are not finite
        if task == "binary":
            positive, negative = (_mean_of(-np.logaddexp(0, -sign * wide)) for sign in (1, -1))
            return (positive - negative).astype(np.float32)
        return _mean_of(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True)).astype(np.float32)


def _mean_of(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The logarithm of the mean probability, of logarithms (networks, rows, outputs)."""
    found: npt.NDArray[np.float64] = np.maximum(
        np.logaddexp.reduce(logarithms, axis=0) - np.log(len(logarithms)), SMALLEST
    )
    return found


def joined(parts: Sequence[Mapping[str, ArrayT]]) -> dict[str, ArrayT]:
    """The named arrays of all networks as one mapping."""
    if len(parts) == 1:
        return dict(parts[0])
    return {f"members.{i}.{name}": array for i, part in enumerate(parts) for name, array in part.items()}


def divided(arrays: Mapping[str, ArrayT], members: int) -> list[dict[str, ArrayT]]:
    """The inverse of ``joined``: the named arrays of each of so many networks."""
    if members == 1:
        return [dict(arrays)]
    found: list[dict[str, ArrayT]] = [{} for _ in range(members)]
    for name, array in arrays.items():
        _, number, rest = name.split(".", 2)
        found[int(number)][rest] = array
    return found
