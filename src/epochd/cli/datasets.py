"""``epochd datasets``: list, add, show, refresh, remove."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from typer import Argument, Option, Typer

from epochd.cli.console import DEFAULT_URL, Token, Url, connected, err, number, show, show_table, size
from epochd.cli.language import localized, word
from epochd.core.columns import parse_options
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.text import visible

if TYPE_CHECKING:
    from epochd.client import Client

app = Typer(help="The server's datasets: list, add, show, refresh, remove.", no_args_is_help=True)
DatasetName = Annotated[str, Argument(help="The dataset's name, as listed by `epochd datasets list`.")]


@app.command("list")
def list_datasets(
    name: Annotated[str | None, Option(help="Only datasets whose name contains this text.")] = None,
    limit: Annotated[int, Option(help="The maximum number, newest first.")] = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List the datasets that a config can use."""
    with connected(url, token) as client:
        answer = client.datasets(name=name, limit=limit)
    found = answer["datasets"]
    rows = [(d["name"], d["kind"], f"{d['rows']:,}", f"{d['columns']:,}", size(d["bytes"])) for d in found]
    show_table(["name", "kind", "rows", "columns", "size"], rows)
    if answer["total"] > len(found):
        show(f"{len(found)} of {answer['total']} datasets; --limit shows more")


@app.command("add")
def add_dataset(
    file: Annotated[Path | None, Argument(help="The file on this machine to upload.")] = None,
    name: Annotated[str | None, Option(help="The dataset's name. Default: the name of the file.")] = None,
    path: Annotated[str | None, Option(help="A path on the server to register; nothing is copied.")] = None,
    connection: Annotated[str | None, Option(help="The server's connection for --query.")] = None,
    query: Annotated[str | None, Option(help="A SELECT statement whose rows are saved.")] = None,
    replace: Annotated[bool, Option("--replace", help="Replace the dataset with this name.")] = False,
    encoding: Annotated[str | None, Option(help="The encoding of a text file, such as gbk. Default: detected.")] = None,
    sheet: Annotated[str | None, Option(help="The sheet of a spreadsheet, by name or number from 1.")] = None,
    columns: Annotated[
        str | None, Option(help="How single columns are read: a JSON object, or a file that contains one.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Upload a file, register a path on the server, or save the rows of a query."""
    reading = options_of(encoding, sheet, columns)
    with connected(url, token) as client:
        match file, path, connection, query:
            case Path(), None, None, None:
                added = upload(client, file, name, replace, reading)
            case None, str(), None, None if name:
                added = client.register_dataset(name, path, replace=replace, **reading)
            case None, None, str(), str() if name and reading.keys() <= {"columns"}:
                added = client.query_dataset(name, connection, query, replace=replace, **reading)
            case _:
                hint = "use a file, or --name and --path, or --name, --connection and --query"
                raise InvalidSpec([Problem("datasets add", "this combination of options is not valid", hint)])
    text = f"{added['rows']:,} rows, {added['columns']:,} columns, {size(added['bytes'])}"
    show(text, label=(added["name"], "green"))


def options_of(encoding: str | None, sheet: str | None, columns: str | None) -> dict[str, Any]:
    """How a dataset is read, as far as it is given. Raises InvalidSpec."""
    given = {"encoding": encoding, "sheet": sheet, "columns": columns}
    texts = {key: value for key, value in given.items() if value is not None}
    if columns is not None and not columns.lstrip().startswith("{"):
        try:
            texts["columns"] = Path(columns).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{visible(columns)} cannot be read: {getattr(error, 'strerror', None) or error}"
            raise InvalidSpec([Problem("--columns", reason, "provide a file on this machine, or JSON")]) from None
    return parse_options(texts).as_json()


def upload(
    client: "Client", file: Path, name: str | None, replace: bool, reading: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Upload a file, with a progress bar on a terminal. Raises InvalidSpec if it cannot be read."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
            begun = localized(f"uploading {visible(file.name)}")
            sent_all = localized(f"{visible(file.name)} has been sent; the server reads it")
            row = progress.add_task(begun)

            def update(sent: int, total: int) -> None:
                text = sent_all if sent == total else begun
                progress.update(row, completed=sent, total=total, description=text)

            return client.upload_dataset(file, name, replace=replace, progress=update, **(reading or {}))
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise InvalidSpec([Problem(str(file), reason, "provide a file on this machine")]) from None


@app.command("show")
def show_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Show a dataset's columns: types, how text is read, missing and distinct values, range, frequent values."""
    with connected(url, token) as client:
        found = client.dataset(name)
    if found["state"] != "ready":
        show(f"the dataset {name} is in the state {found['state']}: {found['received_bytes']:,} bytes so far")
        return
    text = f"{found['rows']:,} rows, {found['columns']:,} columns, {size(found['bytes'])}"
    show(f"{name} ({found['kind']}): {text}, fingerprint {found['fingerprint'][:12]}")
    for note in found.get("notes") or ():
        show(note, label=(word("note"), ""))
    cells = map(column_cells, found["profile"])
    show_table(["column", "type", "missing", "distinct", "min", "mean", "max", "most frequent"], cells)


def column_cells(column: dict[str, Any]) -> list[str]:
    distinct, about = column.get("distinct"), "~" if column.get("distinct_is_estimate") else ""
    counts = [f"{column['missing']:,}", "" if distinct is None else f"{about}{distinct:,}"]
    figures = [figure(column.get(name)) for name in ("min", "mean", "max")]
    frequent = ", ".join(f"{figure(top['value'])} ({top['count']:,})" for top in (column.get("top") or [])[:3])
    kind = ", ".join(filter(None, [column["type"], column.get("notation")]))
    return [column["name"], kind, *counts, *figures, frequent]


def figure(value: object) -> str:
    """A value for a table cell; empty for None."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


@app.command("refresh")
def refresh_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Run the query of a dataset again and save the new rows."""
    with connected(url, token) as client:
        show(f"{name}: {client.refresh_dataset(name)['rows']:,} rows")


@app.command("remove")
def remove_dataset(name: DatasetName, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Remove a dataset; the file of an upload or a query is deleted too."""
    with connected(url, token) as client:
        client.remove_dataset(name)
    show(f"{name} has been removed")
