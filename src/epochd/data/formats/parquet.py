"""Parquet: a file, or a folder of files that are one table.

In a folder each file has the same columns; folders named ``key=value`` on the way to it add columns. Rows come
in the order of the files' paths. What begins with ``.`` or ``_`` is left alone, because writers put
their own notes there.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from epochd.data.formats.errors import Unreadable, in_short

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
AGAIN = "copy or write the whole file again"


def scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def scan_folder(path: Path) -> pl.LazyFrame:
    files = parts(path)
    keys = _keys(files[0].relative_to(path))
    for file in files:
        if _keys(file.relative_to(path)) != keys:
            first, other = files[0].relative_to(path).as_posix(), file.relative_to(path).as_posix()
            reason = f"{other!r} and {first!r} lie in folders of different keys"
            raise Unreadable(reason, "put every file under the same key=value folders")
    table = pl.scan_parquet(files, glob=False, hive_partitioning=bool(keys))
    # Polars reads the folders above this one as keys, too.
    above = [key for key in _keys(path / "file") if key not in keys] if keys else []
    return table.drop(above)


def parts(folder: Path) -> list[Path]:
    """The folder's Parquet files, sorted by path; raise Unreadable if there are none."""
    found = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise Unreadable("the folder holds no .parquet file", "name a folder of Parquet files, or a file in it")
    return found


def explain(path: Path, error: BaseException) -> Unreadable:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        tail = file.read(4)
    if not head:
        return Unreadable("the file is empty", AGAIN)
    if ENCRYPTED in (head, tail):
        return Unreadable("the file is encrypted", "write it without encryption")
    if head != MAGIC:
        return Unreadable(f"it is no Parquet file (it begins with {head!r})", "give the file the ending of its format")
    if tail != MAGIC:
        return Unreadable("the file is cut off: its footer is missing", AGAIN)
    return Unreadable(f"the file is damaged ({in_short(error)})", AGAIN)


def explain_folder(path: Path, error: BaseException) -> Unreadable:
    """The file that is damaged, or that has other columns than the first; else Polars' own words."""
    files = parts(path)
    wanted: dict[str, pl.DataType] = {}
    for file in files:
        try:
            schema = pl.read_parquet_schema(file)
        except (pl.exceptions.PolarsError, OSError) as found:
            fault = explain(file, found)
            return Unreadable(f"{file.relative_to(path).as_posix()!r}: {fault.reason}", fault.hint)
        wanted = wanted or schema
        difference = _difference(wanted, schema, files[0].relative_to(path).as_posix())
        if difference:
            reason = f"{file.relative_to(path).as_posix()!r} {difference}"
            return Unreadable(reason, "write every file with the same columns and types")
    return Unreadable(f"a file is damaged ({in_short(error)})", AGAIN)


def _difference(wanted: dict[str, pl.DataType], schema: dict[str, pl.DataType], first: str) -> str:
    for name, dtype in wanted.items():
        if name not in schema:
            return f"has no column {name!r}, which {first!r} has"
        if schema[name] != dtype:
            return f"has column {name!r} as {schema[name]}, but {first!r} has it as {dtype}"
    extra = next((name for name in schema if name not in wanted), None)
    return f"has column {extra!r}, which {first!r} has not" if extra is not None else ""


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = Path(place, name)
            if name.lower().endswith(".parquet") and not name.startswith((".", "_")) and _is_inside(path, folder):
                yield path


def _is_inside(path: Path, folder: Path) -> bool:
    """A regular file, and no link that leads out of the folder."""
    return path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(folder.resolve()))


def _keys(path: Path) -> list[str]:
    return [part.split("=", 1)[0] for part in path.parts[:-1] if "=" in part]
