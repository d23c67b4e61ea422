"""How the columns of a dataset are read: what a client may say of a column, and of the file it is in.

Whatever is not said is decided from the whole column (``data/columns``). Options of a registered dataset hold for every
config that names it; those of a config take precedence.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from epochd.core.errors import InvalidSpec, Problem, bounded
from epochd.core.text import cut, shown

ColumnType = Literal["number", "boolean", "category", "text", "date", "time", "duration", "identifier", "list"]
"""What a column is. ``category`` is text with few values, ``text`` is free text, an ``identifier`` names its row."""
Encoding = Literal[
    "utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "cp1252", "latin-1", "euc-kr", "cp1251", "cp1250"
]
"""Encodings that can be declared; UTF-8 and UTF-16 with or without a byte order mark."""
Sheet = Annotated[str, Field(min_length=1, max_length=100)] | Annotated[int, Field(ge=1, le=10_000)]
"""A sheet of a spreadsheet, by its name or its number from 1."""
OPTION_FIELDS = ("encoding", "sheet", "columns")
HINTS = {
    "encoding": "an encoding such as utf-8, gb18030, big5 or cp1252",
    "sheet": "the name of a sheet, or its number from 1",
    "columns": 'options by column, such as {"day": {"type": "date", "format": "%d/%m/%Y"}}',
}
DURATION_FORMATS = ("%H:%M", "%M:%S")
"""What a clock of two parts has, as the format of a column of durations."""
MAX_MISSING, MAX_OPTIONS = 100, 100_000
"""Words for missing values that one column may have."""


class ColumnOptions(BaseModel):
    """What a client says of one column. Everything else is decided from the column's values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    type: ColumnType | None = None
    """What the column is; default: decided from all its values."""
    decimal: Literal[".", ","] | None = None
    """For numbers: the decimal separator; the other one separates thousands. Default: decided from all values."""
    format: Annotated[str, Field(min_length=2, max_length=100)] | None = None
    """For dates and times: the format in the notation of strftime, such as ``%d/%m/%Y``. For durations: ``%M:%S`` or
    ``%H:%M``, what a clock of two parts such as ``36:54`` has. Default: decided from all values."""
    timezone: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """For times without an offset to UTC: the IANA time zone that they are in, such as ``Asia/Shanghai``."""
    last_year: Annotated[int, Field(ge=2000, le=2099)] | None = None
    """For dates with years of two digits: the last of the hundred years that they are in: 2030 makes 1931 of 31.
    Default: 2069, or the next year, if the dates would lie in the future and their column then spans no more years."""
    missing: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=MAX_MISSING)] | None = None
    """The words that mean a missing value in this column, instead of the usual ones; an empty value is always
    missing."""

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if self.type == "duration" and self.format not in (None, *DURATION_FORMATS):
            raise ValueError("the format of durations is %M:%S or %H:%M")
        return self

    @property
    def reads_text(self) -> bool:
        """Whether the column has to be read as text first."""
        return self.type not in (None, "list") or any(
            (self.decimal, self.format, self.timezone, self.last_year, self.missing)
        )


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is read. ``encoding`` is that of a text file, ``sheet`` the name or the number (from 1) of a sheet;
    None: detected. ``columns`` are by name. ``labels`` are columns whose words are kept, such as the target: ``是`` and
    ``否`` are not read as true and false, and one value that does not fit the others is not left out. With
    ``keeps_words`` a format leaves words for missing values to those who read the columns."""

    encoding: Encoding | None = None
    sheet: str | int | None = None
    columns: Mapping[str, ColumnOptions] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    keeps_words: bool = False

    def updated(self, other: "ReadOptions") -> "ReadOptions":
        """These options, with those that ``other`` sets in their place."""
        encoding = self.encoding if other.encoding is None else other.encoding
        sheet = self.sheet if other.sheet is None else other.sheet
        return ReadOptions(encoding, sheet, {**self.columns, **other.columns}, (*self.labels, *other.labels))

    def as_json(self) -> dict[str, Any]:
        """The options that are set, as JSON types."""
        columns = {name: options.model_dump(exclude_none=True) for name, options in self.columns.items()}
        found = {"encoding": self.encoding, "sheet": self.sheet, "columns": columns or None}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "ReadOptions":
        """The options that ``as_json`` described. Raises pydantic's ValidationError for invalid ones."""
        columns = {name: ColumnOptions.model_validate(one) for name, one in (state.get("columns") or {}).items()}
        return cls(state.get("encoding"), state.get("sheet"), columns)


class _ReadFields(BaseModel):
    """Read options as a client gives them; validated only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    encoding: Encoding | None = None
    sheet: Sheet | None = None
    columns: Annotated[dict[str, ColumnOptions], Field(max_length=MAX_OPTIONS)] | None = None


def read_options(values: Mapping[str, Any]) -> ReadOptions:
    """The options in a mapping with ``encoding``, ``sheet`` and ``columns``. Raise InvalidSpec with every problem."""
    try:
        found = _ReadFields.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors(include_url=False)]
        raise InvalidSpec(bounded(problems)) from None
    return ReadOptions(found.encoding, found.sheet, found.columns or {})


def parse_options(values: Mapping[str, str]) -> ReadOptions:
    """``read_options`` in texts, as in a URL or a form: a sheet of digits is a number, columns are JSON."""
    found: dict[str, Any] = dict(values)
    if (sheet := values.get("sheet", "")).isascii() and sheet.isdecimal():
        found["sheet"] = int(sheet)
    if "columns" in values:
        try:
            found["columns"] = json.loads(values["columns"])
        except ValueError as error:
            raise InvalidSpec([Problem("columns", f"not valid JSON: {error}", HINTS["columns"])]) from None
    return read_options(found)


def _problem(error: ErrorDetails) -> Problem:
    field = ".".join(cut(str(part)) for part in error["loc"] if not str(part).startswith("constrained-"))
    message = f"{error['msg'][0].lower()}{error['msg'][1:]}, but {shown(error['input'], 80)} was given"
    return Problem(field, message, HINTS.get(str(error["loc"][0]), ""))
