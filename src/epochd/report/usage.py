"""Commands that predict with a model: over HTTP, in Python and in a shell."""

import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pprint import pformat
from typing import Any
from urllib.parse import quote

from epochd.report.texts import plain
from epochd.report.values import Usage

MAX_COLUMNS, SHORTENED = 60, 6
"""Rows with more columns are shortened to these."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Commands that predict; ``columns`` is the number of columns of a row if the rows are shortened."""

    http: str
    python: str
    shell: str
    table: str | None
    columns: int | None


def commands(usage: Usage) -> Examples:
    """The commands for a model, with rows of its columns."""
    count = len(usage.rows[0]) if usage.rows else 0
    is_long = count > MAX_COLUMNS
    rows = [dict(list(row.items())[:SHORTENED]) for row in usage.rows] if is_long else usage.rows
    url = f"{usage.server}/api/v1/models/{quote(usage.model)}/versions/{usage.version}/predict"
    body = shlex.quote(json.dumps({"rows": rows}, ensure_ascii=False))
    http = f"curl -s {shlex.quote(url)} \\\n     -H 'Content-Type: application/json' \\\n     -d {body}"
    python = (
        "from epochd.client import Client\n\n"
        f"rows = {pformat(rows, sort_dicts=False, width=100)}\n"
        f"with Client({usage.server!r}) as client:\n"
        f"    print(client.predict({usage.model!r}, rows, version={usage.version!r}))"
    )
    shell = f"epochd predict {usage.version} rows.csv --output out.csv"
    http, python, shell = map(visible_lines, (http, python, shell))
    return Examples(http, python, shell, _table(rows), count if is_long else None)


def _table(rows: Sequence[dict[str, Any]]) -> str | None:
    """The rows as CSV; None for lists, which CSV cannot hold."""
    if not rows or any(isinstance(value, list) for row in rows for value in row.values()):
        return None
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows(
        [str(value).lower() if isinstance(value, bool) else value for value in row.values()] for row in rows
    )
    return visible_lines(buffer.getvalue().rstrip("\n"))


def visible_lines(text: str) -> str:
    """The text with invisible characters escaped, line by line."""
    return "\n".join(plain(line).en for line in text.split("\n"))
