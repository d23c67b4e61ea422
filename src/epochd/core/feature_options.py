"""How feature columns are encoded, as far as a config says so: the field ``features``.

Options hold for all columns of a kind. What one column is (``type``) belongs to ``columns``. A new option has a default
that leaves saved configs as they were.
"""

from math import ceil
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_CATEGORIES = 100_000
MAX_TEXT_WIDTH = 16_384


class FeatureOptions(BaseModel):
    """How categories and free text become numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    max_categories: Annotated[int, Field(ge=1, le=MAX_CATEGORIES)] | None = None
    """Categories of a text column that are told apart, at most; the rarest ones count as other values. Default: no
    limit of its own."""
    min_frequency: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Training rows that a category needs to be told apart: their number, or, below 1, their share of all; rarer ones
    count as other values. Default: 1."""
    text_width: Annotated[int, Field(ge=8, le=MAX_TEXT_WIDTH)] = 512
    """The number of columns that a column of free text becomes."""

    def fewest_rows(self, rows: int) -> int:
        """The number of training rows that a category needs, of ``rows``; at least 1."""
        least = self.min_frequency or 1
        return ceil(least if least >= 1 else least * rows) or 1

    def most_categories(self, distinct: int, rows: int) -> int:
        """The most categories that are told apart if a column of ``rows`` values has so many ``distinct`` ones."""
        if self.min_frequency is not None:
            distinct = min(distinct, int((rows if self.min_frequency >= 1 else 1) / self.min_frequency))
        return distinct if self.max_categories is None else min(distinct, self.max_categories)
