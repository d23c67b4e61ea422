"""``epochd export``: what is written where, and what is refused."""

import shutil
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from epochd.cli import console
from tests.cli.conftest import CONFIG, Server, config_file
from tests.support.untrained import save_untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a file in place of its graph."""
    found = save_untrained(tmp_path_factory.mktemp("models"), "iris", hidden_units=[3], output_path="/a/flowers").folder
    (found / "model.onnx").write_bytes(b"graph")
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_export_goes_to_the_current_folder_under_the_name_of_the_models_folder(
    run: Any, folder: Path, here: Path
) -> None:
    assert run("export", folder.parent / "latest", "--to", "onnx").out == "exported: flowers.onnx\n"
    assert run("export", folder, "--to", "torch").out == "exported: flowers-torch\n"
    assert (here / "flowers.onnx").read_bytes() == b"graph"
    assert {path.name for path in (here / "flowers-torch").iterdir()} >= {"model.py", "model.safetensors"}


def test_nothing_is_overwritten_without_force(run: Any, folder: Path, here: Path) -> None:
    (here / "mine.onnx").write_text("mine")
    refused = run("export", folder, "--to", "onnx", "--output", "mine.onnx")
    assert refused.code == console.REFUSED
    assert "mine.onnx exists" in refused.err
    assert (here / "mine.onnx").read_text() == "mine"
    assert run("export", folder, "--to", "onnx", "--output", "mine.onnx", "--force").code == 0
    assert (here / "mine.onnx").read_bytes() == b"graph"
    assert [path.name for path in here.iterdir()] == ["mine.onnx"]


def test_a_name_that_keras_cannot_write_is_refused(run: Any, folder: Path, here: Path) -> None:
    refused = run("export", folder, "--to", "keras", "--output", "churn")
    assert refused.code == console.REFUSED
    assert "churn does not end with .keras" in " ".join(refused.err.split())
    assert "give --output churn.keras" in " ".join(refused.err.split())
    assert list(here.iterdir()) == []


def test_a_model_of_the_server_is_downloaded_and_one_that_is_not_there_refused(
    run: Any, server: Server, tmp_path: Path, here: Path
) -> None:
    config = config_file(tmp_path, CONFIG | {"epochs": 1, "output_path": "/models/exported"})
    assert run("train", config, "--url", server.url).code == 0
    assert run("export", "models/exported", "--to", "torch", "--url", server.url).out == "exported: exported-torch\n"
    assert (here / "exported-torch" / "model.py").is_file()
    refused = run("export", "models/none", "--to", "torch", "--url", server.url)
    assert (refused.code, "there is no model 'models/none'" in refused.err) == (console.FAILED, True)


@pytest.mark.parametrize(("to", "package"), [("mlflow", "mlflow"), ("tensorboard", "tensorboard"), ("keras", "keras")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    run: Any, folder: Path, here: Path, to: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    refused = run("export", folder, "--to", to)
    assert refused.code == console.REFUSED
    assert f"needs the package {package!r}, which is not installed. Run: {sys.executable} -m pip install" in refused.err
    assert list(here.iterdir()) == []


def test_a_model_that_was_saved_without_a_graph_gets_one(run: Any, folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "model.onnx").unlink()
    assert run("export", bare, "--to", "onnx").code == 0
    session = onnxruntime.InferenceSession(tmp_path / "flowers.onnx")
    assert len(session.get_inputs()) == 4
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
