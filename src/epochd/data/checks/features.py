"""What keeps feature columns from being learned from, and what in them is probably not meant.

Figures show that something is wrong; the row where it first stands is looked up only then.
"""

import re
from collections.abc import Iterator, Sequence

import polars as pl

from epochd.core.errors import Problem
from epochd.core.specs import TrainingSpec
from epochd.data.checks.statistics import COUNTED, Feature, can_embed, elements, length
from epochd.data.encoding.labels import MAX_CODES, MAX_NUMBER
from epochd.data.schema import MAX_TOLD, Kind, col, way_out
from epochd.data.tables.table import View, shown

MAX_DISTINCT = 1_000
"""Distinct values of a text column above which one-hot encoding makes no sense."""
FEW = 50
"""A text column with no more distinct values than this is never taken for an identifier."""
IDENTIFYING = 0.9
"""The share of distinct values in a text column that makes it an identifier."""
ID_NAME = re.compile(r"(?:^|[^A-Za-z])(?:id|ID|Id)$|[a-z](?:Id|ID)$")

Flaw = tuple[str, str]
"""A message and a hint."""


def problems(features: Sequence[Feature], spec: TrainingSpec, view: View) -> list[Problem]:
    """What rules these columns out. At most MAX_TOLD are told one by one."""
    embeds = can_embed(spec, features)
    flawed = [f for f in features if next(_flaws(f, embeds, view, locate=False), None) is not None]
    found = [
        Problem("feature_columns", *flaw)
        for feature in flawed[:MAX_TOLD]
        for flaw in _flaws(feature, embeds, view, locate=True)
    ]
    if len(flawed) > MAX_TOLD:
        message = f"{len(flawed) - MAX_TOLD} more columns have problems"
        found.append(Problem("feature_columns", message, "correct the first ones, or leave them out"))
    return [*found, *list_problems(features, spec, view)]


def _flaws(feature: Feature, embeds: bool, view: View, *, locate: bool) -> Iterator[Flaw]:
    name, leave_out = feature.name, "leave it out of feature_columns"
    if feature.kind is Kind.UNSUPPORTED:
        word = _word(feature, view) if locate else ""
        sample = word or (_sample(feature, view) if locate else "")
        hint = "make all elements numbers, or " * bool(word) + way_out(feature.dtype)
        yield f"{name!r} has the unsupported type {feature.dtype}{sample}", hint
    elif feature.missing == view.rows:
        yield f"{name!r} has no value in any of the {view.rows} rows", leave_out
    elif feature.kind is Kind.CATEGORY:
        yield from _too_wide(feature, embeds, view, locate)
    else:
        yield from value_flaws(feature, view, locate=locate)


def _too_wide(feature: Feature, embeds: bool, view: View, locate: bool) -> Iterator[Flaw]:
    """Text of which no columns can be made."""
    name, distinct, present = feature.name, feature.distinct, view.rows - feature.missing
    limit = MAX_CODES if embeds else MAX_DISTINCT
    sample = _sample(feature, view) if locate else ""
    about = "about " if distinct > COUNTED and not view.is_whole else ""
    if _is_identifier(feature, view):
        message = f"{name!r} looks like an identifier: {about}{distinct:,} distinct texts in {present:,} rows{sample}"
        yield (
            message,
            _stray(feature, view, locate) or "nothing can be learned from it: leave it out of feature_columns",
        )
    elif distinct > limit:
        message = (
            f"{name!r} is text with {about}{distinct:,} distinct values, too many to encode (limit {limit:,}){sample}"
        )
        yield message, _stray(feature, view, locate) or "group rare values, or leave it out of feature_columns"


def _is_identifier(feature: Feature, view: View) -> bool:
    """Whether nearly all values are different; where they were estimated, those of the beginning are counted."""
    distinct, present = feature.distinct, view.rows - feature.missing
    if distinct <= FEW:
        return False
    if view.is_whole or distinct <= COUNTED:
        return distinct >= IDENTIFYING * present
    beginning = view.head.get_column(feature.name).drop_nulls()
    return distinct >= 0.8 * present and beginning.n_unique() >= IDENTIFYING * len(beginning)


def value_flaws(feature: Feature, view: View, *, locate: bool = True) -> Iterator[Flaw]:
    """Values that cannot be encoded whatever the model; with ``locate`` off without saying where they are."""
    name, dtype = feature.name, feature.dtype
    is_list = feature.kind is Kind.LIST
    if is_list and (feature.missing or feature.shortest == 0):
        row = _row(view, col(name).is_null() | (length(name, dtype) == 0), name) if locate else None
        what = "an empty list" if row and row[1] is not None else "no list"
        hint = "give at least one number, leave the row out, or leave the column out of feature_columns"
        yield f"{name!r} has {what}{_in_row(row)}", hint
    if is_list and feature.low is None and feature.shortest:
        yield f"{name!r} has no number in any of its lists", "leave it out of feature_columns"
    if feature.low is not None and feature.kind is not Kind.DATE and is_huge(feature):
        values = elements(name, dtype).list if is_list else None
        sizes = values.eval(pl.element().abs()).list.max() if values is not None else _size(name)
        row = _row(view, sizes > MAX_NUMBER, name) if locate else None
        hint = "replace such values, leave them empty, or leave the column out of feature_columns"
        yield f"{name!r} has infinite or huge values{_in_row(row, value=True)}", hint


def is_huge(feature: Feature) -> bool:
    """Whether a number is infinite or larger than MAX_NUMBER."""
    return max(-(feature.low or 0.0), feature.high or 0.0) > MAX_NUMBER


