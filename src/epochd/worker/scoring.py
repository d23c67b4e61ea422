"""The final metrics of a training: its best weights on each side of the split, beside baselines.

    {"validation": {"rows": 114, "loss": 0.08, ..., "confusion_matrix": [[...]], "per_class": [{"label": ..., ...}]},
     "test": {...}, "train": {...},
     "baselines": {"validation": [{"name": "majority class", "accuracy": ...}, {"name": "prior", ...}], ...},
     "main_metric": "loss", "decision_threshold": 0.5, "warnings": ["never predicted for ..."]}

A side without rows is left out, and so is the threshold unless the task is binary.
"""

from typing import Any

from epochd.core import metric_table
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared
from epochd.loop import baselines, fit, metrics, ranking
from epochd.loop.classification import ClassTally
from epochd.loop.engine import Engine
from epochd.loop.fit import FitConfig

Dataset = InMemoryDataset | MemmapDataset
ROWS = {"train": "the training rows", "validation": "the validation rows"}


def final_metrics(engine: Engine, config: FitConfig, prepared: Prepared, test: Dataset | None) -> dict[str, Any]:
    """The final metrics with the weights that the engine has. ``test`` are the test rows in the shape of the network's
    inputs."""
    sides = {"validation": config.validation, "test": test, "train": config.train}
    judged = "train" if config.validation is None else "validation"
    threshold = decision_threshold(engine, config)
    scores, compared = {}, {}
    for side, dataset in sides.items():
        if dataset is not None:
            tally = fit.tallied(engine, config, dataset, threshold=threshold)
            scores[side] = metrics.described(tally, prepared.encoder.classes)
            compared[side] = _baselines(config, prepared, side, dataset)
    main = metric_table.main_metric(config.spec, config.task)
    found: dict[str, Any] = {**scores, "baselines": compared, "main_metric": main}
    warnings = list(baselines.warnings(main, scores[judged], compared[judged], ROWS[judged]))
    if config.task == "binary":
        found["decision_threshold"] = threshold
        if isinstance(config.spec.decision_threshold, str) and judged == "train":
            reason = "because there are no validation rows"
            warnings.append(f"the decision threshold {threshold:g} was chosen on the training rows, {reason}")
    return found | {"warnings": warnings}


def decision_threshold(engine: Engine, config: FitConfig) -> float:
    """The probability of the second of two classes above which it is predicted: as given, or chosen on the validation
    rows, on the training rows if there are none. 0.5 if there are not two classes."""
    given = config.spec.decision_threshold
    if config.task != "binary" or not isinstance(given, str):
        return 0.5 if isinstance(given, str) else float(given)
    tally = fit.tallied(engine, config, config.validation or config.train)
    assert isinstance(tally, ClassTally)
    return ranking.best_threshold(tally.ranking.binary(), given)


def _baselines(config: FitConfig, prepared: Prepared, side: str, dataset: Dataset) -> list[dict[str, Any]]:
    found = baselines.baselines(
        config.task,
        config.train.y,
        dataset.y,
        outputs=prepared.encoder.outputs,
        **config.target_units,
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
