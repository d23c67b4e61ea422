"""The page of real data, with networks that are not trained: their figures are as good as any."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from tests.support import reports
from tests.support.reports import finished, row, written

from epochd.report import page as pages
from epochd.report.language import in_language
from epochd.worker import model_report

WINDOWS = {
    "target_column": "value",
    "time_column": "at",
    "group_column": "shop",
    "sequence_length": 6,
    "model_type": "lstm",
    "hidden_units": [4],
}
JOBS = {
    "binary": {"test_split": 0.2},
    "multiclass": {"dataset": "wine"},
    "regression": {"dataset": "diabetes", "hidden_units": [8]},
    "image": {"dataset": "digits", "model_type": "cnn", "input_shape": [8, 8], "hidden_units": [4]},
    "sequence": {"dataset": "digits", "model_type": "gru", "input_shape": [8, 8], "hidden_units": [4]},
    "windows": WINDOWS,
}
HOSTILE = "<img src=x onerror=alert(1)>$x^2$\u202e{{ 7 * 7 }}"


def shops(folder):
    """Two years of the daily sales of two shops: the columns of ``diabetes`` in the order of the rows."""
    values = pl.read_parquet(pages.__file__.replace("report/page.py", "data/builtin/diabetes.parquet"))["target"]
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 18), eager=True)
    table = pl.DataFrame({"at": days, "value": values[: len(days)].cast(pl.Float64)})
    both = [table.with_columns(shop=pl.lit(name)) for name in ("north", "南")]
    pl.concat(both).with_columns(promotion=pl.col("value") > 200).write_parquet(folder / "shops.parquet")
    return {"dataset": "shops.parquet", "dataset_roots": [folder]}


@pytest.fixture(scope="module")
def report_of(tmp_path_factory):
    """The report of a kind of job and its page, made once."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            options = JOBS[name] | (shops(folder) if name == "windows" else {})
            data = model_report.report_data(finished(folder, **options))
            made[name] = data, reports.Page(pages.write(data))
        return made[name]

    return of


@pytest.fixture
def page_of(report_of):
    return lambda name: report_of(name)[1]


@pytest.mark.parametrize("name", JOBS)
def test_a_page_loads_nothing_and_runs_nothing(page_of, name):
    page = page_of(name)
    assert page.unclosed == []
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.attributes("href"))
    assert "url(" not in page.html.replace("url(#", "")
    assert "@import" not in page.html


@pytest.mark.parametrize("name", JOBS)
def test_a_page_is_accessible(page_of, name):
    page = page_of(name)
    ids = list(page.attributes("id"))
    assert len(ids) == len(set(ids))
    for reference in page.attributes("aria-labelledby"):
        assert set(reference.split()) <= set(ids)
    figures = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(figures) >= 3
    assert all(attributes["role"] == "img" for attributes in figures)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert len([tag for tag, _ in page.tags if tag == "details"]) >= len(figures)


@pytest.mark.parametrize("name", JOBS)
def test_a_page_has_everything_in_both_languages(page_of, name):
    page = page_of(name)
    assert len(page.texts["en"]) == len(page.texts["zh"]) > 50
    assert all(re.search(r"[\u4e00-\u9fff]", text) for text in page.texts["zh"] if re.search("[a-z]{12,}", text))
    assert not re.search(r"[\u4e00-\u9fff]", "".join(page.texts["en"]).replace("南", ""))


@pytest.mark.parametrize("name", JOBS)
def test_the_values_of_a_report_are_json(report_of, name):
    data, _ = report_of(name)
    assert json.loads(json.dumps(asdict(data), allow_nan=False))["history"] == data.history


def test_the_table_of_metrics_is_what_was_measured(tmp_path):
    metrics = {
        "validation": {"rows": 114, "loss": 0.123456, "auc": 0.98765, "auc_estimated": True, "per_class": []},
        "test": {"rows": 57, "loss": 0.5, "auc": None},
    }
    baselines = {
        "validation": [{"name": "majority class", "accuracy": 0.6, "season": 7}, {"name": "prior", "loss": 0.66}]
    }
    about = {"metrics": metrics | {"baselines": baselines}, "decision_threshold": 0.4}
    page = written(tmp_path, about=about, test_split=0.1)
    table = page.rows("metrics")
    assert table["metric"] == ["model", "majority class", "shares of the classes", "model"]
    assert table["loss"] == ["0.1235", "–", "0.66", "0.5"]
    assert table["ROC AUC"] == ["0.9877", "–", "–", "–"]
    assert table["accuracy"] == ["–", "0.6", "–", "–"]
    assert len(table) == 5
    assert "0.4 (the model's)" in page.rows("thresholds")