def list_problems(features: Sequence[Feature], spec: TrainingSpec, view: View) -> Iterator[Problem]:
    """What list columns rule out, beside each other and in a spec."""
    lists = [feature for feature in features if feature.kind is Kind.LIST]
    if not lists:
        return
    first = lists[0]
    if spec.sequence_length is not None:
        message = f"{first.name!r} holds lists, each of which is a sequence; windows of rows cannot be made of them"
        yield Problem("sequence_length", message, "leave sequence_length out, or the list columns")
    if spec.input_shape is not None:
        message = f"{first.name!r} holds lists, which are folded into [steps, channels] as they are"
        yield Problem("input_shape", message, "leave input_shape out, or the list columns")
    yield from (Problem("feature_columns", *flaw) for flaw in uneven(lists, view))
    if spec.model_type == "mlp":
        yield from _ragged(lists, view)


def uneven(lists: Sequence[Feature], view: View, of: str = "") -> Iterator[Flaw]:
    """The first lists of one row that differ in length; ``of`` says whose row it is."""
    first = lists[0]
    for other in lists[1:]:
        lengths = [length(feature.name, feature.dtype) for feature in (first, other)]
        if row := view.first(lengths[0] != lengths[1], first.name, other.name):
            sizes = [len(values) for values in row[1]]
            message = (
                f"row {row[0]}{of} has lists of different lengths: {counted(sizes[0])} in {first.name!r}, "
                f"{counted(sizes[1])} in {other.name!r}"
            )
            yield message, "the lists of a row are the channels of one sequence: make them equally long"
            return


def _ragged(lists: Sequence[Feature], view: View) -> Iterator[Problem]:
    for feature in lists:
        if feature.shortest and feature.longest and feature.shortest < feature.longest:
            row = view.first(length(feature.name, feature.dtype) == feature.shortest, feature.name)
            message = (
                f"mlp needs lists of one length, but those of {feature.name!r} have {feature.shortest} to "
                f"{feature.longest} elements{f' (row {row[0]} has {feature.shortest})' if row else ''}"
            )
            yield Problem("model_type", message, "use 'cnn', 'lstm' or 'gru', which read sequences of any length")
            return


def warnings(features: Sequence[Feature], view: View) -> list[str]:
    """What is allowed but probably not meant."""
    found = [
        f"{feature.name!r} is read as text: {stray}"
        for feature in [f for f in features if f.stray is not None and f.distinct <= MAX_DISTINCT][:MAX_TOLD]
        if (stray := _stray(feature, view, locate=True))
    ]
    constant = [f.name for f in features if f.is_constant and f.missing < view.rows]
    if constant:
        found.append(f"always the same value, nothing to learn from: {_listed(constant)}")
    counting = [f.name for f in features if is_counter(f, view)]
    if counting:
        found.append(f"counts the rows, one by one, and means nothing for new ones: {_listed(counting)}")
    named = [f.name for f in features if f.name not in counting and _is_named_id(f) and not f.is_constant]
    if named:
        found.append(
            f"looks like an identifier, whose size means nothing: {_listed(named)}; make it text, or leave it out"
        )
    return found


def is_counter(feature: Feature, view: View) -> bool:
    """Whether each row's whole number is the one before plus one. A large table is judged by its beginning, and by its
    extremes."""
    if not feature.dtype.is_integer() or feature.missing or feature.low is None or feature.high is None:
        return False
    if view.rows <= FEW or feature.high - feature.low != view.rows - 1:
        return False
    return bool((view.head.get_column(feature.name).cast(pl.Int64).diff().drop_nulls() == 1).all())


def _is_named_id(feature: Feature) -> bool:
    return feature.dtype.is_integer() and ID_NAME.search(feature.name) is not None


def _stray(feature: Feature, view: View, locate: bool) -> str:
    """Why a column in which most values are numbers is text."""
    if feature.stray is None or feature.numbers == 0:
        return ""
    row = view.first(col(feature.name) == feature.stray) if locate else None
    place = f" (row {row[0]})" if row else ""
    return f"{feature.numbers} of its values are numbers, but {shown(feature.stray)}{place} is not; should it be empty?"


def _sample(feature: Feature, view: View) -> str:
    row = view.first(col(feature.name).is_not_null(), feature.name)
    return f", such as {shown(row[1][0])} in row {row[0]}" if row else ""


def _word(feature: Feature, view: View) -> str:
    """The first element that has made text of a column of lists of numbers; empty if it is none."""
    if feature.dtype != pl.List(pl.String):
        return ""
    every = col(feature.name).explode()
    found = view.ask([every.count().alias("all"), every.cast(pl.Float64, strict=False).count().alias("numbers")])
    lists = col(feature.name).list
    numbers = lists.eval(pl.element().cast(pl.Float64, strict=False)).list.drop_nulls().list.len()
    has_word = lists.drop_nulls().list.len() > numbers
    row = view.first(has_word, feature.name) if 2 * found["numbers"] > found["all"] else None
    if row is None:
        return ""
    values = pl.Series(row[1][0], dtype=pl.String).drop_nulls()
    word = values.filter(values.cast(pl.Float64, strict=False).is_null())[0]
    return f": row {row[0]} has the element {shown(word)}, which is not a number"


def _size(name: str) -> pl.Expr:
    return col(name).to_physical().cast(pl.Float64).abs()


def _row(view: View, condition: pl.Expr, name: str) -> tuple[int, object] | None:
    row = view.first(condition, name)
    return (row[0], row[1][0]) if row else None


def _in_row(row: tuple[int, object] | None, *, value: bool = False) -> str:
    if row is None:
        return ""
    return f": row {row[0]} is {shown(row[1])}" if value else f" in row {row[0]}"


def counted(elements_found: int) -> str:
    return "1 element" if elements_found == 1 else f"{elements_found} elements"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else ""
    return ", ".join(map(repr, names[:MAX_TOLD])) + more
