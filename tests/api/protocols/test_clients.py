"""The clients of NVIDIA Triton and of MLflow, over a socket."""

import signal
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from mlflow.utils.proto_json_utils import dump_input_data
from tests.support import trained_models
from tests.support.running import Running
from tests.support.trained_models import Store
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from epochd.artifact.predict import Model

NAME = "models/breast/eu"


@pytest.fixture
def running(store: Store) -> Iterator[Running]:
    server = Running(store.folder)
    yield server
    server.end(signal.SIGTERM)


def test_tritonclient_and_the_client_of_mlflow_predict(running: Running, store: Store) -> None:
    rows = trained_models.breast(5)
    model = Model.load(store.folder / "artifacts" / NAME / "latest")
    labels, probabilities = (model.predict(rows)[name].to_list() for name in ("prediction", "probability_1"))

    client = InferenceServerClient(running.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    inputs = []
    for tensor in client.get_model_metadata(NAME)["inputs"]:
        inputs.append(InferInput(tensor["name"], [rows.height, 1], tensor["datatype"]))
        inputs[-1].set_data_from_numpy(rows[tensor["name"]].to_numpy()[:, None])
    result = client.infer(NAME, inputs)
    assert result.as_numpy("prediction").tolist() == labels
    np.testing.assert_allclose(result.as_numpy("probabilities")[:, 1], probabilities, rtol=1e-6)

    in_json = [InferRequestedOutput("probabilities", binary_data=False)]
    matrix = InferInput("x", list(rows.shape), "FP64")
    matrix.set_data_from_numpy(rows.to_numpy(), binary_data=False)
    result = client.infer(NAME, [matrix], model_version=store.breast[1], outputs=in_json)
    np.testing.assert_allclose(result.as_numpy("probabilities")[:, 1], probabilities, rtol=1e-6)
    with pytest.raises(InferenceServerException, match="there is no model 'models/none'"):
        client.infer("models/none", inputs)
    client.close()

    headers = {"Content-Type": "application/json"}
    body = dump_input_data(pd.DataFrame(rows.to_dict(as_series=False)))
    url = f"{running.url}/serving/{NAME}/invocations"
    answer = running.client.post(url, content=body, headers=headers)
    assert answer.json() == {"predictions": labels}
