"""The training config: one type shared by API, command line, client and worker.

Every field carries its meaning, default and bounds, so that the OpenAPI page, ``docs/api.md`` and the
error messages all speak from here. Numbers have upper bounds: a config that could never fit a machine
is refused before any work starts.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from epochd.core.errors import InvalidSpec, Problem, similar_names

ModelType = Literal["mlp", "cnn", "lstm", "gru"]
Scheduler = Literal["step", "plateau", "cosine", "none"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Framework = Literal["auto", "pytorch", "tensorflow", "jax"]
Task = Literal["binary", "multiclass", "regression"]
Monitor = Literal["val_loss", "val_accuracy", "train_loss", "train_accuracy"]
Device = Literal["auto", "cpu", "gpu"]
Activation = Literal["relu", "tanh", "gelu", "silu"]
Scaling = Literal["standard", "robust", "quantile"]
Split = Literal["auto", "random", "stratified", "time", "group"]

Units = Annotated[int, Field(ge=1, le=16_384)]
Column = Annotated[str, Field(min_length=1, max_length=500)]
DatasetName = Annotated[str, Field(min_length=1, max_length=1000)]

MAX_HIDDEN_WEIGHTS = 200_000_000
"""Weights between hidden layers; more than this is a typing error, not a model for tables."""

APPLIES_TO: dict[str, tuple[str, tuple[str, ...]]] = {
    "kernel_size": ("model_type", ("cnn",)),
    "activation": ("model_type", ("mlp", "cnn")),
    "bidirectional": ("model_type", ("lstm", "gru")),
    "input_shape": ("model_type", ("cnn", "lstm", "gru")),
    "step_size": ("learning_rate_scheduler", ("step",)),
    "gamma": ("learning_rate_scheduler", ("step",)),
    "patience": ("learning_rate_scheduler", ("plateau",)),
    "factor": ("learning_rate_scheduler", ("plateau",)),
    "T_max": ("learning_rate_scheduler", ("cosine",)),
    "eta_min": ("learning_rate_scheduler", ("cosine",)),
}
"""Fields that mean something only for some values of another field."""

NEEDS = {"horizon": "sequence_length"}
"""Fields that mean something only where another one is given."""


class TrainingSpec(BaseModel):
    """A training config. Unknown fields are refused; numbers are not guessed from strings."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "name": "breast cancer, mlp",
                    "model_type": "mlp",
                    "epochs": 50,
                    "hidden_units": [64, 32],
                    "dataset": "breast_cancer",
                    "target_column": "target",
                    "output_path": "/models/breast_cancer",
                }
            ]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=200)] = "training"
    """A name for people; it need not be unique."""
    algorithm_type: Literal["deep_learning"] = "deep_learning"
    """The family of algorithms; epochd trains deep models."""

    dataset: DatasetName | None = None
    """A built-in or registered dataset's name, or a path under an allowed root. Absent: the server's default."""
    allow_changed_data: bool = False
    """Resume although the dataset's content has changed since; otherwise that is refused."""
    feature_columns: Annotated[list[Column], Field(min_length=1, max_length=100_000)] | None = None
    """The columns to learn from, in their order; ``*``, ``?`` and ``[…]`` stand for several (``pixel*``). Absent:
    every column but ``target_column``, ``time_column`` and ``group_column``."""
    target_column: Column
    """The column to predict."""
    task: Task | None = None
    """What kind of target it is. Absent: inferred from the target's values and reported."""
    scaling: Scaling = "standard"
    """How numbers are scaled: to mean 0 and deviation 1, by median and quartiles, or by quantiles to a normal shape."""
    embedding_threshold: Annotated[int, Field(ge=1, le=1_000)] = 64
    """Text columns with more distinct training values than this are learned as embeddings, others are one-hot."""

    split: Split = "auto"
    """How rows are held out. ``time``: the last ones; ``group``: whole groups; ``auto``: time for windows, otherwise
    stratified for classification and random for regression."""
    validation_split: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """The share of rows held out for validation; 0 trains on all rows."""
    test_split: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """The share of rows that is kept from training and validation, and scored once at the end."""
    validation_dataset: DatasetName | None = None
    """Validate on all rows of this dataset, instead of holding out ``validation_split``."""
    time_column: Column | None = None
    """Dates, times or numbers that order the rows: for ``split`` time, and for windows."""
    group_column: Column | None = None
    """What rows belong together: for ``split`` group, and for windows, which stay within a group."""
    sequence_length: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Learn from sliding windows of so many rows, ordered by ``time_column``. Absent: each row stands for itself."""
    horizon: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Windows: how many rows after its last row a window's target lies; 0 is the last row itself."""

    framework: Framework = "auto"
    """Which engine trains; ``auto`` takes the fastest one installed for this model and device."""
    device: Device = "auto"
    """Where to train; ``auto`` takes a GPU when the server has one to give."""
    model_type: ModelType = "mlp"
    """The kind of network."""
    hidden_units: Annotated[list[Units], Field(min_length=1, max_length=64)] = [64, 32]
    """Units of each hidden layer, input side first."""
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The share of hidden activations dropped in each training step."""
    activation: Activation = "relu"
    """``mlp`` and ``cnn``: what follows each hidden layer (``gelu`` is its tanh form)."""
    kernel_size: Annotated[int, Field(ge=1, le=63)] = 3
    """``cnn``: steps, or pixels in both directions, that one filter sees."""
    bidirectional: bool = False
    """``lstm`` and ``gru``: read the sequence in both directions."""
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=2, max_length=3)] | None = (
        None
    )
    """Fold the feature columns, in their order, into [height, width] or [height, width, channels] for ``cnn``,
    into [steps, channels] for ``lstm`` and ``gru``. Absent: each column is one step with one channel."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """How many times to go through the training rows."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """Rows per optimizer step; the last batch of an epoch may be smaller."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    """The optimizer's step length at the first epoch."""
    optimizer: Optimizer = "adam"
    """Adam, AdamW, SGD or RMSprop, with PyTorch's default constants."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    """The pull of all weights towards zero: decoupled for AdamW (default 0.01), added to the gradient otherwise
    (default 0)."""
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The largest norm of the whole gradient; longer ones are scaled down. Absent: no limit."""
    class_weight: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0, le=1e6)]] | None = None
    """Classification: how much each class counts in the training loss, by label; ``balanced`` makes all classes
    count the same in sum. A label that is not named counts 1."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Classification: the share of the truth that is spread evenly over all classes."""
    mixed_precision: bool = False
    """Compute in bfloat16 or float16 where the device gains from it; weights stay float32."""
    num_gpus: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] | None = None
    """GPUs to split each batch over; ``auto`` takes all that the server has. Absent: one, if there is one."""
    num_devices: Annotated[int, Field(ge=1, le=64)] | None = None
    """CPU devices to split each batch over; for trying out multi-device training without GPUs."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Everything random is a pure function of the seed, the epoch and the step."""

    max_rollbacks: Annotated[int, Field(ge=0, le=10)] = 1
    """When the loss becomes infinite or NaN: how many times to go back to the last checkpoint and on with a tenth of
    the learning rate, before the training fails."""

    monitor: Monitor = "val_loss"
    """The metric that early stopping, the best epoch and the plateau scheduler watch."""
    early_stopping_patience: Annotated[int, Field(ge=1, le=100_000)] | None = 10
    """Epochs without an improvement of more than ``min_delta`` before training stops; null never stops early."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.001
    """The smallest absolute improvement that resets the patience."""

    learning_rate_scheduler: Scheduler = "step"
    """How the learning rate changes between epochs."""
    step_size: Annotated[int, Field(ge=1, le=100_000)] = 30
    """``step``: epochs between two decays."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """``step``: the factor of each decay."""
    patience: Annotated[int, Field(ge=0, le=100_000)] = 5
    """``plateau``: epochs without improvement that are put up with before the learning rate falls."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """``plateau``: the factor of each decay."""
    T_max: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """``cosine``: epochs from the highest to the lowest learning rate. Absent: ``epochs``."""
    eta_min: Annotated[float, Field(ge=0, le=10)] = 0.0
    """``cosine``: the lowest learning rate."""

    output_path: Annotated[str, Field(min_length=1, max_length=500)] = "/models"
    """Where the model is kept, inside the server's artifact store."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = [
            *self._misplaced_options(),
            *self._column_problems(),
            *self._split_problems(),
            *self._window_problems(),
            *self._monitor_problems(),
            *self._size_problems(),
            *self._model_problems(),
            *self._output_path_problems(),
        ]
        if problems:
            raise PydanticCustomError(
                "epochd_problems", "{count} problems", {"count": len(problems), "problems": problems}
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out options that mean nothing here, so that what is shown can be posted again as it is."""
        values: dict[str, Any] = handler(self)
        shown = {name: value for name, value in values.items() if self._applies(name)}
        return shown | {"monitor": self.watched} if "monitor" in shown else shown

    def _applies(self, name: str) -> bool:
        if name == "validation_split":
            return self.validation_dataset is None
        if name in NEEDS:
            return getattr(self, NEEDS[name]) is not None
        owner, values = APPLIES_TO.get(name, ("", ()))
        return not owner or getattr(self, owner) in values

    def _misplaced_options(self) -> list[Problem]:
        problems = []
        for name in sorted(self.model_fields_set - {"validation_split"}):
            if not self._applies(name):
                if name in NEEDS:
                    message = f"{name} is an option of {NEEDS[name]}, which is not given"
                    problems.append(Problem(name, message, f"set {NEEDS[name]}, or leave {name} out"))
                    continue
                owner, values = APPLIES_TO[name]
                wanted = " or ".join(f"{value!r}" for value in values)
                problems.append(
                    Problem(
                        name,
                        f"{name} is an option of {owner} {wanted}, but {owner} is {getattr(self, owner)!r}",
                        f"set {owner} to {wanted}, or leave {name} out",
                    )
                )
        return problems

    def _column_problems(self) -> list[Problem]:
        features = self.feature_columns or []
        problems = []
        if self.target_column in features and not self.forecasts:
            problems.append(
                Problem(
                    "feature_columns",
                    f"{self.target_column!r} is the target and also a feature",
                    "a model that is shown its target learns nothing; take it out of feature_columns",
                )
            )
        for column in sorted({c for c in features if features.count(c) > 1} if _has_twins(features) else ()):
            problems.append(Problem("feature_columns", f"{column!r} is listed more than once", "list each column once"))
        return problems

    def _split_problems(self) -> list[Problem]:
        problems = []
        for split, name in (("time", "time_column"), ("group", "group_column")):
            if self.split == split and getattr(self, name) is None:
                message = f"split {split!r} needs {name}, which is not given"
                problems.append(Problem("split", message, f"set {name}, or use another split"))
        if self.split == "stratified" and self.task == "regression":
            message = "split 'stratified' keeps the shares of classes, but task is regression"
            problems.append(Problem("split", message, "use 'random', 'time' or 'group'"))
        for name in ("time_column", "group_column"):
            if getattr(self, name) == self.target_column:
                problems.append(Problem(name, f"{self.target_column!r} is the target", "name another column"))
        if self.held_out > 0.9:
            message = f"validation_split and test_split together hold out {self.held_out:g} of the rows"
            problems.append(Problem("test_split", message, "hold out 0.9 at most, so that there are rows to train on"))
        if (
            self.validation_dataset is not None
            and "validation_split" in self.model_fields_set
            and self.validation_split
        ):
            message = "validation_dataset and validation_split were both given"
            problems.append(Problem("validation_dataset", message, "leave one of the two out"))
        return problems

    def _window_problems(self) -> list[Problem]:
        if self.sequence_length is None:
            return []
        problems = []
        if self.time_column is None:
            message = "windows follow the order of time, but time_column is not given"
            problems.append(Problem("time_column", message, "name the column that orders the rows"))
        if self.split in ("random", "stratified"):
            message = f"with split {self.split!r} windows of both sides would share rows: validation would be a leak"
            problems.append(Problem("split", message, "use 'time' or 'group', or leave split out"))
        if self.input_shape is not None:
            message = "windows have the shape [sequence_length, features]; input_shape cannot fold them"
            problems.append(Problem("input_shape", message, "leave input_shape or sequence_length out"))
        return problems

    def _monitor_problems(self) -> list[Problem]:
        problems = []
        asked = "monitor" in self.model_fields_set
        if asked and self.monitor.startswith("val_") and not self.validates:
            problems.append(
                Problem(
                    "monitor",
                    f"{self.monitor} needs validation rows, but validation_split is 0",
                    "use train_loss or train_accuracy, or a validation_split above 0",
                )
            )
        if self.task == "regression" and self.monitor.endswith("accuracy"):
            problems.append(
                Problem("monitor", f"{self.monitor} does not exist for regression", "use val_loss or train_loss")
            )
        return problems

    def _size_problems(self) -> list[Problem]:
        weights = sum(a * b for a, b in pairwise(self.hidden_units))
        if weights <= MAX_HIDDEN_WEIGHTS:
            return []
        return [
            Problem(
                "hidden_units",
                f"{self.hidden_units} makes {weights:,} weights between hidden layers; "
                f"the limit is {MAX_HIDDEN_WEIGHTS:,}",
                "use fewer or narrower layers",
            )
        ]

    def _model_problems(self) -> list[Problem]:
        problems = []
        if self.input_shape and self.model_type in ("lstm", "gru") and len(self.input_shape) != 2:
            message = f"{self.input_shape} has {len(self.input_shape)} dimensions; {self.model_type} reads sequences"
            problems.append(Problem("input_shape", message, "give [steps, channels]"))
        problems += class_option_problems(self, self.task)
        if self.num_gpus is not None and self.num_devices is not None:
            message = "num_devices splits over CPU devices, num_gpus over GPUs; both were given"
            problems.append(Problem("num_devices", message, "leave one of the two out"))
        return problems

    def _output_path_problems(self) -> list[Problem]:
        parts = self.output_path.split("/")
        wrong = next((p for p in parts if p in {".", "..", "latest"} or len(p) > 120 or not _is_plain(p)), None)
        if wrong is None:
            return []
        return [
            Problem(
                "output_path",
                f"{self.output_path!r} has the part {wrong[:120]!r}, which cannot name a folder of the artifact store",
                "use plain names separated by '/', for example /models/churn",
            )
        ]

    @property
    def watched(self) -> str:
        """The metric that is really watched: without validation rows, its training counterpart."""
        return self.monitor if self.validates else self.monitor.replace("val_", "train_")

    @property
    def validates(self) -> bool:
        """Whether there are validation rows, held out or of their own dataset."""
        return self.validation_dataset is not None or self.validation_split > 0

    @property
    def validation_share(self) -> float:
        """The share of the dataset's rows that is held out for validation."""
        return 0.0 if self.validation_dataset is not None else self.validation_split

    @property
    def held_out(self) -> float:
        """The share of the dataset's rows that is not trained on."""
        return self.validation_share + self.test_split

    @property
    def looks_ahead(self) -> bool:
        """Whether rows are held out that come later in time than those trained on."""
        return self.split == "time" or (self.split == "auto" and self.sequence_length is not None)

    @property
    def forecasts(self) -> bool:
        """Whether windows end before their target, whose own past may then be learned from."""
        return self.sequence_length is not None and self.horizon > 0

    @property
    def decay(self) -> float:
        """``weight_decay`` with its default."""
        if self.weight_decay is None:
            return 0.01 if self.optimizer == "adamw" else 0.0
        return self.weight_decay

    @property
    def artifact_folder(self) -> str:
        """``output_path`` as a relative path inside the artifact store, without leading slashes."""
        return "/".join(part for part in self.output_path.split("/") if part) or "models"


def class_option_problems(spec: TrainingSpec, task: Task | None) -> list[Problem]:
    """Options that need classes, where ``task`` (given or inferred from the target) is regression."""
    options = ("class_weight", "label_smoothing") if task == "regression" else ()
    return [
        Problem(name, f"{name} needs classes, but the task is regression", f"leave {name} out")
        for name in options
        if getattr(spec, name)
    ]


def _has_twins(names: list[str]) -> bool:
    return len(set(names)) != len(names)


def _is_plain(part: str) -> bool:
    return part.isprintable() and not set(part) & set('\\:*?"<>|') and not part.startswith(("~", " "))


def parse(values: object) -> TrainingSpec:
    """Validate a config given as a mapping; raise InvalidSpec with every problem found."""
    try:
        return TrainingSpec.model_validate(values)
    except ValidationError as error:
        raise InvalidSpec(problems_of(error.errors(include_url=False))) from None


def examine(values: object) -> tuple[TrainingSpec | None, list[Problem]]:
    """Validate like ``parse``, but go on after the first bad fields so that later checks can run too.

    Returns the spec without the fields that have problems (None when too little is left to say more),
    and all problems found.
    """
    try:
        return TrainingSpec.model_validate(values), []
    except ValidationError as error:
        problems = problems_of(error.errors(include_url=False))
    if not isinstance(values, dict):
        return None, problems
    bad = {problem.field.split(".")[0] for problem in problems}
    rest = {name: value for name, value in values.items() if name not in bad}
    if len(rest) == len(values):
        return None, problems
    spec, more = examine(rest)
    return spec, problems + [problem for problem in more if problem.field not in bad]


def problems_of(errors: list[ErrorDetails]) -> list[Problem]:
    """Pydantic's error list as problems with hints, in the order of the fields."""
    problems: list[Problem] = []
    for error in errors:
        if error["type"] == "epochd_problems":
            problems.extend(error["ctx"]["problems"])
        else:
            problems.append(_problem_of(error))
    return problems


def _problem_of(error: ErrorDetails) -> Problem:
    loc = [part for part in error["loc"] if part not in ("body", "constrained-str")]
    field = ".".join(str(part) for part in loc) or "body"
    match error["type"]:
        case "extra_forbidden":
            return Problem(field, f"unknown field {field!r}", _nearest(field, list(TrainingSpec.model_fields)))
        case "missing":
            return Problem(field, f"{field} is required", _meaning(field))
        case "json_invalid":
            return Problem("body", f"not valid JSON: {error['ctx']['error']}", "send one JSON object")
        case _:
            return Problem(field, f"{_sentence(error)}, but {_shown(error['input'])} was given", _meaning(field))


def _sentence(error: ErrorDetails) -> str:
    return error["msg"][0].lower() + error["msg"][1:]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _meaning(field: str) -> str:
    """What a field is for, as a hint; list items (``hidden_units.0``) speak for their list."""
    known = TrainingSpec.model_fields.get(field.split(".")[0])
    return (known.description or "").replace("``", "") if known else ""


def _nearest(name: str, known: list[str]) -> str:
    matches = similar_names(name, known, 1)
    return f"did you mean {matches[0]!r}?" if matches else "see GET /api/v1/epoch-training/schema"
