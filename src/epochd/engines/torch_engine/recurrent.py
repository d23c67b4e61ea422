"""LSTM and GRU layers in PyTorch, for sequences of equal and of different lengths.

PyTorch has a fused LSTM for CPUs (oneDNN) but no GRU: its layer takes about ten small operations per step, each a node
of autograd. ``GruFunction`` makes the whole layer one node: each step computes only what depends on the step before;
local derivatives and weight gradients are computed for all steps at once.

Sequences of different lengths are padded at the end. A recurrence needs no mask: states of real steps do not depend on
the padding after them. Only the last step differs between sequences, and the reverse direction starts there; both are
one gather over (rows x steps).
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from epochd.engines.torch_engine.dropout import Masks, drop
from epochd.loop.engine import Setup

Weights = dict[str, Tensor]
Layer = Callable[[Weights, str, list[str], Tensor], Tensor]
"""(weights, name of the layer, directions, x (rows, steps, in)) → states (rows, steps, directions x units). Directions
are suffixes of weight names; a second one reads the sequence backwards."""


class Sequences:
    """The lengths of a batch's sequences. ``mask`` is 1 for real steps, (rows, steps).

    Rows of padding only, which fill up batches, count as sequences of one step.
    """

    def __init__(self, mask: Tensor) -> None:
        self._length = mask.sum(1).long().clamp(min=1)
        self._position = torch.arange(mask.shape[1], device=mask.device)
        self._first = torch.arange(len(mask), device=mask.device) * mask.shape[1]

    @property
    def exists(self) -> Tensor:
        """True for real steps: (rows, steps)."""
        return self._position < self._length[:, None]

    def last_states(self, states: Tensor) -> Tensor:
        """The state after each sequence's last step: (rows, steps, units) → (rows, units)."""
        return states.flatten(0, 1).index_select(0, self._first + self._length - 1)

    def reverse(self, x: Tensor) -> Tensor:
        """Reverse each sequence; padding stays at the end."""
        found: Tensor = _Permute.apply(x, self._mirrored)  # type: ignore[no-untyped-call]
        return found

    @cached_property
    def _mirrored(self) -> Tensor:
        mirrored = torch.where(self.exists, self._length[:, None] - 1 - self._position, self._position)
        return (self._first[:, None] + mirrored).flatten()


class _Permute(torch.autograd.Function):
    """A permutation of steps that is its own inverse, so that the gradient is a gather too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.flatten(0, 1).index_select(0, order).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return slopes[0].flatten(0, 1).index_select(0, order).view(slopes[0].shape), None


def recurrent(setup: Setup, weights: Weights, x: Tensor, masks: Masks, sequences: Sequences | None) -> Tensor:
    layer = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    directions = ["", "_reverse"] if setup.spec.bidirectional else [""]
    hidden, last = x, len(setup.spec.hidden_units) - 1
    for i in range(last + 1):
        if sequences is not None:
            states = masked_layer(layer, weights, f"hidden.{i}", directions, hidden, sequences, last=i == last)
        else:
            states = layer(weights, f"hidden.{i}", directions, hidden)
            states = last_states(states, both=setup.spec.bidirectional) if i == last else states
        hidden = drop(states, masks, i)
    return hidden


def masked_layer(
    layer: Layer, weights: Weights, name: str, directions: list[str], x: Tensor, sequences: Sequences, *, last: bool
) -> Tensor:
    """A layer over sequences of different lengths, one direction at a time: all states or the last ones."""
    found = []
    for direction in directions:
        states = layer(weights, name, [direction], sequences.reverse(x) if direction else x)
        if last:
            found.append(sequences.last_states(states))
        else:
            found.append(sequences.reverse(states) if direction else states)
    return torch.cat(found, -1)


def last_states(states: Tensor, *, both: bool) -> Tensor:
    """The last state: (rows, steps, units) → (rows, units); in the reverse direction, that of the first step."""
    if not both:
        return states[:, -1]
    forward, backward = states.chunk(2, -1)
    return torch.cat([forward[:, -1], backward[:, 0]], -1)


def lstm_layer(weights: Weights, layer: str, directions: list[str], x: Tensor) -> Tensor:
    """(rows, steps, in) → (rows, steps, directions x units). PyTorch's second bias is zero."""
    params = []
    for direction in directions:
        bias = weights[f"{layer}.bias_ih{direction}"]
        recurrent_weight = weights[f"{layer}.weight_hh{direction}"]
        params += [weights[f"{layer}.weight_ih{direction}"], recurrent_weight, bias, torch.zeros_like(bias)]
    start = zero_state(len(directions), x, recurrent_weight)
    return torch.lstm(x, (start, start), params, True, 1, 0.0, torch.is_grad_enabled(), len(directions) == 2, True)[0]


