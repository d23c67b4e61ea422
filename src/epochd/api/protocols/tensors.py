"""Tensors of the Open Inference Protocol, version 2, as JSON and in the binary extension.

https://github.com/kserve/open-inference-protocol and, for the binary data, the extension ``binary_tensor_data`` of
NVIDIA Triton: the body begins with JSON of ``Inference-Header-Content-Length`` bytes, and the data of each tensor with
the parameter ``binary_data_size`` follow in the order of the tensors, little-endian and row-major.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from epochd.core.errors import InvalidRequest, Problem
from epochd.core.names import composed
from epochd.core.text import cut, shown

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""The data types besides BYTES, whose elements are text in UTF-8, each after its length as uint32."""
MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request: ``inputs`` by name, text as arrays of str; ``outputs`` are the wanted ones and whether each is to be
    binary (empty: all outputs, binary if ``is_binary``)."""

    id: str | None
    inputs: dict[str, Array]
    outputs: dict[str, bool]
    is_binary: bool


def read_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read the body of an ``infer`` request. Raises InvalidRequest, which names the tensor and what is wrong."""
    size = len(body) if header_length is None else _header_size(header_length, len(body))
    try:
        values = from_json(body[:size], allow_inf_nan=True)
    except ValueError as error:
        raise _invalid("body", f"the request is not valid JSON: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("inputs"), list):
        raise _invalid("inputs", "the request needs a list of tensors in 'inputs'")
    inputs: dict[str, Array] = {}
    data, place = memoryview(body)[size:], 0
    for tensor in values["inputs"]:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        name = composed(name) if isinstance(name, str) else name
        if not isinstance(name, str) or name in inputs:
            raise _invalid("inputs", f"each input needs a name of its own, but {shown(name, 80)} was given")
        count = _binary_size(name, tensor)
        inputs[name] = _read_tensor(name, tensor, None if count is None else data[place : place + count])
        place += count or 0
    if place != len(data):
        raise _invalid("inputs", f"the binary data have {len(data):,} bytes, but the tensors name {place:,}")
    parameters = values.get("parameters") or {}
    wanted = {
        str(output["name"]): bool((output.get("parameters") or {}).get("binary_data", False))
        for output in values.get("outputs") or ()
        if isinstance(output, dict) and "name" in output
    }
    request_id = values.get("id")
    binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    return InferRequest(None if request_id is None else str(request_id), inputs, wanted, binary)


def write_response(head: Mapping[str, Any], outputs: Mapping[str, Array], request: InferRequest) -> tuple[bytes, int]:
    """The body with the outputs that the request wants, and the size of its JSON part, which is all of it without
    binary data. Raises InvalidRequest for an output that the model does not have."""
    unknown = [name for name in request.outputs if name not in outputs]
    if unknown:
        raise _invalid("outputs", f"there is no output {cut(unknown[0])!r}; the model has {', '.join(outputs)}")
    described: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name in request.outputs or outputs:
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype(array)}
        if request.outputs.get(name, request.is_binary):
            raw.append(_to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            flat = array.reshape(-1).tolist()
            tensor["data"] = [None if isinstance(value, float) and value != value else value for value in flat]
        described.append(tensor)
    text = json.dumps({**head, "outputs": described}, ensure_ascii=False, allow_nan=False).encode()
    return b"".join([text, *raw]), len(text)


def datatype(array: Array) -> str:
    """The protocol's name of an array's type; BYTES for text."""
    if array.dtype == object:
        return "BYTES"
    return next(name for name, dtype in DTYPES.items() if dtype == array.dtype)


def _header_size(header_length: str, size: int) -> int:
    if not header_length.isascii() or not header_length.isdigit() or int(header_length[:20]) > size:
        what = f"Inference-Header-Content-Length is {shown(header_length, 40)}, the body has {size:,} bytes"
        raise _invalid("Inference-Header-Content-Length", what)
    return int(header_length)


def _binary_size(name: str, tensor: Mapping[str, Any]) -> int | None:
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _invalid(name, "its parameters are not an object")
    if "shared_memory_region" in parameters:
        raise _invalid(name, "shared memory is not supported: send the data in the request")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise _invalid(name, f"binary_data_size is {shown(size, 40)}, not a number of bytes")
    return size


def _read_tensor(name: str, tensor: Mapping[str, Any], raw: memoryview | None) -> Array:
    """The array of one input, from ``raw`` bytes or from its ``data``."""
    shape, kind = tensor.get("shape"), tensor.get("datatype")
    valid = isinstance(shape, list) and 0 < len(shape) <= MAX_RANK
    if not valid or any(type(size) is not int or not 0 <= size < 2**31 for size in shape or ()):
        raise _invalid(name, f"its shape is {shown(shape, 80)}, not a list of sizes")
    if kind != "BYTES" and kind not in DTYPES:
        raise _invalid(name, f"its datatype is {shown(kind, 40)}; known are BYTES, {', '.join(DTYPES)}")
    count = prod(shape or ())
    if raw is not None:
        found = _texts(name, raw, count) if kind == "BYTES" else _numbers(name, raw, count, DTYPES[kind])
    else:
        found = _from_json(name, tensor.get("data"), count, kind)
    return found.reshape(shape)


def _numbers(name: str, raw: memoryview, count: int, dtype: np.dtype[Any]) -> Array:
    if len(raw) != count * dtype.itemsize:
        raise _invalid(name, f"its shape needs {count * dtype.itemsize:,} bytes, but {len(raw):,} were sent")
    return np.frombuffer(raw, dtype)


def _texts(name: str, raw: memoryview, count: int) -> Array:
    found: list[str] = []
    place = 0
    try:
        while place < len(raw):
            size = int.from_bytes(raw[place : place + 4], "little")
            place += 4 + size
            if place > len(raw):
                raise _invalid(name, "an element is longer than the data")
            found.append(str(raw[place - size : place], "utf-8"))
    except UnicodeDecodeError:
        raise _invalid(name, f"element {len(found) + 1} is not UTF-8") from None
    if len(found) != count:
        raise _invalid(name, f"its shape needs {count:,} elements, but {len(found):,} were sent")
    return _text_array(found)


def _text_array(texts: Sequence[object]) -> Array:
    found: Array = np.empty(len(texts), object)
    found[:] = texts
    return found


def _from_json(name: str, data: Any, count: int, kind: str) -> Array:
    """The array of nested or flat JSON data; null is a missing value."""
    flat: list[Any] = [data]
    while isinstance(flat, list) and flat and isinstance(flat[0], list):
        try:
            flat = [value for part in flat for value in part]
        except TypeError:
            raise _invalid(name, "its data are not nested evenly") from None
    if not isinstance(data, list) or len(flat) != count:
        raise _invalid(
            name, f"its shape needs {count:,} elements, but {len(flat) if isinstance(data, list) else 'none'} were sent"
        )
    allowed = {"BYTES": (str, type(None)), "BOOL": (bool, type(None))}.get(kind, (int, float, type(None)))
    for value in flat:
        if not isinstance(value, allowed) or (kind not in ("BYTES", "BOOL") and isinstance(value, bool)):
            raise _invalid(name, f"{shown(value, 40)} is not of the type {kind}")
    if kind == "BYTES" or (None in flat and not kind.startswith("FP")):
        return _text_array(flat)
    try:
        with np.errstate(over="ignore"):  # what FP16 cannot hold is infinite, which the model refuses by name
            return np.array([np.nan if value is None else value for value in flat], DTYPES[kind])
    except (OverflowError, ValueError) as error:
        raise _invalid(name, f"its data are not of the type {kind}: {error}") from None


def _to_bytes(array: Array) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array).astype(DTYPES[datatype(array)], copy=False).tobytes()
    encoded = [("" if text is None else str(text)).encode() for text in array.reshape(-1)]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def _invalid(field: str, message: str) -> InvalidRequest:
    text = message if field in ("body", "inputs", "outputs") else f"{cut(field)}: {message}"
    return InvalidRequest(text, [Problem(cut(field), message)])
