"""The networks in PyTorch: plain functions of canonical weights, so that no module tree stands between the
flat parameter and the arithmetic.

Hidden values keep the rows in front; a cnn's have channels before space. Dropout masks are handed in, one per hidden
layer; None means evaluation.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from epochd.core.specs import Activation
from epochd.engines import network as architecture
from epochd.engines.torch_engine.gru import GruLayer
from epochd.engines.torch_engine.padding import Sequences
from epochd.loop.engine import Setup

Weights = dict[str, Tensor]
Masks = Sequence[Tensor] | None
Network = Callable[[Weights, Tensor, Masks], Tensor]
Layer = Callable[[Weights, str, list[str], Tensor], Tensor]
"""(weights, the layer's name, sides, x (rows, steps, in)) → states (rows, steps, sides x units); a second side reads
backwards."""

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


def network(setup: Setup) -> Network:
    """The forward pass: (weights, features, masks) → raw outputs (rows, outputs)."""
    match setup.spec.model_type:
        case "mlp":
            hidden = mlp
        case "cnn":
            hidden = cnn
        case _:
            hidden = recurrent

    def forward(weights: Weights, x: Tensor, masks: Masks) -> Tensor:
        features, sequences = enter(setup, weights, x)
        found = hidden(setup, weights, features, masks, sequences)
        return F.linear(found, weights["output.weight"], weights["output.bias"])

    return forward


def enter(setup: Setup, weights: Weights, x: Tensor) -> tuple[Tensor, Sequences | None]:
    """Look up the embeddings and take off the mask: (rows, *hidden_inputs), and where the sequences end if masked."""
    if not (setup.embeddings or setup.masked):
        return x, None
    plain = [x[..., channels] for channels in architecture.plain_runs(setup)]
    vectors = [
        F.embedding(x[..., embedding.channel].long(), weights[f"embedding.{i}.weight"])
        for i, embedding in enumerate(setup.embeddings)
    ]
    return torch.cat(plain + vectors, -1), Sequences(x[..., -1]) if setup.masked else None


def hidden_shapes(setup: Setup) -> list[tuple[int, ...]]:
    """What each hidden layer gives for one row, at the place where dropout acts."""
    spec, units = setup.spec, setup.spec.hidden_units
    if spec.model_type == "mlp":
        return [(width,) for width in units]
    if spec.model_type == "cnn":
        space, shapes = list(setup.inputs[:-1]), []
        for filters in units:
            space = architecture.pooled(space)
            shapes.append((filters, *space))
        return shapes
    sides = 2 if spec.bidirectional else 1
    return [*((setup.inputs[0], sides * width) for width in units[:-1]), (sides * units[-1],)]


def widest(setup: Setup) -> int:
    """The most values that a row becomes, in a hidden layer or by its embeddings."""
    entered = [architecture.hidden_inputs(setup)] if setup.embeddings else []
    return max(prod(shape) for shape in [*hidden_shapes(setup), *entered])


def grain(setup: Setup) -> float:
    """Floating-point operations of one batch that need not wait for each other: lstm and gru go step by step."""
    work = architecture.flops_per_row(setup) * setup.spec.batch_size
    return work / setup.inputs[0] if setup.spec.model_type in ("lstm", "gru") else work


def drop(hidden: Tensor, masks: Masks, layer: int) -> Tensor:
    return hidden if masks is None else hidden * masks[layer]


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
    """Stride 1, zero padding to the same size; the odd zero of an even kernel goes after."""
    size, directions = kernel.shape[-1], kernel.dim() - 2
    before, after = (size - 1) // 2, size // 2
    if before != after:
        x, before = F.pad(x, [before, after] * directions), 0
    return (F.conv1d if directions == 1 else F.conv2d)(x, kernel, bias, padding=before)


def max_pool(x: Tensor) -> Tensor:
    """By 2 in each direction that has 2, without overlap; an odd rest is dropped."""
    sizes = [min(2, size) for size in x.shape[2:]]
    return F.max_pool1d(x, sizes) if len(sizes) == 1 else F.max_pool2d(x, sizes)


def recurrent(setup: Setup, weights: Weights, x: Tensor, masks: Masks, sequences: Sequences | None) -> Tensor:
    layer = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    sides = ["", "_reverse"] if setup.spec.bidirectional else [""]
    hidden, last = x, len(setup.spec.hidden_units) - 1
    for i in range(last + 1):
        if sequences is not None:
            states = read(layer, weights, f"hidden.{i}", sides, hidden, sequences, ends=i == last)
        else:
            states = layer(weights, f"hidden.{i}", sides, hidden)
            states = end_of(states, both=setup.spec.bidirectional) if i == last else states
        hidden = drop(states, masks, i)
    return hidden


def read(
    layer: Layer, weights: Weights, name: str, sides: list[str], x: Tensor, sequences: Sequences, *, ends: bool
) -> Tensor:
    """A layer over sequences of different lengths, each side for itself: all states, or those where reading ends."""
    found = []
    for side in sides:
        states = layer(weights, name, [side], sequences.reverse(x) if side else x)
        if ends:
            found.append(sequences.ends(states))
        else:
            found.append(sequences.reverse(states) if side else states)
    return torch.cat(found, -1)


def end_of(states: Tensor, *, both: bool) -> Tensor:
    """Where reading ends: (rows, steps, units) → (rows, units); backwards, that is the first step."""
    if not both:
        return states[:, -1]
    forward, backward = states.chunk(2, -1)
    return torch.cat([forward[:, -1], backward[:, 0]], -1)


def lstm_layer(weights: Weights, layer: str, sides: list[str], x: Tensor) -> Tensor:
    """(rows, steps, in) → (rows, steps, sides x units). PyTorch's second bias is zero: one is all it takes."""
    params = []
    for side in sides:
        bias = weights[f"{layer}.bias_ih{side}"]
        recurrent_weight = weights[f"{layer}.weight_hh{side}"]
        params += [weights[f"{layer}.weight_ih{side}"], recurrent_weight, bias, torch.zeros_like(bias)]
    start = start_of(len(sides), x, recurrent_weight)
    return torch.lstm(x, (start, start), params, True, 1, 0.0, torch.is_grad_enabled(), len(sides) == 2, True)[0]


def gru_layer(weights: Weights, layer: str, sides: list[str], x: Tensor) -> Tensor:
    """(rows, steps, in) → (rows, steps, sides x units)."""
    if torch.is_grad_enabled() and x.device.type == "cpu":
        found = [gru_for_training(weights, layer, side, x, backwards=i == 1) for i, side in enumerate(sides)]
        return found[0] if len(found) == 1 else torch.cat(found, -1)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    params = [weights[f"{layer}.{name}{side}"] for side in sides for name in names]
    start = start_of(len(sides), x, params[1])
    return torch.gru(x, start, params, True, 1, 0.0, torch.is_grad_enabled(), len(sides) == 2, True)[0]


def gru_for_training(weights: Weights, layer: str, side: str, x: Tensor, *, backwards: bool) -> Tensor:
    """One direction through our own layer, which a CPU differentiates faster than PyTorch's."""
    steps = x.transpose(0, 1).flip(0) if backwards else x.transpose(0, 1)
    inputs = F.linear(steps, weights[f"{layer}.weight_ih{side}"], weights[f"{layer}.bias_ih{side}"])
    states: Tensor = GruLayer.apply(  # type: ignore[no-untyped-call]
        inputs, weights[f"{layer}.weight_hh{side}"], weights[f"{layer}.bias_hh{side}"]
    )
    return (states.flip(0) if backwards else states).transpose(0, 1)


def start_of(sides: int, x: Tensor, recurrent_weight: Tensor) -> Tensor:
    """The zero state before the first step."""
    return x.new_zeros(sides, len(x), recurrent_weight.shape[1])
