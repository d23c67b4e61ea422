"""The config: the guide's defaults, and every problem of a bad one at once."""

import time
import unicodedata

import pytest

from epochd.core import specs
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.feature_options import FeatureOptions
from epochd.core.jobs import new_task_id

GUIDE_DEFAULTS = {
    "model_type": "mlp",
    "hidden_units": [64, 32],
    "dropout_rate": 0.2,
    "epochs": 100,
    "batch_size": 32,
    "learning_rate": 0.001,
    "early_stopping_patience": 10,
    "min_delta": 0.001,
    "learning_rate_scheduler": "step",
    "step_size": 30,
    "gamma": 0.1,
}


def problems(**values: object) -> dict[str, Problem]:
    with pytest.raises(InvalidSpec) as caught:
        specs.parse({"target_column": "target", **values})
    return {problem.field: problem for problem in caught.value.problems}


def test_defaults_are_those_of_the_guide():
    spec = specs.parse({"target_column": "target"})
    assert {name: getattr(spec, name) for name in GUIDE_DEFAULTS} == GUIDE_DEFAULTS
    assert (spec.validation_split, spec.seed, spec.optimizer, spec.monitor) == (0.2, 0, "adam", "val_loss")


@pytest.mark.parametrize(
    ("roles", "other"),
    [
        ({}, "target_column"),
        ({"time_column": "target"}, "target_column"),
        ({"time_column": "w"}, "time_column"),
        ({"group_column": "w"}, "group_column"),
        ({"feature_columns": ["a", "w"]}, "feature_columns"),
    ],
)
def test_the_weight_column_has_no_other_role(roles, other):
    name = "target" if other == "target_column" else "w"
    found = problems(weight_column=name, **roles)["weight_column"]
    assert found.message == f"'{name}' is the weight column and also in {other}"


@pytest.mark.parametrize("value", [None, "none", "log1p"])
def test_the_target_is_transformed_on_request(value):
    spec = specs.parse({"target_column": "target", "target_transform": value})
    assert spec.transform == ("log1p" if value == "log1p" else None)


def test_a_classification_has_no_target_transform():
    found = problems(task="binary", target_transform="log1p")["target_transform"]
    assert found.message == "target_transform 'log1p' needs a regression, but the task is binary"


def test_an_unknown_field_names_the_nearest_known_one():
    assert problems(epoch=3)["epoch"].hint == "did you mean 'epochs'?"
    assert problems(Epochs=3)["Epochs"].hint == problems(EPOCH=3)["EPOCH"].hint == "did you mean 'epochs'?"


def test_numbers_are_not_guessed_from_strings():
    assert "'32' was given" in problems(batch_size="32")["batch_size"].message
    assert "True was given" in problems(epochs=True)["epochs"].message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("dropout_rate", 1.0),
        ("validation_split", 0.95),
        ("early_stopping_patience", 0),
        ("hidden_units", []),
        ("gamma", 0),
        ("seed", -1),
        ("name", ""),
        ("optimizer", "lion"),
        ("model_type", "transformer"),
        ("algorithm_type", "boosting"),
    ],
)
def test_a_value_out_of_bounds_is_a_problem_of_its_field(field, value):
    assert field in problems(**{field: value})


@pytest.mark.serial
def test_a_billion_hidden_units_are_refused_at_once():
    began = time.perf_counter()
    assert "less than or equal to 16384" in problems(hidden_units=[10**9])["hidden_units.0"].message
    assert time.perf_counter() - began < 0.1


def test_many_wide_layers_are_refused_with_their_sum():
    assert "805,306,368 weights" in problems(hidden_units=[16384] * 4)["hidden_units"].message


def test_an_option_of_another_scheduler_is_a_problem():
    found = problems(learning_rate_scheduler="cosine", step_size=3, patience=2)
    assert "option of learning_rate_scheduler 'step'" in found["step_size"].message
    assert found["patience"].hint == "set learning_rate_scheduler to 'plateau', or omit patience"


