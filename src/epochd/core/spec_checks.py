"""Checks of a training config across its fields: combinations that are invalid although each field is valid."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, pairwise

from epochd.core.errors import Problem
from epochd.core.spec_fields import APPLIES_TO, NEEDS, SpecFields, Task

MAX_HIDDEN_WEIGHTS = 200_000_000
"""Weights between hidden layers. A larger number is a typing error: no model for tables needs it."""
MAX_HELD_OUT = 0.9
"""The largest share of rows that may be held out for validation and test."""
MAX_PATH_PART = 120
"""Characters of one folder name in ``output_path``."""
RESERVED_PATH_CHARACTERS = frozenset('\\:*?"<>|')


def cross_field_problems(spec: SpecFields) -> list[Problem]:
    """Every invalid combination of fields."""
    checks = _inapplicable_options, _column_problems, _split_problems, _window_problems, _model_problems
    return list(chain.from_iterable(check(spec) for check in checks))


def _inapplicable_options(spec: SpecFields) -> Iterator[Problem]:
    for name in sorted(spec.model_fields_set - {"validation_split"}):
        if spec.applies(name) or _is_default(spec, name):
            continue
        if name in NEEDS:
            message = f"{name} is an option of {NEEDS[name]}, which is not set"
            yield Problem(name, message, f"set {NEEDS[name]}, or omit {name}")
            continue
        owner, values = APPLIES_TO[name]
        wanted = " or ".join(map(repr, values))
        message = f"{name} is an option of {owner} {wanted}, but {owner} is {getattr(spec, owner)!r}"
        yield Problem(name, message, f"set {owner} to {wanted}, or omit {name}")


def _is_default(spec: SpecFields, name: str) -> bool:
    """Whether a field has its default, as in the requests of clients that send every field."""
    return bool(getattr(spec, name) == type(spec).model_fields[name].default)


def _column_problems(spec: SpecFields) -> Iterator[Problem]:
    count = Counter(spec.feature_columns)
    if spec.target_column in count and not spec.forecasts:
        message = f"{spec.target_column!r} is the target and also a feature"
        yield Problem("feature_columns", message, "remove the target from feature_columns")
    for column in sorted(column for column in count if count[column] > 1):
        yield Problem("feature_columns", f"{column!r} is listed more than once", "list each column once")


def _split_problems(spec: SpecFields) -> Iterator[Problem]:
    for split, name in (("time", "time_column"), ("group", "group_column")):
        if spec.split == split and getattr(spec, name) is None:
            message = f"split {split!r} needs {name}, which is not set"
            yield Problem("split", message, f"set {name}, or use another split")
    if spec.split == "stratified" and spec.task == "regression":
        message = "split 'stratified' needs classes, but task is 'regression'"
        yield Problem("split", message, "use 'random', 'time' or 'group'")
    for name in ("time_column", "group_column"):
        if getattr(spec, name) == spec.target_column:
            yield Problem(name, f"{spec.target_column!r} is the target column", "use another column")
    if spec.held_out > MAX_HELD_OUT:
        message = f"validation_split and test_split together hold out {spec.held_out:g} of the rows"
        yield Problem("test_split", message, f"hold out at most {MAX_HELD_OUT}, to keep rows for training")
    is_split_set = spec.validation_split > 0 and not _is_default(spec, "validation_split")
    if spec.validation_dataset is not None and is_split_set:
        message = "validation_dataset and validation_split are both set"
        yield Problem("validation_dataset", message, "omit one of them")


def _window_problems(spec: SpecFields) -> Iterator[Problem]:
    if spec.sequence_length is None:
        return
    if spec.time_column is None:
        message = "sequence_length needs time_column, which is not set"
        yield Problem("time_column", message, "set time_column to the column that orders the rows")
    if spec.split in ("random", "stratified"):
        message = f"with split {spec.split!r}, training and validation windows share rows (data leakage)"
        yield Problem("split", message, "use 'time' or 'group', or omit split")
    if spec.input_shape is not None:
        message = "windows have the shape [sequence_length, features], which input_shape cannot reshape"
        yield Problem("input_shape", message, "omit input_shape or sequence_length")


def _model_problems(spec: SpecFields) -> Iterator[Problem]:
    if not _is_default(spec, "monitor") and spec.monitor.startswith("val_") and not spec.validates:
        message = f"{spec.monitor} needs validation rows, but validation_split is 0"
        yield Problem("monitor", message, "use train_loss or train_accuracy, or set validation_split above 0")
    if spec.task == "regression" and spec.monitor.endswith("accuracy"):
        yield Problem("monitor", f"{spec.monitor} does not exist for regression", "use val_loss or train_loss")
    weights = sum(a * b for a, b in pairwise(spec.hidden_units))
    if weights > MAX_HIDDEN_WEIGHTS:
        message = f"{spec.hidden_units} has {weights:,} weights between hidden layers; the limit is "
        yield Problem("hidden_units", message + f"{MAX_HIDDEN_WEIGHTS:,}", "use fewer or narrower layers")
    if spec.input_shape and spec.model_type in ("lstm", "gru") and len(spec.input_shape) != 2:
        message = f"{spec.input_shape} has {len(spec.input_shape)} dimensions, but {spec.model_type} needs 2"
        yield Problem("input_shape", message, "use [steps, channels]")
    yield from class_option_problems(spec, spec.task)
    if spec.num_gpus is not None and spec.num_devices is not None:
        message = "num_devices (CPU devices) and num_gpus are both set"
        yield Problem("num_devices", message, "omit one of them")
    invalid = next((part for part in spec.output_path.split("/") if not _is_folder_name(part)), None)
    if invalid is not None:
        message = f"{spec.output_path!r} contains {invalid[:MAX_PATH_PART]!r}, which is not a valid folder name"
        yield Problem("output_path", message, "use plain names separated by '/', for example /models/churn")


def class_option_problems(spec: SpecFields, task: Task | None) -> Iterator[Problem]:
    """Options that need classes, if ``task`` (set or inferred from the target) is regression."""
    if task == "regression":
        for name in ("class_weight", "label_smoothing"):
            if getattr(spec, name):
                yield Problem(name, f"{name} needs classes, but the task is regression", f"omit {name}")


def _is_folder_name(part: str) -> bool:
    """Whether a part of ``output_path`` is empty or can name a folder of the artifact store."""
    if part in {".", "..", "latest"} or len(part) > MAX_PATH_PART or part.startswith(("~", " ")):
        return False
    return part.isprintable() and not RESERVED_PATH_CHARACTERS & set(part)
