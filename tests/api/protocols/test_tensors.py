"""Requests as tritonclient writes them are read, and it reads the answers; what is malformed is named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.http import InferInput, InferRequestedOutput, InferResult
from tritonclient.http._utils import _get_inference_request
from tritonclient.utils import np_to_triton_dtype

from epochd.api.protocols import tensors
from epochd.core.errors import InvalidRequest

TYPES = st.sampled_from([*tensors.DTYPES.values()])
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
NUMBERS = TYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=3, max_side=4)))
TEXTS = arrays.arrays(object, arrays.array_shapes(max_dims=2, max_side=4), elements=TEXT)


def written(given, binary, outputs=None):
    """The body of a request of tritonclient with these arrays, and the size of its JSON part."""
    inputs = []
    for name, array in given.items():
        inputs.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    body, size = _get_inference_request(inputs, "7", outputs, 0, False, False, 0, None, None)
    return body, None if size is None else str(size)


@settings(max_examples=60, deadline=None)
@given(array=NUMBERS | TEXTS, other=TEXTS, binary=st.booleans())
def test_what_tritonclient_writes_is_read(array, other, binary):
    if not binary and array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=1.0, posinf=1.0, neginf=1.0)  # has no form in strict JSON
    found = tensors.read_request(*written({"a": array, "b": other}, binary))
    assert (found.id, found.is_binary, list(found.inputs)) == ("7", True, ["a", "b"])
    np.testing.assert_array_equal(found.inputs["a"], array)
    assert found.inputs["b"].tolist() == other.tolist()


@settings(max_examples=60, deadline=None)
@given(array=NUMBERS, other=TEXTS, binary=st.booleans())
def test_tritonclient_reads_what_is_written(array, other, binary):
    if not binary and array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=1.0, posinf=1.0, neginf=1.0)
    wanted = [InferRequestedOutput(name, binary_data=binary) for name in ("text", "number")]
    request = tensors.read_request(*written({"x": np.ones(1)}, True, wanted))
    body, size = tensors.write_response({"model_name": "m"}, {"number": array, "text": other}, request)
    answer = InferResult.from_response_body(body, header_length=size if binary else None)
    np.testing.assert_array_equal(answer.as_numpy("number"), array)
    texts = answer.as_numpy("text").reshape(-1).tolist()
    assert [text.decode() if binary else text for text in texts] == other.reshape(-1).tolist()


def infer(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def test_data_may_be_nested_and_null_is_a_missing_value():
    number = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [[1, 2.5], [None, 4]]}
    text = {"name": "t", "shape": [2, 1], "datatype": "BYTES", "data": ["a", None]}
    whole = {"name": "n", "shape": [2], "datatype": "INT64", "data": [None, 2**53 + 1]}
    found = tensors.read_request(infer(number, text, whole), None).inputs
    np.testing.assert_array_equal(found["x"], [[1, 2.5], [np.nan, 4]])
    assert (found["t"].tolist(), found["n"].tolist()) == ([["a"], [None]], [None, 2**53 + 1])


GOOD = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"name": None}, "needs a name"),
        ({"shape": [2]}, "needs 2 elements, but 1"),
        ({"shape": [-1]}, "not a list of sizes"),
        ({"shape": []}, "not a list of sizes"),
        ({"shape": "1"}, "not a list of sizes"),
        ({"datatype": "FP128"}, "its datatype is 'FP128'; known are BYTES, BOOL"),
        ({"data": ["one"]}, "'one' is not of the type FP64"),
        ({"data": [True]}, "True is not of the type FP64"),
        ({"data": [[1], 2]}, "not nested evenly"),
        ({"data": 1}, "but none were sent"),
        ({"datatype": "INT8", "data": [300]}, "not of the type INT8"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory is not supported"),
        ({"parameters": {"binary_data_size": -1}}, "not a number of bytes"),
        ({"parameters": {"binary_data_size": 8}}, "needs 8 bytes, but 0"),
        ({"parameters": 1}, "not an object"),
    ],
)
def test_a_malformed_tensor_is_named(tensor, message):
    with pytest.raises(InvalidRequest, match=message):
        tensors.read_request(infer(GOOD | tensor), None)


@pytest.mark.parametrize(
    ("body", "size", "message"),
    [
        (b"{", None, "not valid JSON"),
        (b"[]", None, "needs a list of tensors"),
        (infer(GOOD, GOOD), None, "needs a name of its own"),
        (infer(GOOD), "9" * 30, "Inference-Header-Content-Length is"),
        (infer(GOOD), "-1", "Inference-Header-Content-Length is"),
        (infer(GOOD) + b"12345678", str(len(infer(GOOD))), "have 8 bytes, but the tensors name 0"),
    ],
)
def test_a_malformed_request_is_refused(body, size, message):
    with pytest.raises(InvalidRequest, match=message):
        tensors.read_request(body, size)


@pytest.mark.parametrize(
    ("raw", "count", "message"),
    [(b"\x05\0\0\0abc", 1, "longer than the data"), (b"\x01\0\0\0\xff", 1, "not UTF-8"), (b"\x01\0\0\0a", 2, "but 1")],
)
def test_text_that_does_not_fit_its_shape_is_refused(raw, count, message):
    tensor = {"name": "t", "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = infer(tensor)
    with pytest.raises(InvalidRequest, match=message):
        tensors.read_request(head + raw, str(len(head)))


def test_an_output_that_the_model_does_not_have_is_refused():
    request = tensors.read_request(infer(GOOD, outputs=[{"name": "nothing"}]), None)
    with pytest.raises(InvalidRequest, match=r"no output 'nothing'; the model has value"):
        tensors.write_response({}, {"value": np.ones(1)}, request)


def test_nan_is_null_in_json():
    request = tensors.read_request(infer(GOOD), None)
    body, size = tensors.write_response({}, {"value": np.array([1.0, np.nan])}, request)
    assert (json.loads(body)["outputs"][0]["data"], size) == ([1.0, None], len(body))
