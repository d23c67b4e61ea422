"""What a config requires of its data and of the machine, beyond its own fields: checked before any work."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from operator import itemgetter
from pathlib import Path

from epochd.core import specs
from epochd.core.errors import Problem
from epochd.core.spec_checks import labels_of
from epochd.core.specs import Task, TrainingSpec
from epochd.engines import memory, network
from epochd.loop.engine import Setup

CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in /proc/cpuinfo (x86, x86, ARM) of instructions that multiply bfloat16."""
CPU_BF16_ENGINES = frozenset({"pytorch"})
"""Engines whose framework uses them. XLA, under TensorFlow and JAX, was no faster in bfloat16 on any CPU tried."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is known of the training data.

    ``shape`` is that of an encoded example, (features,) or (steps, channels); () where it is not known. Unless it is
    ``exact`` it is an upper bound. ``rows`` are the training rows (0: not known), ``classes`` the target's labels (None
    for regression). ``embedded`` are (channel, number of codes) and ``masked`` says that the last channel is the mask,
    as in ``Encoder``.
    """

    task: Task
    shape: tuple[int, ...] = ()
    rows: int = 0
    classes: Sequence[object] | None = None
    embedded: tuple[tuple[int, int], ...] = ()
    masked: bool = False
    exact: bool = True

    @property
    def has_shape(self) -> bool:
        return len(self.shape) > 0 and 0 not in self.shape

    def setup(self, spec: TrainingSpec, inputs: tuple[int, ...], gpus: int = 0) -> Setup:
        """The network over rows of this shape, on one GPU if the server has ``gpus`` and the spec uses them."""
        return Setup(
            spec,
            self.task,
            inputs,
            len(self.classes or ()) if self.task == "multiclass" else len(spec.horizons),
            gpus=(0,) if uses_gpu(spec, gpus) else (),
            embeddings=network.embeddings(self.embedded),
            masked=self.masked,
        )


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What the server can give to one training.

    ``memory_mb`` includes the memory of the framework if ``includes_framework``; ``resident_mb`` is the most encoded
    rows that stay in memory, ``free_bytes`` the free space of the disk. None: not checked.
    """

    gpus: int = 0
    memory_mb: int | None = None
    includes_framework: bool = True
    resident_mb: int = 256
    free_bytes: int | None = None


def problems(spec: TrainingSpec, workload: Workload, limits: MachineLimits) -> list[Problem]:
    """Every requirement that the data or the machine does not meet."""
    found: list[Problem] = []
    inputs: tuple[int, ...] = (prod(workload.shape), 1)
    if workload.has_shape:
        try:
            inputs = network.input_shape(spec, workload.shape)
        except ValueError as error:  # of an upper bound, the final shape may fit
            if workload.exact or prod(spec.input_shape or ()) > prod(workload.shape):
                hint = "give sizes whose product is the number of feature columns"
                found.append(Problem("input_shape", str(error), hint))
    fits = workload.has_shape and not found
    classes = None if workload.classes is None else len(workload.classes)
    found += specs.task_option_problems(spec, workload.task, classes)
    found += [*_class_weight_problems(spec, workload), *_gpu_problems(spec, limits.gpus)]
    if fits:
        setup = workload.setup(spec, inputs, limits.gpus)
        found += [*_memory_problems(setup, workload.rows, limits), *_disk_problems(setup, limits.free_bytes)]
        if workload.exact and 4 * workload.rows * prod(workload.shape) > limits.resident_mb * memory.MIB:
            found += streamed_problems(spec)
    return found


def streamed_problems(spec: TrainingSpec) -> Iterator[Problem]:
    """A problem of several networks if the encoded rows are not held in memory."""
    if spec.averages is not None:
        message = f"{spec.averages} needs the encoded rows in memory, but they are more than EPOCHD_RESIDENT_MB allows"
        yield Problem(spec.averages, message, f"omit {spec.averages}, use fewer columns or rows, or raise the setting")


def uses_gpu(spec: TrainingSpec, gpus: int) -> bool:
    """Whether the spec trains on a GPU where the server has so many."""
    return gpus > 0 and spec.device != "cpu" and spec.num_devices is None


def _class_weight_problems(spec: TrainingSpec, workload: Workload) -> Iterator[Problem]:
    if workload.task == "regression" or not isinstance(spec.class_weight, dict):
        return
    classes = workload.classes or ()
    found = labels_of(spec.class_weight, classes)
    for name in (name for name, label in found.items() if label is None):
        known = ", ".join(str(label).lower() if isinstance(label, bool) else str(label) for label in classes[:20])
        yield Problem("class_weight", f"the target has no class {name!r}", f"its classes are {known}")
    for label, count in Counter(label for label in found.values() if label is not None).items():
        if count > 1:
            names = ", ".join(repr(name) for name, other in found.items() if other == label)
            yield Problem("class_weight", f"{names} are the same class", "give each class one weight")


def _gpu_problems(spec: TrainingSpec, gpus: int) -> Iterator[Problem]:
    has = "no GPU" if gpus == 0 else f"{gpus} GPU{'s' if gpus > 1 else ''}"
    if isinstance(spec.num_gpus, int) and spec.num_gpus > gpus:
        hint = f"use num_gpus {gpus} or less, or 'auto'" if gpus else "leave num_gpus out to train on the CPU"
        yield Problem("num_gpus", f"num_gpus is {spec.num_gpus}, but this server has {has}", hint)
    if spec.device == "gpu" and gpus == 0:
        yield Problem("device", "device is 'gpu', but this server has no GPU", "use 'auto' or 'cpu'")
    if spec.num_gpus is not None and spec.device == "cpu":
        yield Problem("num_gpus", "num_gpus was given, but device is 'cpu'", "leave one of the two out")
    if spec.mixed_precision and not uses_gpu(spec, gpus):
        framework = "pytorch" if spec.framework == "auto" else spec.framework
        if reason := cpu_bf16_obstacle(framework):
            yield Problem("mixed_precision", reason, "leave it out, or train on a GPU")


def _memory_problems(setup: Setup, rows: int, limits: MachineLimits) -> Iterator[Problem]:
    """A problem of the field that takes the most memory, if the sum exceeds the limit."""
    if limits.memory_mb is None:
        return
    framework = memory.FRAMEWORK_BYTES if limits.includes_framework else 0
    needed = memory.estimate(setup, rows, limits.resident_mb, framework)
    limit = limits.memory_mb * memory.MIB
    if needed.total <= limit:
        return
    message = f"this training needs {needed}, but the limit is {limits.memory_mb:,} MiB"
    if framework >= limit:
        yield Problem("framework", message, "no config fits; run the server with fewer slots or on more memory")
        return
    _, field, remedy = max(
        (needed.rows, "feature_columns", "use fewer feature columns"),
        (needed.weights, "hidden_units", "use fewer or narrower layers, or fewer columns"),
        (needed.batch, "batch_size", "use a smaller batch_size, or fewer or narrower layers"),
        key=itemgetter(0),
    )
    yield Problem(field, message, f"{remedy}; EPOCHD_MEMORY_MB sets the server's limit")


def _disk_problems(setup: Setup, free_bytes: int | None) -> Iterator[Problem]:
    """A problem if there is no space for the two checkpoints that a training keeps."""
    needed = 2 * memory.checkpoint_bytes(setup)
    if free_bytes is not None and needed > free_bytes:
        size = f"two checkpoints of this model take {memory.mib(needed)} MiB"
        message = f"{size}, but {memory.mib(free_bytes)} MiB are free in the server's data folder"
        yield Problem("hidden_units", message, "use fewer or narrower layers, or free disk space on the server")


def cpu_bf16_obstacle(framework: str) -> str:
    """Why an engine cannot gain from bfloat16 on this machine's CPU; empty if it may, depending on the model."""
    if not cpu_flags() & CPU_BF16_FLAGS:
        return "this CPU has no bfloat16 arithmetic, which mixed precision on a CPU needs"
    if framework not in CPU_BF16_ENGINES:
        return f"{framework} computes bfloat16 no faster than float32 on a CPU"
    return ""


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU as Linux names them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith(("flags", "Features"))), set())
