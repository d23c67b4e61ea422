"""A GRU layer for training on CPU.

PyTorch has a fused LSTM for CPUs (oneDNN) but no GRU: its layer is some ten small operations per step, and
autograd keeps a node for each. Here the whole layer is one node: per step only what truly depends on the
step before is computed; the local derivatives and the weights' gradients come from all steps at once.
"""

from typing import Any

import torch
from torch import Tensor


class GruLayer(torch.autograd.Function):
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
