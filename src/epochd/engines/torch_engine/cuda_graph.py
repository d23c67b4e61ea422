"""CUDA graphs: on a GPU, small steps are all kernel launches; a graph launches them as one.

Only the forward and backward pass is captured. Dropout masks are drawn before it and the optimizer's one
fused kernel runs after it, so neither random state nor the learning rate is frozen into the graph.
Untested on a GPU: the project has been developed without one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from epochd.engines.torch_engine.losses import Batch
from epochd.engines.torch_engine.networks import Masks

Pass = Callable[[Batch, Masks, Tensor], tuple[Tensor, Tensor]]
WARM_UP_PASSES = 3
"""As in the PyTorch notes on CUDA graphs; they let libraries choose their algorithms before the capture."""


class CapturedPass:
    """A forward and backward pass for one shape of batch, replayed from a graph."""

    def __init__(self, run: Pass, batch: Batch, masks: Masks, share_of_row: Tensor) -> None:
        self._inputs = [tensor.clone() for tensor in _tensors(batch, masks)]
        weight = None if batch.weight is None else self._inputs[2]
        first_mask = 2 if weight is None else 3
        static = Batch(self._inputs[0], self._inputs[1], weight)
        static_masks = None if masks is None else self._inputs[first_mask:]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_PASSES):
                run(static, static_masks, share_of_row)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = run(static, static_masks, share_of_row)

    def __call__(self, batch: Batch, masks: Masks) -> tuple[Tensor, Tensor]:
        for static, tensor in zip(self._inputs, _tensors(batch, masks), strict=True):
            static.copy_(tensor)
        self._graph.replay()
        loss, output = self._found
        return loss.clone(), output.clone()


def _tensors(batch: Batch, masks: Masks) -> list[Tensor]:
    given = [batch.x, batch.y] + ([] if batch.weight is None else [batch.weight])
    return given + list(masks or [])