def test_the_confusion_matrix_and_the_classes_count_every_row(page_of):
    page = page_of("multiclass")
    matrix = [[int(cell) for cell in line[1:]] for line in page.tables["matrix"][0][1:]]
    classes = page.rows("classes")
    for number, label in enumerate("012"):
        assert int(classes[label][0]) == sum(matrix[number])
        assert int(classes[label][1]) == sum(line[number] for line in matrix)
    assert sum(map(sum, matrix)) == sum(int(line[2]) for line in page.tables["target"][0][1:])


def test_a_binary_page_shows_both_held_out_parts(page_of):
    page = page_of("binary")
    assert len(page.tables["matrix"]) == len(page.tables["thresholds"]) == 2
    figures = {attributes.get("id") for tag, attributes in page.tags if tag == "figure"}
    assert {"loss", "score", "rate", "roc", "precision_recall", "calibration"} <= figures
    assert {"importance", "dependence-0"} <= figures


def test_a_regression_page_has_its_residuals_and_groups(page_of):
    page = page_of("regression")
    figures = {attributes.get("id") for tag, attributes in page.tags if tag == "figure"}
    assert {"predicted-validation", "residuals-validation"} <= figures
    assert sum(int(line[1]) for line in page.tables["groups"][0][1:]) == 88


def test_images_are_shown_and_the_importance_of_their_pixels(page_of):
    pictures = [attributes for tag, attributes in page_of("image").tags if tag == "img"]
    assert [picture.get("class") for picture in pictures] == ["heat", *[None] * 12]


def test_windows_have_forecasts_by_group_and_need_rows_with_history(page_of):
    page = page_of("windows")
    figures = {attributes.get("id") for tag, attributes in page.tags if tag == "figure"}
    assert {"forecast-validation-0", "forecast-validation-1"} <= figures
    assert page.says("north, validation rows")
    assert page.says("Each prediction needs 6 rows in a row, in the order of at.")
    command = next(text for text in page.texts[""] if text.startswith("curl"))
    rows = json.loads(re.search(r"-d '(.*)'", command)[1])["rows"]
    assert len(rows) == 6
    assert set(rows[0]) == {"promotion", "at", "shop"}
    assert [row["at"] for row in rows] == [f"2024-01-{day:02}" for day in range(1, 7)]


def test_sequences_are_drawn(page_of):
    assert page_of("sequence").says("Sequences predicted worst and best")


def test_the_examples_of_use_have_this_models_columns(page_of):
    command = next(text for text in page_of("regression").texts[""] if text.startswith("curl"))
    assert f"/api/v1/models/models/versions/{reports.TASK_ID}/predict" in command
    (example,) = json.loads(re.search(r"-d '(.*)'", command)[1])["rows"]
    assert list(example) == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    assert all(isinstance(value, float) for value in example.values())
    assert page_of("regression").says(f"client.predict('models', rows, version='{reports.TASK_ID}')")
    assert page_of("image").says("Shortened: all 64 columns are needed.")


def test_changed_options_come_first(page_of):
    changed = page_of("regression").rows("config")
    assert changed["hidden_units"] == ["[8]", "[64, 32]"]
    assert "epochs" not in changed
    assert page_of("regression").says('"epochs": 100')


def test_texts_from_outside_stay_texts(tmp_path):
    labels = np.where(np.arange(60) % 3 == 0, f"yes {HOSTILE}", f"no {HOSTILE}")
    table = pl.DataFrame({f"a {HOSTILE}": np.arange(60.0), f"b {HOSTILE}": ["x<b>", "y&", "z'"] * 20, HOSTILE: labels})
    table.write_parquet(tmp_path / "hostile.parquet")
    options = {"dataset": "hostile.parquet", "dataset_roots": [tmp_path], "target_column": HOSTILE}
    options["name"] = HOSTILE.replace("\u202e", "")  # invisible characters are refused there
    page = written(tmp_path, warnings=[HOSTILE], **options)
    assert page.unclosed == []
    assert not [attributes for tag, attributes in page.tags if attributes.get("src") == "x" or "onerror" in attributes]
    assert "\u202e" not in page.html
    assert "49" not in page.texts["en"]
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.says(f"a {shown}")
    assert page.says(f"yes {shown}")
    assert page.says("alert(1)")


