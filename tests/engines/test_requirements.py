"""What a config demands of data and machine."""

import pytest

from epochd.core import specs
from epochd.engines import requirements
from epochd.engines.requirements import MachineLimits, Workload

WORKLOAD = ("task", "classes", "shape", "exact", "rows", "embedded")
LIMITS = ("gpus", "memory_mb", "includes_framework", "free_bytes")


def found(**options):
    workload = {"task": "binary", "classes": ("no", "yes"), "shape": (64,)}
    workload |= {name: options.pop(name) for name in WORKLOAD if name in options}
    limits = MachineLimits(**{name: options.pop(name) for name in LIMITS if name in options})
    spec = specs.parse({"target_column": "t", **options})
    return {p.field: p for p in requirements.problems(spec, Workload(**workload), limits)}


def test_an_ordinary_config_demands_nothing():
    assert found() == {}


def test_what_the_inferred_task_does_not_have_cannot_be_monitored_or_chosen():
    inferred = found(task="regression", classes=None, monitor="val_f1", decision_threshold="f1")
    assert set(inferred) == {"monitor", "decision_threshold"}
    assert inferred["monitor"].message == "val_f1 does not exist for regression, which is the task that 't' suggests"
    assert "val_rmse" in inferred["monitor"].hint
    assert found(monitor="val_f1", decision_threshold="f1") == {}


def test_the_top_five_of_five_classes_are_no_metric():
    options = {"task": "multiclass", "monitor": "val_top_5_accuracy"}
    assert found(**options, classes=tuple("abcdef")) == {}
    problem = found(**options, classes=tuple("abcde"))["monitor"]
    assert problem.message == "val_top_5_accuracy does not exist for 5 classes"


def test_a_shape_must_hold_the_columns_exactly():
    assert found(model_type="cnn", input_shape=[8, 8]) == {}
    problem = found(model_type="cnn", input_shape=[8, 9])["input_shape"]
    assert problem.message == "input_shape [8, 9] holds 72 values, but there are 64 features"
    assert found(model_type="cnn", input_shape=[8, 9], shape=()) == {}, "nothing is known of the data"


def test_a_shape_for_which_there_are_surely_too_few_columns_is_refused_before_they_are_encoded():
    assert found(model_type="cnn", input_shape=[4, 9], exact=False) == {}, "some categories may not be in training"
    assert "input_shape" in found(model_type="cnn", input_shape=[8, 9], exact=False)


def test_a_training_that_fits_into_memory_is_accepted():
    assert found(rows=1_000_000, memory_mb=1_500) == {}
    assert found(rows=1_000_000, hidden_units=[16_000, 8_000]) == {}, "without a limit nothing is asked"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"hidden_units": [8_000, 8_000]}, "hidden_units"),
        ({"batch_size": 1_000_000}, "batch_size"),
        ({"model_type": "lstm", "batch_size": 10_000, "shape": (500, 10)}, "batch_size"),
        ({"shape": (50_000,)}, "feature_columns"),
        ({"shape": (3,), "embedded": ((0, 5_000_000),)}, "hidden_units"),
    ],
)
def test_what_takes_too_much_memory_is_told_with_all_figures(options, field):
    problem = found(rows=1_000_000, memory_mb=1_000, **options)[field]
    assert problem.message.startswith("this training needs about ")
    assert "(encoded rows " in problem.message
    assert problem.message.endswith("framework 400), but the limit is 1,000 MiB")
    assert "EPOCHD_MEMORY_MB" in problem.hint


def test_a_limit_on_what_comes_on_top_of_a_warm_worker_does_not_hold_the_framework():
    assert found(rows=100, memory_mb=256, includes_framework=False) == {}
    problem = found(rows=100, memory_mb=256, includes_framework=False, hidden_units=[8_000, 8_000])["hidden_units"]
    assert "framework" not in problem.message


def test_where_the_framework_alone_is_too_much_no_smaller_config_is_advised():
    (problem,) = found(rows=100, memory_mb=300).values()
    assert problem.message.endswith("framework 400), but the limit is 300 MiB")
    assert problem.hint == "no config fits; run the server with fewer slots or on more memory"


