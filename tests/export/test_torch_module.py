"""The generated PyTorch modules compute what the reference networks compute, and hold nothing but the network."""

import json
import subprocess
import sys

import numpy as np
import pytest

from epochd.artifact.predict import Model
from epochd.core.errors import InvalidSpec
from epochd.export import Form, forms
from epochd.export.saved_model import SavedModel
from tests.export import isolated
from tests.export.conftest import MODELS

PROGRAM = """
import importlib.util
import numpy as np
import torch
from safetensors.torch import load_file
for folder, features, outputs in given:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    model.load_state_dict(load_file(folder + "/model.safetensors"))
    x = torch.from_numpy(np.load(features))
    np.savez(outputs, raw=model(x).detach().numpy(), predicted=model.predict(x).detach().numpy())
"""
DOCUMENTED = f"""
import os
os.chdir(given[0][0])
sys.path.insert(0, "")
{isolated.documented("torch")}
"""


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder of each exported model, and the outputs of all modules, computed without epochd."""
    folder, given = tmp_path_factory.mktemp("torch"), []
    for name in MODELS:
        forms.write(SavedModel.load(model(name).folder), Form.TORCH, folder / name)
        np.save(folder / f"{name}.npy", model(name).features)
        given.append([folder / name, folder / f"{name}.npy", folder / f"{name}.npz"])
    assert "tensor" in isolated.run(PROGRAM + DOCUMENTED, given)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_module_computes_what_the_reference_network_computes(model, exported, name):
    found = np.load(exported / f"{name}.npz")
    np.testing.assert_allclose(found["raw"], model(name).outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["mlp", "mlp-embeddings", "mlp-logarithm", "cnn-2d", *[name for name in MODELS if "ensemble" in name]]
)
def test_a_module_predicts_probabilities_and_values_in_the_unit_of_the_target(model, exported, name):
    decoded = Model.load(model(name).folder).encoder.decode(model(name).outputs)
    found = np.load(exported / f"{name}.npz")["predicted"]
    expected = np.array(decoded.labels)[:, None] if decoded.probabilities is None else decoded.probabilities
    np.testing.assert_allclose(found, expected[:, -found.shape[1] :], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_module_imports_torch_only_and_is_formatted(exported, name):
    code = (exported / name / "model.py").read_text()
    imported = [line for line in code.splitlines() if line.startswith(("import", "from"))]
    assert {line.split()[1] for line in imported} <= {"torch", "torch.nn"}
    check = [sys.executable, "-m", "ruff", "--isolated"]
    subprocess.run([*check, "format", "--line-length=120", "--check", exported / name / "model.py"], check=True)
    subprocess.run([*check, "check", "--quiet", exported / name / "model.py"], check=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_channels_of_the_features_are_described_one_by_one(exported, model, name):
    about = json.loads((exported / name / "preprocessing.json").read_text())
    encoder = Model.load(model(name).folder).encoder
    assert len(about["channels"]) == encoder.shape[-1]
    assert about["shape"] == list(model(name).features.shape[1:])
    assert list(dict.fromkeys(c["column"] for c in about["channels"] if c["column"])) == encoder.feature_names


def test_an_existing_export_is_replaced_by_force_and_anything_else_is_not(model, exported, tmp_path):
    saved = SavedModel.load(model("mlp").folder)
    with pytest.raises(InvalidSpec, match="exists"):
        forms.write(saved, Form.TORCH, exported / "mlp")
    before = (exported / "mlp" / "model.py").stat().st_ino
    assert forms.write(saved, Form.TORCH, exported / "mlp", force=True) == exported / "mlp"
    assert (exported / "mlp" / "model.py").stat().st_ino != before
    (tmp_path / "thesis").write_text("")
    with pytest.raises(InvalidSpec, match="exists"):
        forms.write(saved, Form.TORCH, tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
