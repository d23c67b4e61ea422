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

NAMES = ["mlp-embeddings", "cnn-2d", "cnn-masked", "lstm-masked-both", "gru-both-windows", "gru-masked"]
"""Every network, mask, embedding, direction and task, in few models: building a graph takes a second."""
SERVED = ["mlp-embeddings", "lstm-masked-both"]
LOADED = {"torch": NAMES, "tensorflow": NAMES, "jax": ["mlp-embeddings", "gru-masked"]}
"""By backend; JAX compiles for seconds per model."""
QUICK_COMPILER = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}

KERAS = """
import keras
import numpy as np
assert keras.backend.backend() == given["backend"]
for name in given["names"]:
    model = keras.saving.load_model(f"{given['folder']}/{name}.keras", safe_mode=True)
    features = np.load(f"{given['folder']}/{name}.npy")
    found = keras.ops.convert_to_numpy(model.predict(features, verbose=0))
    np.save(f"{given['folder']}/{name}-{given['backend']}.npy", found)
"""
TENSORFLOW = """
import numpy as np
import tensorflow as tf
for name in given["names"]:
    serve = tf.saved_model.load(f"{given['folder']}/{name}-savedmodel").signatures["serving_default"]
    found = serve(features=tf.constant(np.load(f"{given['folder']}/{name}.npy")))
    (given["outputs"][name],) = found
    np.save(f"{given['folder']}/{name}-savedmodel.npy", found[given["outputs"][name]].numpy())
print(json.dumps(given["outputs"]))
"""


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A folder with each model as a Keras file, its features, and the expected predictions."""
    folder = tmp_path_factory.mktemp("keras")
    runtime.configure(Model.load(model("mlp").folder).setup)  # only once per process, and engine tests need devices
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of TensorFlow about NumPy
        for name in NAMES:
            np.save(folder / f"{name}.npy", model(name).features)
            forms.write(SavedModel.load(model(name).folder), Form.KERAS, folder / f"{name}.keras")
        for name in SERVED:
            forms.write(SavedModel.load(model(name).folder), Form.SAVEDMODEL, folder / f"{name}-savedmodel")
    return folder


def expected(untrained):
    """The probability of the second class, of each class, or the value in the unit of the target."""
    found = Model.load(untrained.folder).encoder.decode(untrained.outputs)
    return np.array(found.labels)[:, None] if found.probabilities is None else found.probabilities


def test_files_load_on_every_backend_and_compute_what_the_reference_networks_compute(model, exported):
    loaders = {}
    for backend, names in LOADED.items():
        given = {"backend": backend, "folder": exported, "names": names}
        loaders[backend] = isolated.start(KERAS, given, KERAS_BACKEND=backend, **QUICK_COMPILER)
    for backend, loader in loaders.items():
        isolated.finish(loader)
        for name in LOADED[backend]:
            found = np.load(exported / f"{name}-{backend}.npy")
            np.testing.assert_allclose(found, expected(model(name)), rtol=1e-5, atol=1e-5, err_msg=f"{name} {backend}")


def test_a_savedmodel_is_served_with_a_named_output(model, exported):
    printed = isolated.run(TENSORFLOW, {"folder": exported, "names": SERVED, "outputs": {}})
    assert json.loads(printed) == {"mlp-embeddings": "value", "lstm-masked-both": "probabilities"}
    for name in SERVED:
        found = np.load(exported / f"{name}-savedmodel.npy")
        np.testing.assert_allclose(found, expected(model(name)), rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_file_contains_no_code_and_no_objects_but_those_of_keras(exported):
    for name in NAMES:
        with zipfile.ZipFile(exported / f"{name}.keras") as file:
            config = file.read("config.json").decode()
        assert set(re.findall(r'"module": "(\w+)', config)) == {"keras"}
        assert "Lambda" not in config
