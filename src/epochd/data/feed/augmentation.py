"""Augmentation: training images are flipped, moved and blurred by noise, differently in each step.

The host does it, in the thread that reads the rows of the next chunks, so that all engines train on the same bits. The
random numbers are a function of the seed, the step and the position of a row in its batch: a resumed training needs no
state, and a batch that is split over devices gets the same images as on one device.
"""

from dataclasses import dataclass

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import TrainingSpec

KEY = 1 << 33
"""Tells these random numbers from others with the same seed."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """``flip`` is the axis (1: rows of pixels, 2: columns of pixels) along which half of the images are turned over
    (None: none are). ``crop`` is by how many pixels they are moved at most, in both directions; what comes in is 0, the
    mean colour. ``noise`` is the standard deviation of noise, where that of each channel is 1."""

    seed: int
    flip: int | None = None
    crop: int = 0
    noise: float = 0.0

    @classmethod
    def of(cls, spec: TrainingSpec, shape: tuple[int, ...]) -> "Augmentation | None":
        """The augmentation of a spec for images of this shape (height, width, channels); None for other rows."""
        given = spec.augmentation
        if not given or len(shape) != 3:
            return None
        flip = {"vertical": 1, "horizontal": 2}.get(given.get("flip") or "")
        return cls(spec.seed, flip, given.get("crop", 0), given.get("noise", 0.0))

    def apply(self, x: FloatArray, step: int) -> FloatArray:
        """The images of a batch, float32 (rows, height, width, channels), as step ``step`` of the training sees them:
        another array, or ``x`` itself changed."""
        random = np.random.Generator(np.random.PCG64([self.seed, KEY, step]))
        flips = random.random(len(x)) < 0.5
        if self.flip is not None:
            x[flips] = np.flip(x[flips], self.flip)
        moves = random.integers(0, 2 * self.crop + 1, (2, len(x)))
        if self.crop:
            x = self._moved(x, moves)
        if self.noise:
            x += np.float32(self.noise) * random.standard_normal(x.shape, np.float32)
        return x

    def _moved(self, x: FloatArray, moves: IntArray) -> FloatArray:
        """Each image in a frame of zeros, cut out again ``moves`` (2, rows) from its upper left corner."""
        rows, height, width, _ = x.shape
        edge = (self.crop, self.crop)
        framed = np.pad(x, [(0, 0), edge, edge, (0, 0)])
        down = moves[0][:, None, None] + np.arange(height)[:, None]
        right = moves[1][:, None, None] + np.arange(width)
        found: FloatArray = framed[np.arange(rows)[:, None, None], down, right]
        return found
