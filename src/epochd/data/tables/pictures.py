"""Columns of pictures: their paths, or pictures in base64 or bytes, become pixels before they are encoded.

A path is relative to the folder of the dataset, or to ``image_root``, and never leads out of it: absolute paths, ``..``
and links to elsewhere are refused. The pixels are a column of their own beside that of the paths (``PIXELS``), so that
messages name the picture; pictures that cannot be read have none, and the reason is in a third column (``REASON``).
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.core.text import shown
from epochd.data import formats
from epochd.data.formats import picture, picture_folder
from epochd.data.formats.picture import CHANNELS, Mode, PictureError, Pixels
from epochd.data.schema import MAX_LISTED, col
from epochd.data.tables import fingerprint
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source

PIXELS, REASON = "\0pixels", "\0reason"
"""Appended to the name of a column of pictures."""
BATCH_BYTES = 64 << 20
"""Pixels that are decoded together."""
MAX_CHECKED = 20_000
"""Pictures whose header is read before a training is queued."""
MAX_EMBEDDED = 32 << 20
"""Characters of one picture in base64."""
MAGICS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "Qk", "UklGR", "SUkq", "TU0A")
"""How pictures begin in base64."""
SHORTEST_BASE64 = 64
THREADS = min(8, os.cpu_count() or 1)
HINT = "correct the path, or replace the file; paths are relative to the folder of the dataset, or to image_root"


@dataclass(frozen=True, slots=True)
class Pictures:
    """How the pictures of a column are read, as ``height`` x ``width`` pixels: from files in the first of ``folders``
    (resolved paths) that has them; without folders only pictures that are in the table itself are read."""

    column: str
    height: int
    width: int
    mode: Mode
    folders: tuple[Path, ...] = ()

    @property
    def values(self) -> int:
        """Pixel values of one picture."""
        return self.height * self.width * CHANNELS[self.mode]

    @property
    def batch_rows(self) -> int:
        """Rows that are decoded together, which depends on nothing else."""
        return max(1, BATCH_BYTES // self.values)

    def decoded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with columns of pixels and reasons, if it has the column of pictures and not yet their pixels. The
        pictures are decoded in several threads: Pillow does most of that without Python's lock."""
        if self.column not in frame.columns or self.column + PIXELS in frame.columns:
            return frame
        given = frame.get_column(self.column)
        pixels = np.zeros((frame.height, self.values), np.uint8)
        reasons = dict(self._fill(given, pixels))
        series = pl.Series(self.column + PIXELS, pixels, pl.Array(pl.UInt8, self.values))
        why = pl.Series(self.column + REASON, [reasons.get(row) for row in range(frame.height)], pl.String)
        if reasons:
            series = pl.select(pl.when(why.is_null()).then(series).alias(series.name)).to_series()
        return frame.with_columns(series, why)

    def checked(self, frame: pl.DataFrame, first: int = 0) -> pl.DataFrame:
        """``decoded``; raise DataError with the first pictures that cannot be read. ``first`` is the number of the
        first row, counted from 0."""
        found = self.decoded(frame)
        if self.column + REASON not in found.columns:
            return found
        reasons = found.get_column(self.column + REASON)
        if bad := reasons.is_not_null().arg_true().to_list():
            given = found.get_column(self.column)
            raise DataError([problem(self.column, first + row, given[row], reasons[row]) for row in bad[:MAX_LISTED]])
        return found

    def _fill(self, given: pl.Series, pixels: Pixels) -> Iterator[tuple[int, str]]:
        """Decode into the rows of ``pixels``; the rows that cannot be decoded, and why."""

        def fill(row: int) -> str | None:
            try:
                content = self._content(given[row])
                pixels[row] = picture.decode(content, self.height, self.width, self.mode).reshape(-1)
            except PictureError as error:
                return str(error)
            return None

        yield from _in_threads(fill, len(given))

    def _content(self, value: Any) -> bytes:
        if value is None:
            raise PictureError("is missing")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise PictureError("is neither a path nor a picture in base64")
        embedded = from_base64(value)
        return picture.read(self.path(value)) if embedded is None else embedded

    def path(self, value: str) -> Path:
        """The file that a path names. Raises PictureError for one that leads out of the folders."""
        if not self.folders:
            raise PictureError("is a path, and there is no folder that it is relative to; send the picture in base64")
        text = value.replace("\\", "/")
        relative = PurePosixPath(text)
        if relative.is_absolute() or text[1:2] == ":" or ".." in relative.parts or "\0" in text:
            raise PictureError("is not a path inside the folder of the dataset")
        home = next((folder for folder in self.folders[:-1] if (folder / relative).exists()), self.folders[-1])
        try:
            path = (home / relative).resolve()
        except (OSError, RuntimeError):  # a name that is too long, or a loop of links
            raise PictureError("cannot be opened") from None
        if not path.is_relative_to(home):
            raise PictureError("is a link that leads out of the folder of the dataset")
        return path

    def problems(self, given: pl.Series) -> list[Problem]:
        """What is wrong with the paths and the headers of the first MAX_CHECKED pictures, MAX_LISTED of them one by
        one. Text that is no path is decoded later."""

        def check(row: int) -> str | None:
            value = given[row]
            try:
                if isinstance(value, str) and from_base64(value) is None:
                    picture.check(self.path(value))
                elif value is None:
                    raise PictureError("is missing")
            except PictureError as error:
                return str(error)
            return None

        bad = list(_in_threads(check, min(len(given), MAX_CHECKED)))
        found = [problem(self.column, row, given[row], reason) for row, reason in bad[:MAX_LISTED]]
        if len(bad) > MAX_LISTED:
            found.append(Problem(self.column, f"{len(bad) - MAX_LISTED:,} more pictures cannot be read", HINT))
        return found

    def hashed(self, given: pl.Series, of_file: Callable[[Path], str]) -> str:
        """SHA-256 of the paths of a column and what ``of_file`` gives for each file."""
        digest = hashlib.sha256()
        for row, value in enumerate(given):
            if not isinstance(value, str) or from_base64(value) is not None:
                continue
            try:
                digest.update(f"{value} {of_file(self.path(value))}\n".encode(errors="surrogateescape"))
            except (PictureError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise DataError([problem(self.column, row, value, f"cannot be read ({reason})")]) from None
        return digest.hexdigest()


def problem(column: str, row: int, value: Any, reason: str) -> Problem:
    """The problem of a picture; ``row`` is counted from 0."""
    name = shown(value if isinstance(value, str) and len(value) <= 500 else "(data)", 120)
    return Problem(column, f"row {row + 1} of column {column!r}: the picture {name} {reason}", HINT)


def from_base64(text: str) -> bytes | None:
    """The picture in a data URI or in base64; None if the text is neither. Raises PictureError for invalid base64."""
    head, comma, rest = text.partition(",")
    if text.startswith("data:"):
        if not comma or not head.endswith(";base64"):
            raise PictureError("is a data URI that is not in base64")
        text = rest
    elif len(text) < SHORTEST_BASE64 or not text.startswith(MAGICS) or "." in text:
        return None
    if len(text) > MAX_EMBEDDED:
        raise PictureError(f"has {len(text):,} characters in base64; the limit is {MAX_EMBEDDED:,}")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("is not valid base64") from None


@dataclass(frozen=True, slots=True)
class PictureSource(Source):
    """A dataset with a column of ``pictures``, whose content is part of its fingerprint."""

    pictures: Pictures | None = None

    def fingerprint(self) -> str:
        return self._with_pictures(Source.fingerprint(self), fingerprint.of)

    def quick_fingerprint(self) -> str:
        """As that of a large dataset, the hash of pictures is one of their sizes and times of modification."""
        found = self._with_pictures(Source.quick_fingerprint(self), _status)
        return fingerprint.SAMPLED + found.removeprefix(fingerprint.SAMPLED)

    def _with_pictures(self, table: str, of_file: Callable[[Path], str]) -> str:
        pictures = self.pictures
        if pictures is None or formats.is_picture_folder(self.path):
            return table
        column = self.apply(lambda lazy: _column(lazy, pictures.column))
        if column is None or column.dtype != pl.String:
            return table
        return hashlib.sha256(f"{table} {pictures.hashed(column, of_file)}".encode()).hexdigest()


def opened(catalog: Catalog, spec: TrainingSpec, name: str | None, needed: Iterable[str] = ()) -> Source:
    """The spec's dataset or validation dataset, whichever has this name, read as the spec says, with its pictures if
    the spec has a column of them; ``needed`` as for ``Catalog.of``. Raise DataError."""
    is_other = name is not None and name == spec.validation_dataset
    source = catalog.validation_of(spec) if is_other else catalog.of(spec, needed)
    if spec.image_column is None:
        return source
    height, width = spec.image_size
    pictures = Pictures(spec.image_column, height, width, spec.image_mode)
    return with_pictures(catalog, source, pictures, spec.image_root)


def with_pictures(catalog: Catalog, source: Source, pictures: Pictures, root: str | None) -> PictureSource:
    """The dataset with a column of pictures in the folder ``root``, or in its own. Raise DataError."""
    folder = source.path if source.path.is_dir() else source.path.parent
    if root is not None:
        folder = catalog.folder(root, "image_root")
    known = {part.name: getattr(source, part.name) for part in fields(Source)}
    return PictureSource(**known, pictures=replace(pictures, folders=(folder,)))


def of(source: Source) -> Pictures | None:
    """The pictures of a dataset, if it has a column of them."""
    return source.pictures if isinstance(source, PictureSource) else None


def resolved(spec: TrainingSpec, source: Source) -> TrainingSpec:
    """The spec with the column of pictures that a folder of pictures has."""
    if spec.image_column is not None or not formats.is_picture_folder(source.path):
        return spec
    return spec.model_copy(update={"image_column": picture_folder.IMAGE})


def _column(lazy: pl.LazyFrame, name: str) -> pl.Series | None:
    return lazy.select(col(name)).collect().to_series() if name in lazy.collect_schema() else None


def _status(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _in_threads(work: Callable[[int], str | None], rows: int) -> Iterator[tuple[int, str]]:
    """The rows for which ``work`` gives a reason, with it."""
    if rows < 2 * THREADS:
        yield from ((row, reason) for row in range(rows) if (reason := work(row)) is not None)
        return
    parts = [range(rows * i // THREADS, rows * (i + 1) // THREADS) for i in range(THREADS)]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as pool:
        for part, reasons in zip(parts, pool.map(partial(_each, work), parts), strict=True):
            yield from ((row, reason) for row, reason in zip(part, reasons, strict=True) if reason is not None)


def _each(work: Callable[[int], str | None], rows: range) -> list[str | None]:
    return [work(row) for row in rows]
