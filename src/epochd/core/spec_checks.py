"""Checks of a training config across its fields: combinations that are invalid although each field is valid."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, pairwise

from epochd.core import metric_table
from epochd.core.durations import Duration
from epochd.core.errors import Problem
from epochd.core.names import RESERVED_CHARACTERS
from epochd.core.spec_fields import APPLIES_TO, NEEDS, SpecFields, Task
from epochd.core.text import is_visible, shown

MAX_HIDDEN_WEIGHTS = 200_000_000
"""Weights between hidden layers. A larger number is a typing error: no model for tables needs it."""
MAX_HELD_OUT = 0.9
"""The largest share of rows that may be held out for validation and test."""
MAX_PATTERNS = 200
"""Patterns in ``feature_columns`` or ``exclude_columns``; each is compared with every column of the table."""
COLUMN_FIELDS = (
    *("target_column", "feature_columns", "exclude_columns", "known_in_advance"),
    *("time_column", "group_column", "weight_column", "image_column"),
)
WILDCARDS = "*?["
MAX_PATH_PART, MAX_PATH_PART_BYTES, MAX_PATH_BYTES = 120, 240, 1_000
"""Characters and UTF-8 bytes of one folder name in ``output_path``, and bytes of all of it. File systems allow names of
255 bytes."""
RESERVED_FOLDERS = re.compile(r"latest|\.tmp-.*|epoch_training_\d.*")
"""The names that epochd uses in the artifact store: the link to the newest model, temporary folders, model folders."""
BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""How a key of ``class_weight`` may name a boolean, whatever its case."""
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d) *(\..*)?")
"""https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""


def is_pattern(name: str) -> bool:
    """Whether an entry of ``feature_columns`` or ``exclude_columns`` can match several columns."""
    return any(sign in name for sign in WILDCARDS)


def cross_field_problems(spec: SpecFields) -> list[Problem]:
    """Every invalid combination of fields."""
    checks = (
        _inapplicable_options,
        _column_problems,
        image_problems,
        _split_problems,
        _averaging_problems,
        _window_problems,
        _gap_problems,
        _known_problems,
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
    for field in ("feature_columns", "exclude_columns"):
        if (patterns := sum(is_pattern(column) for column in getattr(spec, field) or ())) > MAX_PATTERNS:
            message = f"{field} has {patterns:,} patterns; the limit is {MAX_PATTERNS}"
            yield Problem(field, message, "use fewer patterns, or list the columns by name")


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
    if spec.split == "time" and spec.time_column is None:
        message = "split 'time' needs time_column, which is not set"
        yield Problem("split", message, "set time_column, or use another split")
    if spec.split == "group" and spec.group_column is None and spec.sequence_length is not None:
        message = "split 'group' needs group_column for windows, which is not set"
        yield Problem("split", message, "set group_column, or use another split")
    if spec.split == "stratified" and spec.task == "regression":
        message = "split 'stratified' needs classes, but task is 'regression'"
        yield Problem("split", message, "use 'random', 'time' or 'group'")
    for name in ("time_column", "group_column", "image_column"):
        if getattr(spec, name) == spec.target_column:
            yield Problem(name, f"{shown(spec.target_column)} is the target column", "use another column")
    yield from _weight_problems(spec)
    if spec.held_out > MAX_HELD_OUT:
        message = f"validation_split and test_split together hold out {spec.held_out:g} of the rows"
        yield Problem("test_split", message, f"hold out at most {MAX_HELD_OUT}, to keep rows for training")
    is_split_set = spec.validation_split > 0 and not _is_default(spec, "validation_split")
    if spec.validation_dataset is not None and is_split_set:
        message = "validation_dataset and validation_split are both set"
        yield Problem("validation_dataset", message, "omit one of them")


def _averaging_problems(spec: SpecFields) -> Iterator[Problem]:
    """Options that do not suit several networks, and among them those that do not suit cross-validation."""
    if spec.averages is None:
        return
    if spec.nodes > 1:
        message = f"num_nodes splits the batches of one network, but {spec.averages} trains {spec.members}"
        yield Problem("num_nodes", message, f"omit num_nodes, or {spec.averages}")
    if (isinstance(spec.num_gpus, str) or (spec.num_gpus or 1) > 1) or (spec.num_devices or 1) > 1:
        name = "num_devices" if spec.num_gpus is None else "num_gpus"
        message = f"{name} splits the batches of one network, but {spec.averages} trains {spec.members}"
        yield Problem(name, message, f"omit {name}, or {spec.averages}")
    if spec.folds is None:
        return
    if spec.ensemble is not None:
        message = "folds and ensemble are both set"
        yield Problem("ensemble", message, "omit one of them: folds averages its networks, too")
    if spec.sequence_length is not None:
        message = (
            "the windows of a fold would share rows with the windows of the others, or be predicted from their future"
        )
        yield Problem(
            "folds", message, "omit folds; split 'time' holds out the last windows, ensemble averages networks"
        )
    elif spec.split == "time":
        message = "with split 'time' the held-out rows are later than all others, but each fold holds out other rows"
        yield Problem("folds", message, "omit folds, or use another split")
    if spec.validation_dataset is not None:
        message = "folds validates each network on its own part of the rows, but validation_dataset is set"
        yield Problem("folds", message, "omit one of them; ensemble averages networks that validate on the same rows")
    if spec.validation_split > 0 and not _is_default(spec, "validation_split"):
        message = "folds and validation_split are both set"
        yield Problem("folds", message, "omit one of them: each fold is the validation rows of one network")


def _weight_problems(spec: SpecFields) -> Iterator[Problem]:
    """A problem if the weight column has another role too."""
    name = spec.weight_column
    if name is None:
        return
    roles = {"target_column": spec.target_column, "time_column": spec.time_column, "group_column": spec.group_column}
    field = next((field for field, column in roles.items() if column == name), None)
    if field is None and name in (spec.feature_columns or ()):
        field = "feature_columns"
    if field is not None:
        message = f"{shown(name)} is the weight column and also in {field}"
        yield Problem("weight_column", message, f"remove it from {field}, or use another column")


def _window_problems(spec: SpecFields) -> Iterator[Problem]:
    if spec.sequence_length is None:
        return
    if spec.time_column is None:
        message = "sequence_length needs time_column, which is not set"
        yield Problem("time_column", message, "set time_column to the column that orders the rows")
    if any(first >= second for first, second in pairwise(spec.horizons)):
        message = f"horizon {list(spec.horizons)} is not ascending"
        yield Problem("horizon", message, "list each horizon once, the smallest first")
    if spec.split in ("random", "stratified"):
        message = f"with split {spec.split!r}, training and validation windows share rows (data leakage)"
        yield Problem("split", message, "use 'time' or 'group', or omit split")
    if spec.input_shape is not None:
        message = "windows have the shape [sequence_length, features], which input_shape cannot reshape"
        yield Problem("input_shape", message, "omit input_shape or sequence_length")


def _known_problems(spec: SpecFields) -> Iterator[Problem]:
    names = spec.known_in_advance or []
    if spec.target_column in names:
        message = f"{shown(spec.target_column)} is the target, which is not known in advance"
        yield Problem("known_in_advance", message, "remove it; its past values may be among feature_columns")
    for column in sorted(name for name, count in Counter(names).items() if count > 1):
        yield Problem("known_in_advance", f"{shown(column)} is listed more than once", "list each column once")
    if names and spec.sequence_length is not None and not spec.ahead:
        message = "known_in_advance needs a horizon above 0: with horizon 0 the row of the target is in the window"
        yield Problem("known_in_advance", message, "omit it, or set horizon to 1 or more")


def _gap_problems(spec: SpecFields) -> Iterator[Problem]:
    for name in ("frequency", "max_gap"):
        written = getattr(spec, name)
        if isinstance(written, str):
            try:
                Duration.parse(written)
            except ValueError as error:
                yield Problem(name, f"{shown(written)} is no duration", str(error))
    if isinstance(spec.max_gap, int) and spec.frequency is None and spec.sequence_length is not None:
        message = f"max_gap {spec.max_gap} is a number of steps of frequency, which is not set"
        yield Problem("max_gap", message, "set frequency, or give max_gap as a duration such as '2h'")
    if isinstance(spec.max_gap, str) and isinstance(spec.frequency, float):
        message = f"max_gap {shown(spec.max_gap)} is a duration, but frequency is a number"
        yield Problem("max_gap", message, "give max_gap as a number of steps")


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
    if spec.nodes > 1 and spec.framework not in ("auto", "pytorch"):
        message = f"{spec.framework} trains on one machine, but num_nodes is {spec.num_nodes}"
        yield Problem("num_nodes", message, "use framework 'pytorch' or 'auto', or omit num_nodes")


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
    elif spec.transform is not None:
        message = f"target_transform {spec.transform!r} needs a regression, but the task is {task}{_origin(spec)}"
        yield Problem("target_transform", message, "omit target_transform, or set task if the target is a quantity")
    origin = _origin(spec)
    if task != "regression" and len(spec.horizons) > 1:
        message = f"{len(spec.horizons)} horizons need a regression, but the task is {task}{origin}"
        hint = "train a model for each horizon, or set task to 'regression' if the target is a number"
        yield Problem("horizon", message, hint)
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


def labels_of(names: Iterable[str], classes: Sequence[object]) -> dict[str, object]:
    """The class that each of these keys of a JSON object names, None if there is none. Keys are text in JSON: booleans
    are ``true`` and ``false``, and ``1`` and ``1.0`` are the same number."""
    kind = type(classes[0]) if classes else str
    parsers: dict[type, Callable[[str], object]] = {str: str, bool: lambda name: BOOLEANS.get(name.lower())}
    parse = parsers.get(kind, _number)
    known, parsed = set(classes), {name: parse(name) for name in names}
    return {name: label if label in known else None for name, label in parsed.items()}


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return None


def _origin(spec: SpecFields) -> str:
    """Why the task is what it is, after its name in a message."""
    return "" if spec.task else f", which is the task that {shown(spec.target_column)} suggests"


def _name_problems(spec: SpecFields) -> Iterator[Problem]:
    """NUL characters, which PostgreSQL does not store, names that cannot be shown in a line, and those that cannot be
    folders of the artifact store."""
    for name in ("name", *COLUMN_FIELDS, "class_weight"):
        value = getattr(spec, name) or ()
        if any("\0" in text for text in ([value] if isinstance(value, str) else value)):
            yield Problem(name, f"{name} contains a NUL character (U+0000)", "remove it")
    if "\0" not in spec.name and not is_visible(spec.name):
        message = f"{shown(spec.name)} contains control, bidirectional or other invisible characters"
        yield Problem("name", message, "use visible characters, of any script")
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
    if not is_visible(part):
        return "contains control, bidirectional or other invisible characters"
    if found := sorted(RESERVED_CHARACTERS & set(part)):
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
