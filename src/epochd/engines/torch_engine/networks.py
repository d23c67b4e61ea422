"""The networks in PyTorch: plain functions of the canonical weights, which are views of one flat parameter.

The first axis of hidden values is the rows; in a cnn, channels come before space.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from epochd.core.spec_fields import Activation
from epochd.engines import network
from epochd.engines.torch_engine.dropout import Masks, drop
from epochd.engines.torch_engine.recurrent import Sequences, Weights, recurrent
from epochd.loop.engine import Setup

Network = Callable[[Weights, Tensor, Masks], Tensor]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


def build_network(setup: Setup) -> Network:
    """The forward pass: (weights, features, masks) → raw outputs (rows, outputs)."""
    match setup.spec.model_type:
        case "mlp":
            hidden = mlp
        case "cnn":
            hidden = cnn
        case _:
            hidden = recurrent

    def forward(weights: Weights, x: Tensor, masks: Masks) -> Tensor:
        features, sequences = embed_inputs(setup, weights, x)
        found = hidden(setup, weights, features, masks, sequences)
        return F.linear(found, weights["output.weight"], weights["output.bias"])

    return forward


def embed_inputs(setup: Setup, weights: Weights, x: Tensor) -> tuple[Tensor, Sequences | None]:
    """Look up the embeddings and remove the mask: (rows, *hidden_inputs), and the sequences of a masked batch."""
    if not (setup.embeddings or setup.masked):
        return x, None
    plain = [x[..., channels] for channels in network.plain_runs(setup)]
    vectors = [
        F.embedding(x[..., embedding.channel].long(), weights[f"embedding.{i}.weight"])
        for i, embedding in enumerate(setup.embeddings)
    ]
    return torch.cat(plain + vectors, -1), Sequences(x[..., -1]) if setup.masked else None


def hidden_shapes(setup: Setup) -> list[tuple[int, ...]]:
    """The output shape of each hidden layer for one row, where dropout is applied."""
    spec, units = setup.spec, setup.spec.hidden_units
    if spec.model_type == "mlp":
        return [(width,) for width in units]
    if spec.model_type == "cnn":
        space, shapes = list(setup.inputs[:-1]), []
        for filters in units:
            space = network.pooled(space)
            shapes.append((filters, *space))
        return shapes
    directions = 2 if spec.bidirectional else 1
    return [*((setup.inputs[0], directions * width) for width in units[:-1]), (directions * units[-1],)]


def widest_layer(setup: Setup) -> int:
    """The largest number of values per row in a hidden layer or after the embeddings."""
    entered = [network.hidden_inputs(setup)] if setup.embeddings else []
    return max(prod(shape) for shape in [*hidden_shapes(setup), *entered])


def parallel_flops(setup: Setup) -> float:
    """Floating-point operations of one batch that can run in parallel; lstm and gru compute one step after another."""
    flops = network.flops_per_row(setup) * setup.spec.batch_size
    return flops / setup.inputs[0] if setup.spec.model_type in ("lstm", "gru") else flops


def mlp(setup: Setup, weights: Weights, x: Tensor, masks: Masks, sequences: Sequences | None) -> Tensor:
    activate = ACTIVATIONS[setup.spec.activation]
    hidden = x.flatten(1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = activate(F.linear(hidden, weights[f"hidden.{i}.weight"], weights[f"hidden.{i}.bias"]))
        hidden = drop(hidden, masks, i)
    return hidden


def cnn(setup: Setup, weights: Weights, x: Tensor, masks: Masks, sequences: Sequences | None) -> Tensor:
    activate = ACTIVATIONS[setup.spec.activation]
    hidden = x.movedim(-1, 1).contiguous()
    exists = sequences.exists[:, None].to(x.dtype) if sequences is not None else None
    if exists is not None:
        hidden = hidden * exists
    for i in range(len(setup.spec.hidden_units)):
        found = activate(convolve(hidden, weights[f"hidden.{i}.weight"], weights[f"hidden.{i}.bias"]))
        if exists is not None:
            found, exists = found * exists.to(found.dtype), max_pool(exists)
        hidden = drop(max_pool(found), masks, i)
    return hidden.flatten(1)


def convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Stride 1, zero padding to the same size; an even kernel has one more zero after than before."""
    size, directions = kernel.shape[-1], kernel.dim() - 2
    before, after = (size - 1) // 2, size // 2
    if before != after:
        x, before = F.pad(x, [before, after] * directions), 0
    return (F.conv1d if directions == 1 else F.conv2d)(x, kernel, bias, padding=before)


def max_pool(x: Tensor) -> Tensor:
    """Max-pooling by 2 in each dimension of size 2 or more; the last value of an odd size is dropped."""
    sizes = [min(2, size) for size in x.shape[2:]]
    return F.max_pool1d(x, sizes) if len(sizes) == 1 else F.max_pool2d(x, sizes)
