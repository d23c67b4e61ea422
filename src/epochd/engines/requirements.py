"""What a config demands of its data and of the machine, beyond its own fields: checked before any work."""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from epochd.core.errors import Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.engines import memory, network
from epochd.loop.engine import Embedding, Setup


def problems(
    spec: TrainingSpec,
    *,
    shape: tuple[int, ...],
    task: Task,
    classes: Sequence[object] | None,
    gpus: int,
    exact: bool = True,
    embedded: Sequence[tuple[int, int]] = (),
    masked: bool = False,
    rows: int = 0,
    memory_mb: int | None = None,
    holds_framework: bool = True,
    resident_mb: int = 256,
    free_bytes: int | None = None,
) -> list[Problem]:
    """Every demand that cannot be met.

    ``shape`` is that of an encoded example, (features,) or (steps, channels); it may be () where nothing is known of
    it, and be larger than in the end unless it is ``exact``. ``embedded`` and ``masked`` are as in ``encode.Encoder``,
    ``classes`` the target's labels, ``gpus`` how many GPUs the server has. The memory that training on ``rows`` takes
    is held against ``memory_mb`` (None: is not asked), in which the framework is counted if it ``holds_framework``,
    with ``resident_mb`` of encoded rows at most, and what two checkpoints take against ``free_bytes`` of the disk
    (likewise).
    """
    found = [
        *_shape_problems(spec, shape, exact),
        *_class_problems(spec, task, classes),
        *_gpu_problems(spec, gpus),
    ]
    if _is_known(shape) and not any(problem.field == "input_shape" for problem in found):
        outputs = len(classes or ()) if task == "multiclass" else 1
        setup = _setup(spec, shape, task, outputs, gpus, embedded, masked)
        if memory_mb is not None:
            need = memory.need(setup, rows, resident_mb, memory.FRAMEWORK if holds_framework else 0)
            found += _memory_problems(need, memory_mb)
        if free_bytes is not None:
            found += _disk_problems(setup, free_bytes)
    return found


def _shape_problems(spec: TrainingSpec, shape: tuple[int, ...], exact: bool) -> Iterator[Problem]:
    if spec.input_shape is None or not _is_known(shape):
        return
    try:
        network.input_shape(spec, shape)
    except ValueError as error:
        if exact or prod(spec.input_shape) > prod(shape):
            yield Problem("input_shape", str(error), "give sizes whose product is the number of feature columns")


def _is_known(shape: tuple[int, ...]) -> bool:
    return len(shape) > 0 and 0 not in shape


def _setup(
    spec: TrainingSpec,
    shape: tuple[int, ...],
    task: Task,
    outputs: int,
    gpus: int,
    embedded: Sequence[tuple[int, int]],
    masked: bool,
) -> Setup:
    """What would be built, on one of the GPUs if there are any."""
    try:
        inputs = network.input_shape(spec, shape)
    except ValueError:  # larger than it will be
        inputs = (prod(shape), 1)
    vectors = tuple(Embedding(channel, codes, network.vector_size(codes)) for channel, codes in embedded)
    on_gpu = gpus > 0 and spec.device != "cpu" and spec.num_devices is None
    return Setup(spec, task, inputs, outputs, gpus=(0,) if on_gpu else (), embeddings=vectors, masked=masked)


def _memory_problems(need: memory.Need, memory_mb: int) -> Iterator[Problem]:
    """A problem of the field that takes the most, if all together is too much."""
    limit = memory_mb * memory.MIB
    if need.total <= limit:
        return
    message = f"this training would take {need}, but may take {memory_mb:,} MiB"
    if need.framework >= limit:
        yield Problem("framework", message, "no config fits; have the server run with fewer slots or on more memory")
        return
    by_field = {"feature_columns": need.rows, "hidden_units": need.weights, "batch_size": need.batch}
    field = max(by_field, key=lambda name: by_field[name])
    ways = {
        "feature_columns": "learn from fewer columns",
        "hidden_units": "use fewer or narrower layers, or fewer columns",
        "batch_size": "use a smaller batch_size, or fewer or narrower layers",
    }
    yield Problem(field, message, f"{ways[field]}; the server's limit is EPOCHD_MEMORY_MB")


def _disk_problems(setup: Setup, free: int) -> Iterator[Problem]:
    """A problem if there is no room for the two checkpoints that a training keeps."""
    needed = 2 * memory.checkpoint_bytes(setup)
    if needed > free:
        size = f"two checkpoints of this model take {memory.mib(needed)} MiB"
        message = f"{size}, but {memory.mib(free)} MiB are free in the server's data folder"
        yield Problem("hidden_units", message, "use fewer or narrower layers, or have room made on the server")


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
        if reason := cpu_refusal(framework):
            yield Problem("mixed_precision", reason, "leave it out, or train on a GPU")


CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in /proc/cpuinfo (x86, x86, ARM) of instructions that multiply bfloat16."""


CPU_FRAMEWORKS = frozenset({"pytorch"})
"""Engines whose framework uses them. XLA, under TensorFlow and JAX, was no faster in bfloat16 on any CPU tried."""


def cpu_refusal(framework: str) -> str:
    """Why an engine cannot gain from bfloat16 on this machine's CPU; empty if it may, depending on the model."""
    if not cpu_flags() & CPU_BF16_FLAGS:
        return "this CPU has no bfloat16 arithmetic, which mixed precision on a CPU needs"
    if framework not in CPU_FRAMEWORKS:
        return f"{framework} computes bfloat16 no faster than float32 on a CPU"
    return ""


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith(("flags", "Features"))), set())
