"""Optional packages, imported when an export needs them."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from epochd.core.errors import FrameworkMissing
from epochd.core.installation import install_command

KERAS_BACKENDS = "torch", "jax", "tensorflow"
"""In the order in which one is selected: all write the same file, the first is imported fastest."""


def require(package: str, extra: str) -> Any:
    """Import a package; raise FrameworkMissing with the command that installs the ``extra`` which contains it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        message = f"this export needs the package {(error.name or package).partition('.')[0]!r}, which is not installed"
        raise FrameworkMissing(f"{message}. Run: {install_command(extra)}") from None


def require_keras(backend: str | None = None) -> Any:
    """Import Keras with this backend; None: the one that is set in ``KERAS_BACKEND``, or any that is installed.

    Raises FrameworkMissing if Keras or the backend is not installed, or if this process uses Keras with another one.
    """
    if backend is None and "KERAS_BACKEND" not in os.environ:
        backend = next((name for name in KERAS_BACKENDS if find_spec(name)), None)
    if backend is not None:
        require(backend, backend)
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow on other backends, too
    keras = require("keras", "tensorflow")
    if backend is not None and keras.backend.backend() != backend:
        used = keras.backend.backend()
        raise FrameworkMissing(f"this export needs Keras on {backend}, but this process has started it on {used}")
    return keras
