"""Checks of a training config across its fields: combinations that are invalid although each field is valid."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import chain, pairwise

from epochd.core import metric_table
from epochd.core.errors import Problem
from epochd.core.spec_fields import APPLIES_TO, NEEDS, SpecFields, Task
from epochd.core.text import shown

MAX_HIDDEN_WEIGHTS = 200_000_000
"""Weights between hidden layers. A larger number is a typing error: no model for tables needs it."""
MAX_HELD_OUT = 0.9
"""The largest share of rows that may be held out for validation and test."""
MAX_PATTERNS = 200
"""Patterns in ``feature_columns``; each is compared with every column of the table."""
WILDCARDS = "*?["
MAX_PATH_PART, MAX_PATH_PART_BYTES, MAX_PATH_BYTES = 120, 240, 1_000
"""Characters and UTF-8 bytes of one folder name in ``output_path``, and bytes of all of it. File systems allow names of
255 bytes."""
RESERVED_PATH_CHARACTERS = frozenset('\\:*?"<>|')
RESERVED_FOLDERS = re.compile(r"latest|\.tmp-.*|epoch_training_\d.*")
"""The names that epochd uses in the artifact store: the link to the newest model, temporary folders, model folders."""
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d) *(\..*)?")
"""https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""


def is_pattern(name: str) -> bool:
    """Whether an entry of ``feature_columns`` can match several columns."""
    return any(sign in name for sign in WILDCARDS)


def cross_field_problems(spec: SpecFields) -> list[Problem]:
    """Every invalid combination of fields."""
    checks = (
        _inapplicable_options,
        _column_problems,
        image_problems,
        _split_problems,
        _window_problems,
        _model_problems,
        _name_problems,
    )
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
        message = f"{shown(spec.target_column)} is the target and also a feature"
        yield Problem("feature_columns", message, "remove the target from feature_columns")
    for column in sorted(column for column in count if count[column] > 1):
        yield Problem("feature_columns", f"{shown(column)} is listed more than once", "list each column once")
    if (patterns := sum(is_pattern(column) for column in count)) > MAX_PATTERNS:
        message = f"feature_columns has {patterns:,} patterns; the limit is {MAX_PATTERNS}"
        yield Problem("feature_columns", message, "use fewer patterns, or list the columns by name")


def image_problems(spec: SpecFields) -> Iterator[Problem]:
    """Options that do not suit a column of pictures."""
    if spec.image_column is None:
        return
    if spec.feature_columns is not None and spec.feature_columns != [spec.image_column]:
        message = f"{shown(spec.image_column)} holds pictures, beside which there can be no other features"
        yield Problem("feature_columns", message, "omit feature_columns, or image_column")
    if spec.model_type in ("lstm", "gru"):
        message = f"{spec.model_type} reads sequences, but {shown(spec.image_column)} holds pictures"
        yield Problem("model_type", message, "use 'cnn', or 'mlp', which reads the pixels without their places")
    for name in ("input_shape", "sequence_length"):
        if getattr(spec, name) is not None:
            message = f"pictures have the shape [height, width, channels], which {name} cannot change"
            yield Problem(name, message, f"omit {name}; image_size is the size of the pictures")


def _split_problems(spec: SpecFields) -> Iterator[Problem]:
    for split, name in (("time", "time_column"), ("group", "group_column")):
        if spec.split == split and getattr(spec, name) is None:
            message = f"split {split!r} needs {name}, which is not set"
            yield Problem("split", message, f"set {name}, or use another split")
    if spec.split == "stratified" and spec.task == "regression":
        message = "split 'stratified' needs classes, but task is 'regression'"
        yield Problem("split", message, "use 'random', 'time' or 'group'")
    for name in ("time_column", "group_column", "image_column"):
        if getattr(spec, name) == spec.target_column:
            yield Problem(name, f"{shown(spec.target_column)} is the target column", "use another column")
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
    yield from _monitored_side_problems(spec)
    weights = sum(a * b for a, b in pairwise(spec.hidden_units))
    if weights > MAX_HIDDEN_WEIGHTS:
        message = f"{spec.hidden_units} has {weights:,} weights between hidden layers; the limit is "
        yield Problem("hidden_units", message + f"{MAX_HIDDEN_WEIGHTS:,}", "use fewer or narrower layers")
    if spec.input_shape and spec.model_type in ("lstm", "gru") and len(spec.input_shape) != 2:
        message = f"{spec.input_shape} has {len(spec.input_shape)} dimensions, but {spec.model_type} needs 2"
        yield Problem("input_shape", message, "use [steps, channels]")
    yield from task_option_problems(spec, spec.task)
    if spec.num_gpus is not None and spec.num_devices is not None:
        message = "num_devices (CPU devices) and num_gpus are both set"
        yield Problem("num_devices", message, "omit one of them")


