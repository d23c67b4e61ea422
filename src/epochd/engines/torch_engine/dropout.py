"""Dropout masks as a pure function of (seed, global step, layer, row's place in the global batch, unit).

Each step seeds the generator again and draws the bits of all layers for the whole global batch; a rank then selects
its rows. No generator state has to be saved, and ranks share only the number of the step. One draw of 64 bits serves
four units: a quarter of the time of ``Tensor.bernoulli_`` on CPU.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

Masks = Sequence[Tensor] | None
"""One mask per hidden layer; None: no dropout, for evaluation."""
STEPS_OF_16_BITS = 1 << 16


class Dropout:
    """Draws masks for hidden layers whose outputs for one row have the given shapes."""

    def __init__(self, shapes: list[tuple[int, ...]], rate: float, seed: int, device: torch.device) -> None:
        self._shapes = shapes
        self._seed = seed
        self._generator = torch.Generator(device)
        kept = max(1, round((1 - rate) * STEPS_OF_16_BITS))
        self._threshold = kept - STEPS_OF_16_BITS // 2
        self._scale = STEPS_OF_16_BITS / kept

    def masks(self, step: int, rows: int, share: slice) -> list[Tensor]:
        """One mask per layer, (rows of the share, *shape): 0, or the scale that preserves the mean.

        The rate is exact to 1/131,072, the precision of 16 bits; the scale is that of the rounded rate.
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
    """The generator's seed for one step: splitmix64 (Steele, Lea and Flood 2014) of seed and step.

    The CPU generator uses the low 32 bits only, so all bits of both must affect those.
    """
    mask = (1 << 64) - 1
    z = ((seed << 32) + step) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return (z ^ (z >> 31)) >> 1


def drop(hidden: Tensor, masks: Masks, layer: int) -> Tensor:
    return hidden if masks is None else hidden * masks[layer]
