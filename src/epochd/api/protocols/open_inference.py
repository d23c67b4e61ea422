"""The Open Inference Protocol, version 2 (KServe, NVIDIA Triton): a model as named tensors.

Each column that a model reads is a tensor [n, 1]; a list is one row of a tensor [n, steps], and a column of a model
that forecasts has a window of rows in each row. A model of numbers can also be given one tensor with all its columns,
in their order: this is how images are sent. The outputs are ``prediction`` [n] and, for classification,
``probabilities`` [n, classes] in the order of the classes, which the metadata contain.
"""

import json
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import polars as pl
from fastapi import APIRouter, Request, Response
from pydantic import Field

import epochd
from epochd.api import bodies
from epochd.api.deps import AUTHORISED, KNOWN_PARAMETERS, ServiceDep
from epochd.api.protocols import tensors
from epochd.api.protocols.tensors import Array, InferRequest
from epochd.api.responses import MARK, Shape, json_body
from epochd.api.served_models import Served
from epochd.core.errors import DataError, InvalidRequest, Problem, TooLarge
from epochd.core.text import cut
from epochd.data import schema
from epochd.data.encoding.encoder import PREDICTION
from epochd.data.encoding.image import Image
from epochd.data.encoding.labels import Label, label_column
from epochd.serving import rows
from epochd.serving.predictions import PROBABILITIES, Predictions
from epochd.serving.predictor import Predictor
from epochd.store import models

PREFIX = "/v2"
JSON_BYTES = 8 << 20
"""The most JSON that is parsed in the server's process. Tensors in binary form are not limited by this."""
HEADER = "Inference-Header-Content-Length"
DATATYPES = {"number": "FP64", "boolean": "BOOL", "text": "BYTES", "date": "BYTES", "list": "FP64", "image": "FP32"}
IMAGE = "input"
"""The name of the one tensor that is described for a model whose columns are reshaped."""

router = APIRouter(prefix=PREFIX, tags=["protocols"], dependencies=AUTHORISED)
health_router = APIRouter(prefix=PREFIX, tags=["protocols"], dependencies=KNOWN_PARAMETERS)


class TensorShape(Shape):
    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(Shape):
    name: str
    version: str
    extensions: list[str]


class ModelNames(Shape):
    models: list[str]


class ModelMetadata(Shape):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorShape]
    outputs: list[TensorShape]
    parameters: dict[str, str]


class Live(Shape):
    live: bool


class Ready(Shape):
    ready: bool


class ModelReady(Shape):
    name: str
    ready: bool


class OpenInferenceError(Shape):
    """The body of every response of this protocol with status 400 or higher."""

    error: str


class InferTensor(Shape):
    name: str
    shape: list[int]
    datatype: str = Field(examples=["FP64"])
    parameters: dict[str, str | float | bool] | None = None
    data: list[Any] | None = Field(None, description="Nested or flat; absent if the data are binary.")


class WantedOutput(Shape):
    name: str
    parameters: dict[str, str | float | bool] | None = None


class InferBody(Shape):
    """Input tensors. With the header Inference-Header-Content-Length binary data follow this JSON."""

    id: str | None = None
    parameters: dict[str, str | float | bool] | None = None
    inputs: list[InferTensor]
    outputs: list[WantedOutput] | None = Field(None, description="Default: all outputs.")


