"""The PyTorch engine: a fused optimizer over one flat parameter, and training rows on the device.

All weights are views into one flat tensor, their gradients into another: the optimizer makes one call per step for any
number of layers, clipping computes one norm, and ranks exchange one tensor. Nothing is copied to the host inside a
chunk. The code for GPUs (here, in ``cuda_graph`` and in ``distributed``) is not tested on GPUs.
"""

import inspect
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.fx.experimental.symbolic_shapes  # or the first backward() would import it, with SymPy: 0.7 s
from torch import Tensor, nn

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network
from epochd.engines.machines import Leader
from epochd.engines.torch_engine import devices, distributed, losses, networks
from epochd.engines.torch_engine.cuda_graph import CapturedPass, rows_in_graph
from epochd.engines.torch_engine.dropout import Dropout, Masks
from epochd.engines.torch_engine.losses import Batch
from epochd.loop.engine import Arrays, Setup
from epochd.loop.state import Totals

EVALUATION_VALUES = 1 << 22
"""Values of the widest layer per forward pass in evaluation; limits memory, not speed."""
SCALING = "loss_scaling."
"""The prefix of the state of float16's loss scaling, in the optimizer state."""
SCALING_STATE = ("scale", "_growth_tracker")


class TorchEngine:
    """One network on one device, or one rank of several; rank 0 on several machines has a ``leader`` of the others."""

    def __init__(self, setup: Setup, train: InMemoryDataset, rank: int = 0, leader: Leader | None = None) -> None:
        self._setup, self._rank, self._world = setup, rank, distributed.world_size(setup)
        self._device = torch.device("cuda", setup.gpus[rank % len(setup.gpus)]) if setup.gpus else torch.device("cpu")
        self._autocast = devices.autocast_type(setup, self._device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._autocast is torch.float16)
        self._threads = devices.threads_for(setup)
        devices.configure(self._device, self._threads)
        self._rows = losses.TrainingRows(setup, train, self._device)
        self._flat, self._gradient, self._weights = flat_weights(network.shapes(setup), self._device)
        self._ranks: distributed.Ranks | None = None
        self.load_weights(dict(network.initial_weights(setup)))
        self._optimizer = build_optimizer(setup.spec, self._flat)
        self._network = networks.build_network(setup)
        self._loss, self._score = losses.loss_sum(setup), losses.score_sum(setup)
        rate, seed = setup.spec.dropout_rate, setup.spec.seed
        self._dropout = Dropout(networks.hidden_shapes(setup), rate, seed, self._device) if rate else None
        self._row_shares: dict[int, Tensor] = {}
        self._graph_rows = rows_in_graph(setup, self._device, rank)
        self._captured: CapturedPass | None = None
        if self._world > 1 and rank == 0:
            self._ranks = distributed.Ranks(setup, train, leader, self._threads)

    @property
    def description(self) -> dict[str, Any]:
        return {
            "framework": "pytorch",
            "framework_version": str(torch.__version__),
            "device": str(self._device),
            "devices": self._world,
            "threads": self._threads,
            "precision": str(self._autocast or torch.float32).removeprefix("torch."),
        }

    def load_rows(self, rows: InMemoryDataset) -> None:
        if self._ranks is not None:
            self._ranks.load_rows(rows)
        self._rows = losses.TrainingRows(self._setup, rows, self._device)

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        if self._ranks is None:
            return self._train(rows, step, learning_rate)
        self._ranks.broadcast("train", {"rows": rows}, step=step, learning_rate=learning_rate)
        try:
            return self._train(rows, step, learning_rate)
        except distributed.PeerLost as lost:
            raise self._ranks.failure() from lost

    def _train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        self._optimizer.param_groups[0]["lr"] = learning_rate
        size = self._setup.spec.batch_size
        counts = [min(size, len(rows) - first) for first in range(0, len(rows), size)]
        shares = [distributed.share(count, self._rank, self._world) for count in counts]
        chunk = self._rows.take(np.concatenate([rows[i * size :][share] for i, share in enumerate(shares)]))
        batches = chunk.split([share.stop - share.start for share in shares])
        found = [
            self._step(batch, step + i, count, share)
            for i, (batch, count, share) in enumerate(zip(batches, counts, shares, strict=True))
        ]
        loss_sums, outputs = zip(*found, strict=True)
        loss = torch.stack(loss_sums).double().sum()
        score = self._score(torch.cat(outputs), chunk).double()
        sums = torch.stack([loss, score])
        if self._world > 1:
            distributed.all_reduce(sums)
        if self._ranks is not None:
            self._ranks.wait_for(self._device)
        return Totals(len(rows), *sums.tolist())

    def _step(self, batch: Batch, step: int, rows: int, share: slice) -> tuple[Tensor, Tensor]:
        """One optimizer step; the summed loss and the outputs of this rank's share."""
        masks = self._dropout.masks(step, rows, share) if self._dropout else None
        if rows not in self._row_shares:  # the loss is the mean over the whole batch
            self._row_shares[rows] = torch.tensor(1.0 / rows, device=self._device)
        loss, output = self._pass(batch, masks, self._row_shares[rows])
        if self._world > 1:
            distributed.all_reduce(self._gradient)
        if self._setup.spec.gradient_clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_([self._flat], self._setup.spec.gradient_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss, output

    def _pass(self, batch: Batch, masks: Masks, share_of_row: Tensor) -> tuple[Tensor, Tensor]:
        """Forward and backward pass, from a CUDA graph if there is one for this batch size."""
        if len(batch.x) != self._graph_rows:
            return self._compute(batch, masks, share_of_row)
        if self._captured is None:
            self._captured = CapturedPass(self._compute, batch, masks, share_of_row)
        return self._captured(batch, masks)

    def _compute(self, batch: Batch, masks: Masks, share_of_row: Tensor) -> tuple[Tensor, Tensor]:
        """Write the gradient of (summed loss x share of one row) to the flat gradient."""
        self._gradient.zero_()
        if not len(batch.x):
            return self._gradient.new_zeros(()), self._gradient.new_zeros(0, self._setup.outputs)
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            output = self._network(self._weights, batch.x, masks)
        output = output.float()
        loss = self._loss(output, batch)
        self._scaler.scale(loss).backward(share_of_row)  # type: ignore[no-untyped-call]
        return loss.detach(), output.detach()

    def outputs(self, x: FloatArray) -> FloatArray:
        """Computed in float32 on every device, as by the saved model."""
        size = max(1, EVALUATION_VALUES // networks.widest_layer(self._setup))
        with torch.inference_mode(), devices.full_precision(self._device):
            parts = [
                self._network(self._weights, part.to(self._device), None).cpu()
                for part in torch.split(torch.from_numpy(np.require(x, requirements="W")), size)
            ]
            return torch.cat(parts).numpy()

    def weights(self) -> Arrays:
        return {name: weight.detach().cpu().numpy().copy() for name, weight in self._weights.items()}

    def load_weights(self, weights: Arrays) -> None:
        if self._ranks is not None:
            self._ranks.broadcast("load_weights", weights)
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(torch.from_numpy(np.array(weights[name])))

    def optimizer_state(self) -> Arrays:
        state = self._optimizer.state[self._flat]
        found = {name: value.detach().cpu().numpy().copy() for name, value in state.items() if value is not None}
        scaling = self._scaler.state_dict()
        return found | {f"{SCALING}{name}": np.array(scaling[name]) for name in scaling if name in SCALING_STATE}

    def load_optimizer_state(self, state: Arrays) -> None:
        if self._ranks is not None:
            self._ranks.broadcast("load_optimizer_state", state)
        tensors = {name: torch.from_numpy(np.array(v)) for name, v in state.items() if not name.startswith(SCALING)}
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": {0: tensors} if tensors else {}, "param_groups": groups})
        scaling = {name: state[f"{SCALING}{name}"].item() for name in SCALING_STATE if f"{SCALING}{name}" in state}
        if scaling:
            self._scaler.load_state_dict(self._scaler.state_dict() | scaling)

    def close(self) -> None:
        if self._ranks is not None:
            self._ranks.close()


def flat_weights(shapes: network.Shapes, device: torch.device) -> tuple[nn.Parameter, Tensor, dict[str, Tensor]]:
    """One flat parameter, its gradient, and leaf tensors by name that are views into both."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    flat = nn.Parameter(torch.zeros(sum(sizes), device=device))
    gradient = torch.zeros_like(flat)
    flat.grad = gradient
    weights = {}
    parts = torch.split(flat.detach(), sizes), torch.split(gradient, sizes)
    for (name, shape), values, slopes in zip(shapes.items(), *parts, strict=True):
        weights[name] = values.view(shape).requires_grad_()
        weights[name].grad = slopes.view(shape)
    return flat, gradient, weights


def build_optimizer(spec: TrainingSpec, flat: nn.Parameter) -> torch.optim.Optimizer:
    """PyTorch's optimizer, fused into one kernel where PyTorch supports that.

    PyTorch wraps its methods so that they import its compiler, which takes as long as the import of PyTorch itself
    (2.5 s), only to exclude them from compiling. Nothing is compiled here, so the wrappers are left out.
    """
    for method in ("add_param_group", "state_dict", "load_state_dict"):
        if plain := getattr(getattr(torch.optim.Optimizer, method), "__wrapped__", None):
            plain.__dict__.setdefault("__dynamo_disable", plain)
    optimizer: torch.optim.Optimizer
    match spec.optimizer:
        case "adam":
            optimizer = torch.optim.Adam([flat], lr=spec.learning_rate, weight_decay=spec.decay, fused=True)
        case "adamw":
            optimizer = torch.optim.AdamW([flat], lr=spec.learning_rate, weight_decay=spec.decay, fused=True)
        case "sgd":
            optimizer = torch.optim.SGD([flat], lr=spec.learning_rate, weight_decay=spec.decay, fused=True)
        case "rmsprop":
            optimizer = torch.optim.RMSprop([flat], lr=spec.learning_rate, weight_decay=spec.decay)
    optimizer.step = torch.no_grad()(partial(inspect.unwrap(type(optimizer).step), optimizer))  # type: ignore[method-assign]
    return optimizer
