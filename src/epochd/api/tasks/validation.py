"""Is this config good, and what exactly will be trained? The answer for ``start`` and ``validate``.

Spec, data and framework are examined one after the other, and one that finds problems does not keep the
next from looking, so that a user sees everything at once. Nothing is stored here.
"""

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from epochd.core import specs
from epochd.core.errors import DataError, EpochdError, FrameworkMissing, InvalidSpec, Problem
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.data.checks import report
from epochd.data.checks.report import Inspection
from epochd.data.storage import row_cache
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.host import memory
from epochd.engines import registry, requirements
from epochd.engines.requirements import MachineLimits, Workload
from epochd.registry import profile

HASHED_BYTES = 64 << 20
"""Datasets up to this size are fingerprinted while the client waits: a twentieth of a second."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What the examination found. ``spec`` is the resolved config; None when there is an ``error``."""

    spec: TrainingSpec | None = None
    error: EpochdError | None = None
    warnings: list[str] = field(default_factory=list)
    dataset: dict[str, Any] | None = None

    @property
    def problems(self) -> list[Problem]:
        return self.error.problems if self.error else []

    def accepted(self) -> TrainingSpec:
        """The resolved config; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        assert self.spec is not None
        return self.spec


async def examine(values: dict[str, Any], catalog: Catalog, settings: Settings, gpus: int) -> ValidationResult:
    """Examine a config as it came in, for a server with so many GPUs; all problems are found in one go."""
    spec, problems = specs.examine(values)
    if spec is None:
        return ValidationResult(error=InvalidSpec(problems))
    bad = {problem.field.split(".")[0] for problem in problems}
    inspection = None if "dataset" in bad else await asyncio.to_thread(report.inspect, spec, catalog)
    in_data = _beside(inspection.problems if inspection else [], bad)
    problems += _beside(_demands(spec, inspection, settings, gpus), bad)
    in_data += _beside(_too_large(spec, inspection, settings), bad)
    framework, in_framework = _framework(spec, inspection, gpus)
    found = [*problems, *in_data, *_beside(in_framework.problems if in_framework else [], bad)]
    warnings = inspection.warnings if inspection else []
    facts = facts_of(inspection) if inspection and not in_data else None
    if facts is not None:
        facts["fingerprint"] = await asyncio.to_thread(_fingerprint, catalog, facts["name"])
    if found:
        error = _error(bool(problems), bool(in_data), in_framework, found)
        return ValidationResult(error=error, warnings=warnings, dataset=facts)
    assert inspection is not None
    return ValidationResult(spec=_resolved(spec, inspection, framework), warnings=warnings, dataset=facts)


def _demands(spec: TrainingSpec, inspection: Inspection | None, settings: Settings, gpus: int) -> list[Problem]:
    """What spec and data together ask for, as far as the data are understood."""
    workload = _workload(inspection)
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


def _workload(inspection: Inspection | None) -> Workload | None:
    """What the inspection found out about the data; None where not even the task is known."""
    if inspection is None or inspection.task is None:
        return None
    return Workload(
        inspection.task,
        shape=() if inspection.problems else inspection.shape,
        rows=inspection.rows,
        classes=inspection.classes,
        embedded=inspection.embedded,
        masked=inspection.masked,
        exact=inspection.width == len(inspection.features),  # otherwise the width depends on the training rows
    )


def _too_large(spec: TrainingSpec, inspection: Inspection | None, settings: Settings) -> list[Problem]:
    """A problem if the encoded rows neither fit into memory nor into the cache; none where their width is not known."""
    found = inspection or Inspection("")
    if found.problems or found.width != len(found.features):
        return []
    example, row = prod(found.shape), found.shape[-1] if spec.sequence_length else prod(found.shape)
    needed, cap = 4 * found.rows * row, settings.cache_mb * 2**20
    is_streamed = 4 * found.rows * example > settings.resident_mb * 2**20
    return [row_cache.beyond(needed, cap)] if is_streamed and needed > cap else []


def _beside(problems: list[Problem], bad: set[str]) -> list[Problem]:
    """Problems of fields that were good until now; a bad field was replaced by its default."""
    return [problem for problem in problems if problem.field.split(".")[0] not in bad]


def _framework(spec: TrainingSpec, inspection: Inspection | None, gpus: int) -> tuple[str, EpochdError | None]:
    workload = _workload(inspection)
    if workload is not None:
        workload = replace(workload, rows=workload.rows - round(workload.rows * spec.held_out))
    try:
        return registry.resolve(spec, workload, gpus), None
    except InvalidSpec as error:
        return "", error
    except FrameworkMissing as error:
        return "", FrameworkMissing(error.message, [Problem("framework", error.message)])


def _error(in_spec: bool, in_data: bool, in_framework: EpochdError | None, found: list[Problem]) -> EpochdError:
    """One error for all problems; its code is that of the first examination that found any."""
    if not in_spec and not in_data and isinstance(in_framework, FrameworkMissing):
        return in_framework
    return DataError(found) if in_data and not in_spec else InvalidSpec(found)


def _resolved(spec: TrainingSpec, inspection: Inspection, framework: str) -> TrainingSpec:
    """The spec with every ``auto`` and every absent choice replaced by what will really be used."""
    return spec.model_copy(
        update={
            "dataset": inspection.dataset,
            "task": inspection.task,
            "framework": framework,
            "monitor": spec.watched,
        }
    )


def _fingerprint(catalog: Catalog, name: str) -> str | None:
    """The fingerprint of the dataset's content; None where it would hold up the answer: the worker will find it."""
    source = catalog.open(name)
    return source.fingerprint() if profile.size(source) <= HASHED_BYTES else None


def facts_of(inspection: Inspection) -> dict[str, Any]:
    """What a user wants to know of the dataset, as JSON."""
    return {
        "name": inspection.dataset,
        "rows": inspection.rows,
        "features": inspection.features,
        "task": inspection.task,
        "classes": inspection.classes,
    }
