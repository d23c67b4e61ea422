"""How long a training takes on each engine: the estimate behind ``framework: auto``, and what was measured here.

A table has, for each network and engine, the seconds of compilation, the overhead of a step, and the seconds per 10⁹
operations; and for each engine the seconds until a new process has imported it. The table that is shipped,
``speeds.json``, was measured on one machine by ``benchmarks/train.py --fit-speeds``. ``epochd bench`` measures one on
the user's machine and stores it in the data folder, where it replaces the shipped one.

Workers report what their trainings measure. The server keeps the newest of these samples, and corrects the table by
them: the steps of an engine are as much longer or shorter than in the table as those of the trainings of this network
that are nearest in size. An engine without samples is corrected by those of the others, which tell how fast the machine
is; otherwise the engine that happened to be measured first would have an advantage, or a disadvantage, for ever.
"""

import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from importlib.resources import files
from itertools import takewhile
from math import ceil, inf, isfinite, log
from pathlib import Path
from statistics import median
from sys import float_info
from typing import Any, Self

import numpy as np

from epochd.engines import network
from epochd.loop.engine import Setup

logger = logging.getLogger(__name__)

LIKELY_PATIENCES = 3
"""A training with early stopping is assumed to last this many times its patience."""
KEPT, NEAREST = 32, 5
"""Samples that are kept for each network and engine, the newest ones; and those of them that correct an estimate."""
LEAST_STEP = 1e-6
THREADS_GAIN = 1.1
"""How many times as fast a step has to be with all threads, for them to be used."""
TABLE, SAMPLES = "table.json", "samples.json"
"""Files of ``epochd bench`` and of the server, in the folder of ``Speeds``."""
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What is raised for a file that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of an engine for one network: until the first step is compiled, per step, and per 10⁹ operations."""

    compile: float
    step: float
    gflop: float

    def step_seconds(self, flops: float) -> float:
        return self.step + self.gflop * flops / 1e9


@dataclass(frozen=True, slots=True)
class Sample:
    """What one training has measured. ``network`` is one of ``network_of``; ``flops`` are the operations of a step.
    ``shape`` is that of its programs (``programs.shape_of``), None if it is not known; ``compile_seconds`` are None
    where an earlier training of the shape had compiled them."""

    engine: str
    network: str
    flops: float
    step_seconds: float
    compile_seconds: float | None
    import_seconds: float | None = None
    shape: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises one of ``DAMAGED`` for what is no sample."""
        known: dict[str, Any] = {one.name: values[one.name] for one in fields(cls) if one.default is MISSING}
        known |= {name: values.get(name) for name in ("import_seconds", "shape")}
        found = cls(**known)
        if not all(isinstance(name, str) for name in (found.engine, found.network, found.shape) if name is not None):
            raise TypeError(f"a sample has impossible names: {found.engine!r}, {found.network!r}, {found.shape!r}")
        optional = [value for value in (found.compile_seconds, found.import_seconds) if value is not None]
        numbers = [found.flops, found.step_seconds, *optional]
        if not all(isfinite(value) and value >= 0 for value in numbers) or not found.flops * found.step_seconds:
            raise ValueError(f"a sample of {found.engine} has impossible values: {numbers}")
        return found


