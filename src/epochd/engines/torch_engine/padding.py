"""Sequences of different lengths in PyTorch, padded behind.

A recurrence needs no mask inside: what it has read at a step that exists knows nothing of the padding behind. Only the
ends are each sequence's own, and reading backwards begins there. Both are one gather over (rows x steps).
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class Sequences:
    """Where the sequences of a batch end. ``mask`` is 1 for steps that exist, (rows, steps).

    Rows of padding alone, with which batches are filled up, are taken for sequences of one step.
    """

    def __init__(self, mask: Tensor) -> None:
        self._length = mask.sum(1).long().clamp(min=1)
        self._place = torch.arange(mask.shape[1], device=mask.device)
        self._first = torch.arange(len(mask), device=mask.device) * mask.shape[1]

    @property
    def exists(self) -> Tensor:
        """True for steps that exist: (rows, steps)."""
        return self._place < self._length[:, None]

    def ends(self, states: Tensor) -> Tensor:
        """The state after each sequence's own last step: (rows, steps, units) → (rows, units)."""
        return states.flatten(0, 1).index_select(0, self._first + self._length - 1)

    def reverse(self, x: Tensor) -> Tensor:
        """Each sequence from its own last step to its first; padding stays where it is."""
        found: Tensor = _Swap.apply(x, self._mirrored)  # type: ignore[no-untyped-call]
        return found

    @cached_property
    def _mirrored(self) -> Tensor:
        mirrored = torch.where(self.exists, self._length[:, None] - 1 - self._place, self._place)
        return (self._first[:, None] + mirrored).flatten()


class _Swap(torch.autograd.Function):
    """Steps put in another order that is its own inverse, so the gradient needs no scattered additions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.flatten(0, 1).index_select(0, order).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return slopes[0].flatten(0, 1).index_select(0, order).view(slopes[0].shape), None
