"""The learning rates to come, as a user sees them before and after a change."""

from typing import Any

from epochd.core.jobs import Job
from epochd.core.specs import TrainingSpec
from epochd.loop import schedules

MAX_POINTS = 200
"""A curve of more epochs is thinned out evenly; its ends stay."""

Curve = list[list[float]]


def change(job: Job, before: TrainingSpec) -> dict[str, Any]:
    """The curves of a paused job under the config that it had and under the one that it has now."""
    done, rate = position(job)
    made_with = at_checkpoint(job, before)
    old = schedules.rate(made_with, done)
    factor = rate / old if rate is not None and old > 0 and made_with.learning_rate_scheduler != "plateau" else 1.0
    found: dict[str, Any] = {"before": curve(before, done, factor), "after": curve(job.spec, done, factor)}
    if "plateau" in (before.learning_rate_scheduler, job.spec.learning_rate_scheduler):
        found["note"] = "a plateau schedule is shown without its falls, which depend on what the training will measure"
    return found


def position(job: Job) -> tuple[int, float | None]:
    """How many epochs the checkpoint has behind it, and the learning rate that it goes on with."""
    restores = (job.checkpoint and job.checkpoint.restores) or {}
    return restores.get("position", {}).get("epochs_done", 0), restores.get("schedule", {}).get("learning_rate")


def at_checkpoint(job: Job, before: TrainingSpec) -> TrainingSpec:
    """The config with the schedule that the checkpoint was made with; resumes since may have changed it."""
    restores = (job.checkpoint and job.checkpoint.restores) or {}
    return before.model_copy(update=restores.get("schedule", {}).get("settings", {}))


def curve(spec: TrainingSpec, done: int, factor: float = 1.0) -> Curve:
    """``[epoch, learning rate]`` from the epoch after ``done`` to the last."""
    points = [[epoch, schedules.rate(spec, epoch - 1) * factor] for epoch in range(done + 1, spec.epochs + 1)]
    every = max(1, -(-len(points) // MAX_POINTS))
    return points if every == 1 else [*points[:-1:every], points[-1]]
