"""CUDA graphs: small steps on a GPU consist mostly of kernel launches; a graph launches all kernels at once.

Only the forward and backward pass is captured. Dropout masks are drawn before it and the optimizer's fused kernel runs
after it, so that neither random state nor learning rate is part of the graph. Not tested on a GPU.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from epochd.engines import network
from epochd.engines.torch_engine import distributed
from epochd.engines.torch_engine.dropout import Masks
from epochd.engines.torch_engine.losses import Batch
from epochd.loop.engine import Setup

Pass = Callable[[Batch, Masks, Tensor], tuple[Tensor, Tensor]]
WARM_UP_PASSES = 3
"""As in PyTorch's notes on CUDA graphs: libraries choose their algorithms before the capture."""
GRAPH_FLOPS = 1e10
"""Operations per step below which launches dominate on a GPU; estimated from data sheets, not measured."""


def rows_in_graph(setup: Setup, device: torch.device, rank: int) -> int | None:
    """The batch size of the CUDA graph, which is this rank's share of a full batch; None: no graph is used."""
    spec = setup.spec
    is_small = network.flops_per_row(setup) * spec.batch_size < GRAPH_FLOPS
    if device.type != "cuda" or spec.model_type in ("lstm", "gru") or not is_small:
        return None
    share = distributed.share(spec.batch_size, rank, distributed.world_size(setup))
    return (share.stop - share.start) or None


class CapturedPass:
    """A forward and backward pass for one batch size, replayed from a graph."""

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
