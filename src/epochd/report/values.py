"""What a report contains: plain values, which ``dataclasses.asdict`` turns into JSON without NaN and infinity.

Shares and probabilities are from 0 to 1. A *part* is ``train``, ``validation`` or ``test``. Errors and values of a
regression are in the unit of the target.
"""

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from epochd.report.texts import Both

Number = float | None
Metrics = dict[str, Any]
"""The metrics of one part by name; other values than numbers are tables, such as ``confusion_matrix``."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the training after ``epoch`` complete epochs; ``learning_rate`` is that of the epochs
    after a rollback."""

    kind: Literal["resumed", "rollback"]
    epoch: int
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line, in order."""

    x: list[float]
    y: list[float]
    area: Number
    """The area under a ROC curve, or the average precision."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What follows if rows with a higher probability than ``threshold`` are predicted positive. Precision is None if no
    row is, recall if there is no positive row."""

    threshold: float
    precision: Number
    recall: Number
    f1: Number
    share: float
    """The share of rows that are predicted positive."""
    is_decision: bool
    """Whether it is the threshold of the model."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Ascending thresholds, with the true and the false positives if rows with a higher probability are predicted
    positive. All other counts and scores follow from these and from the numbers of rows and of positive rows."""

    thresholds: list[float]
    true_positives: list[int]
    false_positives: list[int]


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose predicted probability is between ``low`` and ``high``."""

    low: float
    high: float
    rows: int
    predicted: float
    """The mean probability."""
    observed: float
    """The share of positive rows."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A curve is None where it is not defined, because all rows have the same class."""

    positive: str
    positives: int
    roc: Curve | None
    precision_recall: Curve | None
    thresholds: list[Threshold]
    levels: Levels
    calibration: list[Bin]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """A figure is None where it is not defined: precision if the class is never predicted, recall and AUC if no row has
    it."""

    label: str
    rows: int
    predicted: int
    precision: Number
    recall: Number
    f1: Number
    auc: Number
    """Of this class against all others."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """``rows`` of the class ``truth`` that were predicted as another class."""

    truth: str
    predicted: str
    rows: int


@dataclass(frozen=True, slots=True)
class Classification:
    """``matrix`` counts rows by true class (lines) and predicted class (columns); None for many classes, of which
    ``confused`` are the pairs that are confused most."""

    labels: list[str]
    matrix: list[list[int]] | None
    confused: list[Confusion]
    per_class: list[ClassScores]
    binary: Binary | None


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Rows whose true value is between ``low`` and ``high``; ``bias`` is the mean of prediction minus truth."""

    low: float
    high: float
    rows: int
    predicted: float
    error: float
    """The mean absolute error."""
    bias: float


@dataclass(frozen=True, slots=True)
class Regression:
    """``residuals`` are counts of prediction minus truth between ``edges``, which are one more. ``truth`` and
    ``predicted`` are single rows; for many rows ``density`` counts them in equal steps of the prediction (lines) and
    of the truth, both between the two ``bounds``."""

    edges: list[float]
    residuals: list[int]
    truth: list[float]
    predicted: list[float]
    density: list[list[int]] | None
    bounds: list[float]
    groups: list[ErrorGroup]


@dataclass(frozen=True, slots=True)
class Example:
    """One row, by its number in the dataset (from 0). ``image`` is a data URI, ``series`` are the values of the first
    channels of a sequence."""

    row: int
    truth: str
    predicted: str
    probability: Number
    """Of the true class."""
    error: Number
    image: str | None
    series: list[list[float]]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Windows of one group in the order of time: ``at`` are positions on the axis, ``times`` their labels."""

    group: str | None
    at: list[float]
    times: list[str]
    truth: list[float]
    predicted: list[float]


@dataclass(frozen=True, slots=True)
class Part:
    """The predictions for one part. The figures are those of ``rows`` rows, an even sample if ``total`` is larger."""

    name: str
    rows: int
    total: int
    classification: Classification | None
    regression: Regression | None
    worst: list[Example]
    best: list[Example]
    forecasts: list[Forecast]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much worse the predictions become if the values of a column are exchanged between rows: means over
    ``repeats``. ``score`` is the loss of accuracy or of R². The ``loss`` of a transformed target is the squared error
    in its own unit, relative to its variance."""

    column: str
    loss: float
    deviation: float
    """The standard deviation of ``loss`` over the repeats."""
    score: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    y: list[float]


@dataclass(frozen=True, slots=True)
class Dependence:
    """The mean prediction over all rows if a column had one value in all of them, for several values: numbers ``x``, or
    the ``categories`` of a text or boolean column. There is a line per class, or one without a label."""

    column: str
    x: list[float]
    categories: list[str]
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Importances:
    """Measured on ``rows`` rows of ``part``. Columns that the time did not suffice for are ``skipped``. ``image`` shows
    the importance of each pixel, as a data URI."""

    part: str
    rows: int
    columns: list[Importance]
    skipped: list[str]
    dependence: list[Dependence]
    image: str | None


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """A column in the training rows; ``low`` to ``high`` is the range of its numbers or dates, as text. ``missing`` is
    None where missing and unknown values have one code."""

    name: str
    kind: str
    missing: Number
    low: str | None = None
    high: str | None = None
    distinct: int | None = None
    frequent: list[tuple[str, float]] = field(default_factory=list)
    """The most frequent values with their shares."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The columns, as seen in ``rows`` training rows. ``classes`` counts the rows of each class by part; ``target`` are
    quantiles (minimum, quartiles, maximum) of a numeric target by part."""

    rows: int
    columns: list[ColumnProfile]
    classes: dict[str, list[int]] = field(default_factory=dict)
    target: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """How to predict with the model: its name and version on the ``server``, and rows with possible values."""

    server: str
    model: str
    version: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning with a text of its own in each language; ``key`` is ``plain`` for one that has only ``text``."""

    key: str
    values: dict[str, Both | str | int | float | None]


@dataclass(frozen=True, slots=True)
class ReportData:
    """``about`` is the model's ``model.json`` without its encoder; ``created`` is a UTC time. ``summary`` are further
    facts about the training. ``watched`` is the monitored metric."""

    created: str
    about: dict[str, Any]
    labels: list[str]
    history: list[dict[str, Any]]
    marks: list[Mark]
    watched: str
    metrics: dict[str, Metrics]
    baseline: dict[str, list[Metrics]]
    decision_threshold: float | None
    parts: list[Part]
    importances: Importances | None
    profile: Profile
    usage: Usage
    warnings: list[Warned]
    defaults: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportValues:
    """What the figures of a report show, for a program that draws its own: the content of ``report.json``. What is in
    other files of the model is not repeated."""

    created: str
    task: Literal["binary", "multiclass", "regression"]
    labels: list[str]
    decision_threshold: Number
    parts: list[Part]
    importances: Importances | None


def as_json(data: ReportData) -> str:
    """The values of the report's figures as JSON. A number that is not finite is null."""
    task, threshold = data.about["task"], data.decision_threshold
    values = ReportValues(data.created, task, data.labels, threshold, data.parts, data.importances)
    return json.dumps(_finite(asdict(values)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
