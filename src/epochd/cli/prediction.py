"""``epochd predict``: what a finished model says about new rows, on this machine and without a server."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from epochd.cli.console import err


def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, for example .../models/latest.")],
    file: Annotated[Path, typer.Argument(help="The rows to score: CSV, TSV or Parquet.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the CSV; absent: standard output.")] = None,
) -> None:
    """Score a file with a finished model. No server and no framework is needed."""
    from epochd.artifact.predict import predict_file  # noqa: PLC0415 - Polars is 0.2 s that only this needs

    found = predict_file(model, file)
    if output is None:
        sys.stdout.write(found.write_csv())
    else:
        found.write_csv(output)
        err.print(f"{found.height} predictions written to {escape(str(output))}")
