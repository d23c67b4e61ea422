"""Which problems the tests of a session have met that the Chinese catalogue does not know.

Each process of the session notes the messages and hints of the problems that the sources make, one for each form. At
the end they stand in ``untranslated.txt`` in the cache folder of pytest; with EPOCHD_UNTRANSLATED=fail the session
fails.
"""

import os
import re
import sys
from typing import Any

import pytest

from epochd.core import errors
from epochd.core.language import chinese
from epochd.data.checks.report import DatasetReport

VARIABLE = "EPOCHD_UNTRANSLATED"
INSERTED = re.compile(r"""'[^']*'|"[^"]*"|[\d.,]+""")
MOST = 5_000
"""Forms that a process notes; random tests make many."""
FOLDER, LISTED = "untranslated", "untranslated.txt"

forms: dict[str, str] = {}
"""Form, without what is inserted → the first text of it."""


def note(text: str) -> None:
    """Keep a text if it is the first of its form."""
    if text and len(text) <= errors.MAX_MESSAGE and len(forms) < MOST:
        forms.setdefault(INSERTED.sub("…", text), text)


def unknown() -> list[str]:
    """The noted texts that have no translation, sorted."""
    catalogue = chinese()
    return sorted(text for text in forms.values() if not catalogue.knows(text))


def watch() -> None:
    """Note every problem, and every warning of a dataset, that the sources make from now on; those that tests make
    themselves do not count."""
    made, reported = errors.Problem.__init__, DatasetReport.__init__

    def noted(self: errors.Problem, *values: Any, **named: Any) -> None:
        made(self, *values, **named)
        if sys._getframe(1).f_globals.get("__name__", "").startswith("epochd."):
            note(self.message)
            note(self.hint)

    def warned(self: DatasetReport, *values: Any, **named: Any) -> None:
        reported(self, *values, **named)
        for text in [*self.warnings, *(column.reason for column in self.left_out)]:
            note(text)

    errors.Problem.__init__ = noted  # type: ignore[method-assign]
    DatasetReport.__init__ = warned  # type: ignore[method-assign]


def report(session: pytest.Session) -> None:
    """Write down what this process has found; the process that began the session also reads what all others have."""
    cache = getattr(session.config, "cache", None)  # without its plugin there is none
    if cache is None:
        return
    folder = cache.mkdir(FOLDER)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        (folder / f"{worker}.txt").write_text("".join(f"{text!r}\n" for text in unknown()), encoding="utf-8")
        return
    found = {repr(text) for text in unknown()}
    for file in folder.glob("gw*.txt"):
        found.update(file.read_text(encoding="utf-8").splitlines())
        file.unlink()
    (folder / LISTED).write_text("".join(f"{text}\n" for text in sorted(found)), encoding="utf-8")
    if found and os.environ.get(VARIABLE) == "fail":
        print(f"\n{len(found)} messages have no translation: {folder / LISTED}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
