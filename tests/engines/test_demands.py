"""What a config demands of data and machine."""

import pytest

from epochd.core import specs
from epochd.engines import demands, precision


def found(*, width=64, task="binary", classes=("no", "yes"), gpus=0, **options):
    spec = specs.parse({"target_column": "t", **options})
    return {p.field: p for p in demands.problems(spec, width=width, task=task, classes=classes, gpus=gpus)}


def test_an_ordinary_config_demands_nothing():
    assert found() == {}


def test_a_shape_must_hold_the_columns_exactly():
    assert found(model_type="cnn", input_shape=[8, 8]) == {}
    problem = found(model_type="cnn", input_shape=[8, 9])["input_shape"]
    assert problem.message == "input_shape [8, 9] holds 72 values, but there are 64 features"
    assert found(model_type="cnn", input_shape=[8, 9], width=0) == {}, "not known before the data are encoded"


def test_class_weights_name_classes_that_exist():
    assert found(class_weight={"yes": 2.0}) == {}
    problem = found(class_weight={"maybe": 2.0})["class_weight"]
    assert (problem.message, problem.hint) == ("the target has no class 'maybe'", "its classes are no, yes")


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
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    assert "no bfloat16 arithmetic" in found(mixed_precision=True)["mixed_precision"].message
    assert "mixed_precision" in found(mixed_precision=True, gpus=1, device="cpu")
    assert found(mixed_precision=True, gpus=1) == {}


def test_on_a_cpu_with_bfloat16_only_pytorch_may_gain(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert found(mixed_precision=True) == {}
    assert "jax computes" in found(mixed_precision=True, framework="jax")["mixed_precision"].message
