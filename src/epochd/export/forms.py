"""Exports by form: what writes each, where it goes by default, and what replaces an existing one."""

from collections.abc import Callable
from pathlib import Path

from epochd.core.errors import InvalidSpec, Problem
from epochd.export import Form, keras_model, onnx_file, outputs, tensorboard_log, torch_module
from epochd.export.saved_model import SavedModel

Writer = Callable[[SavedModel, Path], None]

FILES: dict[Form, tuple[str, Writer]] = {
    Form.ONNX: (".onnx", onnx_file.write),
    Form.KERAS: (".keras", keras_model.write),
}
"""Forms that are one file, with its suffix."""
KERAS_SUFFIXES = (".keras", ".h5")
FOLDERS: dict[Form, Writer] = {
    Form.TORCH: torch_module.write,
    Form.SAVEDMODEL: keras_model.write_savedmodel,
    Form.TENSORBOARD: tensorboard_log.write,
}
"""Forms that are a folder. An MLflow run is neither: see ``mlflow_run``."""


def write(saved: SavedModel, form: Form, output: Path | None = None, *, force: bool = False) -> Path:
    """Write a model in this form; return the path of the file or folder. Default: in the current folder, named after
    the model and the form.

    Raises InvalidSpec if the output exists (``force`` replaces a file or an earlier export), has a name that the form
    does not allow, or the model has no such form; FrameworkMissing without a package that the form needs.
    """
    if form in FILES:
        suffix, writer = FILES[form]
        final = output or Path(f"{saved.name}{suffix}")
        if form is Form.KERAS and final.suffix not in KERAS_SUFFIXES:
            message = f"{final} does not end with {suffix}, without which Keras neither writes nor reads a model"
            raise InvalidSpec([Problem("--output", message, f"give --output {final.name}{suffix}")])
        with outputs.new_file(final, force=force) as path:
            writer(saved, path)
    else:
        final = output or Path(f"{saved.name}-{form}")
        with outputs.new_folder(final, form, force=force) as path:
            FOLDERS[form](saved, path)
    return final
