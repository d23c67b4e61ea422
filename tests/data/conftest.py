"""Fixtures of the data tests: tables as columns, checked for a spec."""

from pathlib import Path

import polars as pl
import pytest

from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.tables.catalog import Catalog


@pytest.fixture
def look(tmp_path: Path):
    """Inspect a table given as columns, with target y; options become the spec. ``validation`` is a second table."""

    def look(columns, /, validation=None, **options):
        pl.DataFrame(columns, strict=False).write_parquet(tmp_path / "table.parquet")
        if validation is not None:
            pl.DataFrame(validation, strict=False).write_parquet(tmp_path / "second.parquet")
            options["validation_dataset"] = "second.parquet"
        spec = parse({"dataset": "table.parquet", "target_column": "y"} | options)
        return check_dataset(spec, Catalog([tmp_path]))

    return look
