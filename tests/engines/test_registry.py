"""Which engine a spec gets."""

import subprocess
import sys

import pytest

from epochd.core import specs
from epochd.core.errors import FrameworkMissing
from epochd.engines import registry


def test_auto_takes_an_installed_engine():
    assert registry.resolve(specs.parse({"target_column": "t"})) in registry.installed()


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
