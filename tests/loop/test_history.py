"""The rows of the history."""

from epochd.loop import history

TRAIN, VALIDATION = {"loss": 0.5, "accuracy": 0.8}, {"loss": 0.4, "accuracy": 0.9, "auc": 0.95}
GUIDE = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "time_per_epoch"]


def test_the_fields_of_the_guide_come_first():
    row = history.history_row(3, TRAIN, VALIDATION, "binary", 0.1, 1.0)
    assert list(row) == [*GUIDE, "val_auc"]
    assert (row["train_accuracy"], row["val_accuracy"], row["val_auc"]) == (0.8, 0.9, 0.95)


def test_best_metrics_are_of_the_validation_rows_where_there_are_any():
    with_rows = history.history_row(3, TRAIN, VALIDATION, "binary", 0.1, 1.0)
    without = history.history_row(3, TRAIN | {"f1": 0.7}, None, "binary", 0.1, 1.0)
    assert history.best_metrics(with_rows) == {"epoch": 3, "loss": 0.4, "accuracy": 0.9, "auc": 0.95}
    assert history.best_metrics(without) == {"epoch": 3, "loss": 0.5, "accuracy": 0.8, "f1": 0.7}
    assert (without["val_loss"], without["val_accuracy"], without["train_f1"]) == (None, None, 0.7)


def test_a_regression_row_has_its_own_metrics_and_no_accuracy():
    validation = {"loss": 1.0, "r2": 0.2, "mae": 3.0, "rmse": 4.0, "mape": None, "smape": 0.1}
    row = history.history_row(1, {"loss": 1.0, "r2": 0.1}, validation, "regression", 0.1, 1)
    assert (row["train_accuracy"], row["val_accuracy"]) == (None, None)
    assert (row["train_r2"], row["val_r2"], row["val_mae"], row["val_mape"]) == (0.1, 0.2, 3, None)


def test_a_regression_row_without_validation_rows_has_the_metrics_of_the_training_rows():
    row = history.history_row(1, {"loss": 1.0, "r2": 0.1, "mae": 2.0}, None, "regression", 0.1, 1)
    assert (row["train_mae"], row["val_r2"], row["val_mae"], row["val_rmse"]) == (2.0, None, None, None)
    assert history.best_metrics(row) == {"epoch": 1, "loss": 1.0, "accuracy": None, "r2": 0.1, "mae": 2.0}