@dataclass(frozen=True, slots=True)
class Table:
    """``speeds`` by network and engine; ``processes`` are ``start`` and ``import`` of each engine in seconds: until a
    new process runs, and what the import adds. ``measured`` tells when and where. ``threads`` are, for each network and
    engine, the operations of a step from which all threads of a slot are faster than one; infinite if they never were,
    missing if that was not measured."""

    speeds: Mapping[str, Mapping[str, Speed]]
    processes: Mapping[str, Mapping[str, float]]
    measured: Mapping[str, Any]
    samples: Sequence[Sample] = ()
    threads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises one of ``DAMAGED`` for what is no table."""
        speeds = {
            kind: {engine: Speed(**{name: float(value) for name, value in one.items()}) for engine, one in row.items()}
            for kind, row in values["cpu"].items()
        }
        if not all(0 < one.step + one.gflop < inf for row in speeds.values() for one in row.values()):
            raise ValueError("it has impossible speeds")
        processes = {
            engine: {"start": float(one["start"]), "import": float(one["import"])}
            for engine, one in values["engines"].items()
        }
        samples = tuple(Sample.from_json(sample) for sample in values.get("samples", ()))
        threads = {
            kind: {engine: inf if flops is None else float(flops) for engine, flops in row.items()}
            for kind, row in values.get("threads", {}).items()
        }
        return cls(speeds, processes, dict(values["measured"]), samples, threads)

    def as_json(self) -> dict[str, Any]:
        cpu = {kind: {engine: asdict(one) for engine, one in row.items()} for kind, row in self.speeds.items()}
        found = {"measured": dict(self.measured), "engines": dict(self.processes), "cpu": cpu}
        if self.threads:
            found["threads"] = {
                kind: {engine: flops if isfinite(flops) else None for engine, flops in row.items()}
                for kind, row in self.threads.items()
            }
        return found | ({"samples": [asdict(sample) for sample in self.samples]} if self.samples else {})

    def threads_of(self, engine: str) -> dict[str, float]:
        """``threads`` of one engine, by network, as finite numbers."""
        return {kind: min(row[engine], float_info.max) for kind, row in self.threads.items() if engine in row}


SHIPPED = Table.from_json(json.loads((files("epochd.engines") / "speeds.json").read_bytes()))


def network_of(setup: Setup) -> str:
    """What the table calls a network: its ``model_type``, and ``cnn2d`` for the convolutions of pictures."""
    kind = setup.spec.model_type
    return "cnn2d" if kind == "cnn" and len(setup.inputs) > 2 else kind


def step_flops(setup: Setup, rows: int) -> float:
    """The operations of one step of a training with so many rows."""
    return network.flops_per_row(setup) * min(setup.spec.batch_size, rows)


def fitted(samples: Iterable[Sample]) -> Speed:
    """The speed that is nearest to samples of one network and engine, by relative errors."""
    measured = list(samples)
    seconds = np.array([sample.step_seconds for sample in measured])
    gflops = np.array([sample.flops for sample in measured]) / 1e9
    (step, gflop), *_ = np.linalg.lstsq(np.stack([1 / seconds, gflops / seconds], 1), np.ones(len(seconds)), rcond=None)
    if step < LEAST_STEP or len(set(gflops)) == 1:
        step, gflop = LEAST_STEP, float(np.median(seconds / gflops))
    if gflop < 0:
        step, gflop = float(np.median(seconds)), 0.0
    compile_seconds = median(sample.compile_seconds or 0.0 for sample in measured)
    return Speed(round(compile_seconds, 3), round(float(step), 7), round(float(gflop), 5))


def thread_limits(alone: Iterable[Sample], together: Iterable[Sample]) -> dict[str, dict[str, float]]:
    """``Table.threads``, from the same trainings with one thread and with all: the smallest step from which all larger
    ones gain at least ``THREADS_GAIN``."""
    seconds = {(one.engine, one.network, one.flops): one.step_seconds for one in alone}
    gains: dict[tuple[str, str], dict[float, bool]] = {}
    for one in together:
        if (before := seconds.get((one.engine, one.network, one.flops))) is not None:
            gains.setdefault((one.network, one.engine), {})[one.flops] = one.step_seconds * THREADS_GAIN < before
    found: dict[str, dict[str, float]] = {}
    for (kind, engine), gained in gains.items():
        larger = list(takewhile(gained.__getitem__, sorted(gained, reverse=True)))
        found.setdefault(kind, {})[engine] = larger[-1] if larger else inf
    return found


class Speeds:
    """The table and the samples of a machine, in a ``folder`` of two small files; without one, what is shipped. A file
    that is missing or damaged counts as empty. Threads may share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._table: tuple[int | None, Table] = (None, SHIPPED)
        self._samples: list[Sample] = []
        if (found := self._read(SAMPLES)) is not None:
            try:
                self._samples = [Sample.from_json(sample) for sample in found["samples"]]
            except DAMAGED as error:
                self._ignored(SAMPLES, error)

    @property
    def table(self) -> Table:
        """That of ``epochd bench``, which may write it while the server runs; or else the shipped one."""
        try:
            changed = None if self._folder is None else (self._folder / TABLE).stat().st_mtime_ns
        except OSError:
            changed = None
        if changed != self._table[0]:
            table = SHIPPED
            if changed is not None and (found := self._read(TABLE)) is not None:
                try:
                    table = Table.from_json(found)
                except DAMAGED as error:
                    self._ignored(TABLE, error)
            self._table = changed, table
        return self._table[1]

    def write_table(self, table: Table) -> None:
        """Store the table of ``epochd bench``."""
        self._write(TABLE, table.as_json())

    def add(self, sample: Sample) -> None:
        """Keep a sample, and forget the oldest one of its network and engine beyond ``KEPT``. A folder that cannot be
        written to loses it at the next start."""
        if self.is_compiled(sample.engine, sample.shape):
            sample = replace(sample, compile_seconds=None)
        with self._lock:
            same = [one for one in self._samples if (one.engine, one.network) == (sample.engine, sample.network)]
            dropped = same[: max(0, len(same) + 1 - KEPT)]
            self._samples = [one for one in self._samples if not any(one is old for old in dropped)] + [sample]
            try:
                self._write(SAMPLES, {"samples": [asdict(one) for one in self._samples]})
            except OSError as error:
                logger.warning("measured speeds cannot be stored in %s: %s", self._folder, error)

    def is_compiled(self, engine: str, shape: str | None) -> bool:
        """Whether a training with programs of this shape is among the samples."""
        return shape is not None and any((one.engine, one.shape) == (engine, shape) for one in self._samples)

    def engines(self, kind: str) -> list[str]:
        """The engines with an entry for this network."""
        return list(self.table.speeds.get(kind, {}))

    def recent_engines(self) -> list[str]:
        """The engines of the samples, the one that was used last first."""
        return list(dict.fromkeys(one.engine for one in reversed(self._samples)))

    def start_seconds(self, engine: str) -> float:
        """Until a new process has imported the engine."""
        known = self.table.processes.get(engine, {"start": 0.0, "import": 0.0})
        imports = [one.import_seconds for one in self._samples if one.engine == engine and one.import_seconds]
        return known["start"] + (median(imports[-NEAREST:]) if imports else known["import"])

    def speed(self, engine: str, kind: str, flops: float) -> Speed:
        """The speed of an engine for a network with steps of so many operations. Raises KeyError without an entry."""
        prior = self.table.speeds[kind][engine]
        samples = self._nearest(engine, kind, flops)
        if not samples:
            factor = self._machine_factor()
            return Speed(prior.compile * factor, prior.step * factor, prior.gflop * factor)
        factor = median(sample.step_seconds / prior.step_seconds(sample.flops) for sample in samples)
        compiled = [sample.compile_seconds for sample in samples if sample.compile_seconds is not None]
        seconds = median(compiled) if compiled else prior.compile * factor
        return Speed(seconds, prior.step * factor, prior.gflop * factor)

    def _nearest(self, engine: str, kind: str, flops: float) -> list[Sample]:
        """The samples of a network that are nearest in size; of equal ones the newest."""
        known = [*self.table.samples, *self._samples]
        same = [sample for sample in reversed(known) if (sample.engine, sample.network) == (engine, kind)]
        return sorted(same, key=lambda sample: abs(log(sample.flops / flops)))[:NEAREST]

    def _machine_factor(self) -> float:
        """How much longer steps take on this machine than in the table."""
        speeds = self.table.speeds
        ratios = [
            sample.step_seconds / speeds[sample.network][sample.engine].step_seconds(sample.flops)
            for sample in self._samples
            if sample.engine in speeds.get(sample.network, {})
        ]
        return median(ratios) if ratios else 1.0

    def _read(self, name: str) -> dict[str, Any] | None:
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / name).read_bytes())
            if not isinstance(found, dict):
                raise TypeError("it is no JSON object")
        except FileNotFoundError:
            return None
        except (OSError, *DAMAGED) as error:
            self._ignored(name, error)
            return None
        return found

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.{os.getpid()}.tmp"
        temporary.touch(0o600)
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._folder / name)

    def _ignored(self, name: str, error: Exception) -> None:
        logger.warning("measured speeds in %s are ignored: %s: %s", name, type(error).__name__, error)


def training_seconds(
    engine: str,
    setup: Setup,
    rows: int,
    *,
    is_warm: bool = False,
    is_compiled: bool = False,
    waiting: int = 0,
    measured: Speeds | None = None,
) -> float:
    """The expected duration of a training with ``rows`` training rows on a CPU. ``is_warm`` if a process that has
    imported the engine waits for it, ``is_compiled`` if its programs are compiled already. ``waiting`` tasks let expect
    that as many follow, which share the start of a process and the compilation. Raises KeyError for a network that was
    not measured on this engine."""
    measured = measured or Speeds()
    spec, flops = setup.spec, step_flops(setup, rows)
    speed = measured.speed(engine, network_of(setup), flops)
    epochs = min(spec.epochs, LIKELY_PATIENCES * (spec.early_stopping_patience or spec.epochs))
    steps = spec.members * epochs * ceil(rows / spec.batch_size)
    start = (0.0 if is_warm else measured.start_seconds(engine)) + (0.0 if is_compiled else speed.compile)
    return start / (1 + waiting) + steps * speed.step_seconds(flops)
