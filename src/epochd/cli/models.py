"""``epochd models``: list, show, alias, download, remove."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from epochd.cli.console import DEFAULT_URL, Token, Url, connected, number, show, show_table, size
from epochd.cli.language import word
from epochd.core.errors import InvalidSpec, Problem

app = Typer(help="The server's models: list, show, alias, download, remove.", no_args_is_help=True)
ModelName = Annotated[str, Argument(help="A model's name, as listed by `epochd models list`, or a task's id.")]
VERSION_HELP = "A version: a task's id or an alias. Default: latest."


@app.command("list")
def list_models(
    name: Annotated[str | None, Option(help="Only models whose name contains this text.")] = None,
    dataset: Annotated[str | None, Option(help="Only models that were trained on this dataset.")] = None,
    limit: Annotated[int, Option(help="The maximum number, the one trained last first.")] = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List models with their newest version."""
    with connected(url, token) as client:
        answer = client.models(name=name, dataset=dataset, limit=limit)
    found, rows = answer["models"], []
    for model in found:
        metrics = model["newest"]["metrics"] or {}
        aliases = ", ".join(f"{alias} → {version}" for alias, version in model["aliases"].items())
        scores = [number(metrics.get(name)) for name in ("loss", "accuracy")]
        rows.append([model["model"], str(model["versions"]), model["latest"] or "-", aliases or "-", *scores])
    show_table(["model", "versions", "latest", "aliases", "loss", "accuracy"], rows)
    if answer["total"] > len(found):
        show(f"{len(found)} of {answer['total']} models; --limit shows more")


@app.command("show")
def show_model(
    model: ModelName,
    version: Annotated[str | None, Option(help=VERSION_HELP)] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show what a model reads, how good it is, and its versions."""
    with connected(url, token) as client:
        found = client.model(model, version)
    total = size(sum(file["bytes"] for file in found["files"]))
    text = f"version {found['version']}: {found['task']} of {found['target']!r}, {total}"
    show(text, label=(found["model"], "green"))
    parts = found["metrics"] or {}
    for part, scores in ((part, parts[part]) for part in ("train", "validation", "test") if part in parts):
        values = [f"{name} {number(value)}" for name, value in scores.items() if isinstance(value, int | float)]
        show(", ".join(values), label=(word(part), ""))
    show_table(["input", "kind", "example"], [[i["name"], i["kind"], str(i["example"])[:80]] for i in found["inputs"]])
    versions = [[one["version"], ", ".join(one["aliases"])] for one in found["versions"]]
    show_table(["id", "aliases"], versions)


@app.command("alias")
def set_alias(
    model: ModelName,
    alias: Annotated[str, Argument(help="A name such as champion.")],
    version: Annotated[
        str | None, Argument(help="The version that it leads to: a task's id, latest or an alias.")
    ] = None,
    remove: Annotated[bool, Option("--remove", help="Remove the alias.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Make an alias lead to a version, or remove it."""
    if remove == (version is not None):
        hint = "name a version, or use --remove"
        raise InvalidSpec([Problem("models alias", "this combination of arguments is not valid", hint)])
    with connected(url, token) as client:
        found = client.remove_alias(model, alias) if version is None else client.set_alias(model, alias, version)
    text = f"{alias} → {found['version']}" if version else f"the alias {alias} has been removed"
    show(text, label=(found["model"], ""))


@app.command("download")
def download_model(
    model: ModelName,
    folder: Annotated[Path, Argument(help="The folder to put the model's folder into.")] = Path("."),
    version: Annotated[str | None, Option(help=VERSION_HELP)] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Download a model's folder."""
    with connected(url, token) as client:
        try:
            place = client.download_model(model, folder, version)
        except OSError as error:
            reason = f"cannot be written: {error.strerror or error}"
            raise InvalidSpec([Problem(str(folder), reason, "name another folder")]) from None
    show(f"saved in {place}")


@app.command("remove")
def remove_model(
    model: ModelName,
    version: Annotated[str, Argument(help="The version to delete: a task's id.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Delete a version's files; its task stays."""
    with connected(url, token) as client:
        found = client.remove_model(model, version)
    show(f"{found['model']}/{found['version']} has been removed")
