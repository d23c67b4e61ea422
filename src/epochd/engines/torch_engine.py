"""PyTorch: tensors resident on the device, a fused optimizer over one flat parameter.

All weights are views into one flat tensor, their gradients into another, so that the optimizer makes one
call per step however many layers there are. Nothing is copied to the host inside a chunk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epochd.core.specs import Optimizer
from epochd.data.arrays import FloatArray, IntArray, Part
from epochd.engines import architecture
from epochd.loop.engine import Arrays, Setup
from epochd.loop.state import Totals

EVALUATION_ROWS = 16_384
"""Rows per forward pass when scoring; bounds memory, not speed."""
THREAD_FLOPS = 2e8
"""Work of one step from which a second CPU thread pays for its synchronisation."""


class TorchEngine:
    """One network on one device, trained by PyTorch."""

    def __init__(self, setup: Setup, train: Part) -> None:
        self._setup = setup
        self._threads = threads_for(setup)
        torch.set_num_threads(self._threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self._device = torch.device("cuda", setup.gpus[0]) if setup.gpus else torch.device("cpu")
        self._x = torch.from_numpy(train.x).to(self._device)
        self._y = torch.from_numpy(train.y).to(self._device)
        self._flat, self._gradient, self._weights = flat_weights(architecture.shapes(setup), self._device)
        self.load_weights(dict(architecture.initial_weights(setup)))
        self._optimizer = build_optimizer(setup.spec.optimizer, self._flat, setup.spec.learning_rate)
        self._loss, self._score = OBJECTIVES[setup.task]

    @property
    def description(self) -> dict[str, Any]:
        return {
            "framework": "pytorch",
            "framework_version": str(torch.__version__),
            "device": str(self._device),
            "threads": self._threads,
        }

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        self._optimizer.param_groups[0]["lr"] = learning_rate
        index = torch.from_numpy(rows).to(self._device)
        size = self._setup.spec.batch_size
        y = self._y.index_select(0, index)
        losses: list[Tensor] = []
        outputs: list[Tensor] = []
        for x_batch, y_batch in zip(
            torch.split(self._x.index_select(0, index), size), torch.split(y, size), strict=True
        ):
            seed_dropout(self._setup.spec.seed, step + len(losses), self._device)
            output = self._forward(x_batch, training=True)
            loss = self._loss(output, y_batch)
            self._gradient.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            losses.append(loss.detach() * len(y_batch))
            outputs.append(output.detach())
        loss_sum = torch.stack(losses).double().sum()
        score = self._score(torch.cat(outputs), y).double().sum()
        return Totals(len(rows), *torch.stack([loss_sum, score]).tolist())

    def outputs(self, x: FloatArray) -> FloatArray:
        with torch.inference_mode():
            parts = [
                self._forward(torch.from_numpy(x[i : i + EVALUATION_ROWS]).to(self._device), training=False)
                for i in range(0, len(x), EVALUATION_ROWS)
            ]
            return torch.cat(parts).cpu().numpy()

    def weights(self) -> Arrays:
        return {name: weight.detach().cpu().numpy().copy() for name, weight in self._weights.items()}

    def load_weights(self, weights: Arrays) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))

    def optimizer_state(self) -> Arrays:
        state = self._optimizer.state[self._flat]
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items() if value is not None}

    def load_optimizer_state(self, state: Arrays) -> None:
        if not state:
            return
        packed = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": {0: packed}, "param_groups": groups})

    def _forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(rows, width) → (rows, outputs)."""
        hidden = x
        rate = self._setup.spec.dropout_rate
        for i in range(len(self._setup.spec.hidden_units)):
            hidden = F.linear(hidden, self._weights[f"hidden.{i}.weight"], self._weights[f"hidden.{i}.bias"])
            hidden = F.relu(hidden)
            if training and rate:
                hidden = F.dropout(hidden, rate)
        return F.linear(hidden, self._weights["output.weight"], self._weights["output.bias"])


def threads_for(setup: Setup) -> int:
    """One thread for small steps, which more threads only slow down; all that the slot has for large ones."""
    work = architecture.flops_per_row(setup) * setup.spec.batch_size
    return setup.threads if work >= THREAD_FLOPS else 1


def flat_weights(shapes: architecture.Shapes, device: torch.device) -> tuple[nn.Parameter, Tensor, dict[str, Tensor]]:
    """One flat parameter, its gradient, and leaf tensors by name that are views into both."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    flat = nn.Parameter(torch.zeros(sum(sizes), device=device))
    gradient = torch.zeros_like(flat)
    flat.grad = gradient
    weights = {}
    for (name, shape), values, slopes in zip(
        shapes.items(), torch.split(flat.detach(), sizes), torch.split(gradient, sizes), strict=True
    ):
        weights[name] = values.view(shape).requires_grad_()
        weights[name].grad = slopes.view(shape)
    return flat, gradient, weights


def build_optimizer(name: Optimizer, flat: nn.Parameter, learning_rate: float) -> torch.optim.Optimizer:
    match name:
        case "adam":
            return torch.optim.Adam([flat], lr=learning_rate, fused=True)
        case "adamw":
            return torch.optim.AdamW([flat], lr=learning_rate, fused=True)
        case "sgd":
            return torch.optim.SGD([flat], lr=learning_rate, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop([flat], lr=learning_rate)


def seed_dropout(seed: int, step: int, device: torch.device) -> None:
    """Key the generator that dropout draws from by (seed, step), so that no generator state is ever saved."""
    key = ((seed << 31) ^ step) & (2**63 - 1)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(key)
    else:
        torch.default_generator.manual_seed(key)


Objective = Callable[[Tensor, Tensor], Tensor]

OBJECTIVES: dict[str, tuple[Objective, Objective]] = {
    "binary": (
        lambda output, y: F.binary_cross_entropy_with_logits(output[:, 0], y),
        lambda output, y: (output[:, 0] > 0) == (y > 0.5),
    ),
    "multiclass": (F.cross_entropy, lambda output, y: output.argmax(1) == y),
    "regression": (
        lambda output, y: F.mse_loss(output[:, 0], y),
        lambda output, y: (output[:, 0] - y).square(),
    ),
}
"""Task → the mean loss of a batch, and the score of each row (see ``loop.state.Totals``)."""
