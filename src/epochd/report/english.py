"""The English texts of a report, by key. The Chinese ones have the same keys and values."""

TEXTS: dict[str, str] = {
    "report": "Training report",
    "task_binary": "binary classification",
    "task_multiclass": "classification",
    "task_regression": "regression",
    "part": "part",
    "part_train": "training",
    "part_validation": "validation",
    "part_test": "test",
    "rows": "rows",
    "row": "row",
    "column": "column",
    "kind": "kind",
    "value": "value",
    "from": "from",
    "to": "to",
    "time": "time",
    "truth": "truth",
    "prediction": "prediction",
    "probability": "probability",
    "error": "error",
    "figures_as_table": "The numbers as a table",
    "every_nth": "{shown} of {total} lines",
    "more_columns": "{count} more columns",
    # summary
    "predicts": "Predicts {target} ({task}) from {columns} columns of {dataset}",
    "best_epoch": "best epoch",
    "best_epoch_of": "of {epochs}",
    "best_epoch_early": "of {epochs}, stopped early",
    "best_epoch_key": "best epoch: {epoch}",
    "training_time": "training time",
    "seconds": "{seconds} s",
    "minutes": "{minutes} min",
    "hours": "{hours} h",
    "per_epoch": "{time} per epoch",
    "training_rows": "training rows",
    "held_out_rows": "{validation} validation, {test} test",
    "weights": "weights",
    "network": "{model} {units}, {framework} on {device}",
    "score_of": "{metric}, {part}",
    "baseline_is": "{baseline}: {value}",
    "warnings": "Warnings",
    "no_warnings": "No warnings.",
    "warning_not_better": (
        "The model is no better than a baseline on the {part} rows: {metric} {value}, {baseline} {other}."
    ),
    "warning_never_predicted": "On the {part} rows these classes occur but are never predicted: {classes}.",
    "warning_no_validation": "There were no validation rows: figures of training rows say little about new ones.",
    "warning_few_rows": "There are only {rows} {part} rows: the figures depend much on chance.",
    "warning_rollback": "The loss became infinite or NaN; the training returned to epoch {epoch}.",
    "warning_last_epoch": (
        "The best epoch is the last one: the training may improve further with more epochs (epochd continue)."
    ),
    # metrics
    "metrics": "Metrics",
    "metrics_note": (
        "Measured with the weights of the best epoch, without dropout. A baseline is a prediction that knows only the "
        "target of the training rows; a useful model is better. Losses are the lower the better."
    ),
    "loss_of_logarithm": (
        "The loss is that of the logarithm of 1 + target, on which the network was trained; all other metrics and all "
        "figures are in the unit of the target."
    ),
    "weighted": (
        "Loss and metrics are weighted by the column {column}; numbers of rows, curves and tables of single rows and "
        "classes count every row once."
    ),
    "folds_title": "The {count} folds of the cross-validation",
    "ensemble_title": "The {count} members of the ensemble",
    "folds_note": (
        "Each fold was predicted by a network that was trained on the other folds. The validation metrics above are "
        "those of all these predictions together; the model is the average of the networks."
    ),
    "ensemble_note": (
        "Each network on its own, with the same rows; the model is their average, whose metrics stand above."
    ),
    "fold": "fold",
    "member": "member",
    "members_mean": "mean",
    "members_std": "standard deviation (n - 1)",
    "model": "model",
    "metric": "metric",
    "metric_of_train": "{metric}, training",
    "metric_of_val": "{metric}, validation",
    "metric_loss": "loss",
    "metric_accuracy": "accuracy",
    "metric_learning_rate": "learning rate",
    "metric_auc": "ROC AUC",
    "metric_average_precision": "average precision",
    "metric_f1": "F1",
    "metric_precision": "precision",
    "metric_recall": "recall",
    "metric_balanced_accuracy": "balanced accuracy",
    "metric_log_loss": "log loss",
    "metric_brier": "Brier score",
    "metric_f1_weighted": "F1, weighted by rows",
    "metric_top_5_accuracy": "top-5 accuracy",
    "metric_r2": "R²",
    "metric_mae": "mean absolute error (MAE)",
    "metric_rmse": "root mean squared error (RMSE)",
    "metric_mape": "mean absolute percentage error (MAPE)",
    "metric_smape": "symmetric percentage error (sMAPE)",
    "baseline_majority_class": "majority class",
    "baseline_prior": "shares of the classes",
    "baseline_mean": "mean",
    "baseline_last_value": "last value",
    "baseline_seasonal_naive": "value one season ago",
    # training
    "training": "Training",
    "loss_title": "Loss",
    "accuracy_title": "Accuracy",
    "r2_title": "R²",
    "watched_title": "Monitored metric",
    "rate_title": "Learning rate",
    "epoch": "epoch",
    "epochs_note": (
        "Training figures are means over the steps of an epoch, with dropout; validation figures are measured after it."
    ),
    "resumed_key": "resumed after epoch {epochs}",
    "rollback_key": "returned to epoch {epochs} (loss infinite or NaN)",
    # quality
    "quality": "Quality of the predictions",
    "part_rows": "{rows} rows",
    "part_sample": "an even sample of {rows} of {total} rows",
    "train_only": "There are no held-out rows, so these figures are those of training rows.",
    "confusion": "Confusion matrix, {part} rows",
    "confusion_note": (
        "Lines: true classes. Columns: predicted classes. The shade is the share of the line; the diagonal is right."
    ),
    "confusion_threshold": "Class {label} is predicted above a probability of {threshold}.",
    "confused": "Most confused classes, {part} rows",
    "confused_none": "No row was predicted as another class.",
    "predicted_as": "predicted as",
    "per_class": "Classes, {part} rows",
    "horizon": "horizon",
    "per_horizon": "Horizons, {part} rows",
    "per_horizon_note": (
        "A horizon is how many rows after the end of a window a value is predicted for. The metrics above are means "
        "over all horizons; all other figures and examples on this page are those of the largest one, {horizon}."
    ),
    "class": "class",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "times_predicted": "times predicted",
    "roc_title": "ROC curve",
    "roc_note": "How many positive rows are found (up), at the cost of how many false alarms among others (right).",
    "roc_x": "false positive rate",
    "roc_y": "true positive rate",
    "roc_key": "{part}: area {area}",
    "precision_recall_title": "Precision and recall",
    "precision_recall_note": "Of the rows predicted positive, how many are (up), while more of them are found (right).",
    "precision_recall_x": "recall",
    "precision_recall_y": "precision",
    "precision_recall_key": "{part}: average precision {area}",
    "chance_key": "by chance",
    "calibration_title": "Calibration",
    "calibration_note": (
        "Rows in groups by predicted probability. On the dotted line probabilities are what they say; below it they "
        "are too high. Bars: rows in each group."
    ),
    "calibration_x": "predicted probability",
    "calibration_y": "share of positive rows",
    "calibrated_key": "perfect",
    "thresholds": "Thresholds, {part} rows",
    "thresholds_note": "Rows whose probability of {label} is above the threshold are predicted {label}.",
    "threshold": "threshold",
    "share_predicted": "share predicted {label}",
    "decision": "the model's",
    "residuals_title": "Residuals, {part} rows",
    "residuals_note": (
        "Prediction minus truth: right of 0 the prediction is too high. The outermost bars contain the residuals "
        "beyond."
    ),
    "residual": "prediction − truth",
    "predicted_title": "Prediction and truth, {part} rows",
    "predicted_note": "One point per row; on the dashed line the prediction is right.",
    "density_note": "The darker, the more rows; on the dashed line the prediction is right.",
    "error_groups": "Errors by size of the target, {part} rows",
    "error_groups_note": "Rows in groups of about equal size by their true value.",
    "mean_prediction": "mean prediction",
    "mean_error": "mean absolute error",
    "bias": "mean of prediction − truth",
    "forecast_title": "{group}, {part} rows",
    "forecast_note": "Each point is the forecast of one window, at the time of its target.",
    "all_rows": "All rows",
    "forecasts": "Forecast and truth over time",
    # importance
    "uses": "What the predictions depend on",
    "importance_title": "Importance of the columns",
    "importance_note": (
        "How much larger the loss becomes if the values of a column are exchanged between rows; the thin lines are "
        "standard deviations over repeats. Columns that tell the same as others seem less important than they are."
    ),
    "importance_note_of_error": (
        "How much larger the squared error, in the unit of the target and relative to its variance, becomes if the "
        "values of a column are exchanged between rows; the thin lines are standard deviations over repeats. Columns "
        "that tell the same as others seem less important than they are."
    ),
    "importance_rows": "Measured on {rows} {part} rows.",
    "importance_skipped": "Not measured, because the time for it was over: {columns}.",
    "importance_none": "There was no time to measure the importance of columns.",
    "importance_image": "Importance of each pixel: the bluer, the more important.",
    "importance_loss": "increase of the loss",
    "importance_error": "increase of the squared error, relative to the variance of the target",
    "importance_accuracy": "decrease of the accuracy",
    "importance_r2": "decrease of R²",
    "deviation": "standard deviation",
    "repeats": "repeats",
    "dependence": "Partial dependence",
    "dependence_title": "Dependence on {column}",
    "dependence_note": "The mean prediction if all rows had this value of the column.",
    "mean_probability": "mean probability",
    "mean_probability_of": "mean probability of {label}",
    # examples
    "examples": "Rows predicted worst and best",
    "examples_note": (
        "Row numbers count from 0 in the dataset, as in splits.parquet. The worst rows are often mislabelled or "
        "unusual. A probability is that of the true class."
    ),
    "examples_worst": "Worst, {part} rows",
    "examples_best": "Best, {part} rows",
    "sequences_title": "Sequences predicted worst and best, {part} rows",
    "sequences_note": "The first channels as the network sees them, scaled.",
    "example_key": "row {row}: {truth} → {prediction}",
    "image_of": "row {row}",
    # data
    "data": "Data",
    "columns_note": "As seen in {rows} training rows. Types and scaling are those of the model's encoder.",
    "missing": "missing",
    "range": "range or values",
    "range_of": "{low} … {high}",
    "distinct": "{count} values",
    "kind_number": "number",
    "kind_boolean": "boolean",
    "kind_one-hot": "text, one-hot",
    "kind_codes": "text, embedded",
    "kind_text": "text, hashed",
    "kind_date": "date or time",
    "kind_list": "list",
    "kind_image": "picture",
    "target_classes": "Rows by class",
    "target_quantiles": "Target",
    "minimum": "minimum",
    "quartile_1": "1st quartile",
    "median": "median",
    "quartile_3": "3rd quartile",
    "maximum": "maximum",
    # usage
    "usage": "How to predict",
    "usage_note": (
        "The values are examples of this model's columns. If the server has tokens, add the header "
        "Authorization: Bearer <token>, or set EPOCHD_TOKEN."
    ),
    "usage_windows": "Each prediction needs {steps} rows in a row, in the order of {column}.",
    "usage_shortened": "Shortened: all {count} columns are needed.",
    "usage_http": "HTTP",
    "usage_python": "Python",
    "usage_shell": "Command line",
    "usage_csv": "with a file rows.csv such as",
    # config
    "config": "Config",
    "config_note": "Options that differ from their defaults.",
    "config_all": "All options",
    "option": "option",
    "default": "default",
    # reproducibility
    "reproduce": "Reproducibility",
    "reproduce_note": (
        "The same config on the same data, engine, machine and versions gives the same weights again, bit for bit."
    ),
    "fact_task_id": "task",
    "fact_created": "report written",
    "fact_seed": "seed",
    "fact_fingerprint": "data fingerprint",
    "fact_validation_fingerprint": "fingerprint of the validation dataset",
    "fact_framework": "framework",
    "fact_device": "device",
    "fact_threads": "threads",
    "fact_versions": "versions",
}
