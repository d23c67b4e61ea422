"""The suffix of a name decides the format."""

import pytest

from epochd.data.formats import suffix_of


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.csv", ".csv"),
        ("A.CSV.GZ", ".csv.gz"),
        ("a.b.Parquet", ".parquet"),
        ("a.gz", ""),
        ("a.json", ""),
        ("csv", ""),
    ],
)
def test_the_suffix_decides_the_format(name, suffix):
    assert suffix_of(name) == suffix