def test_what_lies_on_a_gpu_takes_none_of_the_machines_memory():
    assert found(rows=1_000_000, memory_mb=1_500, hidden_units=[8_000, 8_000], gpus=1) == {}
    assert "hidden_units" in found(rows=1_000_000, memory_mb=1_500, hidden_units=[8_000, 8_000], gpus=1, device="cpu")


def test_class_weights_name_classes_that_exist():
    assert found(class_weight={"yes": 2.0}) == {}
    problem = found(class_weight={"maybe": 2.0})["class_weight"]
    assert (problem.message, problem.hint) == ("the target has no class 'maybe'", "its classes are no, yes")


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ([False, True], ["true", "True", "1", "1.0"]),
        ([0, 1], ["1", "1.0"]),
        ([1.0, 2.0, 3.0], ["1", "1.0"]),
        ([-1.0, 1.0], ["-1", "-1.0"]),
    ],
)
def test_a_class_may_be_named_as_json_python_or_an_equal_number_writes_it(classes, names):
    for name in names:
        assert found(classes=classes, class_weight={name: 2.0}) == {}
    message = found(classes=classes, class_weight=dict.fromkeys(names[:2], 2.0))["class_weight"].message
    assert message == f"{names[0]!r}, {names[1]!r} are the same class"


@pytest.mark.parametrize(
    ("classes", "name"), [(["1", "2"], "1.0"), ([0, 1], "true"), ([False, True], "2"), ([1, 2], "x")]
)
def test_what_names_no_class_is_refused(classes, name):
    assert f"has no class {name!r}" in found(classes=classes, class_weight={name: 2.0})["class_weight"].message


@pytest.mark.parametrize("options", [{"class_weight": "balanced"}, {"label_smoothing": 0.1}])
def test_a_regression_has_no_classes(options):
    assert "needs classes" in found(task="regression", classes=None, **options)[next(iter(options))].message


def test_more_gpus_than_there_are_is_refused_with_what_there_is():
    assert found(num_gpus=3, gpus=2)["num_gpus"].message == "num_gpus is 3, but this server has 2 GPUs"
    assert found(num_gpus=1)["num_gpus"].message == "num_gpus is 1, but this server has no GPU"
    assert found(num_gpus=2, gpus=2) == {}
    assert found(num_gpus="auto") == {}


def test_a_gpu_that_is_not_there_is_not_replaced_in_silence():
    assert "has no GPU" in found(device="gpu")["device"].message
    assert found(device="gpu", gpus=1) == {}


def test_mixed_precision_on_a_cpu_that_cannot_gain_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(requirements, "cpu_flags", lambda: {"avx2"})
    assert "no bfloat16 arithmetic" in found(mixed_precision=True)["mixed_precision"].message
    assert "mixed_precision" in found(mixed_precision=True, gpus=1, device="cpu")
    assert found(mixed_precision=True, gpus=1) == {}


def test_on_a_cpu_with_bfloat16_only_pytorch_may_gain(monkeypatch):
    monkeypatch.setattr(requirements, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert found(mixed_precision=True) == {}
    assert "jax computes" in found(mixed_precision=True, framework="jax")["mixed_precision"].message


def test_a_disk_without_room_for_two_checkpoints_is_told_with_figures():
    known = {"shape": (100,), "task": "regression", "classes": None, "hidden_units": [1000, 1000]}
    (problem,) = found(**known, free_bytes=20 * 2**20).values()
    assert problem.field == "hidden_units"
    assert "two checkpoints of this model take 34 MiB, but 20 MiB are free" in problem.message
    assert found(**known, free_bytes=40 * 2**20) == {}


@pytest.mark.parametrize("option", [{"folds": 3}, {"ensemble": 3}])
def test_several_networks_need_rows_that_fit_in_memory(option):
    [name] = option
    large = {"shape": (1_000,), "rows": 100_000}
    assert found(**large) == found(**option, rows=100) == {}
    problem = found(**option, **large)[name]
    assert (
        problem.message == f"{name} needs the encoded rows in memory, but they are more than EPOCHD_RESIDENT_MB allows"
    )
