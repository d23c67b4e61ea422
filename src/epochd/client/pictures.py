"""Pictures on this machine as rows of prediction requests: each is sent in base64, some MiB of them at a time."""

import base64
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from epochd.core.datasets import PICTURE_SUFFIXES
from epochd.core.errors import DataError, InvalidRequest, Problem

REQUEST_BYTES, REQUEST_ROWS = 8 << 20, 1_000
"""Pictures of one request, at most; a larger picture is sent alone."""
ROW = re.compile(r"^row (\d+) of column [^:]+: the picture \S+")
Batch = list[tuple[str, str]]
"""Names of pictures, and the pictures in base64."""


def is_picture(path: Path) -> bool:
    """Whether this is the name of a picture, or a folder."""
    return path.is_dir() or path.name.lower().endswith(PICTURE_SUFFIXES)


def files_in(path: Path) -> list[tuple[str, Path]]:
    """The pictures in a folder, in the order of their paths in it; or the one picture. Raises InvalidRequest."""
    if not path.is_dir():
        return [(path.name, path)]
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        chosen = (name for name in names if name.lower().endswith(PICTURE_SUFFIXES) and name[0] not in "._")
        found += [Path(place, name) for name in chosen]
    if not found:
        message, hint = f"the folder {path.name!r} has no pictures", f"pictures end in {', '.join(PICTURE_SUFFIXES)}"
        raise InvalidRequest(f"{message}; {hint}", [Problem("file", message, hint)])
    return sorted((file.relative_to(path).as_posix(), file) for file in found)


def batches(files: Sequence[tuple[str, Path]]) -> Iterator[Batch]:
    """The pictures, as many at a time as one request has. Raises OSError."""
    batch: Batch = []
    size = 0
    for name, file in files:
        content = base64.b64encode(file.read_bytes()).decode("ascii")
        if batch and (size + len(content) > REQUEST_BYTES or len(batch) == REQUEST_ROWS):
            yield batch
            batch, size = [], 0
        batch.append((name, f"data:image;base64,{content}"))
        size += len(content)
    yield batch


def named(error: DataError, names: Sequence[str]) -> DataError:
    """The error of a request, with the names of the pictures instead of their rows."""

    def name(found: re.Match[str]) -> str:
        return f"the picture {names[int(found[1]) - 1]!r}"

    return DataError([replace(problem, message=ROW.sub(name, problem.message)) for problem in error.problems])
