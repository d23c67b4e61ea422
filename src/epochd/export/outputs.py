"""Where an export is written: complete or not at all, and never over anything but an earlier export."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import epochd
from epochd.artifact import files
from epochd.core.errors import InvalidSpec, Problem
from epochd.export import Form

MARK = "export.json"
"""The file that marks a folder as an export, which may be replaced by another one."""


@contextmanager
def new_file(final: Path, *, force: bool) -> Iterator[Path]:
    """Yield the path of a temporary file with the same suffix, which replaces ``final`` at the end of the block.

    Raises InvalidSpec if ``final`` exists, unless it is a file and ``force`` is set.
    """
    if final.exists() and not (force and final.is_file()):
        raise _taken(final, "give another --output" + (", or replace it with --force" if final.is_file() else ""))
    temporary = _temporary(final)
    try:
        yield temporary
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(final: Path, form: Form, *, force: bool) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces ``final`` at the end of the block.

    Raises InvalidSpec if ``final`` exists and is not empty, unless it is an earlier export and ``force`` is set.
    """
    exported = (final / MARK).is_file()
    if final.exists() and not (exported and force) and not (final.is_dir() and not any(final.iterdir())):
        hint = ", or replace it with --force" if exported else "; only an earlier export can be replaced"
        raise _taken(final, f"give another --output{hint}")
    temporary = _temporary(final)
    temporary.mkdir()
    try:
        yield temporary
        files.write_json(temporary / MARK, {"form": form, "epochd": epochd.__version__})
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(final: Path) -> Path:
    """A new path beside ``final`` with the same suffix, which some libraries require."""
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f"{files.TEMPORARY}{token_hex(4)}{final.suffix}")


def _taken(path: Path, hint: str) -> InvalidSpec:
    return InvalidSpec([Problem("--output", f"{path} exists", hint)])
