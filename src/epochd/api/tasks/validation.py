"""Validation of a config for ``start`` and ``validate``: every problem, and the resolved config that will be trained.

Problems of the spec do not prevent the checks of the data, nor these those of the framework. Nothing is stored here.
"""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from epochd.artifact import pack
from epochd.core import specs
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.data.checks.report import DatasetReport
from epochd.data.storage import row_cache
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.host import memory
from epochd.engines import registry, requirements
from epochd.engines.registry import Ready
from epochd.engines.requirements import MachineLimits, Workload
from epochd.engines.speeds import Speeds
from epochd.readers.pool import ReaderPool
from epochd.registry import operations


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome of the validation: the resolved config, or the error."""

    outcome: TrainingSpec | EpochdError
    warnings: list[str] = field(default_factory=list)
    dataset: CheckedDataset | None = None


async def validate(
    values: dict[str, Any],
    catalog: Catalog,
    readers: ReaderPool,
    settings: Settings,
    gpus: int,
    engines: Sequence[str] | None = None,
    speeds: Speeds | None = None,
    ready: Ready | None = None,
) -> ValidationResult:
    """Validate a submitted config for a server with this number of GPUs, these engines (None: those of this machine),
    these measured speeds and what is ready, and find all its problems."""
    spec, problems = await asyncio.to_thread(specs.parse_leniently, values)
    if spec is None:
        return ValidationResult(InvalidSpec(problems))
    invalid = {problem.field.split(".")[0] for problem in problems}
    data, checked = (None, None) if "dataset" in invalid else await _check_data(spec, catalog, readers)
    if "output_path" not in invalid:
        place = await asyncio.to_thread(pack.place_problem, settings.artifacts_dir, spec.artifact_folder)
        problems += [place] if place else []
    in_data = _outside(data.problems if data else [], invalid)
    in_data += _outside(_too_large(spec, data, settings), invalid)
    workload = _workload(data)
    if workload is not None:
        problems += _outside(requirements.problems(spec, workload, _limits(settings, gpus)), invalid)
    framework, in_framework = _framework(spec, workload, gpus, engines, speeds, ready)
    found = [*problems, *in_data, *_outside(in_framework.problems if in_framework else [], invalid)]
    warnings = data.warnings if data else []
    facts = None if in_data else checked
    if not found:
        assert data is not None
        other = spec.validation_dataset and (await asyncio.to_thread(catalog.open, spec.validation_dataset)).name
        chosen = {"dataset": data.dataset, "task": data.task, "framework": framework, "monitor": spec.watched}
        chosen["validation_dataset"] = other
        if data.image_column is not None:
            chosen["image_column"] = data.image_column
        return ValidationResult(spec.model_copy(update=chosen), warnings, facts)
    error: EpochdError = InvalidSpec(found)  # the code is that of the first check that found any
    if not problems and in_data:
        error = DataError(found)
    elif not problems and isinstance(in_framework, FrameworkMissing):
        error = in_framework
    return ValidationResult(error, warnings, facts)


def _limits(settings: Settings, gpus: int) -> MachineLimits:
    return MachineLimits(
        gpus=gpus,
        memory_mb=memory.limit_mb(settings),
        includes_framework=settings.memory_mb is None,  # the setting limits the memory on top of a warm worker's
        resident_mb=settings.resident_mb,
        free_bytes=shutil.disk_usage(settings.data_dir).free if settings.data_dir.exists() else None,
    )


def _workload(data: DatasetReport | None) -> Workload | None:
    """The size of the problem as far as the data could be read; None if not even the task is known."""
    if data is None or data.task is None:
        return None
    return Workload(
        data.task,
        shape=() if data.problems else data.shape,
        rows=data.rows,
        classes=data.classes,
        embedded=data.embedded,
        masked=data.masked,
        exact=_is_exact(data),
    )


def _is_exact(data: DatasetReport) -> bool:
    """Whether the shape is that of encoded rows; otherwise it depends on the training rows."""
    return data.width == len(data.features) or data.image_column is not None


def _too_large(spec: TrainingSpec, data: DatasetReport | None, settings: Settings) -> list[Problem]:
    """A problem if the encoded rows fit neither in memory nor in the cache; none if their width is unknown."""
    if data is None or data.problems or not _is_exact(data):
        return []
    example, row = prod(data.shape), data.shape[-1] if spec.sequence_length else prod(data.shape)
    needed, cap = 4 * data.rows * row, settings.cache_mb * 2**20
    is_streamed = 4 * data.rows * example > settings.resident_mb * 2**20
    return [row_cache.exceeds_cap(needed, cap)] if is_streamed and needed > cap else []


def _outside(problems: list[Problem], invalid: set[str]) -> list[Problem]:
    """The problems of fields that have passed so far; an invalid field has been replaced by its default."""
    return [problem for problem in problems if problem.field.split(".")[0] not in invalid]


def _framework(
    spec: TrainingSpec,
    workload: Workload | None,
    gpus: int,
    engines: Sequence[str] | None,
    speeds: Speeds | None,
    ready: Ready | None,
) -> tuple[str, EpochdError | None]:
    if workload is not None:
        workload = replace(workload, rows=workload.rows - round(workload.rows * spec.held_out))
    try:
        return registry.resolve(spec, workload, gpus, engines, measured=speeds, ready=ready), None
    except InvalidSpec as error:
        return "", error
    except FrameworkMissing as error:
        return "", FrameworkMissing(error.message, [Problem("framework", error.message)])


async def _check_data(
    spec: TrainingSpec, catalog: Catalog, readers: ReaderPool
) -> tuple[DatasetReport, CheckedDataset | None]:
    try:
        return await readers.call(operations.check, spec, catalog)
    except DataError as error:  # the reader failed
        return DatasetReport(spec.dataset or catalog.default, problems=error.problems), None
