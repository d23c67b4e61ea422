"""Draws the page of a report some time after its model was saved.

Drawing takes longer than all else at the end of a small training. A model is therefore saved with the values that its
page shows; the page is drawn when no ticket waits, or when somebody asks for it. This module does not import
Matplotlib, so that the server can name its functions, which readers call.
"""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from epochd.artifact import files
from epochd.core.errors import NotFound
from epochd.report import language
from epochd.report.values import ReportData


def page_data(data: ReportData) -> str:
    """All values of the report but ``about``, as JSON that can hold NaN and infinity; the inverse is ``of_folder``."""
    values = {name: value for name, value in asdict(data).items() if name != "about"}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def of_folder(folder: Path) -> ReportData:
    """The report in the folder of a model. Raises OSError and ValueError."""
    values = json.loads((folder / language.PAGE_DATA).read_text(encoding="utf-8"))
    about = json.loads((folder / files.MODEL).read_text(encoding="utf-8"))
    about.pop("encoder", None)
    return TypeAdapter(ReportData).validate_python(values | {"about": about})


def is_due(folder: Path) -> bool:
    """Whether the folder of a model has all that its report is drawn from, but no ``report.html`` yet."""
    return (folder / language.PAGE_DATA).is_file() and not (folder / language.FILE).is_file()


def draw(folder: Path) -> None:
    """Draw ``report.html`` in the folder of a model that has ``page.json``, if it is not there yet. Raises NotFound
    with the reason if it cannot be drawn."""
    if not is_due(folder):
        return
    try:
        from epochd.report import page  # Matplotlib, which the server does not import

        files.add_derived(folder, language.FILE, page.write(of_folder(folder)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0][:300]
        raise NotFound(f"the report of the model in {folder.name} cannot be drawn: {reason}") from error
