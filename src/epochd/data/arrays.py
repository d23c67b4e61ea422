"""The arrays that training sees: what the data room hands to the loop and to the engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from epochd.core.specs import Task

if TYPE_CHECKING:
    from epochd.data.encode import Encoder

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one side of a split.

    ``x`` is float32 (rows, width). ``y`` is float32 (rows,) with 0 and 1 for binary, int64 (rows,) class
    numbers for multiclass, float32 (rows,) standardised values for regression.
    """

    x: FloatArray
    y: FloatArray | IntArray

    def __len__(self) -> int:
        return len(self.x)

    def padded(self, rows: int) -> Part:
        """At least so many rows; the added ones are zeros and are never asked for."""
        missing = rows - len(self)
        if missing <= 0:
            return self
        y: Any = np.pad(self.y, (0, missing))
        return Part(np.pad(self.x, [(0, missing)] + [(0, 0)] * (self.x.ndim - 1)), y)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset made ready for one spec: split, encoded, and fingerprinted.

    ``fingerprint`` is the SHA-256 of the dataset's content; a resumed attempt must see the same one.
    """

    train: Part
    validation: Part | None
    encoder: Encoder
    task: Task
    fingerprint: str
    warnings: list[str]
