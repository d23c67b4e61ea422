"""Write the tables that come with epochd (``src/epochd/data/builtin``) from scikit-learn's own copies.

Run it after a scikit-learn release changes one of them; ``tests/data/test_builtin.py`` would tell.
scikit-learn is needed here and in that test only. Credits and licences are in NOTICE.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets

from epochd.data.tables.catalog import BUILTIN, Catalog
from epochd.registry import profile

FOLDER = Path(__file__).resolve().parents[1] / "src" / "epochd" / "data" / "builtin"
NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")
SAMPLE = {
    "worst area": "feature1",
    "worst smoothness": "feature2",
    "mean texture": "feature3",
    "mean concave points": "feature4",
    "target": "target",
}
"""Columns of ``sample`` and where they come from in ``breast_cancer``."""


def table(name: str) -> pl.DataFrame:
    """What ``load_<name>(as_frame=True).frame`` holds, without pandas."""
    bunch = getattr(datasets, f"load_{name}")()
    columns = {str(column): np.ascontiguousarray(bunch.data[:, i]) for i, column in enumerate(bunch.feature_names)}
    return pl.DataFrame({**columns, "target": bunch.target})


def sample() -> pl.DataFrame:
    return table("breast_cancer").select(pl.col(name).alias(alias) for name, alias in SAMPLE.items())


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, frame in [*((name, table(name)) for name in NAMES), ("sample", sample())]:
        path = FOLDER / f"{name}.parquet"
        frame.write_parquet(path, compression="zstd", compression_level=19)
        print(f"{path.name}: {frame.height} rows, {frame.width} columns, {path.stat().st_size} bytes")
    facts = {name: asdict(profile.read_facts(Catalog().open(name))) for name in BUILTIN}
    (FOLDER / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
