"""Which engine a spec gets."""

import subprocess
import sys

import pytest

from epochd.core import specs
from epochd.core.errors import FrameworkMissing
from epochd.engines import registry


def test_auto_takes_an_installed_engine():
    assert registry.resolve(specs.parse({"target_column": "t"})) in registry.installed()


@pytest.mark.parametrize("shape", [(4,), (12, 4), (40, 7)])
def test_auto_follows_the_shape_of_the_examples(shape, monkeypatch):
    asked = []
    monkeypatch.setattr(registry.speeds, "fastest", lambda available, setup, rows: asked.append(setup) or available[0])
    spec = specs.parse({"target_column": "t", "model_type": "gru"})
    registry.resolve(spec, rows=100, shape=shape, embedded=[(1, 90)] if len(shape) > 1 else [])
    assert asked[0].inputs == (shape if len(shape) > 1 else (4, 1))
    assert [e.codes for e in asked[0].embeddings] == [90] * (len(shape) > 1)


def test_a_missing_framework_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda module: None)
    with pytest.raises(FrameworkMissing, match=r"pip install 'epochd\[torch\]'"):
        registry.resolve(specs.parse({"target_column": "t", "framework": "pytorch"}))
    with pytest.raises(FrameworkMissing, match="no deep-learning framework is installed"):
        registry.resolve(specs.parse({"target_column": "t"}))


def test_asking_what_is_installed_imports_no_framework():
    code = "import sys; from epochd.engines import registry; registry.installed(); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
