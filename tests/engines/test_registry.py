"""Which engine trains a spec."""

import subprocess
import sys

import pytest

from epochd.core import specs
from epochd.core.errors import FrameworkMissing
from epochd.engines import registry
from epochd.engines.requirements import Workload
from epochd.loop.engine import Setup

TABLE = {
    "mlp": {
        "pytorch": {"start": 0.0, "step": 3e-4, "gflop": 0.02},
        "jax": {"start": 1.5, "step": 3e-5, "gflop": 0.02},
    }
}


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(registry, "_speeds", lambda: TABLE)


def test_auto_takes_an_installed_engine():
    assert registry.resolve(specs.parse({"target_column": "t"})) in registry.installed()


@pytest.mark.parametrize("shape", [(4,), (12, 4), (40, 7)])
def test_auto_follows_the_shape_of_the_examples(shape, monkeypatch):
    asked = []
    monkeypatch.setattr(registry, "fastest", lambda available, setup, rows: asked.append(setup) or available[0])
    spec = specs.parse({"target_column": "t", "model_type": "gru"})
    embedded = ((1, 90),) if len(shape) > 1 else ()
    registry.resolve(spec, Workload("regression", shape, 100, embedded=embedded))
    assert asked[0].inputs == (shape if len(shape) > 1 else (4, 1))
    assert [e.codes for e in asked[0].embeddings] == [90] * (len(shape) > 1)


def test_a_missing_framework_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda module: None)
    with pytest.raises(
        FrameworkMissing, match=r"-m pip install 'torch>=.*--index-url https://download\.pytorch\.org/whl/cpu"
    ):
        registry.resolve(specs.parse({"target_column": "t", "framework": "pytorch"}))
    with pytest.raises(FrameworkMissing, match="no deep-learning framework is installed"):
        registry.resolve(specs.parse({"target_column": "t"}))


def test_asking_what_is_installed_imports_no_framework():
    code = "import sys; from epochd.engines import registry; registry.installed(); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def setup(**options):
    spec = specs.parse({"target_column": "t", "early_stopping_patience": None} | options)
    return Setup(spec, "binary", (3,), 1)


def test_a_short_job_goes_to_the_engine_that_need_not_compile(measured):
    assert registry.fastest(["pytorch", "jax"], setup(epochs=5), rows=455) == "pytorch"


def test_a_long_job_goes_to_the_one_that_is_faster_per_step(measured):
    assert registry.fastest(["pytorch", "jax"], setup(epochs=100), rows=8000) == "jax"


def test_a_job_that_will_stop_early_is_a_short_one(measured):
    patient = setup(epochs=10_000, early_stopping_patience=2)
    assert registry.fastest(["pytorch", "jax"], patient, rows=455) == "pytorch"


def test_only_installed_engines_count(measured):
    assert registry.fastest(["pytorch"], setup(epochs=10_000), rows=100_000) == "pytorch"


def test_a_model_that_was_not_measured_goes_to_the_first(measured):
    assert registry.fastest(["tensorflow", "jax"], setup(model_type="gru"), rows=100) == "tensorflow"


@pytest.mark.parametrize(("rows", "gpus"), [(0, 0), (9, 1)])
def test_without_knowing_the_work_or_on_a_gpu_auto_takes_the_first_installed(measured, rows, gpus):
    spec = specs.parse({"target_column": "t", "epochs": 100_000})
    assert registry.resolve(spec, Workload("binary", (3,), rows), gpus) == registry.installed()[0]