def test_all_problems_come_at_once_even_across_kinds():
    spec, found = specs.parse_leniently(
        {"target_column": "t", "epochs": -1, "patience": 3, "nmae": "x", "output_path": "../x"}
    )
    assert {problem.field for problem in found} == {"epochs", "patience", "nmae", "output_path"}
    assert spec is not None


def test_a_missing_target_leaves_nothing_more_to_check():
    spec, found = specs.parse_leniently({"epochs": 3})
    assert spec is None
    assert found[0].message == "target_column is required"


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_a_body_that_is_no_object_is_a_problem(values):
    spec, found = specs.parse_leniently(values)
    assert spec is None
    assert len(found) == 1


def test_the_target_cannot_be_a_feature():
    assert "also a feature" in problems(feature_columns=["a", "target"])["feature_columns"].message


def test_a_column_listed_twice_is_a_problem():
    assert "more than once" in problems(feature_columns=["a", "a"])["feature_columns"].message


@pytest.mark.parametrize("path", ["../x", "/a/../../etc", "a/./b", "c:\\x", "~/x", "a/\0b", "a/latest", "x" * 200])
def test_an_output_path_cannot_leave_the_store(path):
    assert "output_path" in problems(output_path=path)


def test_an_output_path_is_a_folder_below_the_store():
    assert specs.parse({"target_column": "t", "output_path": "/models//深度/x/"}).artifact_folder == "models/深度/x"


def test_without_validation_rows_the_training_metric_is_watched():
    assert specs.parse({"target_column": "t", "validation_split": 0}).watched == "train_loss"
    assert "needs validation rows" in problems(validation_split=0, monitor="val_accuracy")["monitor"].message


@pytest.mark.parametrize(
    ("task", "monitor"), [("regression", "val_accuracy"), ("regression", "val_auc"), ("multiclass", "val_brier")]
)
def test_a_metric_of_another_task_cannot_be_monitored(task, monitor):
    problem = problems(task=task, monitor=monitor)["monitor"]
    assert problem.message == f"{monitor} does not exist for {task}"
    assert problem.hint.startswith("use one of val_loss, ")
    assert monitor not in problem.hint
    assert specs.parse({"target_column": "t", "monitor": monitor}).watched == monitor, "the task is not known yet"


def test_training_rows_are_evaluated_only_where_there_are_no_others():
    problem = problems(monitor="train_auc")["monitor"]
    assert (problem.message, problem.hint) == (
        "train_auc is measured only where there are no validation rows",
        "use val_auc, or set validation_split to 0",
    )
    assert specs.parse({"target_column": "t", "monitor": "train_auc", "validation_split": 0}).watched == "train_auc"
    assert specs.parse({"target_column": "t", "monitor": "train_accuracy"}).watched == "train_accuracy"


@pytest.mark.parametrize("threshold", [0.5, "f1", "balanced", 0.01])
def test_a_decision_threshold_needs_two_classes(threshold):
    spec = specs.parse({"target_column": "t", "task": "binary", "decision_threshold": threshold})
    assert spec.decision_threshold == threshold
    if threshold != 0.5:
        assert set(problems(task="multiclass", decision_threshold=threshold)) == {"decision_threshold"}


@pytest.mark.parametrize("threshold", [0, 1, 1.5, "best", None, True])
def test_a_decision_threshold_is_a_probability_or_an_aim(threshold):
    assert any(field.startswith("decision_threshold") for field in problems(decision_threshold=threshold))


@pytest.mark.parametrize("scheduler", ["step", "plateau", "cosine", "none"])
def test_a_shown_config_can_be_posted_again(scheduler):
    spec = specs.parse({"target_column": "t", "learning_rate_scheduler": scheduler})
    assert specs.parse(spec.model_dump()) == spec
    assert specs.TrainingSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_config_without_validation_rows_shows_what_is_really_watched():
    shown = specs.parse({"target_column": "t", "validation_split": 0}).model_dump()
    assert shown["monitor"] == "train_loss"
    assert specs.parse(shown).model_dump() == shown


