"""Is this config good, and what exactly will be trained? The answer for ``start`` and ``validate``.

Spec, data and framework are examined one after the other, and one that finds problems does not keep the
next from looking, so that a user sees everything at once. Nothing is stored here.
"""

import asyncio
import shutil
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What the examination found. ``spec`` is the resolved config; None when there is an ``error``."""

    spec: TrainingSpec | None = None
    error: EpochdError | None = None
    warnings: list[str] = field(default_factory=list)
    dataset: CheckedDataset | None = None

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
    inspection = None if "dataset" in bad else await asyncio.to_thread(report.check_dataset, spec, catalog)
    in_data = _beside(inspection.problems if inspection else [], bad)
    problems += _beside(_demands(spec, inspection, settings, gpus), bad)
    in_data += _beside(_too_large(spec, inspection, settings), bad)
    framework, in_framework = _framework(spec, inspection, gpus)
    found = [*problems, *in_data, *_beside(in_framework.problems if in_framework else [], bad)]
    warnings = inspection.warnings if inspection else []
    facts = None
    if inspection and not in_data:
        facts = await asyncio.to_thread(_checked, inspection, spec, catalog)
    if found:
        error = _error(bool(problems), bool(in_data), in_framework, found)
        return ValidationResult(error=error, warnings=warnings, dataset=facts)
    assert inspection is not None
    return ValidationResult(spec=_resolved(spec, inspection, framework), warnings=warnings, dataset=facts)


def _demands(spec: TrainingSpec, inspection: DatasetReport | None, settings: Settings, gpus: int) -> list[Problem]:
    """What spec and data together ask for, as far as the data are understood."""
    if inspection is None or inspection.task is None:
        return []
    found = inspection
    return requirements.problems(
        spec,
        shape=() if found.problems else found.shape,
        exact=found.width == len(found.features),  # else it depends on the training rows
        embedded=found.embedded,
        masked=found.masked,
        task=inspection.task,
        classes=found.classes,
        gpus=gpus,
        rows=found.rows,
        memory_mb=memory.limit_mb(settings),
        holds_framework=settings.memory_mb is None,  # else it is what comes on top of a warm worker
        resident_mb=settings.resident_mb,
        free_bytes=shutil.disk_usage(settings.data_dir).free if settings.data_dir.exists() else None,
    )


def _too_large(spec: TrainingSpec, inspection: DatasetReport | None, settings: Settings) -> list[Problem]:
    """A problem if the encoded rows neither fit into memory nor into the cache; none where their width is not known."""
    found = inspection or DatasetReport("")
    if found.problems or found.width != len(found.features):
        return []
    example, row = prod(found.shape), found.shape[-1] if spec.sequence_length else prod(found.shape)
    needed, cap = 4 * found.rows * row, settings.cache_mb * 2**20
    is_streamed = 4 * found.rows * example > settings.resident_mb * 2**20
    return [row_cache.beyond(needed, cap)] if is_streamed and needed > cap else []


def _beside(problems: list[Problem], bad: set[str]) -> list[Problem]:
    """Problems of fields that were good until now; a bad field was replaced by its default."""
    return [problem for problem in problems if problem.field.split(".")[0] not in bad]


def _framework(spec: TrainingSpec, inspection: DatasetReport | None, gpus: int) -> tuple[str, EpochdError | None]:
    found = inspection or DatasetReport("")
    outputs = len(found.classes or ()) if found.task == "multiclass" else 1
    on_gpu = gpus if spec.device != "cpu" and spec.num_devices is None else 0
    try:
        rows = found.rows - round(found.rows * spec.held_out)
        framework = registry.resolve(
            spec,
            rows=rows,
            shape=found.shape,
            embedded=found.embedded,
            masked=found.masked,
            outputs=outputs,
            gpus=on_gpu,
        )
        return framework, None
    except InvalidSpec as error:
        return "", error
    except FrameworkMissing as error:
        return "", FrameworkMissing(error.message, [Problem("framework", error.message)])


def _error(in_spec: bool, in_data: bool, in_framework: EpochdError | None, found: list[Problem]) -> EpochdError:
    """One error for all problems; its code is that of the first examination that found any."""
    if not in_spec and not in_data and isinstance(in_framework, FrameworkMissing):
        return in_framework
    return DataError(found) if in_data and not in_spec else InvalidSpec(found)


def _resolved(spec: TrainingSpec, inspection: DatasetReport, framework: str) -> TrainingSpec:
    """The spec with every ``auto`` and every absent choice replaced by what will really be used."""
    return spec.model_copy(
        update={
            "dataset": inspection.dataset,
            "task": inspection.task,
            "framework": framework,
            "monitor": spec.watched,
        }
    )


def _checked(found: DatasetReport, spec: TrainingSpec, catalog: Catalog) -> CheckedDataset:
    """What was checked, with fingerprints that take no longer than a client can wait."""
    other = spec.validation_dataset
    return CheckedDataset(
        found.dataset,
        found.rows,
        found.features,
        found.task,
        found.classes,
        catalog.open(found.dataset).quick_fingerprint(),
        None if other is None else catalog.open(other).quick_fingerprint(),
    )
