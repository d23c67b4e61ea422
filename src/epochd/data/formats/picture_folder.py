"""A folder of pictures as a table: each row is a picture, and its class is the name of the folder that it is in.

    flowers/rose/1.jpg      →  image rose/1.jpg, label rose
    flowers/tulip/a/2.png   →  image tulip/a/2.png, label tulip

Rows are ordered by path. Files that are no pictures, and names that begin with ``.`` or ``_``, are skipped. A picture
that is in no class folder has no label; if none has one, there is no column of labels.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from epochd.data.formats.errors import FormatError, short_message
from epochd.data.formats.picture import SUFFIXES

IMAGE, LABEL = "image", "label"
MAX_FILES = 5_000_000


def scan(path: Path) -> Iterator[pl.LazyFrame]:
    files = [file.relative_to(path).as_posix() for file in files_in(path)]
    labels = [file.split("/", 1)[0] if "/" in file else None for file in files]
    columns = {IMAGE: pl.Series(files, dtype=pl.String)}
    if any(label is not None for label in labels):
        columns[LABEL] = pl.Series(labels, dtype=pl.String)
    yield pl.DataFrame(columns).lazy()


def files_in(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by path, without links that lead out of it. Raise FormatError if there are none,
    or too many."""
    found: list[Path] = []
    home = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            if name.startswith((".", "_")) or not name.lower().endswith(SUFFIXES):
                continue
            path = Path(place, name)
            if not path.is_symlink() or path.resolve().is_relative_to(home):
                found.append(path)
        if len(found) > MAX_FILES:
            raise FormatError(f"the folder has more than {MAX_FILES:,} pictures", "split it into several folders")
    if not found:
        raise FormatError("the folder has no pictures", f"name a folder of files that end in {', '.join(SUFFIXES)}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def explain(path: Path, error: BaseException) -> FormatError:
    return FormatError(f"the folder cannot be read ({short_message(error)})", "check that the server may read it")
