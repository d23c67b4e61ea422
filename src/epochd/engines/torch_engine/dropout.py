"""Dropout masks as a pure function of (seed, global step, layer, row's place in the global batch, unit).

Each step keys the generator anew and draws the bits of all layers for the whole global batch; a rank then
cuts out its rows. No generator state is ever saved, and ranks need not agree on anything but the step. One
draw of 64 bits serves four units: a quarter of the time of ``Tensor.bernoulli_`` on CPU.
"""

from math import prod

import torch
from torch import Tensor

STEPS_OF_16_BITS = 1 << 16


class Dropout:
    """Masks for hidden layers whose values for one row have the given shapes."""

    def __init__(self, shapes: list[tuple[int, ...]], rate: float, seed: int, device: torch.device) -> None:
        self._shapes = shapes
        self._seed = seed
        self._generator = torch.Generator(device)
        kept = max(1, round((1 - rate) * STEPS_OF_16_BITS))
        self._threshold = kept - STEPS_OF_16_BITS // 2
        self._scale = STEPS_OF_16_BITS / kept

    def masks(self, step: int, rows: int, share: slice) -> list[Tensor]:
        """One mask per layer, (rows of the share, *shape): 0, or the scale that keeps the mean.

        The rate is met to 1/131,072, the nearest that 16 bits can say; the scale belongs to the rate that is met.
        """
        sizes = [rows * prod(shape) for shape in self._shapes]
        self._generator.manual_seed(key(self._seed, step))
        bits = torch.empty((sum(sizes) + 3) // 4, dtype=torch.int64, device=self._generator.device)
        bits.random_(-(2**63), None, generator=self._generator)
        units = bits.view(torch.int16)[: sum(sizes)]
        kept = units.lt(self._threshold).to(torch.float32).mul_(self._scale)
        parts = torch.split(kept, sizes)
        return [part.view(rows, *shape)[share] for part, shape in zip(parts, self._shapes, strict=True)]


def key(seed: int, step: int) -> int:
    """A generator's key for one step: splitmix64 (Steele, Lea and Flood 2014) of seed and step.

    The CPU generator looks at the low 32 bits only, so all bits of both must reach those.
    """
    mask = (1 << 64) - 1
    z = ((seed << 32) + step) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return (z ^ (z >> 31)) >> 1
