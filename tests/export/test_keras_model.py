"""Keras files and SavedModels compute what the reference networks compute, in processes without epochd."""

import json
import re
import warnings
import zipfile

import numpy as np
import pytest

from epochd.artifact.predict import Model
from epochd.engines.tensorflow_engine import runtime
from epochd.export import Form, forms
from epochd.export.saved_model import SavedModel
from tests.export import isolated

NAMES = [
    "mlp",
    "mlp-embeddings",
    "mlp-logarithm",
    "cnn-2d",
    "cnn-masked",
    "lstm-masked-both",
    "gru-both-windows",
    "gru-masked",
    "mlp-ensemble",
    "logarithm-ensemble",
    "lstm-ensemble",
]
"""Every network, mask, embedding, direction and task, in few models: building a graph takes a second."""
SERVED = ["mlp", "mlp-embeddings", "mlp-logarithm", "lstm-masked-both", "mlp-ensemble"]
LOADED = {"torch": NAMES, "tensorflow": NAMES, "jax": ["mlp-embeddings", "gru-masked"]}
"""By backend; JAX compiles for seconds per model."""
QUICK_COMPILER = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}

KERAS = """
import os
import keras
import numpy as np
os.chdir(given["folder"])
assert keras.backend.backend() == given["backend"]
for name in given["names"]:
    model = keras.saving.load_model(f"{name}.keras", safe_mode=True)
    found = model.predict(np.load(f"{name}.npy"), verbose=0)
    np.save(f"{name}-{given['backend']}.npy", keras.ops.convert_to_numpy(found))
"""
TENSORFLOW = """
import tensorflow as tf
outputs = {}
for name in given["served"]:
    serve = tf.saved_model.load(f"{name}-savedmodel").signatures["serving_default"]
    found = serve(features=tf.constant(np.load(f"{name}.npy")))
    (outputs[name],) = found
    np.save(f"{name}-savedmodel.npy", found[outputs[name]].numpy())
print(json.dumps(outputs))
"""
PROGRAMS = dict.fromkeys(LOADED, KERAS)
PROGRAMS["tensorflow"] = "\n".join([KERAS, TENSORFLOW, *map(isolated.documented, ("keras", "savedmodel"))])


@pytest.fixture
def exported(model, tmp_path):
    """A folder with each model as a Keras file, and its features."""
    runtime.configure(Model.load(model("mlp").folder).setup)  # only once per process, and engine tests need devices
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of TensorFlow about NumPy
        for name in NAMES:
            np.save(tmp_path / f"{name}.npy", model(name).features)
            forms.write(SavedModel.load(model(name).folder), Form.KERAS, tmp_path / f"{name}.keras")
        for name in SERVED:
            forms.write(SavedModel.load(model(name).folder), Form.SAVEDMODEL, tmp_path / f"{name}-savedmodel")
    (tmp_path / "models.keras").symlink_to("mlp.keras")
    (tmp_path / "models-savedmodel").symlink_to("mlp-savedmodel")
    return tmp_path


def expected(untrained):
    """The probability of the second class, of each class, or the value in the unit of the target."""
    found = Model.load(untrained.folder).encoder.decode(untrained.outputs)
    values = np.array(found.labels)[:, None] if found.probabilities is None else found.probabilities
    return values[:, -untrained.outputs.shape[1] :]


def test_files_load_on_every_backend_and_compute_what_the_reference_networks_compute(model, exported):
    """One test with the SavedModels, the code of the documentation and the content of the files: three frameworks are
    imported for it, and tests of one module may run in several processes."""
    loaders = {}
    for backend, names in LOADED.items():
        given = {"backend": backend, "folder": exported, "names": names, "served": SERVED}
        loaders[backend] = isolated.start(PROGRAMS[backend], given, KERAS_BACKEND=backend, **QUICK_COMPILER)
    printed = {backend: isolated.finish(loader).splitlines() for backend, loader in loaders.items()}
    files = [(name, backend) for backend, names in LOADED.items() for name in names]
    for name, loader in [*files, *((name, "savedmodel") for name in SERVED)]:
        found = np.load(exported / f"{name}-{loader}.npy")
        np.testing.assert_allclose(found, expected(model(name)), rtol=1e-5, atol=1e-5, err_msg=f"{name} {loader}")
    outputs, *_, keras, savedmodel = printed["tensorflow"]
    values = dict.fromkeys(("mlp-embeddings", "mlp-logarithm"), "value")
    probability = {"mlp": "probability", "mlp-ensemble": "probability", "lstm-masked-both": "probabilities"}
    assert json.loads(outputs) == probability | values
    assert float(keras.strip("[]")) == pytest.approx(float(re.findall(r"\[\[(.+?)\]\]", savedmodel)[0]), rel=1e-4)
    for name in NAMES:
        assert_standard_objects_only(exported / f"{name}.keras")


def assert_standard_objects_only(file):
    """A Keras file names no class but Keras's own, and contains no code."""
    with zipfile.ZipFile(file) as content:
        config = content.read("config.json").decode()
    assert set(re.findall(r'"module": "(\w+)', config)) == {"keras"}
    assert "Lambda" not in config
