"""The scale on which a regression is trained: the target, or its logarithm, standardised.

Predictions and metrics other than the loss are in the target's own unit, to which every part of epochd that shows one
converts with the ``TargetScale`` of the encoder.
"""

from dataclasses import dataclass
from math import expm1
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.spec_fields import TargetTransform

Float64 = npt.NDArray[np.float64]

LOG_BOUNDS = (-30.0, 231.0)
"""Logarithms outside are moved to the nearer end before their exponential is taken: a network that has hardly learned
may give any number, whose exponential would be infinite. The upper end is that of the largest target that is read
(``values.MAX_NUMBER``); below the lower one, the digits of -1 + exp(x) would not determine x any more."""
NEAR_BOUNDS = (expm1(-29.99), expm1(230.99))
"""Predictions of a transformed target outside may have been moved to an end."""
FLOAT32_BOUNDS = (-30.0, 88.0)
"""The same where predictions are float32, whose largest number is exp(88.7)."""
MAX_GAP = 35.0
"""The most that a logarithm may exceed the largest one of the training rows where float32 squares are added up."""


@dataclass(frozen=True, slots=True)
class TargetScale:
    """A target was transformed (None: it was not), then standardised by ``mean`` and ``scale``. Arrays may have any
    shape."""

    mean: float = 0.0
    scale: float = 1.0
    transform: TargetTransform | None = None

    def standardised(self, values: npt.NDArray[Any]) -> Float64:
        """Targets in their own unit → what a network is trained on. NaN where the transform does not exist."""
        return (transformed(values, self.transform) - self.mean) / self.scale

    def restored(self, standardised: npt.NDArray[Any]) -> Float64:
        """The inverse of ``standardised``, finite for every finite number."""
        numbers = standardised.astype(np.float64) * self.scale + self.mean
        return numbers if self.transform is None else np.asarray(np.expm1(np.clip(numbers, *LOG_BOUNDS)))

    def is_bounded(self, values: npt.NDArray[Any]) -> bool:
        """Whether a prediction may have been moved to an end, so that ``standardised`` does not give the output."""
        low, high = NEAR_BOUNDS
        return self.transform is not None and bool(((values <= low) | (values >= high)).any())


UNSCALED = TargetScale()


def transformed(values: npt.NDArray[Any], transform: TargetTransform | None) -> Float64:
    """Targets in the unit in which they are standardised; NaN at -1 and below, which has no logarithm."""
    numbers = values.astype(np.float64)
    if transform is None:
        return numbers
    return np.asarray(np.log1p(np.where(numbers > -1, numbers, np.nan)))


def relative(standardised: npt.NDArray[Any], scale: float, top: float) -> Float64:
    """exp(target) in units of the largest one of the training rows, whose standardised logarithm is ``top``. It differs
    from the target plus 1 by a factor only, and cannot overflow; engines add up squares of its differences."""
    return np.asarray(np.exp(np.minimum((standardised.astype(np.float64) - top) * scale, MAX_GAP)))