@pytest.mark.parametrize(
    "path",
    [
        "/models/" + "名" * 100,
        "/models/" + "é" * 121,
        "/".join(["名" * 50] * 8),
        "a./b",
        "a /b",
        " a",
        "a\x1b[31mb",
        "a\x85b",
        "a\u202eb",
        "a\u200bb",
        "a\ufeff",
        "Latest/x",
        "ＬＡＴＥＳＴ",
        "con",
        "x/Nul.txt",
        "COM¹",
        ".tmp-epoch_training_20260101_000000_abcdef-01234567",
        "/models/epoch_training_20260101_000000_abcdef",
        "/models/EPOCH_TRAINING_20260101_000000_ABCDEF/x",
        "/ｅｐｏｃｈ_training_20260101_000000_abcdef",
        pytest.param(f"/models/{new_task_id()}", id="a new task id"),
    ],
)
def test_an_output_path_that_cannot_be_a_folder_everywhere_is_refused(path):
    problem = problems(output_path=path)["output_path"]
    assert problem.message.isprintable()
    assert len(problem.message) < 600


@pytest.mark.parametrize(
    "path",
    ["/", "/models/v1.2", "a b/c", "名" * 80, "console", "latest-2026", "/m/epoch_training", ".hidden", "/m/Ünïcode"],
)
def test_an_ordinary_output_path_is_accepted(path):
    assert specs.parse({"target_column": "t", "output_path": path}).output_path == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\0b"),
        ("target_column", "\0"),
        ("feature_columns", ["a", "b\0"]),
        ("time_column", "\0t"),
        ("group_column", "g\0"),
        ("weight_column", "w\0"),
        ("class_weight", {"a\0": 2.0}),
    ],
)
def test_a_nul_character_is_refused_wherever_the_database_would_store_it(field, value):
    assert "NUL" in problems(**{field: value})[field].message


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({f"field {i}": 1 for i in range(10_000)}, 10_000),
        ({"feature_columns": [1] * 50_000}, 50_000),
        ({"class_weight": {str(i): "x" for i in range(50_000)}}, 50_000),
        ({"feature_columns": [str(i // 2) for i in range(20_000)]}, 10_000),
    ],
)
def test_of_many_problems_the_first_are_listed_and_the_others_counted(values, count):
    with pytest.raises(InvalidSpec) as caught:
        specs.parse({"target_column": "y"} | values)
    *listed, others = caught.value.problems
    assert len(listed) == 100
    assert others.message == f"{count - 100:,} more problems"
    assert all(problem.message and len(problem.field) <= 200 for problem in listed)


def test_patterns_are_limited():
    with pytest.raises(InvalidSpec, match="201 patterns; the limit is 200"):
        specs.parse({"target_column": "y", "feature_columns": [f"a{i}*" for i in range(201)]})


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\u200bb", "a\x85"])
def test_a_task_name_that_cannot_be_shown_in_a_line_is_refused(name):
    assert "invisible characters" in problems(name=name)["name"].message


def test_names_are_composed_where_they_enter():
    names = {"name": "Café 客户", "dataset": "données", "target_column": "größe", "output_path": "/modèles/流失"}
    given = {field: unicodedata.normalize("NFD", name) for field, name in names.items()}
    spec = specs.parse(given | {"feature_columns": ["a", "e\u0301"], "time_column": "e\u0301"})
    assert {field: getattr(spec, field) for field in names} == names
    assert (spec.feature_columns, spec.time_column) == (["a", "é"], "é")
    assert "listed more than once" in problems(feature_columns=["é", "e\u0301"])["feature_columns"].message


def test_an_option_within_an_option_names_the_nearest_one_beside_it():
    found = problems(features={"max_categorys": 3})
    assert found["features.max_categorys"].hint == "did you mean 'max_categories'?"
    found = problems(columns={"zip": {"typ": "category"}})
    assert found["columns.zip.typ"].hint == "did you mean 'type'?"


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({"max_categories": 0}, "max_categories"),
        ({"min_frequency": 0}, "min_frequency"),
        ({"text_width": 4}, "text_width"),
    ],
)
def test_an_option_of_the_features_that_is_out_of_bounds_is_named_and_described(features, named):
    found = problems(features=features)[f"features.{named}"]
    assert str(features[named]) in found.message
    assert "column" in found.hint or "rows" in found.hint


