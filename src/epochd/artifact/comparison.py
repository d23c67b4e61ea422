"""The differences between two models: their epochs, their weights, their scores, and where they were trained.

A training that is repeated with the same config, the same data and the same versions on the same type of CPU gives the
same bits; where it does not, this says what differs.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from epochd.artifact import files
from epochd.core.errors import CorruptFile

ENVIRONMENT = ("framework", "framework_version", "device", "devices", "threads", "precision")
"""The facts about a training that may change its numbers, besides its versions."""


def compare(first: Path, second: Path) -> dict[str, Any]:
    """The differences of the model folder ``second`` from ``first``, as JSON types; both folders are verified.

    ``identical`` is True if all epochs (without their times), weights and scores are equal bit for bit. ``history`` has
    the numbers of epochs and the ``first_difference``: epoch, metric and both values. ``weights`` has the largest
    absolute difference and the names of the tensors that differ; ``scores`` and ``environment`` map what differs to
    both values. Raises CorruptFile and FileNotReadable.
    """
    for folder in (first, second):
        files.verify(folder)
    about, other = _description(first), _description(second)
    history = _history_difference(first / "history.csv", second / "history.csv")
    weights = _weight_difference(first / "model.safetensors", second / "model.safetensors")
    scores = _differing(_metrics(about), _metrics(other))
    same = history["first_difference"] is None and len(set(history["epochs"])) == 1
    return {
        "identical": same and not weights["differing"] and not scores,
        "history": history,
        "weights": weights,
        "scores": scores,
        "environment": _differing(_environment(about), _environment(other)),
    }


def _description(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return found


def _metrics(about: dict[str, Any]) -> dict[str, Any]:
    """The final metrics with names such as ``validation.loss``; earlier versions called them scores."""
    return _flat(about.get("metrics") or about.get("scores") or {})


def _environment(about: dict[str, Any]) -> dict[str, Any]:
    facts = about.get("facts", {})
    versions: dict[str, Any] = about.get("versions", {})
    return {name: facts.get(name) for name in ENVIRONMENT} | versions


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with names such as ``validation.loss``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _differing(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys([*first, *second])
    return {name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)}


def _history_difference(first: Path, second: Path) -> dict[str, Any]:
    """The numbers of epochs, and the first value that differs; times are not compared. Values are text, as written:
    equal text is equal numbers, since both are written with all digits."""
    tables = [_rows(path) for path in (first, second)]
    difference = None
    for row, other in zip(*tables, strict=False):
        found = _differing(row, other)
        found.pop("time_per_epoch", None)
        if found:
            name, values = next(iter(found.items()))
            difference = {"epoch": int(row["epoch"]), "metric": name, "values": [_number(text) for text in values]}
            break
    return {"epochs": [len(table) for table in tables], "first_difference": difference}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str | None) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _weight_difference(first: Path, second: Path) -> dict[str, Any]:
    """The tensors that differ, and the largest absolute difference; None where shapes differ."""
    differing: list[str] = []
    largest: float | None = 0.0
    with safe_open(first, "numpy") as weights, safe_open(second, "numpy") as others:
        if set(weights.keys()) != set(others.keys()):
            raise CorruptFile(f"{first} and {second} are not models of the same network: their tensors differ")
        for name in weights.keys():  # noqa: SIM118 (not a dict)
            one, other = weights.get_tensor(name), others.get_tensor(name)
            if one.shape != other.shape:
                differing, largest = [*differing, name], None
            elif one.tobytes() != other.tobytes():
                differing.append(name)
                gap = float(np.abs(one.astype(np.float64) - other).max())
                largest = None if largest is None else max(largest, gap)
    return {"differing": differing, "largest_difference": largest}
