"""Parquet: a file, or a folder of files that are one table.

In a folder each file has the same columns; folders named ``key=value`` on the path to a file add columns (Hive
partitions). Rows are ordered by the paths of the files. Names that begin with ``.`` or ``_`` are skipped, because
writers store metadata under them.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats import header
from epochd.data.formats.errors import COPY_AGAIN, FormatError, both_ends, damage, short_message
from epochd.data.formats.type_inference import Expected

MAGIC, ENCRYPTED = b"PAR1", b"PARE"


def scan(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    yield pl.scan_parquet(path, glob=False, hive_partitioning=False)


def scan_folder(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    files = files_in(path)
    keys = _partition_keys(files[0].relative_to(path))
    for file in files:
        if _partition_keys(file.relative_to(path)) != keys:
            first, other = files[0].relative_to(path).as_posix(), file.relative_to(path).as_posix()
            reason = f"{other!r} and {first!r} are in folders with different keys"
            raise FormatError(reason, "put every file under the same key=value folders")
    table = pl.scan_parquet(files, glob=False, hive_partitioning=bool(keys))
    # Polars also reads the folders above this one as keys.
    yield table.drop([key for key in _partition_keys(path / "file") if key not in keys] if keys else [])


def files_in(folder: Path) -> list[Path]:
    """The folder's Parquet files, sorted by path; raise FormatError if there are none."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = Path(place, name)
            if name.startswith((".", "_")) or not name.lower().endswith(".parquet") or not path.is_file():
                continue
            if not path.is_symlink() or path.resolve().is_relative_to(folder.resolve()):
                found.append(path)
    if not found:
        raise FormatError("the folder has no .parquet file", "name a folder of Parquet files, or a file in it")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def index_columns(path: Path, options: ReadOptions) -> list[str]:
    """The columns that are an index by their name or by pandas' metadata, in a file or the first file of a folder."""
    file = files_in(path)[0] if path.is_dir() else path
    about, names = pl.read_parquet_metadata(file), pl.read_parquet_schema(file)
    by_name = header.index_columns(names)
    try:
        found = json.loads(about.get("pandas", "{}")).get("index_columns", [])
    except (ValueError, AttributeError):  # not pandas' metadata
        return by_name
    # A range is described by an object, and is no column.
    return list(dict.fromkeys([*by_name, *(name for name in found if isinstance(name, str) and name in names)]))


def explain(path: Path, error: BaseException) -> FormatError:
    ends = both_ends(path, len(MAGIC))
    if ENCRYPTED in ends:
        return FormatError("the file is encrypted", "write it without encryption")
    return damage(*ends, MAGIC, "a Parquet", error)


def explain_folder(path: Path, error: BaseException) -> FormatError:
    """Name the file that is damaged or has other columns than the first; otherwise quote Polars."""
    wanted: dict[str, pl.DataType] = {}
    names = {file: file.relative_to(path).as_posix() for file in files_in(path)}
    for file, name in names.items():
        try:
            schema = pl.read_parquet_schema(file)
        except (pl.exceptions.PolarsError, OSError) as damaged:
            found = explain(file, damaged)
            return FormatError(f"{name!r}: {found.reason}", found.hint)
        wanted = wanted or schema
        if difference := _schema_difference(wanted, schema, next(iter(names.values()))):
            return FormatError(f"{name!r} {difference}", "write every file with the same columns and types")
    return FormatError(f"a file is damaged ({short_message(error)})", COPY_AGAIN)


def _schema_difference(wanted: dict[str, pl.DataType], schema: dict[str, pl.DataType], first: str) -> str:
    for name in [*wanted, *schema]:
        if name not in schema:
            return f"has no column {name!r}, which {first!r} has"
        if name not in wanted:
            return f"has column {name!r}, which {first!r} does not have"
        if schema[name] != wanted[name]:
            return f"has column {name!r} as {schema[name]}, but {first!r} has it as {wanted[name]}"
    return ""


def _partition_keys(path: Path) -> list[str]:
    return [part.split("=", 1)[0] for part in path.parts[:-1] if "=" in part]