def gru_layer(weights: Weights, layer: str, directions: list[str], x: Tensor) -> Tensor:
    """(rows, steps, in) → (rows, steps, directions x units)."""
    if torch.is_grad_enabled() and x.device.type == "cpu":
        found = [
            trainable_gru(weights, layer, direction, x, backwards=i == 1) for i, direction in enumerate(directions)
        ]
        return found[0] if len(found) == 1 else torch.cat(found, -1)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    params = [weights[f"{layer}.{name}{direction}"] for direction in directions for name in names]
    start = zero_state(len(directions), x, params[1])
    return torch.gru(x, start, params, True, 1, 0.0, torch.is_grad_enabled(), len(directions) == 2, True)[0]


def trainable_gru(weights: Weights, layer: str, direction: str, x: Tensor, *, backwards: bool) -> Tensor:
    """One direction by ``GruFunction``, whose gradient is faster on a CPU than that of ``torch.gru``."""
    steps = x.transpose(0, 1).flip(0) if backwards else x.transpose(0, 1)
    inputs = F.linear(steps, weights[f"{layer}.weight_ih{direction}"], weights[f"{layer}.bias_ih{direction}"])
    recurrent = weights[f"{layer}.weight_hh{direction}"], weights[f"{layer}.bias_hh{direction}"]
    states: Tensor = GruFunction.apply(inputs, *recurrent)  # type: ignore[no-untyped-call]
    return (states.flip(0) if backwards else states).transpose(0, 1)


def zero_state(directions: int, x: Tensor, recurrent_weight: Tensor) -> Tensor:
    """The zero state before the first step."""
    return x.new_zeros(directions, len(x), recurrent_weight.shape[1])


class GruFunction(torch.autograd.Function):
    """(inputs (steps, rows, 3 units), weight_hh, bias_hh) → states (steps, rows, units), from a zero state.

    ``inputs`` are x · weight_ihᵀ + bias_ih; gates in the order r, z, n.
        r, z = σ(inputs + recurrent)    n = tanh(inputs + r · recurrent)    state = n + z · (previous - n)
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, rows, _ = inputs.shape
        units = weight.shape[1]
        states = inputs.new_zeros(steps + 1, rows, units)
        recurrent, gates = torch.empty_like(inputs), torch.empty_like(inputs[..., : 2 * units])
        candidates = torch.empty_like(states[1:])
        sizes = [2 * units, units]
        known = zip(
            states,
            states[1:],
            recurrent,
            *torch.split(recurrent, sizes, -1),
            *torch.split(inputs, sizes, -1),
            gates,
            *gates.chunk(2, -1),
            candidates,
            strict=False,
        )
        transposed = weight.t()
        for state, following, whole, rz_state, n_state, rz_in, n_in, rz, r, z, n in known:
            torch.addmm(bias, state, transposed, out=whole)
            torch.add(rz_in, rz_state, out=rz).sigmoid_()
            torch.addcmul(n_in, r, n_state, out=n).tanh_()
            torch.lerp(n, state, z, out=following)
        ctx.save_for_backward(states, recurrent, gates, candidates, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, recurrent, gates, n, weight = ctx.saved_tensors
        steps, rows, units = n.shape
        r, z = gates.chunk(2, -1)
        to_n = (1 - z) * (1 - n * n)
        to_gates = torch.stack(
            [to_n * recurrent[..., 2 * units :] * r * (1 - r), (states[:-1] - n) * z * (1 - z), to_n * r], 2
        )
        d_gates = torch.empty_like(to_gates)
        flat = d_gates.view(steps, rows, 3 * units)
        d_states = slopes[0].contiguous().clone()
        before = [*d_states.new_empty(1, rows, units), *d_states]
        known = zip(before, d_states, d_states.unsqueeze(2), to_gates, d_gates, flat, z, strict=False)
        for d_before, d_state, spread, local, d_gate, d_flat, keep in reversed(list(known)):
            torch.mul(local, spread, out=d_gate)
            d_before.addmm_(d_flat, weight).addcmul_(d_state, keep)
        d_inputs = torch.cat([flat[..., : 2 * units], to_n * d_states], -1)
        rest = flat.flatten(0, 1)
        return d_inputs, rest.t() @ states[:-1].flatten(0, 1), rest.sum(0)
