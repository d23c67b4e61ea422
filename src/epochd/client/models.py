"""The requests about models, a part of the client: the list, predictions, aliases, downloads, removal."""

import os
import shutil
import zipfile
from collections.abc import Sequence
from os import PathLike, fstat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import quote

from epochd.client import pictures, tables
from epochd.client.connection import LONG_TIMEOUT, Connection
from epochd.core.errors import DataError, InvalidRequest, Problem

MODELS = "/api/v1/models"
LATEST = "latest"
CONTENT_TYPES = {
    ".csv": "text/csv",
    ".csv.gz": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": tables.JSON,
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".parquet": tables.PARQUET,
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xls": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
}
"""The content type of a file by its suffix."""


class ModelRequests:
    """The methods of ``Client`` about models."""

    _connection: Connection

    def models(
        self, *, name: str | None = None, dataset: str | None = None, limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        """List models, the one that was trained last first; ``name`` matches a part of the name. With ``dataset`` only
        versions that were trained on it count."""
        query = {"name": name, "dataset": dataset, "limit": limit, "offset": offset}
        return self._connection.request("GET", MODELS, query)

    def model(self, name: str, version: str | None = None) -> dict[str, Any]:
        """All details of a version of a model: inputs with examples, outputs, scores, lineage, files, all versions.

        ``name`` is a model's name such as ``models/churn``, or a task's id; ``version`` a task's id, ``latest`` (the
        default) or an alias. Raises NotFound.
        """
        return self._connection.request("GET", _path(name, version))

    def predict(
        self,
        model: str,
        data: Any,
        *,
        version: str | None = None,
        id_columns: Sequence[str] = (),
        echo: bool = False,
        on_error: Literal["refuse", "skip"] = "refuse",
        probabilities: bool = True,
        every_row: bool = False,
    ) -> Any:
        """Predict rows: a list of dicts, a dict of columns, or a data frame of pandas or Polars. Returns the same kind.

        Records have ``prediction``, for classification ``probabilities`` by label, and the ``id_columns`` of the rows
        (with ``echo`` all columns); frames have a column ``probability_<label>`` for each label. With
        ``on_error="skip"`` rows that cannot be scored have no prediction, and ``problem`` says why; otherwise they
        raise DataError. A model that forecasts returns the forecast of each group, or with ``every_row`` one per row.
        """
        is_frame = tables.is_polars(data) or tables.is_pandas(data)
        content, content_type = tables.body(data)
        query = _query(id_columns, echo, on_error, probabilities, every_row)
        headers = {"Content-Type": content_type, "Accept": tables.PARQUET if is_frame else tables.JSON}
        path = f"{_path(model, version)}/predict"
        options: dict[str, Any] = {"content": content, "headers": headers, "timeout": LONG_TIMEOUT}
        if is_frame:
            found = tables.read_parquet(self._connection.content("POST", path, query, **options))
            return tables.to_pandas(found, data) if tables.is_pandas(data) else found
        records = self._connection.request("POST", path, query, **options)["predictions"]
        return tables.columns_of(records) if isinstance(data, dict) else records

    def predict_file(
        self,
        model: str,
        file: str | PathLike[str],
        *,
        version: str | None = None,
        accept: str = "text/csv",
        id_columns: Sequence[str] = (),
        echo: bool = False,
        on_error: Literal["refuse", "skip"] = "refuse",
        every_row: bool = False,
        bom: bool = False,
        encoding: str | None = None,
        sheet: str | int | None = None,
    ) -> bytes:
        """Predict the rows of a file: CSV, TSV, JSON, NDJSON, Parquet, Arrow or a spreadsheet, by its suffix. The
        answer as ``accept`` says: ``text/csv``, ``application/json`` or ``application/vnd.apache.parquet``.
        ``encoding`` is that of a text file, which the server detects by default, ``sheet`` that of a spreadsheet, by
        default the first visible one.

        Raises InvalidRequest for another suffix, OSError if the file cannot be read.
        """
        path = Path(file)
        content_type = next(
            (kind for suffix, kind in CONTENT_TYPES.items() if path.name.lower().endswith(suffix)), None
        )
        if content_type is None:
            message, hint = (
                f"the format of {path.name!r} is not known",
                f"use a file that ends in {', '.join(CONTENT_TYPES)}",
            )
            raise InvalidRequest(f"{message}; {hint}", [Problem("file", message, hint)])
        query = _query(id_columns, echo, on_error, True, every_row)
        query |= {"bom": "true" if bom else None, "encoding": encoding, "sheet": sheet}
        with path.open("rb") as content:
            size = fstat(content.fileno()).st_size
            headers = {"Content-Type": content_type, "Accept": accept, "Content-Length": str(size)}
            url = f"{_path(model, version)}/predict"
            return self._connection.content("POST", url, query, content=content, headers=headers, timeout=LONG_TIMEOUT)

    def predict_pictures(
        self,
        model: str,
        path: str | PathLike[str],
        *,
        version: str | None = None,
        on_error: Literal["refuse", "skip"] = "refuse",
        probabilities: bool = True,
    ) -> list[dict[str, Any]]:
        """Predict a picture on this machine, or all in a folder: a record for each with its path in the folder, under
        the name of the model's column, and what ``predict`` returns.

        Raises InvalidRequest if the model reads no pictures or there are none, DataError for those that cannot be
        read, OSError.
        """
        files = pictures.files_in(Path(path))
        inputs = self.model(model, version)["inputs"]
        column = next((one["name"] for one in inputs if one["kind"] == "image"), None)
        if column is None:
            message, hint = f"the model {model!r} reads no pictures", "predict a file with its columns"
            raise InvalidRequest(f"{message}; {hint}", [Problem("model", message, hint)])
        found: list[dict[str, Any]] = []
        for batch in pictures.batches(files):
            rows, names = [{column: content} for _, content in batch], [name for name, _ in batch]
            try:
                records = self.predict(model, rows, version=version, on_error=on_error, probabilities=probabilities)
            except DataError as error:
                raise pictures.named(error, names) from None
            found += [{column: name, **record} for name, record in zip(names, records, strict=True)]
        return found

    def set_alias(self, model: str, alias: str, version: str) -> dict[str, Any]:
        """Make an alias such as ``champion`` lead to a version; an existing one is moved."""
        path = f"{_path(model, None)}/aliases/{quote(alias, safe='')}"
        return self._connection.request("PUT", path, json={"version": version})

    def remove_alias(self, model: str, alias: str) -> dict[str, Any]:
        return self._connection.request("DELETE", f"{_path(model, None)}/aliases/{quote(alias, safe='')}")

    def remove_model(self, model: str, version: str) -> dict[str, Any]:
        """Delete the files of a version; its task stays. Raises ModelInUse if an alias leads to it."""
        return self._connection.request("DELETE", _path(model, version))

    def download_model(self, model: str, folder: str | PathLike[str], version: str | None = None) -> Path:
        """Download a version into a new folder inside ``folder``, named like the version; its path.

        Raises OSError if it cannot be written, or exists.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=place) as temporary:
            archive = Path(temporary) / "model.zip"
            with archive.open("xb") as content:
                self._connection.download(f"{_path(model, version or LATEST)}/download", content)
            with zipfile.ZipFile(archive) as opened:
                [name] = {Path(entry).parts[0] for entry in opened.namelist()}
                opened.extractall(temporary)
            if (place / name).exists():
                raise FileExistsError(f"{place / name} exists already")
            shutil.move(os.path.join(temporary, name), place / name)
        return place / name


def _path(model: str, version: str | None) -> str:
    """The URL of a model or of a version; the name's slashes stay as they are, which every proxy passes on."""
    name = f"{MODELS}/{quote(model.strip('/'), safe='/')}"
    return name if version is None else f"{name}/versions/{quote(version, safe='')}"


def _query(
    id_columns: Sequence[str], echo: bool, on_error: str, probabilities: bool, every_row: bool
) -> dict[str, Any]:
    """The options of a prediction that differ from the defaults."""
    return {
        "id_columns": ",".join(id_columns) or None,
        "echo": "true" if echo else None,
        "on_error": None if on_error == "refuse" else on_error,
        "probabilities": None if probabilities else "false",
        "every_row": "true" if every_row else None,
    }
