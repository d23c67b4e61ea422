"""Names that resemble each other."""

import pytest

from epochd.core.errors import similar_names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("TARGET", ["target"]),
        ("targte", ["target", "target2"]),
        ("TARGTE", ["target", "target2"]),
        ("y", ["Y"]),
        ("alcohol", ["Alcohol", "ALCOHOL"]),
        ("STRASSE", ["Straße"]),
        ("unlike", []),
        ("", []),
    ],
)
def test_names_of_another_case_come_before_those_that_are_only_similar(name, found):
    assert similar_names(name, ["target2", "target", "Y", "Alcohol", "ALCOHOL", "Straße"], 2) == found


def test_names_and_tables_of_any_size_are_compared_in_a_bounded_time():
    assert similar_names("x" * 10**6, ["x" * (10**6 - 1)], 1) == []
    assert similar_names("TARGET", [*map(str, range(10**5)), "target"], 1) == ["target"]
