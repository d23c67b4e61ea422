"""Predictions as CSV: each reader gets a row for each prediction."""

import csv
from io import BytesIO, StringIO

import pandas as pd
import polars as pl
import pytest

from epochd.serving.answers import CSV, Options, encoded
from epochd.serving.predictions import Predictions

LABELS = [None, None, 1.5, None, 2.5, None]


def as_csv(found: Predictions, given: pl.DataFrame | None = None, *, bom: bool = False) -> bytes:
    return encoded({}, found, pl.DataFrame() if given is None else given, Options(media_type=CSV, bom=bom))


@pytest.mark.parametrize("bom", [False, True])
def test_a_missing_prediction_that_is_alone_in_its_line_keeps_its_row(bom: bool) -> None:
    text = as_csv(Predictions(LABELS, None, None), bom=bom)
    assert text.decode("utf-8-sig").split("\n") == ["prediction", '""', '""', "1.5", '""', "2.5", '""', ""]
    assert pd.read_csv(BytesIO(text))["prediction"].fillna(-1).tolist() == [-1, -1, 1.5, -1, 2.5, -1]
    assert pl.read_csv(text).height == len(LABELS)
    assert len(list(csv.DictReader(StringIO(text.decode("utf-8-sig"))))) == len(LABELS)


def test_a_missing_class_that_is_alone_in_its_line_keeps_its_row() -> None:
    found = Predictions(["yes", None, "no"], None, ["no", "yes"])
    assert pd.read_csv(BytesIO(as_csv(found)))["prediction"].fillna("?").tolist() == ["yes", "?", "no"]


def test_a_missing_prediction_beside_other_columns_is_nothing() -> None:
    text = as_csv(Predictions([None, 1.0], None, None), pl.DataFrame({"id": [None, "b"]}))
    assert text == b"id,prediction\n,\nb,1.0\n"