class InferAnswer(Shape):
    """Output tensors. With the header Inference-Header-Content-Length binary data follow this JSON."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferTensor]


@health_router.get("/health/live", operation_id="oip_live", summary="Whether the server runs")
async def live() -> Live:
    return Live(live=True)


@health_router.get("/health/ready", operation_id="oip_ready", summary="Whether the server answers predictions")
async def ready(service: ServiceDep, response: Response) -> Ready:
    """503 while the server cannot use its database or its data folder."""
    is_ready = service.outage is None
    response.status_code = 200 if is_ready else 503
    return Ready(ready=is_ready)


@router.get("", operation_id="oip_server", summary="The server's name, version and extensions")
async def server_metadata() -> ServerMetadata:
    return ServerMetadata(name="epochd", version=epochd.__version__, extensions=["binary_tensor_data"])


@router.get("/models", operation_id="oip_models", summary="The names of all models")
async def model_names(service: ServiceDep) -> ModelNames:
    return ModelNames(models=sorted(await models.names(service.db)))


async def model_ready(model: str, service: ServiceDep, version: str | None = None) -> ModelReady:
    """Load the model if it is not loaded; an error if that is not possible."""
    served = await service.models.predictor(model, version)
    return ModelReady(name=served.version.model, ready=True)


async def latest_ready(model: str, service: ServiceDep) -> ModelReady:
    return await model_ready(model, service)


async def model_metadata(model: str, service: ServiceDep, version: str | None = None) -> ModelMetadata:
    served = await service.models.predictor(model, version)
    predictor = served.predictor
    known = await models.get(service.db, served.version.model)
    parameters = {"task": predictor.task, "target": predictor.encoder.target_column}
    if predictor.classes is not None:
        parameters["classes"] = json.dumps(list(predictor.classes), ensure_ascii=False)
    return ModelMetadata(
        name=served.version.model,
        versions=[job.id for job in known.versions],
        platform=f"epochd_{predictor.scorer.engine}",
        inputs=described_inputs(predictor),
        outputs=described_outputs(predictor),
        parameters=parameters,
    )


async def latest_metadata(model: str, service: ServiceDep) -> ModelMetadata:
    return await model_metadata(model, service)


async def infer(model: str, request: Request, service: ServiceDep, version: str | None = None) -> Response:
    """Predict the rows of the input tensors, in JSON or in the binary extension."""
    served = await service.models.predictor(model, version)
    size = request.headers.get(HEADER)
    chunks = [chunk async for chunk in bodies.limited([], request.stream(), service.settings.predict_mb << 20)]
    body = b"".join(chunks)
    if size is None and len(body) > JSON_BYTES:
        raise TooLarge(
            f"the JSON has {len(body):,} bytes, more than the limit of {JSON_BYTES:,}: send binary tensors, fewer "
            f"rows, or a file to /api/v1/models/{cut(served.version.model)}/predict"
        )
    content, json_size = await service.models.run(_answer, served, service.settings.predict_rows, body, size)
    binary = json_size < len(content)
    headers = {HEADER: str(json_size)} if binary else {}
    return Response(content, media_type="application/octet-stream" if binary else "application/json", headers=headers)


async def infer_latest(model: str, request: Request, service: ServiceDep) -> Response:
    return await infer(model, request, service)


BODY = json_body("InferBody")
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such model or version"}}
INFERRED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs, in JSON or in the binary extension",
        "content": {
            "application/json": {"schema": {MARK: "InferAnswer"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
for versioned, latest, suffix, name, summary in (
    (model_ready, latest_ready, "/ready", "oip_model_ready", "Whether a model answers predictions"),
    (infer, infer_latest, "/infer", "oip_infer", "Predict the rows of tensors"),
    (model_metadata, latest_metadata, "", "oip_model", "The inputs and outputs of a model as tensors"),
):
    for path, endpoint, operation_id in (
        (f"/models/{{model:path}}/versions/{{version}}{suffix}", versioned, f"{name}_version"),
        (f"/models/{{model:path}}{suffix}", latest, name),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["POST" if suffix == "/infer" else "GET"],
            operation_id=operation_id,
            summary=summary,
            responses=UNKNOWN | (INFERRED if suffix == "/infer" else {}),
            response_model=None if suffix == "/infer" else ModelReady if suffix else ModelMetadata,
            openapi_extra=BODY if suffix == "/infer" else None,
        )


def described_inputs(predictor: Predictor) -> list[TensorShape]:
    """The input tensors; -1 is the number of rows, and of elements of a list."""
    spec = predictor.setup.spec
    if spec.input_shape is not None and _is_numeric(predictor):
        return [TensorShape(name=IMAGE, datatype="FP32", shape=[-1, *predictor.setup.inputs])]
    if (image := predictor.encoder.image) is not None:
        return [TensorShape(name=image.name, datatype=DATATYPES["image"], shape=[-1, *image.shape])]
    steps = (spec.sequence_length or 1) + predictor.encoder.reach
    features = [one for one in predictor.inputs if one.role == "feature"]
    return [
        TensorShape(name=one.name, datatype=DATATYPES[one.kind], shape=[-1, -1 if one.kind == "list" else steps])
        for one in features
    ]


def described_outputs(predictor: Predictor) -> list[TensorShape]:
    labels = [""] if predictor.classes is None else list(predictor.classes)
    kind = "FP64" if predictor.classes is None else tensors.datatype(_label_array(labels, labels))
    horizons = predictor.encoder.horizons
    found = [TensorShape(name=PREDICTION, datatype=kind, shape=[-1, len(horizons)] if horizons else [-1])]
    if predictor.classes is not None:
        found.append(TensorShape(name=PROBABILITIES, datatype="FP64", shape=[-1, len(labels)]))
    return found


def _answer(served: Served, most: int, body: bytes, header_length: str | None) -> tuple[bytes, int]:
    request = tensors.read_request(body, header_length)
    found = predict(served.predictor, request, most)
    head = {"model_name": served.version.model, "model_version": served.version.id}
    if request.id is not None:
        head["id"] = request.id
    return tensors.write_response(head, output_arrays(found), request)


def predict(predictor: Predictor, request: InferRequest, most: int) -> Predictions:
    """The predictions for the rows of the input tensors. Raises InvalidRequest for tensors of other shapes than the
    model's, DataError for values that cannot be scored, TooLarge for more than ``most`` rows."""
    columns = _columns(predictor, request.inputs)
    if (image := predictor.encoder.image) is not None:
        rows.check_number(_common_rows(columns), most)
        return predictor.predict(pl.DataFrame([_pixels(image, columns[image.name])]))
    count = _common_rows(columns)
    length = predictor.setup.spec.sequence_length
    steps = None if length is None else length + predictor.encoder.reach
    rows.check_number(count * (steps or 1), most)
    if steps is None:
        kinds = {one.name: one.kind for one in predictor.inputs}
        return predictor.predict(pl.DataFrame([_series(name, a, kinds[name]) for name, a in columns.items()]))
    for name, array in columns.items():
        if array.ndim != 2 or array.shape[1] != steps:
            raise _shape_problem(name, array, f"[n, {steps}]: {_window_of(predictor)} for each prediction")
    frame = pl.DataFrame([_series(name, array.reshape(-1), "number") for name, array in columns.items()])
    return predictor.predict_windows(frame, np.arange(count * steps).reshape(count, steps))


