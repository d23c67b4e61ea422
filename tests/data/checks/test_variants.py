"""Labels and categories that differ in case, width, spaces or Unicode form only are named with their counts."""

import pytest
from tests.support.tables import ROWS, only_warning, table

from epochd.data.checks.variants import folded, variants


@pytest.mark.parametrize("other", ["yes", "YES", "Ｙｅｓ"], ids=["case", "upper", "width"])
def test_labels_that_look_alike_are_a_warning_with_their_counts(look, other):
    found = look(table(y=["Yes", "no", "no", other] * 10))
    message = (
        "labels of 'y' that differ only in case, width, spaces or Unicode form are different classes: "
        f"{', '.join(f'{label!r} (10)' for label in sorted(['Yes', other]))}; write them alike if they mean the same"
    )
    assert only_warning(found) == message
    assert found.task == "multiclass"


def test_categories_that_look_alike_are_a_warning(look):
    values = ["Köln"] * 20 + ["Ko\u0308ln"] * 15 + ["Bonn"] * 5
    message = only_warning(look(table(city=values)))
    assert message.startswith("values of 'city' that differ only in case, width, spaces or Unicode form")
    assert "'Köln' (20)" in message
    assert "'Bonn'" not in message


@pytest.mark.parametrize("other", [" Yes", "Yes\t", "Yes\u3000", "Yes\xa0"])
def test_labels_that_differ_in_spaces_only_are_the_same_or_named(look, other):
    found = look(table(y=["Yes", "no", "no", other] * 10))
    assert found.task == "binary" or only_warning(found).startswith("labels of 'y' that differ only in")


def test_other_labels_are_no_variants(look):
    assert look(table(y=["yes", "no", "ya", "yes!"] * 10)).warnings == []
    assert variants({"a": 1, "b": 2, "ab": 3, "a b": 4}) == []


def test_a_large_table_is_searched_in_its_first_rows(look, monkeypatch):
    monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 20)
    monkeypatch.setattr("epochd.data.checks.statistics.MIN_HEAD", 20)
    message = only_warning(look(table(b=["u", "U"] * (ROWS // 2))))
    assert "different categories in the first 21 rows: 'u' (11), 'U' (10)" in message


@pytest.mark.parametrize(("text", "same"), [("ＡＢＣ　ｄ", "abc d"), ("Straße", "STRASSE"), ("ﬁn", "fin"), ("①", "1")])
def test_folded_texts(text, same):
    assert folded(text) == folded(same)