@pytest.mark.parametrize(
    ("options", "rows", "fewest"),
    [({}, 10, 1), ({"min_frequency": 3}, 10, 3), ({"min_frequency": 0.25}, 10, 3), ({"min_frequency": 0.01}, 10, 1)],
)
def test_a_category_needs_a_number_of_rows_or_a_share_of_them(options, rows, fewest):
    assert FeatureOptions(**options).fewest_rows(rows) == fewest


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 40),
        ({"max_categories": 7}, 7),
        ({"min_frequency": 20}, 5),
        ({"min_frequency": 0.1}, 10),
        ({"min_frequency": 0.1, "max_categories": 2}, 2),
        ({"max_categories": 70}, 40),
    ],
)
def test_no_more_categories_are_told_apart_than_the_rows_allow(options, most):
    assert FeatureOptions(**options).most_categories(40, 100) == most


def test_a_stored_config_has_its_options_of_the_features_as_a_dict():
    stored = specs.parse({"target_column": "y", "features": {"text_width": 64}}).model_dump()
    assert specs.TrainingSpec.model_construct(**stored).feature_options == FeatureOptions(text_width=64)


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"folds": 3, "ensemble": 3}, "ensemble", "folds and ensemble are both set"),
        ({"folds": 3, "split": "time", "time_column": "t"}, "folds", "with split 'time' the held-out rows are later"),
        ({"folds": 3, "sequence_length": 5, "time_column": "t"}, "folds", "the windows of a fold would share rows"),
        ({"folds": 3, "validation_dataset": "other"}, "folds", "but validation_dataset is set"),
        ({"folds": 3, "validation_split": 0.3}, "folds", "folds and validation_split are both set"),
        ({"folds": 3, "num_devices": 2}, "num_devices", "splits the batches of one network, but folds trains 3"),
        ({"ensemble": 4, "num_gpus": 2}, "num_gpus", "splits the batches of one network, but ensemble trains 4"),
        ({"ensemble": 4, "num_gpus": "auto"}, "num_gpus", "splits the batches of one network"),
        ({"ensemble": 4, "num_nodes": 2}, "num_nodes", "splits the batches of one network, but ensemble trains 4"),
        ({"folds": 1}, "folds", "greater than or equal to 2"),
        ({"folds": 21}, "folds", "less than or equal to 20"),
        ({"ensemble": 33}, "ensemble", "less than or equal to 32"),
    ],
)
def test_what_does_not_suit_several_networks_is_refused_with_a_way_out(options, field, message):
    found = problems(**options)
    assert message in found[field].message
    assert found[field].hint


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 3, "validation_split": 0.2},
        {"folds": 3, "validation_split": 0.0, "test_split": 0.2},
        {"folds": 3, "monitor": "val_auc", "num_devices": 1},
        {"ensemble": 3, "sequence_length": 5, "time_column": "t"},
        {"ensemble": 3, "validation_dataset": "other", "num_gpus": 1},
        {"ensemble": 3, "validation_split": 0.0},
    ],
)
def test_several_networks_suit_other_options(options):
    spec = specs.parse({"target_column": "target", **options})
    assert spec.members == 3
    assert specs.parse(spec.model_dump()).model_dump() == spec.model_dump()


def test_folds_replace_the_validation_split():
    spec = specs.parse({"target_column": "t", "folds": 4, "test_split": 0.1})
    assert (spec.validates, spec.validation_share, spec.held_out) == (True, 0.0, 0.1)
    assert "validation_split" not in spec.model_dump()
    assert (specs.parse({"target_column": "t"}).members, specs.parse({"target_column": "t"}).averages) == (1, None)


def test_several_machines_train_with_pytorch():
    assert "jax trains on one machine" in problems(framework="jax", num_nodes=2)["num_nodes"].message
    assert "less than or equal to 64" in problems(num_nodes=65)["num_nodes"].message
    for options in ({"framework": "jax", "num_nodes": 1}, {"num_nodes": 2}, {"framework": "pytorch", "num_nodes": 2}):
        specs.parse({"target_column": "y"} | options)