def _window_of(predictor: Predictor) -> str:
    length, reach = predictor.setup.spec.sequence_length, predictor.encoder.reach
    return f"a window of {length} rows" + (f" and the {reach} rows after it" if reach else "")


def output_arrays(found: Predictions) -> dict[str, Array]:
    """The predictions as arrays, by the name of the output."""
    if found.values is not None:
        return {PREDICTION: found.values}
    labels: Array = (
        np.array(found.labels, np.float64) if found.classes is None else _label_array(found.labels, found.classes)
    )
    return {PREDICTION: labels} | ({} if found.probabilities is None else {PROBABILITIES: found.probabilities})


def _label_array(labels: Sequence[Label | None], classes: Sequence[Label]) -> Array:
    """Labels as an array of their own type: text, numbers or booleans. Integers beyond 64 bits are text."""
    column = label_column("", labels, classes)
    if column.dtype != pl.String and not column.null_count():
        return column.to_numpy()
    found: Array = np.empty(len(column), object)
    found[:] = column.to_list()
    return found


def _is_numeric(predictor: Predictor) -> bool:
    return not predictor.forecasts and all(one.kind == "number" for one in predictor.inputs)


def _columns(predictor: Predictor, inputs: dict[str, Array]) -> dict[str, Array]:
    """The arrays of the model's columns; others are ignored. One tensor with all columns is divided."""
    features = [one.name for one in predictor.inputs if one.role == "feature"]
    missing = [name for name in features if name not in inputs]
    if len(inputs) == 1 and missing and _is_numeric(predictor):
        [(name, array)] = inputs.items()
        flat = array.reshape(len(array), prod(array.shape[1:]))
        if flat.shape[1] != len(features):
            shape = ", ".join(map(str, predictor.setup.inputs if predictor.setup.spec.input_shape else [len(features)]))
            raise _shape_problem(name, array, f"[n, {shape}]: all columns of the model, or one tensor for each of them")
        return {column: flat[:, i] for i, column in enumerate(features)}
    if missing:
        given = pl.Schema(dict.fromkeys(inputs, pl.Null))
        raise DataError(schema.missing_columns(missing, "inputs", given, "the request"))
    return {name: inputs[name] for name in features}


def _common_rows(columns: dict[str, Array]) -> int:
    sizes = {name: len(array) for name, array in columns.items()}
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            message = f"{cut(first)} has {sizes[first]} rows, but {cut(name)} has {size}"
            raise InvalidRequest(message, [Problem(cut(name), message, "give all tensors the same number of rows")])
    return sizes[first]


def _pixels(image: Image, array: Array) -> pl.Series:
    """Pixels from 0 to 255 as a column of arrays, one for each row."""
    if array.dtype == object or array.size != len(array) * prod(image.shape):
        shape = ", ".join(map(str, image.shape))
        raise _shape_problem(image.name, array, f"[n, {shape}]: the pixels of decoded pictures, from 0 to 255")
    wide = array.reshape(len(array), prod(image.shape))
    return pl.Series(image.name, wide if wide.dtype == np.uint8 else wide.astype(np.float32))


def _series(name: str, array: Array, kind: str) -> pl.Series:
    """A column of values, or of lists, which are the rows of a tensor, without NaN at their ends."""
    if kind == "list" and array.dtype != object:
        wide = array.reshape(len(array), prod(array.shape[1:])).astype(np.float64)
        lengths = wide.shape[1] - np.argmax(~np.isnan(wide)[:, ::-1], axis=1)
        found = [row[:length].tolist() for row, length in zip(wide, lengths, strict=True)]
        return pl.Series(name, found, pl.List(pl.Float64)).list.eval(pl.element().fill_nan(None))
    if array.size != len(array):
        raise _shape_problem(name, array, "[n, 1]: one value for each row")
    flat = array.reshape(-1)
    if flat.dtype == object:
        return pl.Series(name, flat.tolist(), strict=False)
    return pl.Series(name, flat.astype(np.float32) if flat.dtype == np.float16 else flat)


def _shape_problem(name: str, array: Array, wanted: str) -> InvalidRequest:
    message = f"{cut(name)} has the shape {list(array.shape)}; the model needs {wanted}"
    return InvalidRequest(message, [Problem(cut(name), message)])
