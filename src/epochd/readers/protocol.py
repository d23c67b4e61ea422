"""Calls of functions in another process as lines of JSON.

A call names a function of one module and has its arguments; an answer has its result or its error. Both are converted
by the function's type annotations, so that the caller receives the values that a local call would return. Nothing that
can execute code is transferred: no pickle, and only functions that the module itself defines.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from epochd.core import errors
from epochd.core.errors import EpochdError, Problem, ProblemsError


@cache
def _adapters(operation: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """A converter for each parameter of the function, in order, and for its result, ``return``."""
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(operation).items()}


def encoded_call(operation: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """One line: the function's name and its positional arguments."""
    *parameters, _ = _adapters(operation).values()
    values = [adapter.dump_python(value, mode="json") for adapter, value in zip(parameters, arguments, strict=True)]
    return json.dumps({"operation": operation.__name__, "arguments": values}).encode() + b"\n"


def answer(module: ModuleType, line: bytes) -> bytes:
    """Call the function that a line names, and encode its result or its error as one line.

    Errors of epochd are part of the answer; any other exception is raised here and is not.
    """
    call = json.loads(line)
    operation = getattr(module, call["operation"])
    if operation.__module__ != module.__name__:
        raise LookupError(f"{call['operation']} is not a function of {module.__name__}")
    *parameters, result = _adapters(operation).values()
    try:
        values = [
            adapter.validate_json(json.dumps(v)) for adapter, v in zip(parameters, call["arguments"], strict=True)
        ]
        return b'{"result": ' + result.dump_json(operation(*values)) + b"}\n"
    except EpochdError as error:
        problems = [asdict(problem) for problem in error.problems]
        text = {"error": type(error).__name__, "message": error.message, "problems": problems}
        return json.dumps(text).encode() + b"\n"


def decoded_answer(operation: Callable[..., Any], line: bytes) -> Any:
    """The result in an answer; raises the error in it."""
    if line.startswith(b'{"result": '):
        return _adapters(operation)["return"].validate_json(line.rstrip()[len(b'{"result": ') : -1])
    found = json.loads(line)
    kind: type[EpochdError] = getattr(errors, found["error"])
    problems = [Problem(**problem) for problem in found["problems"]]
    raise kind(problems) if issubclass(kind, ProblemsError) else kind(found["message"])
