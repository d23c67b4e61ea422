"""``framework: auto``."""

import pytest

from epochd.core import specs
from epochd.engines import registry, speed_table
from epochd.loop.engine import Setup

TABLE = {
    "mlp": {
        "pytorch": {"start": 0.0, "step": 3e-4, "gflop": 0.02},
        "jax": {"start": 1.5, "step": 3e-5, "gflop": 0.02},
    }
}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    monkeypatch.setattr(speed_table, "_table", lambda: TABLE)


def setup(**options):
    spec = specs.parse({"target_column": "t", "early_stopping_patience": None} | options)
    return Setup(spec, "binary", (3,), 1)


def test_a_short_job_goes_to_the_engine_that_need_not_compile():
    assert speed_table.fastest(["pytorch", "jax"], setup(epochs=5), rows=455) == "pytorch"


def test_a_long_job_goes_to_the_one_that_is_faster_per_step():
    assert speed_table.fastest(["pytorch", "jax"], setup(epochs=100), rows=8000) == "jax"


def test_a_job_that_will_stop_early_is_a_short_one():
    patient = setup(epochs=10_000, early_stopping_patience=2)
    assert speed_table.fastest(["pytorch", "jax"], patient, rows=455) == "pytorch"


def test_only_installed_engines_count():
    assert speed_table.fastest(["pytorch"], setup(epochs=10_000), rows=100_000) == "pytorch"


def test_a_model_that_was_not_measured_goes_to_the_first():
    assert speed_table.fastest(["tensorflow", "jax"], setup(model_type="gru"), rows=100) == "tensorflow"


@pytest.mark.parametrize("options", [{"rows": 0, "shape": (3,)}, {"rows": 9, "shape": (3,), "gpus": 1}])
def test_without_knowing_the_work_or_on_a_gpu_auto_takes_the_first_installed(options):
    spec = specs.parse({"target_column": "t", "epochs": 100_000})
    assert registry.resolve(spec, **options) == registry.installed()[0]
