"""Reports of real data without a training: an MLP has its initial weights, other networks are a linear function, which
takes less time."""

from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from epochd.core.arrays import FloatArray
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog
from epochd.engines import network, reference
from epochd.loop.engine import Setup
from epochd.loop.state import LoopState
from epochd.report import drawing, page
from epochd.worker import model_report
from epochd.worker.model_report import Finished
from tests.support import tickets

TASK_ID = "epoch_training_20260131_093000_4fd2c1"
VOID = frozenset({"meta", "input", "img", "br", "link", "hr"})


def report_of(folder: Path) -> str:
    """The report of a saved model, drawn now if it was not before."""
    drawing.draw(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def row(epoch: int, **values: Any) -> dict[str, Any]:
    """A row of a history."""
    known = {"train_loss": 1 / epoch, "train_accuracy": 0.9, "val_loss": 2 / epoch, "val_accuracy": 0.8}
    return {"epoch": epoch, **known, "learning_rate": 0.001, "time_per_epoch": 0.01} | values


def finished(
    data_dir: Path,
    history: list[dict[str, Any]] | None = None,
    about: dict[str, Any] | None = None,
    marks: list[dict[str, Any]] | None = None,
    outputs: Callable[[FloatArray], FloatArray] | None = None,
    **options: Any,
) -> Finished:
    """A training that has ended. ``options`` are those of the spec and the ticket (default: breast_cancer); ``about``
    are further contents of its ``model.json``."""
    values = {"dataset": "breast_cancer", "task_id": TASK_ID, "report": True} | options
    ticket = tickets.ticket(data_dir, **values)
    prepared = prepare(ticket.spec, Catalog(ticket.dataset_roots, ticket.registered))
    encoder, shape = prepared.encoder, model_report.example_shape(prepared)
    inputs, embeddings = network.input_shape(ticket.spec, shape), network.embeddings(encoder.embedded)
    setup = Setup(ticket.spec, prepared.task, inputs, encoder.outputs, embeddings=embeddings, masked=encoder.masked)
    untrained = partial(reference.forward, setup, network.initial_weights(setup))
    weights = np.random.default_rng(1).normal(size=(prod(inputs), encoder.outputs)).astype(np.float32)
    sides = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    rows = history or [row(1), row(2)]
    described = {
        "task_id": ticket.task_id,
        "spec": ticket.spec.model_dump(),
        "task": prepared.task,
        "best_epoch": 1,
        "epochs": len(rows),
        "stopped_early": False,
        "facts": {"dataset": ticket.spec.dataset, "fingerprint": prepared.fingerprint},
        "versions": {"epochd": "1"},
    }
    return Finished(
        ticket,
        prepared,
        setup,
        outputs or (untrained if ticket.spec.model_type == "mlp" else partial(linear, weights)),
        {name: None if side is None else side.shaped(inputs) for name, side in sides.items()},
        LoopState(0.001, epoch=len(rows), best_epoch=1, history=rows),
        described | (about or {}),
        marks or [],
        [],
    )


def linear(weights: FloatArray, x: FloatArray) -> FloatArray:
    """Outputs (rows, outputs) of features (rows, *inputs)."""
    found: FloatArray = x.reshape(len(x), -1) @ weights
    return found


def written(data_dir: Path, **options: Any) -> "Page":
    """The page of such a training."""
    return Page(page.write(model_report.report_data(finished(data_dir, **options))))


class Page(HTMLParser):
    """A parsed page: ``tags`` with their attributes, the ``cells`` of each table by its class (texts in English), the
    texts by language, and ``unclosed`` tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.html = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.texts: dict[str, list[str]] = {"en": [], "zh": [], "": []}
        self.unclosed: list[str] = []
        self._table: list[list[str]] | None = None
        self._languages: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag in VOID:
            return
        self.unclosed.append(tag)
        self._languages.append(attributes.get("lang") or "" if tag in ("span", "tspan") else "")
        if tag == "table":
            self._table = []
            self.tables.setdefault(attributes.get("class") or "", []).append(self._table)
        if tag == "tr" and self._table is not None:
            self._table.append([])
        if tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed[-1] == tag, (self.unclosed[-3:], tag)
        self.unclosed.pop()
        self._languages.pop()
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        language = next((one for one in reversed(self._languages) if one), "")
        self.texts[language].append(data)
        if self._table and self._table[-1] and language != "zh" and {"td", "th"} & set(self.unclosed[-3:]):
            self._table[-1][-1] += data.strip("\n")

    def attributes(self, name: str) -> Iterator[str]:
        """All values of an attribute."""
        yield from (value for _, attributes in self.tags for key, value in attributes.items() if key == name and value)

    def rows(self, table: str, place: int = 0) -> dict[str, list[str]]:
        """The lines of a table by their first cell."""
        return {line[0]: line[1:] for line in self.tables[table][place]}

    def says(self, text: str) -> bool:
        """Whether a text is on the page, in any language."""
        return any(text in "".join(texts) for texts in self.texts.values())
