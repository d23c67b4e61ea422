"""The fields of a training config: types, defaults, bounds and meanings, and the values derived from them.

The docstring of a field is its description in the JSON Schema, in OpenAPI and in hints. Numbers have upper bounds, so
that a config that no machine could run is rejected before any work starts.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from epochd.core.columns import ColumnOptions, Encoding, ReadOptions, Sheet
from epochd.core.feature_options import FeatureOptions
from epochd.core.names import COMPOSED

Scheduler = Literal["step", "plateau", "cosine", "none"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Task = Literal["binary", "multiclass", "regression"]
Activation = Literal["relu", "tanh", "gelu", "silu"]
Scaling = Literal["standard", "robust", "quantile"]
TargetTransform = Literal["log1p"]
Split = Literal["auto", "random", "stratified", "time", "group"]
Monitor = Literal[
    "val_loss",
    "val_accuracy",
    "val_auc",
    "val_average_precision",
    "val_f1",
    "val_f1_weighted",
    "val_precision",
    "val_recall",
    "val_balanced_accuracy",
    "val_log_loss",
    "val_brier",
    "val_top_5_accuracy",
    "val_r2",
    "val_mae",
    "val_rmse",
    "val_mape",
    "val_smape",
    "train_loss",
    "train_accuracy",
    "train_auc",
    "train_average_precision",
    "train_f1",
    "train_f1_weighted",
    "train_precision",
    "train_recall",
    "train_balanced_accuracy",
    "train_log_loss",
    "train_brier",
    "train_top_5_accuracy",
    "train_r2",
    "train_mae",
    "train_rmse",
    "train_mape",
    "train_smape",
]
"""``val_`` and ``train_`` of each metric in ``metric_table``."""
Threshold = Annotated[float, Field(gt=0, lt=1)]

Size = Annotated[int, Field(ge=1, le=65_536)]
Pixels = Annotated[int, Field(ge=1, le=1_024)]
Column = Annotated[str, Field(min_length=1, max_length=500), COMPOSED]
Label = Annotated[str, Field(max_length=500)]
Written = Annotated[str, Field(min_length=1, max_length=50)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
Priority = Annotated[int, Field(ge=-100, le=100)]
DatasetName = Annotated[str, Field(min_length=1, max_length=1000), COMPOSED]
Steps = Annotated[int, Field(ge=0, le=10_000)]
MAX_HORIZONS = 1_000
MAX_COLUMNS, MAX_LABELS = 100_000, 10_000
"""Entries of ``feature_columns`` and ``exclude_columns``, and of ``class_weight``."""


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Augmentation(TypedDict, total=False):
    """How training images are changed in each step."""

    flip: Annotated[Literal["horizontal", "vertical"], Field(description="Half of the images are mirrored.")]
    crop: Annotated[
        int, Field(ge=1, le=64, description="By how many pixels images are moved at most, in both directions.")
    ]
    noise: Annotated[
        float, Field(gt=0, le=10, description="The standard deviation of noise, where that of the pixels is 1.")
    ]


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
"""Fields that apply only to some values of another field."""

IMAGE_OPTIONS = ("image_root", "image_size", "image_mode")
"""Fields that have an effect on datasets of pictures only, which is known when the dataset is read."""
NEEDS = dict.fromkeys(("horizon", "frequency", "max_gap", "known_in_advance"), "sequence_length")
"""Fields that apply only if another field is set."""


class SpecFields(BaseModel):
    """The fields of ``TrainingSpec``, each valid on its own; ``spec_checks`` checks them together."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
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

    name: Annotated[str, Field(min_length=1, max_length=200), COMPOSED] = "training"
    """A display name; it need not be unique."""
    priority: Priority = 0
    """The place in the queue: tasks of higher priority start first, those of equal priority in the order in which they
    were queued."""
    algorithm_type: Literal["deep_learning"] = "deep_learning"
    """The family of algorithms; epochd trains deep learning models."""

    dataset: DatasetName | None = None
    """The name of a built-in or registered dataset, or a path under an allowed root, also without the file's suffix.
    Default: the server's default dataset."""
    encoding: Encoding | None = None
    """The encoding of the dataset's text file. Default: detected, and reported."""
    sheet: Sheet | None = None
    """The sheet of a spreadsheet, by its name or its number from 1. Default: the first visible one."""
    columns: Annotated[dict[Column, ColumnOptions], Field(max_length=MAX_COLUMNS)] = {}
    """How single columns are read, by name: ``type``, and for numbers ``decimal``, for dates ``format``, ``timezone``
    and ``last_year``, for durations ``format``, for all ``missing``. What is not given is decided from the whole
    column, and reported."""
    allow_changed_data: bool = False
    """Train even if the content of the dataset has changed since the task was accepted or paused. Otherwise the task is
    paused, or its resume rejected."""
    feature_columns: Annotated[list[Column], Field(min_length=1, max_length=MAX_COLUMNS)] | None = None
    """The feature columns, in this order; ``*``, ``?`` and ``[…]`` match several columns (``pixel*``). Default: every
    column except ``target_column``, ``weight_column``, ``time_column`` and ``group_column``, and those that name their
    row, such as a customer number, which are left out with a warning."""
    exclude_columns: Annotated[list[Column], Field(max_length=MAX_COLUMNS)] | None = None
    """Columns that are not features, although ``feature_columns`` selects them; patterns as there."""
    target_column: Column
    """The column to predict."""
    task: Task | None = None
    """The kind of prediction. Default: inferred from the values of the target, and reported."""
    target_transform: TargetTransform | Literal["none"] | None = None
    """For regression: ``log1p`` trains on the logarithm of 1 + target, for targets above -1 that span orders of
    magnitude. Predictions and metrics other than the loss stay in the unit of the target. Default: ``none``."""
    weight_column: Column | None = None
    """How much each row counts, 0 or more, in the loss and in all metrics; it is no feature, and not needed to predict.
    Only ratios matter. Default: all rows count the same."""
    scaling: Scaling = "standard"
    """How numbers are scaled: ``standard`` by mean and standard deviation, ``robust`` by median and interquartile
    range, ``quantile`` to a normal distribution."""
    image_column: Column | None = None
    """The column of pictures: paths relative to the folder of the dataset, or the pictures themselves in base64 or
    bytes. Default: ``image`` of a folder of pictures, otherwise none."""
    image_root: DatasetName | None = None
    """The folder that the paths of pictures are relative to, under an allowed root. Default: that of the dataset."""
    image_size: Annotated[list[Pixels], Field(min_length=2, max_length=2)] = [32, 32]
    """[height, width] that pictures are resized to."""
    image_mode: Literal["grey", "rgb"] = "rgb"
    """Whether pictures are read in grey, with one channel, or in colours, with three."""
    embedding_threshold: Annotated[int, Field(ge=1, le=1_000)] = 64
    """Text columns with more distinct values than this in the training rows are embedded; others are one-hot
    encoded."""
    features: FeatureOptions | None = None
    """How feature columns are encoded: ``max_categories`` and ``min_frequency`` of text columns, ``text_width`` of free
    text."""

    split: Split = "auto"
    """How rows are held out. ``time``: the last rows; ``group``: whole groups of ``group_column``, or without one all
    rows with the same features together; ``auto``: ``time`` for windows, otherwise ``stratified`` for classification
    and ``random`` for regression."""
    validation_split: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """The share of rows that is held out for validation; 0 trains on all rows."""
    test_split: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """The share of rows that is held out from training and validation, and scored once at the end."""
    validation_dataset: DatasetName | None = None
    """Validate on all rows of this dataset instead of holding out ``validation_split``."""
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Cross-validation: the rows that are not test rows are divided into this many parts of equal size, with
    ``group_column`` of whole groups. One network per part trains on the other parts and is validated on this one; the
    saved model averages them."""
    time_column: Column | None = None
    """Dates, times or numbers that order the rows, for ``split`` ``time`` and for windows."""
    group_column: Column | None = None
    """The group that a row belongs to, for ``split`` ``group`` and for windows, which never span two groups."""
    sequence_length: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Train on sliding windows of this many rows, ordered by ``time_column``. Default: each row is one example."""
    horizon: Steps | Annotated[list[Steps], Field(min_length=1, max_length=MAX_HORIZONS)] = 1
    """For windows: how many rows after the last row of a window its target is; 0 is the last row itself. A list
    (``[1, 2, 24]``, ascending) predicts a regression's target at each of these rows, with an output for each."""
    frequency: Written | Annotated[float, Field(gt=0)] | None = None
    """For windows: the usual time from one row to the next, such as ``15min``, ``1h``, ``1d``, ``1mo``; a number if
    ``time_column`` has numbers. No window crosses a hole, which is a longer step than ``max_gap``. Default: rows follow
    each other whatever time is between them."""
    max_gap: Written | Annotated[int, Field(ge=1, le=10_000)] | None = None
    """For windows: the longest step that is no hole: a number of steps of ``frequency``, up to half a step more, or a
    duration such as ``2h``, which needs no ``frequency``. Default with a ``frequency``: 1, so that a missing row is a
    hole."""

    known_in_advance: Annotated[list[Column], Field(min_length=1, max_length=1_000)] | None = None
    """For windows: columns that are known for the row of the target when it is predicted, such as holidays or planned
    prices. Their values there, for each horizon, are features beside the past ones."""

    framework: Literal["auto", "pytorch", "tensorflow", "jax"] = "auto"
    """The framework to train with; ``auto`` selects the fastest installed one for this model and device."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """The device to train on; ``auto`` uses a GPU if the server has a free one."""
    model_type: Literal["mlp", "cnn", "lstm", "gru"] = "mlp"
    """The network architecture."""
    hidden_units: Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(min_length=1, max_length=64)] = [64, 32]
    """The number of units of each hidden layer, from input to output."""
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The share of hidden activations that is dropped in each training step."""
    activation: Activation = "relu"
    """For ``mlp`` and ``cnn``: the activation function of the hidden layers (``gelu`` is the tanh approximation)."""
    kernel_size: Annotated[int, Field(ge=1, le=63)] = 3
    """For ``cnn``: the size of a filter, in steps, or in pixels in both directions."""
    bidirectional: bool = False
    """For ``lstm`` and ``gru``: read the sequence in both directions."""
    input_shape: Annotated[list[Size], Field(min_length=2, max_length=3)] | None = None
    """Reshape the feature columns, in their order, to [height, width] or [height, width, channels] for ``cnn``, to
    [steps, channels] for ``lstm`` and ``gru``. Default: each column is one step with one channel."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """The number of passes over the training rows."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """Rows per optimizer step; the last batch of an epoch may be smaller."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    """The learning rate of the first epoch."""
    optimizer: Optimizer = "adam"
    """Adam, AdamW, SGD or RMSprop, with PyTorch's default hyperparameters."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    """The weight decay: decoupled for AdamW (default 0.01), added to the gradient for other optimizers (default
    0)."""
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The maximum norm of the whole gradient; a larger gradient is scaled down. Default: no limit."""
    class_weight: Literal["balanced"] | Annotated[dict[Label, Weight], Field(max_length=MAX_LABELS)] | None = None
    """For classification: the weight of each class in the training loss, by label; a boolean is ``true`` or ``false``.
    A label that is not listed has weight 1; ``balanced`` gives all classes the same total weight."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """For classification: the share of each label that is spread evenly over all classes."""
    mixed_precision: bool = False
    """Compute in bfloat16 or float16 where the device is faster with it; weights stay float32."""
    augmentation: Augmentation | None = None
    """For images: how training rows are changed in each step: ``flip``, ``crop``, ``noise``; rows that are validated,
    tested or predicted never are."""
    num_gpus: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] | None = None
    """The number of GPUs to split each batch over; ``auto`` uses all GPUs of the server. Default: one, if the server
    has any."""
    num_devices: Annotated[int, Field(ge=1, le=64)] | None = None
    """The number of CPU devices to split each batch over, to try multi-device training without GPUs."""
    num_nodes: Annotated[int, Field(ge=1, le=64)] | None = None
    """The number of machines to split each batch over, each with ``num_gpus`` GPUs or ``num_devices`` CPU devices, by
    default one. They are agents of the server, and PyTorch trains on them. Default: one machine."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The random seed: all randomness is a pure function of the seed, the epoch and the step."""
    ensemble: Annotated[int, Field(ge=2, le=32)] | None = None
    """Train this many networks on the same rows, which differ in their initial weights, the order of their batches and
    their dropout; the saved model averages them. The first one is that of a training without this option."""

    max_rollbacks: Annotated[int, Field(ge=0, le=10)] = 1
    """How many times a training whose loss becomes infinite or NaN returns to its last checkpoint and continues with
    a tenth of the learning rate, before it fails."""

    monitor: Monitor = "val_loss"
    """The metric for early stopping, the best epoch and the plateau scheduler: a metric of the task on the validation
    rows. With validation rows, only loss, accuracy and R² are measured on the training rows too."""
    early_stopping_patience: Annotated[int, Field(ge=1, le=100_000)] | None = 10
    """Epochs without an improvement of more than ``min_delta`` before training stops; null disables early
    stopping."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.001
    """The absolute improvement that must be exceeded to reset the patience."""

    learning_rate_scheduler: Scheduler = "step"
    """How the learning rate changes between epochs."""
    step_size: Annotated[int, Field(ge=1, le=100_000)] = 30
    """For ``step``: the number of epochs between two decays."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """For ``step``: the factor of each decay."""
    patience: Annotated[int, Field(ge=0, le=100_000)] = 5
    """For ``plateau``: epochs without improvement that are tolerated before the learning rate decays."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """For ``plateau``: the factor of each decay."""
    T_max: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """For ``cosine``: the number of epochs from the highest to the lowest learning rate. Default: ``epochs``."""
    eta_min: Annotated[float, Field(ge=0, le=10)] = 0.0
    """For ``cosine``: the lowest learning rate."""

    decision_threshold: Literal["f1", "balanced"] | Threshold = 0.5
    """For two classes: the probability of the second class above which it is predicted. ``f1`` and ``balanced`` choose
    the threshold with the best F1 or balanced accuracy on the validation rows, at the end of the training."""

    output_path: Annotated[str, Field(min_length=1, max_length=500), COMPOSED] = "/models"
    """The folder of the model, relative to the server's artifact store."""

    def applies(self, name: str) -> bool:
        """Whether the field of this name has an effect, given the values of the others."""
        if name == "validation_split":
            return self.validation_dataset is None and self.folds is None
        if name in NEEDS:
            return getattr(self, NEEDS[name]) is not None
        if name in ("image_column", "augmentation", *IMAGE_OPTIONS):
            return self.image_column is not None or name in self.model_fields_set
        owner, values = APPLIES_TO.get(name, ("", ()))
        return not owner or getattr(self, owner) in values

    @property
    def watched(self) -> str:
        """The metric that is monitored: without validation rows, the training metric that corresponds to it."""
        return self.monitor if self.validates or self.monitor[:4] != "val_" else f"train_{self.monitor[4:]}"

    @property
    def validates(self) -> bool:
        """Whether there are validation rows: held out, from a dataset of their own, or the part of a fold."""
        return self.validation_dataset is not None or self.folds is not None or self.validation_split > 0

    @property
    def validation_share(self) -> float:
        """The share of the dataset's rows that is held out for validation, in the same way for all networks."""
        return 0.0 if self.validation_dataset is not None or self.folds is not None else self.validation_split

    @property
    def members(self) -> int:
        """The number of networks that are trained, and that the saved model averages."""
        return self.folds or self.ensemble or 1

    @property
    def nodes(self) -> int:
        """The number of machines that train together."""
        return self.num_nodes or 1

    @property
    def averages(self) -> str | None:
        """The option that makes several networks; None if there is one."""
        return "folds" if self.folds is not None else "ensemble" if self.ensemble is not None else None

    @property
    def held_out(self) -> float:
        """The share of the dataset's rows that is not trained on."""
        return self.validation_share + self.test_split

    @property
    def transform(self) -> TargetTransform | None:
        """``target_transform``, None where there is none."""
        return None if self.target_transform == "none" else self.target_transform

    @property
    def looks_ahead(self) -> bool:
        """Whether the held-out rows come later in time than the training rows."""
        return self.split == "time" or (self.split == "auto" and self.sequence_length is not None)

    @property
    def forecasts(self) -> bool:
        """Whether windows end before their target, so that past values of the target may be features."""
        return self.sequence_length is not None and self.horizons[0] > 0

    @property
    def horizons(self) -> tuple[int, ...]:
        """All horizons, ascending; of one window each is the row of a target."""
        return (self.horizon,) if isinstance(self.horizon, int) else tuple(self.horizon)

    @property
    def ahead(self) -> tuple[int, ...]:
        """The horizons at which columns that are known in advance are features; none without such columns."""
        if self.sequence_length is None or self.known_in_advance is None:
            return ()
        return tuple(horizon for horizon in self.horizons if horizon > 0)

    @property
    def furthest(self) -> int:
        """The largest horizon: how many rows a window with all its targets takes after its last row."""
        return self.horizons[-1]

    @property
    def has_holes(self) -> bool:
        """Whether long steps in time are holes, which no window crosses."""
        return self.frequency is not None or self.max_gap is not None

    @property
    def decay(self) -> float:
        """``weight_decay`` with its default."""
        if self.weight_decay is None:
            return 0.01 if self.optimizer == "adamw" else 0.0
        return self.weight_decay

    @property
    def read_options(self) -> ReadOptions:
        """How the dataset is read."""
        columns = {name: ColumnOptions.model_validate(options) for name, options in self.columns.items()}
        return ReadOptions(self.encoding, self.sheet, columns, (self.target_column,))  # a stored spec has dicts

    @property
    def feature_options(self) -> FeatureOptions:
        """``features`` with its defaults."""
        return FeatureOptions.model_validate(self.features or {})  # a stored spec has a dict

    @property
    def artifact_folder(self) -> str:
        """``output_path`` as a relative path inside the artifact store, without leading slashes."""
        return "/".join(part for part in self.output_path.split("/") if part) or "models"