def _monitored_side_problems(spec: SpecFields) -> Iterator[Problem]:
    """A problem if the monitored metric is not measured on the rows that it names."""
    name = metric_table.unprefixed(spec.monitor)
    if not _is_default(spec, "monitor") and spec.monitor.startswith("val_") and not spec.validates:
        message = f"{spec.monitor} needs validation rows, but validation_split is 0"
        yield Problem("monitor", message, f"use train_{name}, or set validation_split above 0")
    if spec.monitor.startswith("train_") and spec.validates and name not in metric_table.RUNNING:
        message = f"{spec.monitor} is measured only where there are no validation rows"
        yield Problem("monitor", message, f"use val_{name}, or set validation_split to 0")


def task_option_problems(spec: SpecFields, task: Task | None, classes: int | None = None) -> Iterator[Problem]:
    """Options that do not suit ``task`` (set or inferred from the target; None: not known) and, if it is known, its
    number of ``classes``."""
    if task is None:
        return
    if task == "regression":
        for name in ("class_weight", "label_smoothing"):
            if getattr(spec, name):
                yield Problem(name, f"{name} needs classes, but the task is regression", f"omit {name}")
    origin = "" if spec.task else f", which is the task that {shown(spec.target_column)} suggests"
    if task != "binary" and not _is_default(spec, "decision_threshold"):
        message = f"decision_threshold needs two classes, but the task is {task}{origin}"
        yield Problem("decision_threshold", message, "omit decision_threshold")
    side, name = spec.watched.split("_", 1)
    known = metric_table.names(task, classes)
    if name not in known:
        has = f"{classes} classes" if name in metric_table.names(task) else f"{task}{origin}"
        possible = [found for found in known if side == "val" or not spec.validates or found in metric_table.RUNNING]
        message = f"{spec.monitor} does not exist for {has}"
        yield Problem("monitor", message, f"use one of {', '.join(f'{side}_{found}' for found in possible)}")


def _name_problems(spec: SpecFields) -> Iterator[Problem]:
    """NUL characters, which PostgreSQL does not store, and names that cannot be folders of the artifact store."""
    for name in (
        "name",
        "target_column",
        "feature_columns",
        "time_column",
        "group_column",
        "image_column",
        "class_weight",
    ):
        value = getattr(spec, name) or ()
        if any("\0" in text for text in ([value] if isinstance(value, str) else value)):
            yield Problem(name, f"{name} contains a NUL character (U+0000)", "remove it")
    parts = [part for part in spec.output_path.split("/") if part]
    found = next(((part, defect) for part in parts if (defect := _folder_name_defect(part))), None)
    if found is not None:
        message = f"{spec.output_path!r:.200} contains {found[0]!r:.{MAX_PATH_PART}}, which {found[1]}"
        yield Problem("output_path", message, "use plain names separated by '/', for example /models/churn")
    elif (size := len(spec.output_path.encode())) > MAX_PATH_BYTES:
        message = f"output_path has {size:,} bytes in UTF-8; the limit is {MAX_PATH_BYTES:,}"
        yield Problem("output_path", message, "use fewer or shorter names")


def _folder_name_defect(part: str) -> str:
    """Why a part of ``output_path`` cannot name a folder of the artifact store; empty if it can.

    Names are compared as file systems do that ignore case and the form of Unicode.
    """
    folded = unicodedata.normalize("NFKC", part).casefold()
    if part in {".", ".."}:
        return "is not a name"
    if not part.isprintable():
        return "contains control, bidirectional or other invisible characters"
    if found := sorted(RESERVED_PATH_CHARACTERS & set(part)):
        return f"contains {found[0]!r}"
    if part.startswith(("~", " ")) or part.endswith((".", " ")):
        return "begins with '~' or a space, or ends with a dot or a space"
    if RESERVED_FOLDERS.fullmatch(folded):
        return "is reserved for models, links and temporary files of epochd"
    if WINDOWS_DEVICES.fullmatch(folded):
        return "is a device name on Windows"
    if len(part) > MAX_PATH_PART or len(part.encode()) > MAX_PATH_PART_BYTES:
        return f"is longer than {MAX_PATH_PART} characters or {MAX_PATH_PART_BYTES} bytes in UTF-8"
    return ""
