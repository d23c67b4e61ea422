"""``epochd predict``: the rows of a file, by a model on a server, or in a folder of this machine."""

import json
import sys
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from epochd.cli.console import DEFAULT_URL, Token, Url, connected, err, show, warn
from epochd.cli.language import word
from epochd.core.columns import ReadOptions, parse_options
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.text import visible

MEDIA_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".ndjson": "application/json",
    ".jsonl": "application/json",
}
"""What is asked for, by the suffix of the output file."""


class OnError(StrEnum):
    REFUSE = "refuse"
    SKIP = "skip"


def predict(
    model: Annotated[
        str, Argument(help="A model's name or a task's id on the server, or a model's folder on this machine.")
    ],
    file: Annotated[
        Path,
        Argument(help="The rows to predict: CSV, TSV, JSON, NDJSON, Parquet, Arrow or Excel; or a folder of pictures."),
    ],
    output: Annotated[
        Path | None,
        Option(help="The file to write: .csv, .parquet, .json or .ndjson. Default: CSV on standard output."),
    ] = None,
    version: Annotated[
        str | None, Option(help="A version on the server: a task's id or an alias. Default: latest.")
    ] = None,
    id_columns: Annotated[str, Option(help="Columns of the rows to write beside the predictions, with commas.")] = "",
    echo: Annotated[bool, Option("--echo", help="Write all columns of the rows beside the predictions.")] = False,
    on_error: Annotated[
        OnError, Option(help="Refuse all rows if one cannot be scored, or skip such rows.")
    ] = OnError.REFUSE,
    every_row: Annotated[
        bool, Option("--every-row", help="Of a model that forecasts: one prediction per row, not the last per group.")
    ] = False,
    bom: Annotated[bool, Option("--bom", help="Begin CSV with a byte order mark, as Excel needs it.")] = False,
    encoding: Annotated[str | None, Option(help="The encoding of a text file, such as gbk. Default: detected.")] = None,
    sheet: Annotated[str | None, Option(help="The sheet of a spreadsheet, by name or number from 1.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Predict the rows of a file with a trained model. A model's folder on this machine needs no server."""
    media_type = media_type_of(output)
    ids = [id_columns] if id_columns else []
    if is_folder(model):
        options = parse_options({n: v for n, v in {"encoding": encoding, "sheet": sheet}.items() if v is not None})
        content = predict_locally(Path(model), file, media_type, ids, echo, on_error.value, every_row, bom, options)
    else:
        from epochd.client import pictures  # noqa: PLC0415 - httpx, as in ``connected``

        with connected(url, token) as client:
            try:
                if pictures.is_picture(file):
                    records = client.predict_pictures(model, file, version=version, on_error=on_error.value)
                    write(encoded(records, media_type, bom), output)
                    return
                content = client.predict_file(
                    model,
                    file,
                    version=version,
                    accept=media_type,
                    id_columns=ids,
                    echo=echo,
                    on_error=on_error.value,
                    every_row=every_row,
                    bom=bom,
                    encoding=encoding,
                    sheet=sheet,
                )
            except OSError as error:
                reason = f"cannot be read: {error.strerror or error}"
                raise InvalidSpec([Problem(str(file), reason, "provide a file on this machine")]) from None
    write(content, output)


def is_folder(model: str) -> bool:
    """Whether this is a path rather than a name on the server: a folder with a model, or written like a path."""
    return (Path(model) / "manifest.json").is_file() or model.startswith((".", "~", "/"))


def media_type_of(output: Path | None) -> str:
    """What to ask for. Raises InvalidSpec for an unknown suffix."""
    suffix = ".csv" if output is None else output.suffix.lower()
    if suffix not in MEDIA_TYPES:
        hint = f"use a name that ends in {', '.join(MEDIA_TYPES)}"
        raise InvalidSpec([Problem("--output", f"the format of {str(output)!r} is not known", hint)])
    return MEDIA_TYPES[suffix]


def predict_locally(
    folder: Path,
    file: Path,
    media_type: str,
    ids: list[str],
    echo: bool,
    on_error: str,
    every_row: bool,
    bom: bool,
    reading: ReadOptions,
) -> bytes:
    """The predictions in the form of an answer of the server. Paths of pictures are relative to the folder of ``file``;
    no other file there is looked at."""
    import polars as pl  # noqa: PLC0415 - 0.2 s that only this command needs
    import polars.selectors as cs  # noqa: PLC0415

    from epochd.client import pictures  # noqa: PLC0415
    from epochd.data.tables.source import Source  # noqa: PLC0415
    from epochd.serving import answers, rows  # noqa: PLC0415
    from epochd.serving.predictor import Predictor  # noqa: PLC0415

    predictor = Predictor.load(folder.expanduser())
    column, folder = predictor.encoder.image, file if file.is_dir() else file.parent
    if column is not None and pictures.is_picture(file):
        frame = pl.DataFrame({column.name: [name for name, _ in pictures.files_in(file)]})
        ids = ids or [column.name]
    else:
        source = (
            Source(file.name, file.resolve()).expecting(predictor.expected, predictor.encoder.readings).reading(reading)
        )
        frame = rows.read(source)
        for note in source.notes() if source.path.suffix != rows.JSON_SUFFIX else ():
            show(note, label=(word("note"), ""), to=err)
    options = answers.Options(on_error, ids, echo, every_row=every_row, bom=bom, media_type=media_type)  # type: ignore[arg-type]
    given = frame.select(cs.by_name(options.chosen(frame.columns, predictor.ordering)))
    frame = frame if column is None else column.pictures(folder).decoded(frame)
    found = predictor.predict(frame, on_error=options.on_error, every_row=every_row)
    for warning in found.warnings:
        warn(warning)
    return answers.encoded({"version": predictor.about["task_id"]}, found, given, options)


def encoded(records: list[dict[str, Any]], media_type: str, bom: bool) -> bytes:
    """Predictions of pictures in the form of an answer of the server."""
    if media_type == MEDIA_TYPES[".json"]:
        return json.dumps({"predictions": records}, ensure_ascii=False).encode()
    import polars as pl  # noqa: PLC0415 - 0.2 s that only this command needs

    lines = []
    for record in records:
        shares = record.pop("probabilities", None) or {}
        lines.append(record | {f"probability_{label}": share for label, share in shares.items()})
    table = pl.DataFrame(lines, infer_schema_length=None)
    if media_type == MEDIA_TYPES[".csv"]:
        return table.write_csv(include_bom=bom).encode()
    file = BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def write(content: bytes, output: Path | None) -> None:
    """Write an answer to a file in the format of its name, or to standard output."""
    if output is None:
        text = content.decode()
        sys.stdout.write(visible(text, keep="\n\t") if sys.stdout.isatty() else text)
        return
    if output.suffix.lower() in (".json", ".ndjson", ".jsonl"):
        records = json.loads(content)["predictions"]
        is_list = output.suffix.lower() == ".json"
        lines = (json.dumps(record, ensure_ascii=False) for record in records)
        text = (
            json.dumps(records, ensure_ascii=False, indent=1) + "\n"
            if is_list
            else "".join(f"{one}\n" for one in lines)
        )
        content = text.encode("utf-8", "surrogatepass")
    try:
        output.write_bytes(content)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise InvalidSpec([Problem(str(output), reason, "name a file that can be written")]) from None
    show(f"predictions written to {output}", to=err)
