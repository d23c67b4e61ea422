"""Learning-rate schedules, stepped once per epoch.

The sequences equal those of ``torch.optim.lr_scheduler``'s StepLR, CosineAnnealingLR and ReduceLROnPlateau (relative
threshold 1e-4, no cooldown, smallest change 1e-8).
"""

from math import cos, pi

from epochd.core.jobs import SCHEDULE
from epochd.core.specs import TrainingSpec
from epochd.loop.state import LoopState

PLATEAU_THRESHOLD = 1e-4
PLATEAU_SMALLEST_CHANGE = 1e-8


def next_learning_rate(spec: TrainingSpec, state: LoopState, value: float | None, higher_is_better: bool) -> float:
    """The learning rate of the epoch after ``state.epoch`` complete ones; updates the plateau state. An epoch without a
    ``value`` is one without improvement."""
    if spec.learning_rate_scheduler != "plateau":
        return rate(spec, state.epoch) * state.rate_factor
    loss, best = -value if higher_is_better and value is not None else value, state.plateau_best
    if loss is not None and (best is None or loss < best - abs(best) * PLATEAU_THRESHOLD):
        state.plateau_best, state.plateau_bad_epochs = loss, 0
    else:
        state.plateau_bad_epochs += 1
    if state.plateau_bad_epochs <= spec.patience:
        return state.learning_rate
    state.plateau_bad_epochs = 0
    lower = state.learning_rate * spec.factor
    return lower if state.learning_rate - lower > PLATEAU_SMALLEST_CHANGE else state.learning_rate


def rate(spec: TrainingSpec, epoch: int) -> float:
    """The learning rate after ``epoch`` complete epochs; for ``plateau`` the initial one, for the loop decides."""
    match spec.learning_rate_scheduler:
        case "step":
            return float(spec.learning_rate * spec.gamma ** (epoch // spec.step_size))
        case "cosine":
            share = 1 + cos(pi * epoch / (spec.T_max or spec.epochs))
            return spec.eta_min + (spec.learning_rate - spec.eta_min) * share / 2
        case "plateau" | "none":
            return spec.learning_rate


def settings(spec: TrainingSpec) -> dict[str, object]:
    """All settings of the schedule; a resume compares them to find out whether the schedule was changed."""
    names = ["learning_rate", "learning_rate_scheduler", *SCHEDULE]
    return {name: getattr(spec, name) for name in names} | {"T_max": spec.T_max or spec.epochs}


def change(spec: TrainingSpec, state: LoopState, before: dict[str, object]) -> None:
    """Switch from the schedule with the settings ``before`` to that of the spec; does nothing if they are equal."""
    if settings(spec) == before:
        return
    if spec.learning_rate_scheduler != "plateau":
        state.learning_rate = rate(spec, state.epoch) * state.rate_factor
    elif before.get("learning_rate_scheduler") != "plateau" or before.get("learning_rate") != spec.learning_rate:
        state.learning_rate = spec.learning_rate * state.rate_factor
        state.plateau_best, state.plateau_bad_epochs = None, 0
