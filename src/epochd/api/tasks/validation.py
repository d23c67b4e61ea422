"""Validation of a config for ``start`` and ``validate``: every problem, and the resolved config that will be trained.

Spec, data and framework are checked in turn. Problems in one do not prevent the checks of the next, so that a user sees
all problems at once. Nothing is stored here.
"""

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from epochd.core import specs
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.data.checks import report
from epochd.data.checks.report import DatasetReport
from epochd.data.storage import row_cache
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.host import memory
from epochd.engines import registry, requirements
from epochd.engines.requirements import MachineLimits, Workload


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome of the validation. ``spec`` is the resolved config; None if there is an ``error``."""

    spec: TrainingSpec | None = None
    error: EpochdError | None = None
    warnings: list[str] = field(default_factory=list)
    dataset: CheckedDataset | None = None

    @property
    def problems(self) -> list[Problem]:
        return self.error.problems if self.error else []

    def valid_spec(self) -> TrainingSpec:
        """The resolved config; raise the error if there is one."""
        if self.error is not None:
            raise self.error
        assert self.spec is not None
        return self.spec


async def validate(values: dict[str, Any], catalog: Catalog, settings: Settings, gpus: int) -> ValidationResult:
    """Validate a submitted config for a server with this number of GPUs, and find all its problems."""
    spec, problems = specs.parse_leniently(values)
    if spec is None:
        return ValidationResult(error=InvalidSpec(problems))
    invalid = {problem.field.split(".")[0] for problem in problems}
    data, checked = (None, None) if "dataset" in invalid else await asyncio.to_thread(_check_data, spec, catalog)
    in_data = _outside(data.problems if data else [], invalid)
    problems += _outside(_requirement_problems(spec, data, settings, gpus), invalid)
    in_data += _outside(_too_large(spec, data, settings), invalid)
    framework, in_framework = _framework(spec, data, gpus)
    found = [*problems, *in_data, *_outside(in_framework.problems if in_framework else [], invalid)]
    warnings = data.warnings if data else []
    facts = None if in_data else checked
    if found:
        error = _error(bool(problems), bool(in_data), in_framework, found)
        return ValidationResult(error=error, warnings=warnings, dataset=facts)
    assert data is not None
    return ValidationResult(spec=_resolved(spec, data, framework), warnings=warnings, dataset=facts)


def _requirement_problems(
    spec: TrainingSpec, data: DatasetReport | None, settings: Settings, gpus: int
) -> list[Problem]:
    """Requirements of spec and data together, as far as the data could be read."""
    workload = _workload(data)
    if workload is None:
        return []
    limits = MachineLimits(
        gpus=gpus,
        memory_mb=memory.limit_mb(settings),
        includes_framework=settings.memory_mb is None,  # the setting limits the memory on top of a warm worker's
        resident_mb=settings.resident_mb,
        free_bytes=shutil.disk_usage(settings.data_dir).free if settings.data_dir.exists() else None,
    )
    return requirements.problems(spec, workload, limits)


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
        exact=data.width == len(data.features),  # otherwise the width depends on the training rows
    )


def _too_large(spec: TrainingSpec, data: DatasetReport | None, settings: Settings) -> list[Problem]:
    """A problem if the encoded rows fit neither in memory nor in the cache; none if their width is unknown."""
    found = data or DatasetReport("")
    if found.problems or found.width != len(found.features):
        return []
    example, row = prod(found.shape), found.shape[-1] if spec.sequence_length else prod(found.shape)
    needed, cap = 4 * found.rows * row, settings.cache_mb * 2**20
    is_streamed = 4 * found.rows * example > settings.resident_mb * 2**20
    return [row_cache.exceeds_cap(needed, cap)] if is_streamed and needed > cap else []


def _outside(problems: list[Problem], invalid: set[str]) -> list[Problem]:
    """The problems of fields that have passed so far; an invalid field has been replaced by its default."""
    return [problem for problem in problems if problem.field.split(".")[0] not in invalid]


def _framework(spec: TrainingSpec, data: DatasetReport | None, gpus: int) -> tuple[str, EpochdError | None]:
    workload = _workload(data)
    if workload is not None:
        workload = replace(workload, rows=workload.rows - round(workload.rows * spec.held_out))
    try:
        return registry.resolve(spec, workload, gpus), None
    except InvalidSpec as error:
        return "", error
    except FrameworkMissing as error:
        return "", FrameworkMissing(error.message, [Problem("framework", error.message)])


def _error(in_spec: bool, in_data: bool, in_framework: EpochdError | None, found: list[Problem]) -> EpochdError:
    """One error for all problems; its code is that of the first check that found any."""
    if not in_spec and not in_data and isinstance(in_framework, FrameworkMissing):
        return in_framework
    return DataError(found) if in_data and not in_spec else InvalidSpec(found)


def _resolved(spec: TrainingSpec, data: DatasetReport, framework: str) -> TrainingSpec:
    """The spec with every ``auto`` and every unset choice replaced by the value that will be used."""
    return spec.model_copy(
        update={
            "dataset": data.dataset,
            "task": data.task,
            "framework": framework,
            "monitor": spec.watched,
        }
    )


def _check_data(spec: TrainingSpec, catalog: Catalog) -> tuple[DatasetReport, CheckedDataset]:
    """The report on the data, and the facts that identify them. The fingerprints are computed first, so that the worker
    notices every later change."""
    fingerprints = [_fingerprint(catalog, name) for name in (spec.dataset, spec.validation_dataset)]
    found = report.check_dataset(spec, catalog)
    return found, CheckedDataset(
        found.dataset,
        found.rows,
        found.features,
        found.task,
        found.classes,
        fingerprints[0],
        None if spec.validation_dataset is None else fingerprints[1],
    )


def _fingerprint(catalog: Catalog, name: str | None) -> str | None:
    """A fingerprint that is fast to compute; None if the dataset cannot be read, which the report then contains."""
    try:
        return catalog.open(name).quick_fingerprint()
    except DataError:
        return None
