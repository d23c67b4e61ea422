"""What a config demands of its data and of the machine, beyond its own fields: checked before any work."""

from collections.abc import Iterator, Sequence

from epochd.core.errors import Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.engines import architecture, precision


def problems(
    spec: TrainingSpec, *, width: int, task: Task, classes: Sequence[object] | None, gpus: int
) -> list[Problem]:
    """Every demand that cannot be met.

    ``width`` is the number of encoded feature columns (0: not known before the data are encoded), ``classes``
    the target's labels, ``gpus`` how many GPUs the server has.
    """
    return [
        *_shape_problems(spec, width),
        *_class_problems(spec, task, classes),
        *_gpu_problems(spec, gpus),
    ]


def _shape_problems(spec: TrainingSpec, width: int) -> Iterator[Problem]:
    if spec.input_shape is None or not width:
        return
    try:
        architecture.input_shape(spec, width)
    except ValueError as error:
        yield Problem("input_shape", str(error), "give sizes whose product is the number of feature columns")


def _class_problems(spec: TrainingSpec, task: Task, classes: Sequence[object] | None) -> Iterator[Problem]:
    if task == "regression":
        for name in ("class_weight", "label_smoothing"):
            if getattr(spec, name):
                yield Problem(name, f"{name} needs classes, but the target is a number (regression)", "leave it out")
    elif isinstance(spec.class_weight, dict):
        known = [str(label) for label in classes or ()]
        for label in spec.class_weight:
            if label not in known:
                shown = ", ".join(known[:20])
                yield Problem("class_weight", f"the target has no class {label!r}", f"its classes are {shown}")


def _gpu_problems(spec: TrainingSpec, gpus: int) -> Iterator[Problem]:
    has = "no GPU" if gpus == 0 else f"{gpus} GPU{'s' if gpus > 1 else ''}"
    if isinstance(spec.num_gpus, int) and spec.num_gpus > gpus:
        yield Problem("num_gpus", f"num_gpus is {spec.num_gpus}, but this server has {has}", "ask for what it has")
    if spec.device == "gpu" and gpus == 0:
        yield Problem("device", "device is 'gpu', but this server has no GPU", "use 'auto' or 'cpu'")
    if spec.num_gpus is not None and spec.device == "cpu":
        yield Problem("num_gpus", "num_gpus was given, but device is 'cpu'", "leave one of the two out")
    on_cpu = gpus == 0 or spec.device == "cpu" or spec.num_devices is not None
    if spec.mixed_precision and on_cpu:
        framework = "pytorch" if spec.framework == "auto" else spec.framework
        if reason := precision.cpu_refusal(framework):
            yield Problem("mixed_precision", reason, "leave it out, or train on a GPU")
