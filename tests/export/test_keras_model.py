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

NAMES = ["mlp", "mlp-embeddings", "cnn-2d", "cnn-masked", "lstm-masked-both", "gru-both-windows", "gru-masked"]
"""Every network, mask, embedding, direction and task, in few models: building a graph takes a second."""
SERVED = ["mlp", "mlp-embeddings", "lstm-masked-both"]
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
    (folder / "models.keras").symlink_to("mlp.keras")
    (folder / "models-savedmodel").symlink_to("mlp-savedmodel")
    return folder


def expected(untrained):
    """The probability of the second class, of each class, or the value in the unit of the target."""
    found = Model.load(untrained.folder).encoder.decode(untrained.outputs)
    values = np.array(found.labels)[:, None] if found.probabilities is None else found.probabilities
    return values[:, -untrained.outputs.shape[1] :]


@pytest.fixture(scope="module")
def printed(exported):
    """What a process of each backend has printed that loads the files and cannot import epochd."""
    loaders = {}
    for backend, names in LOADED.items():
        given = {"backend": backend, "folder": exported, "names": names, "served": SERVED}
        loaders[backend] = isolated.start(PROGRAMS[backend], given, KERAS_BACKEND=backend, **QUICK_COMPILER)
    return {backend: isolated.finish(loader).splitlines() for backend, loader in loaders.items()}


@pytest.mark.parametrize("backend", LOADED)
def test_a_file_computes_what_the_reference_network_computes(model, exported, printed, backend):
    assert printed[backend] is not None
    for name in LOADED[backend]:
        found = np.load(exported / f"{name}-{backend}.npy")
        np.testing.assert_allclose(found, expected(model(name)), rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_savedmodel_is_served_with_a_named_output(model, exported, printed):
    names = {"mlp": "probability", "mlp-embeddings": "value", "lstm-masked-both": "probabilities"}
    assert json.loads(printed["tensorflow"][0]) == names
    for name in SERVED:
        found = np.load(exported / f"{name}-savedmodel.npy")
        np.testing.assert_allclose(found, expected(model(name)), rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_documented_code_opens_them(printed):
    keras, tensorflow = printed["tensorflow"][-2:]
    assert float(keras.strip("[]")) == pytest.approx(float(tensorflow.partition("[[")[2].partition("]]")[0]), rel=1e-4)


def test_a_file_contains_no_code_and_no_objects_but_those_of_keras(exported):
    for name in NAMES:
        with zipfile.ZipFile(exported / f"{name}.keras") as file:
            config = file.read("config.json").decode()
        assert set(re.findall(r'"module": "(\w+)', config)) == {"keras"}
        assert "Lambda" not in config
