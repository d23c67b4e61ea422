"""What columns of real CSV files are: epochd beside pandas and DuckDB's sniffer.

The files are those of the packages bokeh_sampledata, vega_datasets and pydataset. pandas and DuckDB read each file with
their defaults. A table counts the columns on which the three differ, by what each takes the column for, and names one.
``python benchmarks/column_types.py --all`` lists every such column.
"""

import argparse
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from epochd.core.errors import DataError
from epochd.data.columns.detection import Decision
from epochd.data.schema import Kind, kind_of
from epochd.data.tables.catalog import open_dataset

PACKAGES = ("bokeh_sampledata", "vega_datasets", "pydataset")
Columns = dict[str, str]
NAMES = {Kind.NUMBER: "number", Kind.BOOLEAN: "boolean", Kind.DATE: "date", Kind.CATEGORY: "text"}


def files(folder: Path) -> Iterator[Path]:
    """The CSV files of the packages; those of an archive are unpacked below ``folder``."""
    for package in PACKAGES:
        found = find_spec(package)
        if found is None or found.submodule_search_locations is None:
            sys.exit(f"{package} is not installed: run make bench-setup")
        home = Path(next(iter(found.submodule_search_locations)))
        yield from sorted(home.rglob("*.csv"))
        for archive in sorted(home.rglob("*.tar.gz")):
            with tarfile.open(archive) as packed:
                packed.extractall(folder / package, filter="data")
            yield from sorted(path for path in (folder / package).rglob("*.csv") if path.name[0] != ".")


def epochd_types(path: Path) -> Columns:
    def found(table: Any, decisions: dict[str, Decision]) -> Columns:
        return {name: NAMES.get(kind_of(dtype), "other") for name, dtype in table.collect_schema().items()}

    try:
        return open_dataset(path.name, [path.parent]).apply_decided(found)
    except DataError as error:
        return {"": error.problems[0].message}


def pandas_types(path: Path) -> Columns:
    import pandas as pd

    kinds = {"i": "number", "u": "number", "f": "number", "b": "boolean", "M": "date"}
    try:
        return {str(name): kinds.get(dtype.kind, "text") for name, dtype in pd.read_csv(path).dtypes.items()}
    except (ValueError, UnicodeError) as error:
        return {"": f"{type(error).__name__}: {error}"}


def duckdb_types(path: Path) -> Columns:
    import duckdb

    try:
        columns = duckdb.sql("SELECT Columns FROM sniff_csv(?)", params=[str(path)]).fetchall()[0][0]
    except duckdb.Error as error:
        return {"": str(error).split("\n")[0]}
    kinds = {"BOOLEAN": "boolean", "DATE": "date", "TIME": "date", "VARCHAR": "text"}
    found = {column["name"]: column["type"] for column in columns}
    return {name: kinds.get(of, "date" if of.startswith("TIMESTAMP") else "number") for name, of in found.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--all", action="store_true", help="list every column that differs")
    every = arguments.parse_args().all
    differing: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    columns, unread, number = 0, defaultdict(list), 0
    with tempfile.TemporaryDirectory() as folder:
        for path in files(Path(folder)):
            number += 1
            sides = {"epochd": epochd_types(path), "pandas": pandas_types(path), "DuckDB": duckdb_types(path)}
            for side, found in sides.items():
                if "" in found:
                    unread[side].append(f"{path.name}: {found['']}")
            ours, theirs, sniffed = sides.values()
            for name in [name for name in ours if name in theirs and name in sniffed and name]:
                columns += 1
                kinds = ours[name], theirs[name], sniffed[name]
                if len(set(kinds)) > 1:
                    differing[kinds].append(f"{path.name}: {name}")
    print(
        f"{number} files, {columns} columns that all three name; not read: { ({s: len(f) for s, f in unread.items()}) }"
    )
    print("| epochd | pandas | DuckDB | columns | such as |\n|---|---|---|---|---|")
    for kinds, found in sorted(differing.items(), key=lambda item: -len(item[1])):
        print(f"| {' | '.join(kinds)} | {len(found)} | {'; '.join(found if every else found[:2])} |")
    for side, reasons in unread.items():
        print(f"{side} could not read:", *(reasons if every else reasons[:3]), sep="\n  ")


if __name__ == "__main__":
    main()
