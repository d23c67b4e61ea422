"""How much each class counts in the training loss."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from epochd.data.arrays import FloatArray, IntArray

ClassWeight = Literal["balanced"] | Mapping[str, float] | None


def class_weights(
    asked: ClassWeight, classes: Sequence[object] | None, y: FloatArray | IntArray
) -> tuple[float, ...] | None:
    """The spec's ``class_weight`` in class order; None where all rows count the same.

    ``balanced`` is rows / (classes x rows of the class), as in scikit-learn; ``y`` are the training rows'
    class numbers.
    """
    if asked is None or classes is None:
        return None
    if asked == "balanced":
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        return tuple((len(y) / (len(classes) * np.maximum(counts, 1))).tolist())
    return tuple(float(asked.get(str(label), 1.0)) for label in classes)
