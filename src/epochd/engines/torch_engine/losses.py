"""Training rows on the device, and the loss and score of each task.

Losses are sums over rows, so that those of the ranks can be added; the engine divides by the rows of the whole batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.target_scale import MAX_GAP
from epochd.data.feed.dataset import InMemoryDataset
from epochd.loop.engine import Setup


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on the device: ``x`` (rows, *inputs), ``y`` as in ``InMemoryDataset``; of a row the ``weight`` of
    its loss, and ``row_weight``, that of its score, which its class has no part in, (rows,). The parts of a batch that
    was split have no ``row_weight``."""

    x: Tensor
    y: Tensor
    weight: Tensor | None
    row_weight: Tensor | None = None

    def split(self, sizes: list[int]) -> list["Batch"]:
        """The same rows as one batch per size."""
        weights = [None] * len(sizes) if self.weight is None else torch.split(self.weight, sizes)
        columns = zip(torch.split(self.x, sizes), torch.split(self.y, sizes), weights, strict=True)
        return [Batch(*column) for column in columns]


class TrainingRows:
    """The training rows: copied to a GPU; on a CPU used in place, also from a memory-mapped file."""

    def __init__(self, setup: Setup, train: InMemoryDataset, device: torch.device) -> None:
        self._dataset = train
        self._on_gpu = device.type != "cpu"
        self._device = device
        if self._on_gpu:
            self._x, self._y = self._upload(train.x), self._upload(train.y)
            self._weights = None if train.weights is None else self._upload(train.weights)
        weights = setup.class_weights
        self._class_weights = None if weights is None else torch.tensor(weights, device=device)

    def take(self, index: IntArray) -> Batch:
        """Gather rows in the order of ``index``."""
        if self._on_gpu:
            positions = self._upload(index)
            x, y = self._x[positions], self._y[positions]
            row_weight = None if self._weights is None else self._weights[positions]
        else:
            x, y = self._upload(self._dataset.x[index]), self._upload(self._dataset.y[index])
            weights = self._dataset.weights
            row_weight = None if weights is None else self._upload(weights[index])
        if self._class_weights is None:
            return Batch(x, y, row_weight, row_weight)
        of_class = self._class_weights[y.long()]
        return Batch(x, y, of_class if row_weight is None else of_class * row_weight, row_weight)

    def _upload(self, values: FloatArray | IntArray) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor if self._device.type == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)


Loss = Callable[[Tensor, Batch], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]
"""(outputs, y) → whether each row is predicted correctly, or its squared error (see ``loop.state.Totals``)."""


def loss_sum(setup: Setup) -> Loss:
    """(outputs (rows, outputs), batch) → the sum of the rows' weighted, smoothed losses."""
    smooth = setup.spec.label_smoothing

    def binary(output: Tensor, batch: Batch) -> Tensor:
        y = batch.y * (1 - smooth) + smooth / 2 if smooth else batch.y
        return F.binary_cross_entropy_with_logits(output[:, 0], y, batch.weight, reduction="sum")

    def multiclass(output: Tensor, batch: Batch) -> Tensor:
        # not cross_entropy's own weight: it would weight the smoothed part by class instead of by row
        if batch.weight is None:
            return F.cross_entropy(output, batch.y, reduction="sum", label_smoothing=smooth)
        return F.cross_entropy(output, batch.y, reduction="none", label_smoothing=smooth).dot(batch.weight)

    def regression(output: Tensor, batch: Batch) -> Tensor:
        if setup.outputs > 1:
            each = F.mse_loss(output, batch.y, reduction="none").mean(1)
            return each.sum() if batch.weight is None else each.dot(batch.weight)
        if batch.weight is None:
            return F.mse_loss(output[:, 0], batch.y, reduction="sum")
        return F.mse_loss(output[:, 0], batch.y, reduction="none").dot(batch.weight)

    return {"binary": binary, "multiclass": multiclass, "regression": regression}[setup.task]


def score_sum(setup: Setup) -> Loss:
    """(outputs (rows, outputs), batch) → the sum of the rows' weighted scores."""
    score = row_scores(setup)

    def found(output: Tensor, batch: Batch) -> Tensor:
        scores = score(output, batch.y)
        return scores.sum() if batch.row_weight is None else scores.double().dot(batch.row_weight.double())

    return found


def row_scores(setup: Setup) -> Score:
    """The score of the task."""
    match setup.task:
        case "binary":
            return lambda output, y: (output[:, 0] > 0) == (y > 0.5)
        case "multiclass":
            return lambda output, y: output.argmax(1) == y
        case "regression" if setup.target_log is not None:
            scale, top = setup.target_log

            def relative(target: Tensor) -> Tensor:
                return ((target.double() - top) * scale).clamp(max=MAX_GAP).exp()

            return lambda output, y: _by_row((relative(output.reshape(y.shape)) - relative(y)).square())
        case "regression":
            return lambda output, y: _by_row((output.reshape(y.shape) - y).double().square())


def _by_row(squares: Tensor) -> Tensor:
    """The mean over the outputs of each row, (rows,)."""
    return squares if squares.ndim == 1 else squares.mean(1)
