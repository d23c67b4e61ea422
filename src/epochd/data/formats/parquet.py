"""Parquet: a file, or a folder of files that are one table.

In a folder each file has the same columns; folders named ``key=value`` on the path to a file add columns (Hive
partitions). Rows are ordered by the paths of the files. Names that begin with ``.`` or ``_`` are skipped, because
writers store metadata under them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from epochd.data.formats.errors import COPY_AGAIN, FormatError, short_message

MAGIC, ENCRYPTED = b"PAR1", b"PARE"


def scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def scan_folder(path: Path) -> pl.LazyFrame:
    files = files_in(path)
    keys = _partition_keys(files[0].relative_to(path))
    for file in files:
        if _partition_keys(file.relative_to(path)) != keys:
            first, other = files[0].relative_to(path).as_posix(), file.relative_to(path).as_posix()
            reason = f"{other!r} and {first!r} are in folders with different keys"
            raise FormatError(reason, "put every file under the same key=value folders")
    table = pl.scan_parquet(files, glob=False, hive_partitioning=bool(keys))
    # Polars also reads the folders above this one as keys.
    above = [key for key in _partition_keys(path / "file") if key not in keys] if keys else []
    return table.drop(above)


def files_in(folder: Path) -> list[Path]:
    """The folder's Parquet files, sorted by path; raise FormatError if there are none."""
    found = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise FormatError("the folder has no .parquet file", "name a folder of Parquet files, or a file in it")
    return found


def explain(path: Path, error: BaseException) -> FormatError:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        tail = file.read(4)
    if not head:
        return FormatError("the file is empty", COPY_AGAIN)
    if ENCRYPTED in (head, tail):
        return FormatError("the file is encrypted", "write it without encryption")
    if head != MAGIC:
        return FormatError(
            f"it is not a Parquet file (it begins with {head!r})", "give the file the suffix of its format"
        )
    if tail != MAGIC:
        return FormatError("the file is cut off: its footer is missing", COPY_AGAIN)
    return FormatError(f"the file is damaged ({short_message(error)})", COPY_AGAIN)


def explain_folder(path: Path, error: BaseException) -> FormatError:
    """Name the file that is damaged or has other columns than the first; otherwise quote Polars."""
    files = files_in(path)
    wanted: dict[str, pl.DataType] = {}
    for file in files:
        try:
            schema = pl.read_parquet_schema(file)
        except (pl.exceptions.PolarsError, OSError) as damage:
            found = explain(file, damage)
            return FormatError(f"{file.relative_to(path).as_posix()!r}: {found.reason}", found.hint)
        wanted = wanted or schema
        difference = _schema_difference(wanted, schema, files[0].relative_to(path).as_posix())
        if difference:
            reason = f"{file.relative_to(path).as_posix()!r} {difference}"
            return FormatError(reason, "write every file with the same columns and types")
    return FormatError(f"a file is damaged ({short_message(error)})", COPY_AGAIN)


def _schema_difference(wanted: dict[str, pl.DataType], schema: dict[str, pl.DataType], first: str) -> str:
    for name, dtype in wanted.items():
        if name not in schema:
            return f"has no column {name!r}, which {first!r} has"
        if schema[name] != dtype:
            return f"has column {name!r} as {schema[name]}, but {first!r} has it as {dtype}"
    extra = next((name for name in schema if name not in wanted), None)
    return f"has column {extra!r}, which {first!r} does not have" if extra is not None else ""


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = Path(place, name)
            if name.lower().endswith(".parquet") and not name.startswith((".", "_")) and _is_inside(path, folder):
                yield path


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether it is a regular file, and not a link to a place outside the folder."""
    return path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(folder.resolve()))


def _partition_keys(path: Path) -> list[str]:
    return [part.split("=", 1)[0] for part in path.parts[:-1] if "=" in part]
