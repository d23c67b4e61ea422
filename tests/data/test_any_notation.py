"""The same table in any notation and format: the same values are read, and the same rows are encoded alike."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epochd.core.columns import Encoding, ReadOptions
from epochd.core.specs import parse
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog, open_dataset

ROWS = 40
NUMBERS = {
    "plain": lambda value: f"{value:.2f}",
    "thousands": lambda value: f"{value:,.2f}",
    "decimal comma": lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")),
    "dollars": lambda value: f"${value:,.2f}" if value >= 0 else f"($ {-value:,.2f})".replace("$ ", "$"),
    "yuan": lambda value: f"¥{value:,.2f}" if value >= 0 else f"-¥{-value:,.2f}",
    "unit": lambda value: f"{value:.2f} kg",
    "wide": lambda value: f"{value:.2f}".translate(str.maketrans("0123456789.-", "０１２３４５６７８９．－")),
}
DATES = {
    "iso": lambda day: day.isoformat(),
    "slashes": lambda day: f"{day.day}/{day.month}/{day.year}",
    "american": lambda day: f"{day.month}/{day.day}/{day.year}",
    "dots": lambda day: day.strftime("%d.%m.%Y"),
    "chinese": lambda day: f"{day.year}年{day.month}月{day.day}日",
    "names": lambda day: day.strftime("%d-%b-%Y"),
    "compact": lambda day: day.strftime("%Y%m%d"),
}
TRUTH = {"true": ("true", "false"), "yes": ("Yes", "No"), "shi": ("是", "否"), "y": ("Y", "N")}
MISSING = ["", "NA", "nan", "NULL", "#N/A", " "]
FORMATS = ["t.csv", "t.tsv", "t.ndjson", "t.parquet", "t.arrow", "t.xlsx"]


def written(truth: pl.DataFrame, number: str, day: str, word: str, missing: str, pad: str) -> pl.DataFrame:
    """The table as text in these notations; missing values as ``missing``, values padded by ``pad``."""
    texts = {
        "n": [None if v is None else NUMBERS[number](v) for v in truth["n"]],
        "d": [None if v is None else DATES[day](v) for v in truth["d"]],
        "b": [None if v is None else TRUTH[word][0 if v else 1] for v in truth["b"]],
        "c": truth["c"].to_list(),
        "y": [str(v) for v in truth["y"]],
    }
    return pl.DataFrame({name: [missing if v is None else f"{pad}{v}{pad}" for v in of] for name, of in texts.items()})


def save(frame: pl.DataFrame, path: Path, encoding: Encoding = "utf-8") -> None:
    """Write a table; text in this encoding."""
    match path.suffix:
        case ".csv" | ".tsv":
            text = frame.write_csv(separator="\t" if path.suffix == ".tsv" else ",")
            path.write_bytes(text.encode(encoding))
        case ".ndjson":
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.iter_rows(named=True))
            path.write_bytes(text.encode(encoding))
        case ".parquet":
            frame.write_parquet(path)
        case ".arrow":
            frame.write_ipc(path)
        case ".xlsx":
            frame.write_excel(path)


def table(seed: int) -> pl.DataFrame:
    """A table in which every date has a day above 12 somewhere, and every column a gap."""
    random = np.random.default_rng(seed)
    days = [date(2020 + i % 4, i % 12 + 1, i % 28 + 1) for i in random.permutation(ROWS).tolist()]
    return pl.DataFrame(
        {
            "n": [None if i == 3 else round(float(v), 2) for i, v in enumerate(random.normal(0, 20_000, ROWS))],
            "d": [None if i == 5 else day for i, day in enumerate(days)],
            "b": [None if i == 7 else bool(v) for i, v in enumerate(random.random(ROWS) < 0.5)],
            "c": [None if i == 9 else ("红", "蓝", "x y")[v] for i, v in enumerate(random.integers(0, 3, ROWS))],
            "y": [i % 2 for i in range(ROWS)],
        }
    )


notations = st.tuples(
    *map(st.sampled_from, (list(NUMBERS), list(DATES), list(TRUTH), MISSING, ["", " ", "\u3000"])),
)


encodings = st.sampled_from(["utf-8", "utf-16", "gb18030"])  # these have every character of the tables


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 9), notations, st.sampled_from(FORMATS), encodings, st.booleans())
def test_a_table_is_read_alike_from_any_notation_encoding_and_format(
    tmp_path, seed, notation, name, encoding, is_declared
):
    truth = table(seed)
    save(written(truth, *notation), tmp_path / name, encoding)
    source = open_dataset(name, [tmp_path])
    read = (source.reading(ReadOptions(encoding)) if is_declared else source).read()
    assert read["n"].to_list() == pytest.approx(truth["n"].to_list())
    for column in ("d", "b", "c", "y"):
        assert read[column].to_list() == truth[column].to_list()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(notations, st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_rows_are_encoded_alike_from_any_format_of_the_notation_that_was_trained_on(tmp_path, notation, one, other):
    frame = written(table(1), *notation)
    save(frame, tmp_path / one)
    prepared = prepare(parse({"dataset": one, "target_column": "y", "epochs": 1}), Catalog([tmp_path]))
    encoder = type(prepared.encoder).from_json(json.loads(json.dumps(prepared.encoder.as_json())))
    save(frame.drop("y").head(3), tmp_path / f"new-{other}")
    save(frame.drop("y"), tmp_path / f"all-{other}")
    rows = open_dataset(f"new-{other}", [tmp_path]).expecting(encoder.expected).read()
    every = open_dataset(f"all-{other}", [tmp_path]).expecting(encoder.expected).read()
    assert (encoder.features(rows) == encoder.features(every)[:3]).all()
    trained = open_dataset(one, [tmp_path]).read()
    assert (encoder.features(trained) == encoder.features(every)).all()
