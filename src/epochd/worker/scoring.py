"""The final metrics of a training: its best weights on each side of the split, beside baselines.

    {"validation": {"rows": 114, "loss": 0.08, ..., "confusion_matrix": [[...]], "per_class": [{"label": ..., ...}]},
     "test": {...}, "train": {...},
     "baselines": {"validation": [{"name": "majority class", "accuracy": ...}, {"name": "prior", ...}], ...},
     "main_metric": "loss", "decision_threshold": 0.5, "warnings": ["never predicted for ..."]}

A side without rows is left out, and so is the threshold unless the task is binary. With folds, ``validation`` are the
out-of-fold predictions of all training rows. Several networks have ``members`` besides:

    {"part": "validation", "each": [{"rows": 57, "epochs": 9, "best_epoch": 7, "stopped_early": false, "loss": ...}],
     "mean": {"loss": ..., ...}, "std": {"loss": ..., ...}}

with the metrics of each on its own validation rows (the training rows if there are none), their mean and their sample
standard deviation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from epochd.core import metric_table
from epochd.core.arrays import FloatArray
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared
from epochd.loop import baselines, fit, metrics, ranking
from epochd.loop.classification import ClassTally
from epochd.loop.fit import Outputs
from epochd.loop.members import FitConfig, Members

Dataset = InMemoryDataset | MemmapDataset
ROWS = {"train": "the training rows", "validation": "the validation rows"}


@dataclass(frozen=True, slots=True)
class Side:
    """The rows of a side, in the shape of the network's inputs, and what computes their raw ``outputs``."""

    dataset: Dataset
    outputs: Outputs


def sides(members: Members, config: FitConfig, test: Dataset | None, out_of_fold: FloatArray | None) -> dict[str, Side]:
    """The sides that have rows, with the weights that the engines have. ``out_of_fold`` are the outputs for the
    training rows by networks that have not trained on them; None without folds."""
    rows = {"validation": config.validation, "test": test, "train": config.train}
    found = {name: Side(dataset, members.outputs) for name, dataset in rows.items() if dataset is not None}
    if out_of_fold is None:
        return found
    return {"validation": Side(config.train, lambda x: out_of_fold), **found}


def final_metrics(
    members: Members, config: FitConfig, prepared: Prepared, found_sides: Mapping[str, Side]
) -> dict[str, Any]:
    """The final metrics of the model, and of each of several networks. ``config`` is that of the whole training."""
    judged = "validation" if "validation" in found_sides else "train"
    threshold = decision_threshold(config, found_sides[judged])
    scores, compared = {}, {}
    for name, side in found_sides.items():
        tally = fit.tallied(side.outputs, config, side.dataset, threshold=threshold)
        scores[name] = metrics.described(tally, prepared.encoder.classes)
        compared[name] = _baselines(config, prepared, name, side.dataset)
    main = metric_table.main_metric(config.spec, config.task)
    found: dict[str, Any] = {**scores, "baselines": compared, "main_metric": main}
    warnings = list(baselines.warnings(main, scores[judged], compared[judged], ROWS[judged]))
    if config.task == "binary":
        found["decision_threshold"] = threshold
        if isinstance(config.spec.decision_threshold, str) and judged == "train":
            reason = "because there are no validation rows"
            warnings.append(f"the decision threshold {threshold:g} was chosen on the training rows, {reason}")
    if config.spec.averages is not None:
        found["members"] = member_metrics(members, threshold)
    return found | {"warnings": warnings}


def member_metrics(members: Members, threshold: float) -> dict[str, Any]:
    """The metrics of each network, on the rows that it was validated on, with their mean and standard deviation."""
    each = []
    for member in members:
        config, state = member.config, member.state
        tally = fit.tallied(member.engine.outputs, config, config.validation or config.train, threshold=threshold)
        facts = {"epochs": state.epoch, "best_epoch": state.best_epoch, "stopped_early": state.stopped_early}
        scores = metrics.described(tally)
        scores.pop("per_horizon", None)
        each.append({"rows": scores.pop("rows")} | facts | scores)
    part = "train" if members.config.validation is None else "validation"
    return {"part": part, "each": each} | _spread(each)


def _spread(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ``mean`` and the sample standard deviation (``std``) of each metric; None where a network has no value."""
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    for name in (name for name in each[0] if name in metric_table.METRICS):
        values = [one.get(name) for one in each]
        known = [value for value in values if value is not None]
        is_whole = len(known) == len(values)
        mean[name], std[name] = (fmean(known), stdev(known)) if is_whole else (None, None)
    return {"mean": mean, "std": std}


def decision_threshold(config: FitConfig, side: Side) -> float:
    """The probability of the second of two classes above which it is predicted: as given, or chosen on these rows. 0.5
    if there are not two classes."""
    given = config.spec.decision_threshold
    if config.task != "binary" or not isinstance(given, str):
        return 0.5 if isinstance(given, str) else float(given)
    tally = fit.tallied(side.outputs, config, side.dataset)
    assert isinstance(tally, ClassTally)
    return ranking.best_threshold(tally.ranking.binary(), given)


def _baselines(config: FitConfig, prepared: Prepared, side: str, dataset: Dataset) -> list[dict[str, Any]]:
    found = baselines.baselines(
        config.task,
        config.train.y,
        dataset.y,
        outputs=prepared.encoder.outputs,
        units=config.units,
        train_weights=config.train.weights,
        weights=dataset.weights,
        naive=prepared.naive.get(side),
        horizons=config.spec.horizons,
    )
    for baseline in found:
        baseline.pop("rows", None)
        if baseline["name"] == "seasonal naive":
            baseline["season"] = prepared.season
    return found
