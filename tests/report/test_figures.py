import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from tests.support.reports import row

from epochd.report import figures
from epochd.report.canvas import COLOURS, GRID, INK
from epochd.report.texts import say
from epochd.report.values import Curve, Dependence, Importance, Line, Mark

HOSTILE = 'x</text><script>alert(1)</script>$\\frac{1}{0}$ & "数据" @0@'


def importance(name):
    return figures.importance([Importance(name, 0.5, 0.1, 0.2, 5), Importance("other", -0.1, 0.0, 0.0, 5)], False)


def dependence(name):
    line = Line("", [0.1, 0.9])
    return figures.dependence(0, Dependence(name, [], [name, "b"], [line]), say("mean_prediction"), (0.1, 0.9))


def epochs(history, marks=(), columns=("train_loss", "val_loss")):
    return figures.epochs("loss", history, list(columns), 1, marks, say("loss_title"))


@pytest.mark.parametrize("draw", [importance, dependence])
def test_texts_from_outside_are_texts_in_a_figure(draw):
    svg = ElementTree.fromstring(draw(HOSTILE).svg)
    assert svg.find(".//script") is None
    shown = {element.text for element in svg.iter("text") if element.text}
    assert any(text.startswith("x</text><scri") and text.endswith("…") for text in shown)


def test_a_figure_is_accessible_and_complete_in_both_languages():
    svg = ElementTree.fromstring(importance("age").svg)
    assert svg.attrib["role"] == "img"
    labelled = svg.attrib["aria-labelledby"].split()
    assert [svg.find(f"*[@id='{name}']").tag for name in labelled] == ["title", "desc"]
    languages = [element.attrib["lang"] for element in svg.iter("tspan")]
    assert languages.count("en") == languages.count("zh") > 0


def test_a_figure_refers_to_nothing_outside_and_knows_no_fixed_colours():
    drawn = importance("age").svg
    assert "http" not in drawn
    assert "metadata" not in drawn
    assert not any(colour in drawn for colour in (*COLOURS, INK, GRID))
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
    for link in re.findall(r'(?:href="|url\()#?([^")]+)', drawn):
        assert f'id="{link.lstrip("#")}"' in drawn


def test_the_same_figure_is_the_same_text_without_pyplot():
    assert importance("age").svg == importance("age").svg
    code = "import sys, epochd.report.page; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_figure_has_its_numbers_as_a_table():
    drawn = epochs([row(1), row(2)])
    assert drawn.rows == [["1", "1", "2"], ["2", "0.5", "1"]]
    assert len(drawn.headers) == 3


def test_marks_and_the_best_epoch_are_in_the_legend():
    marks = [Mark("resumed", 1), Mark("resumed", 2), Mark("rollback", 2, 1e-4), Mark("resumed", 4)]
    drawn = epochs([row(number) for number in range(1, 5)], marks)
    assert [key.text.en for key in drawn.legend[2:]] == [
        "best epoch: 1",
        "resumed after epoch 1, 2",
        "returned to epoch 2 (loss infinite or NaN)",
    ]


def test_values_that_are_missing_leave_a_gap_and_no_values_no_figure():
    assert epochs([row(1, val_loss=None), row(2)]).rows[0] == ["1", "1", "–"]
    assert epochs([row(1, train_loss=None, val_loss=None)]) is None
    assert len(epochs([row(1)]).legend) == 3


def test_a_long_history_is_thinned_and_keeps_the_best_epoch():
    drawn = figures.epochs("loss", [row(n) for n in range(1, 5001)], ["val_loss"], 1234, [], say("loss_title"))
    assert len(drawn.rows) <= figures.MAX_ROWS + 1
    assert ["1,234", "0.001621"] in drawn.rows
    assert len(drawn.svg) < 60_000


@pytest.mark.parametrize("last", [0.001, 1e-6])
def test_rates_of_any_kind_can_be_drawn(last):
    drawn = figures.epochs("rate", [row(1), row(2, learning_rate=last)], ["learning_rate"], 1, [], say("rate_title"))
    assert drawn.rows[1] == ["2", "0.001" if last == 0.001 else "1e-06"]


def test_curves_have_a_line_and_an_area_for_each_part():
    found = {"validation": Curve([0, 1], [0, 1], 0.5), "test": Curve([0, 0, 1], [0, 1, 1], 1.0)}
    drawn = figures.curves("roc", found)
    assert [key.text.en for key in drawn.legend] == ["validation: area 0.5", "test: area 1", "by chance"]
    assert figures.curves("roc", {}) is None
