"""How the columns of a dataset are read: what a client may say of a column, and of the file it is in.

Whatever is not said is decided from the whole column (``data/columns``). Options of a registered dataset hold for every
config that names it; those of a config take precedence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ColumnType = Literal["number", "boolean", "category", "text", "date", "time", "duration", "identifier", "list"]
"""What a column is. ``category`` is text with few values, ``text`` is free text, an ``identifier`` names its row."""
Encoding = Literal[
    "utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "cp1252", "latin-1", "euc-kr", "cp1251", "cp1250"
]
"""Encodings that can be declared; UTF-8 and UTF-16 with or without a byte order mark."""
MAX_MISSING = 100
"""Words for missing values that one column may have."""


class ColumnOptions(BaseModel):
    """What a client says of one column. Everything else is decided from the column's values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    type: ColumnType | None = None
    """What the column is; default: decided from all its values."""
    decimal: Literal[".", ","] | None = None
    """For numbers: the decimal separator; the other one separates thousands. Default: decided from all values."""
    format: Annotated[str, Field(min_length=2, max_length=100)] | None = None
    """For dates and times: the format in the notation of strftime, such as ``%d/%m/%Y``. Default: decided from all
    values."""
    timezone: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """For times without an offset to UTC: the IANA time zone that they are in, such as ``Asia/Shanghai``."""
    missing: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=MAX_MISSING)] | None = None
    """The words that mean a missing value in this column, instead of the usual ones; an empty value is always
    missing."""

    @property
    def reads_text(self) -> bool:
        """Whether the column has to be read as text first."""
        return self.type not in (None, "list") or any((self.decimal, self.format, self.timezone, self.missing))


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is read. ``encoding`` is that of a text file, ``sheet`` the name or the number (from 1) of a sheet;
    None: detected. ``columns`` are by name. ``labels`` are columns whose words are kept, such as the target: ``是`` and
    ``否`` are not read as true and false, and one value that does not fit the others is not left out."""

    encoding: Encoding | None = None
    sheet: str | int | None = None
    columns: Mapping[str, ColumnOptions] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

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
