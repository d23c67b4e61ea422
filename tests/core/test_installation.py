"""The commands that install what is optional."""

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from epochd.core import installation
from epochd.core.installation import PACKAGES, install_command
from epochd.engines.registry import MODULES

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_packages_are_those_of_the_extras():
    assert {extra: tuple(EXTRAS[extra]) for extra in PACKAGES} == PACKAGES
    assert set(MODULES.values()) <= set(PACKAGES)


@pytest.mark.parametrize("extra", PACKAGES)
def test_a_command_installs_published_packages_for_this_interpreter(extra):
    command = shlex.split(install_command(extra))
    assert command == [sys.executable, "-m", "pip", "install", *EXTRAS[extra]]


def test_without_pip_uv_installs_for_this_interpreter(monkeypatch):
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    assert shlex.split(install_command("jax"))[:5] == ["uv", "pip", "install", "--python", sys.executable]


def test_only_pytorch_has_an_index_for_cpus():
    assert "--index-url https://download.pytorch.org/whl/cpu" in installation.framework_advice("torch")
    assert "--index-url" not in installation.framework_advice("jax")
