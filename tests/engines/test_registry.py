"""Which engine trains a spec."""

import subprocess
import sys
from dataclasses import replace
from time import sleep

import pytest

from epochd.core import specs
from epochd.core.errors import FrameworkMissing
from epochd.engines import registry
from epochd.engines.registry import Readiness
from epochd.engines.requirements import Workload
from epochd.engines.speeds import Speed, Speeds, Table
from epochd.loop.engine import Setup

MEASURED = Speeds()
MEASURED._table = (
    None,
    Table(
        {"mlp": {"pytorch": Speed(0.0, 3e-4, 0.02), "jax": Speed(1.5, 3e-5, 0.02)}},
        {"pytorch": {"start": 0.5, "import": 1.0}, "jax": {"start": 0.5, "import": 1.0}},
        {},
    ),
)


def test_auto_takes_an_installed_engine():
    assert registry.resolve(specs.parse({"target_column": "t"})) in registry.installed()


def test_auto_takes_the_engine_that_trains_on_several_machines():
    spec = specs.parse({"target_column": "t", "num_nodes": 2})
    assert registry.resolve(spec, engines=["jax", "pytorch"]) == "pytorch"


@pytest.mark.parametrize("shape", [(4,), (12, 4), (40, 7)])
def test_auto_follows_the_shape_of_the_examples(shape, monkeypatch):
    asked = []
    monkeypatch.setattr(registry, "fastest", lambda known, setup, rows, **options: asked.append(setup) or known[0])
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


def fastest(engines, setup, rows, **options):
    return registry.fastest(engines, setup, rows, measured=MEASURED, **options)


def test_a_short_job_goes_to_the_engine_that_need_not_compile():
    assert fastest(["pytorch", "jax"], setup(epochs=5), rows=455) == "pytorch"


def test_a_long_job_goes_to_the_one_that_is_faster_per_step():
    assert fastest(["pytorch", "jax"], setup(epochs=100), rows=8000) == "jax"


def test_a_job_that_will_stop_early_is_a_short_one():
    patient = setup(epochs=10_000, early_stopping_patience=2)
    assert fastest(["pytorch", "jax"], patient, rows=455) == "pytorch"


def test_an_engine_that_is_warm_and_has_its_programs_need_not_be_worth_a_start():
    short = setup(epochs=20)
    assert fastest(["pytorch", "jax"], short, rows=455) == "pytorch"
    asked = []

    def ready(engine, of):
        asked.append((engine, of))
        return Readiness(is_warm=True, is_compiled=engine == "jax")

    assert fastest(["pytorch", "jax"], short, rows=455, ready=ready) == "jax"
    assert asked == [("pytorch", replace(short, rows=455)), ("jax", replace(short, rows=455))]


def test_only_installed_engines_count():
    assert fastest(["pytorch"], setup(epochs=10_000), rows=100_000) == "pytorch"


def test_a_model_that_was_not_measured_goes_to_the_first():
    assert fastest(["tensorflow", "jax"], setup(model_type="gru"), rows=100) == "tensorflow"


@pytest.mark.parametrize(("rows", "gpus"), [(0, 0), (9, 1)])
def test_without_knowing_the_work_or_on_a_gpu_auto_takes_the_first_installed(rows, gpus):
    spec = specs.parse({"target_column": "t", "epochs": 100_000})
    assert registry.resolve(spec, Workload("binary", (3,), rows), gpus, measured=MEASURED) == registry.installed()[0]


def test_auto_asks_with_the_speeds_and_the_readiness_that_it_is_given(monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: ["pytorch", "jax"])
    spec, work = specs.parse({"target_column": "t", "epochs": 20}), Workload("binary", (3,), 455)
    ready = {"ready": lambda engine, setup: Readiness(is_warm=True, is_compiled=True)}
    assert registry.resolve(spec, work, measured=MEASURED) == "pytorch"
    assert registry.resolve(spec, work, measured=MEASURED, **ready) == "jax"


def test_the_import_of_an_engine_is_timed_once(monkeypatch):
    monkeypatch.setattr(registry, "IMPORT_SECONDS", {})
    monkeypatch.setattr(registry, "_imported", lambda framework: sleep(0.02) or object)
    registry._engine("pytorch")
    first = registry.IMPORT_SECONDS["pytorch"]
    registry._engine("pytorch")
    assert registry.IMPORT_SECONDS["pytorch"] == first
    assert first >= 0.02
