"""Rows in JSON: names of columns."""

import unicodedata
from typing import Any

import pytest

from epochd.core.errors import InvalidRequest
from epochd.serving import rows

NFD = unicodedata.normalize("NFD", "größe")


@pytest.mark.parametrize(
    "value", [[{NFD: 1, "年龄": 2}], {"rows": [{NFD: 1, "年龄": 2}]}, {"columns": {NFD: [1], "年龄": [2]}}]
)
def test_columns_are_found_however_their_letters_are_written(value: Any) -> None:
    assert rows.rows_of(value).columns == {"größe": [1], "年龄": [2]}


@pytest.mark.parametrize(
    "value", [[{NFD: 1, "größe": 2}], [{NFD: 1}, {"größe": 2}], {"columns": {NFD: [1], "größe": [2]}}]
)
def test_two_columns_that_unicode_makes_equal_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="two columns have the name 'größe'"):
        rows.rows_of(value)
