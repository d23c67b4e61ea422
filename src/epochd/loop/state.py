"""The state of the loop: together with weights and optimizer state, all that an exact resume needs.

It is saved as readable JSON, which preserves floats bit for bit.
"""

from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Totals:
    """Weighted sums over training rows: of the row losses, and of the ``score``: correct predictions (classification)
    or squared errors (regression) in units of the standardised target; of a logarithm in units of its largest
    exponential (``target_scale.relative``)."""

    rows: int = 0
    loss: float = 0.0
    score: float = 0.0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.rows + other.rows, self.loss + other.loss, self.score + other.score)

    @property
    def is_finite(self) -> bool:
        return isfinite(self.loss) and isfinite(self.score)


@dataclass(slots=True)
class LoopState:
    """``epoch`` epochs are complete and ``step`` steps of the next one, to which ``totals`` and ``seconds`` belong.

    Each of the ``rollbacks`` has reduced ``rate_factor``, which multiplies scheduled rates. ``best_weights`` are
    canonical and are saved in a file of their own, not in the JSON.
    """

    learning_rate: float
    rate_factor: float = 1.0
    rollbacks: int = 0
    epoch: int = 0
    step: int = 0
    totals: Totals = Totals()
    seconds: float = 0.0
    plateau_best: float | None = None
    plateau_bad_epochs: int = 0
    stopping_best: float | None = None
    stopping_wait: int = 0
    stopped_early: bool = False
    best_epoch: int = 0
    best_value: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "best_weights"}
        return values | {"totals": asdict(self.totals)}

    @classmethod
    def from_json(cls, values: dict[str, Any], best_weights: dict[str, npt.NDArray[np.generic]]) -> Self:
        return cls(**values | {"totals": Totals(**values["totals"]), "best_weights": best_weights})

    @property
    def best_row(self) -> dict[str, Any] | None:
        """The history row of the best epoch."""
        return self.history[self.best_epoch - 1] if self.best_epoch else None
