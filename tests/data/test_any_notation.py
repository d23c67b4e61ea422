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
from epochd.serving.rows import frame_of

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
            text = "".join(
                json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in frame.iter_rows(named=True)
            )
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
    rows = open_dataset(f"new-{other}", [tmp_path]).expecting(encoder.expected, encoder.readings).read()
    every = open_dataset(f"all-{other}", [tmp_path]).expecting(encoder.expected, encoder.readings).read()
    assert (encoder.features(rows) == encoder.features(every)[:3]).all()
    trained = open_dataset(one, [tmp_path]).read()
    assert (encoder.features(trained) == encoder.features(every)).all()


TYPED = {
    "share": ([f"{part}.5%" for part in range(10, 50)], [(part + 0.5) / 100 for part in range(10, 50)]),
    "amount": ([f"1.{row + 100},75 €" for row in range(40)], [1100.75 + row for row in range(40)]),
    "day": (
        [f"{row % 28 + 1}/{row % 12 + 1}/2024" for row in range(40)],
        [date(2024, row % 12 + 1, row % 28 + 1) for row in range(40)],
    ),
    "member": (["是" if row % 3 else "否" for row in range(40)], [bool(row % 3) for row in range(40)]),
    "code": ([str(row % 4) for row in range(40)], [float(row % 4) for row in range(40)]),
}
OPTIONS = {"code": {"type": "category"}, "day": {"type": "date", "format": "%d/%m/%Y"}}


@pytest.mark.parametrize("name", FORMATS)
def test_values_that_have_a_type_are_what_they_are_and_text_is_read_as_in_training(tmp_path, name):
    """A model of ``12.5%`` is given 0.125 by a spreadsheet with numbers, by JSON and by Parquet."""
    text = pl.DataFrame({column: values for column, (values, _) in TYPED.items()})
    typed = pl.DataFrame({column: values for column, (_, values) in TYPED.items()})
    text.with_columns(y=pl.int_range(pl.len())).write_csv(tmp_path / "text.csv", separator=";")
    config = {"dataset": "text.csv", "target_column": "y", "task": "regression", "columns": OPTIONS}
    encoder = prepare(parse(config), Catalog([tmp_path])).encoder
    expected = encoder.features(text)
    files = {"text": text} if name in ("t.csv", "t.tsv") else {"text": text, "typed": typed}  # CSV has no types
    for kind, frame in files.items():
        save(frame, tmp_path / f"{kind}-{name}")
        rows = open_dataset(f"{kind}-{name}", [tmp_path]).expecting(encoder.expected, encoder.readings).read()
        np.testing.assert_array_equal(encoder.features(rows), expected)
        save(frame.with_columns(y=pl.int_range(pl.len())), tmp_path / f"held-{name}")
        held_out = {"validation_dataset": f"held-{name}", "validation_split": 0}
        found = prepare(parse(config | held_out), Catalog([tmp_path]))
        np.testing.assert_array_equal(found.validation.x, found.encoder.features(text))
    for frame in (text, typed):
        parsed = {column: json.loads(json.dumps(frame[column].to_list(), default=str)) for column in frame.columns}
        np.testing.assert_array_equal(encoder.features(frame_of(parsed, encoder.expected)), expected)


def test_words_for_missing_values_are_missing_where_values_have_a_type_too(tmp_path):
    values = [-999 if row % 5 == 0 else row * row % 37 for row in range(40)]
    frame = pl.DataFrame({"a": values, "f": [value + 0.0 for value in values], "y": range(40)})
    missing = {"a": {"missing": ["-999"]}, "f": {"missing": ["-999"]}}
    for name in FORMATS:
        save(frame.cast({"f": pl.Int64}) if name in ("t.csv", "t.tsv") else frame, tmp_path / name)
        config = {"dataset": name, "target_column": "y", "task": "regression", "columns": missing}
        prepared = prepare(parse(config), Catalog([tmp_path]))
        rows = open_dataset(name, [tmp_path]).expecting(prepared.encoder.expected, prepared.encoder.readings).read()
        found = prepared.encoder.features(rows)
        np.testing.assert_array_equal(found[prepared.rows["train"]], prepared.train.x)
        assert found.shape[1] == 4
        np.testing.assert_array_equal(found[:, 1] != 0, np.array(values) == -999)