def test_warnings_name_what_a_reader_must_know(tmp_path):
    metrics = {"validation": {"rows": 36, "loss": 0.9}, "baselines": {"validation": [{"name": "prior", "loss": 0.8}]}}
    about = {"metrics": metrics, "best_epoch": 2}
    always_first = lambda x: np.tile(np.float32([9, 0, 0]), (len(x), 1))  # noqa: E731
    marks = [{"kind": "rollback", "epoch": 1, "learning_rate": 1e-4}]
    page = written(tmp_path, about=about, outputs=always_first, dataset="wine", warnings=["a plain one"], marks=marks)
    for text in (
        "a plain one",
        "no better than a baseline on the validation rows: loss 0.9, shares of the classes 0.8",
        "never predicted: 1, 2.",
        "There are only 36 validation rows",
        "the training returned to epoch 1",
        "The best epoch is the last one",
    ):
        assert page.says(text), text


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 0.0, "dataset": "iris"},
        {"validation_split": 0.0, "dataset": "diabetes"},
        {"history": [row(1, val_loss=None, val_accuracy=None, train_accuracy=None)]},
        {"history": [row(1, train_loss=None, val_loss=None, learning_rate=0.0, time_per_epoch=None)]},
        {"outputs": lambda x: np.zeros((len(x), 1), np.float32), "dataset": "diabetes"},
        {"outputs": lambda x: np.full((len(x), 1), np.nan, np.float32)},
    ],
    ids=["no validation", "no validation of a regression", "no metrics", "no values", "constant", "not finite"],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_trainings_have_a_report(tmp_path, options):
    page = written(tmp_path, **options)
    assert page.unclosed == []
    assert page.says("Reproducibility")


def test_one_class_and_a_constant_target_have_a_report(tmp_path):
    one = finished(tmp_path, dataset="wine")
    validation = one.parts["validation"]
    flat = replace(one, parts=one.parts | {"validation": replace(validation, y=np.zeros_like(validation.y))})
    assert "Confusion matrix" in pages.write(model_report.report_data(flat))
    number = finished(tmp_path, dataset="diabetes")
    validation = number.parts["validation"]
    flat = replace(number, parts=number.parts | {"validation": replace(validation, y=np.zeros_like(validation.y))})
    assert "Residuals" in pages.write(model_report.report_data(flat))


def test_a_binary_part_of_one_class_has_no_roc_curve(tmp_path):
    one = finished(tmp_path)
    validation = one.parts["validation"]
    flat = replace(one, parts=one.parts | {"validation": replace(validation, y=np.zeros_like(validation.y))})
    page = reports.Page(pages.write(model_report.report_data(flat)))
    figures = {attributes.get("id") for tag, attributes in page.tags if tag == "figure"}
    assert "calibration" in figures
    assert not {"roc", "precision_recall"} & figures


def test_the_language_that_is_shown_first_can_be_chosen(page_of):
    english = page_of("binary").html.encode()
    chinese = in_language(english, "zh")
    assert chinese != english == in_language(english, "en") == in_language(chinese, "en")
    checked = [attributes["id"] for tag, attributes in reports.Page(chinese.decode()).tags if "checked" in attributes]
    assert checked == ["language-zh"]
    assert chinese.lstrip().startswith(b'<!doctype html>\n<html lang="zh">')


def test_many_columns_and_classes_leave_the_page_readable(tmp_path):
    rng = np.random.default_rng(3)
    table = pl.DataFrame({f"column {n}": rng.normal(size=600) for n in range(300)})
    table = table.with_columns(label=pl.Series([f"class {n % 60}" for n in range(600)]))
    table.write_parquet(tmp_path / "wide.parquet")
    options = {"dataset": "wide.parquet", "dataset_roots": [tmp_path], "target_column": "label", "hidden_units": [8]}
    page = written(tmp_path, **options)
    assert "matrix" not in page.tables
    assert page.says("Most confused classes")
    assert len(page.html) < 400_000


def test_a_monitored_metric_has_a_curve_of_its_own(report_of):
    data, _ = report_of("binary")
    history = [row(1, val_auc=0.8), row(2, val_auc=0.9), {"epoch": 3, "train_loss": 0.1, "learning_rate": 0.1}]
    page = reports.Page(pages.write(replace(data, history=history, watched="val_auc")))
    assert "watched" in {attributes.get("id") for tag, attributes in page.tags if tag == "figure"}
    assert page.says("ROC AUC, validation")


@pytest.mark.parametrize(("option", "title"), [({"folds": 2}, "2 folds"), ({"ensemble": 2}, "2 members")])
def test_several_networks_have_a_table_of_their_own_metrics(tmp_path, option, title):
    each = [
        {"rows": 57, "best_epoch": 3, "loss": 0.25, "auc": 0.5},
        {"rows": 58, "best_epoch": 12, "loss": 0.5, "auc": 1.0},
    ]
    members = {
        "part": "validation",
        "each": each,
        "mean": {"loss": 0.375, "auc": None},
        "std": {"loss": 0.177, "auc": None},
    }
    metrics = {"train": {"rows": 57, "loss": 0.1}, "members": members}
    page = written(tmp_path, about={"metrics": metrics}, **option)
    table = page.rows("members")
    assert table["1"] == ["57", "3", "0.25"]
    assert table["2"] == ["58", "12", "0.5"]
    assert (table["mean"], table["standard deviation (n - 1)"]) == (["", "", "0.375"], ["", "", "0.177"])
    assert title in page.html


def test_a_single_network_has_no_such_table(tmp_path):
    assert "members" not in written(tmp_path).tables
