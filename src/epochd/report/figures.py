"""The figures of a report, each with its legend and with its numbers as a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from epochd.report.canvas import COLOURS, DASHES, GRID, INK, WIDTH, Canvas
from epochd.report.texts import Both, metric, named, number, percent, plain, say
from epochd.report.values import (
    Binary,
    Curve,
    Dependence,
    Forecast,
    Importance,
    Mark,
    Part,
    Regression,
)

MAX_ROWS, MAX_DRAWN = 60, 400
"""Lines of a table behind a figure, and points of a line in it."""
MAX_BARS = 15
DENSITY = (0.23, 0.53, 0.83)
"""A blue that can be seen on a light and on a dark page, for pixels, whose colour is fixed."""
Cell = str | Both
History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: the number of its colour (from 1; 0: that of the text), its dashes in points, its text."""

    colour: int
    dashes: str
    text: Both


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure of the page, its numbers, and a sentence on how to read it. A ``wide`` one takes the whole width."""

    name: str
    title: Both
    note: Both
    svg: Markup
    legend: list[Key]
    headers: list[Both]
    rows: list[list[Cell]]
    wide: bool = False


@dataclass(slots=True)
class Lines:
    """Draws lines on axes and keeps their legend."""

    axes: Axes
    legend: list[Key] = field(default_factory=list)

    def add(self, x: Sequence[float], y: Sequence[float], text: Both, **style: Any) -> None:
        place = len(self.legend) % len(COLOURS)
        chosen = {"color": COLOURS[place], "linestyle": DASHES[place], "linewidth": 1.8} | style
        if len(x) == 1:
            chosen |= {"marker": "o", "markersize": 5}
        self.axes.plot(x, y, **chosen)
        self.legend.append(Key(place + 1, _dashes(DASHES[place]), text))

    def upright(self, at: Iterable[float], dashes: tuple[Any, ...] | str, text: Both) -> None:
        """Vertical lines with one entry in the legend."""
        places = list(at)
        for x in places:
            self.axes.axvline(x, color=INK, linewidth=1, linestyle=dashes)
        if places:
            self.legend.append(Key(0, _dashes(dashes), text))


def _dashes(style: tuple[Any, ...] | str) -> str:
    return "" if isinstance(style, str) else " ".join(str(length) for length in style[1])


def thinned(count: int, most: int) -> list[int]:
    """At most ``most`` evenly spaced positions of ``count``, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)).tolist() if count else []


def epochs(
    name: str, history: History, columns: Sequence[str], best: int, marks: Sequence[Mark], title: Both
) -> Drawing | None:
    """Columns of the history over the epochs, with the best epoch, resumes and rollbacks; None if all are empty."""
    shown = [column for column in columns if any(_is_number(row.get(column)) for row in history)]
    if not shown:
        return None
    kept = [history[place] for place in thinned(len(history), MAX_DRAWN)]
    with Canvas(name) as canvas:
        lines = Lines(canvas.plot(say("epoch"), None, left=50))
        for column in shown:
            values = [row.get(column) for row in kept]
            lines.add([row["epoch"] for row in kept], [v if _is_number(v) else nan for v in values], metric(column))  # type: ignore[misc]
        lines.upright([best] if best else [], (0, (3, 3)), say("best_epoch_key", epoch=best))
        for kind, dashes in (("resumed", (0, (1, 2))), ("rollback", (0, (6, 2)))):
            places = sorted({mark.epoch for mark in marks if mark.kind == kind and mark.epoch < len(history)})
            lines.upright(places, dashes, say(f"{kind}_key", epochs=", ".join(map(str, places))))
        lines.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if name == "rate":
            _scale_rates(lines.axes, [row[shown[0]] for row in kept])
        return _epoch_table(canvas.svg(title, say("epochs_note")), lines.legend, history, shown, best, name, title)


def _epoch_table(
    svg: Markup, legend: list[Key], history: History, shown: list[str], best: int, name: str, title: Both
) -> Drawing:
    places = sorted({*thinned(len(history), MAX_ROWS), *([best - 1] if 0 < best <= len(history) else [])})
    rows: list[list[Cell]] = [
        [number(history[place]["epoch"]), *(number(history[place].get(column)) for column in shown)] for place in places
    ]
    return Drawing(name, title, say("epochs_note"), svg, legend, [say("epoch"), *(metric(c) for c in shown)], rows)


def _scale_rates(axes: Axes, rates: Sequence[float]) -> None:
    """A logarithmic axis for rates of very different size, otherwise one that begins at 0."""
    if min(rates) > 0 and max(rates) / min(rates) > 20:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        axes.set_ylim(0, 1.15 * max(rates) or 1.0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def curves(kind: str, found: Mapping[str, Curve], share: float | None = None) -> Drawing | None:
    """ROC (``kind`` roc) or precision-recall curves by part; ``share`` is the precision without any knowledge."""
    if not found:
        return None
    with Canvas(kind, height=260) as canvas:
        x, y = say(f"{kind}_x"), say(f"{kind}_y")
        lines = Lines(canvas.plot(x, y))
        for part, curve in found.items():
            lines.add(curve.x, curve.y, say(f"{kind}_key", part=named("part", part), area=curve.area))
        chance = [0.0, 1.0] if share is None else [share, share]
        lines.axes.plot([0, 1], chance, color=INK, linewidth=1, linestyle=DASHES[2])
        lines.legend.append(Key(0, _dashes(DASHES[2]), say("chance_key")))
        _unit(lines.axes)
        title, note = say(f"{kind}_title"), say(f"{kind}_note")
        rows: list[list[Cell]] = []
        for part, curve in found.items():
            rows += [
                [named("part", part), number(curve.x[place]), number(curve.y[place])]
                for place in thinned(len(curve.x), MAX_ROWS // 2)
            ]
        return Drawing(kind, title, note, canvas.svg(title, note), lines.legend, [say("part"), x, y], rows)


def _unit(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.02, 1.03)


def calibration(found: Mapping[str, Binary]) -> Drawing | None:
    """Observed shares over predicted probabilities, with the numbers of rows below."""
    if not found:
        return None
    title, note = say("calibration_title"), say("calibration_note")
    headers = [say("part"), say("calibration_x"), say("calibration_y"), say("rows")]
    rows: list[list[Cell]] = []
    with Canvas("calibration", height=300) as canvas:
        axes, counts = canvas.axes(bottom=118), canvas.axes(bottom=40, top=212)
        axes.grid(axis="y", linewidth=0.6)
        lines = Lines(axes)
        width = 0.1 / len(found)
        for place, (part, binary) in enumerate(found.items()):
            bins = binary.calibration
            x = [one.predicted for one in bins]
            lines.add(x, [one.observed for one in bins], named("part", part), marker="o", markersize=4)
            middle = [one.low + width * (place + 0.5) for one in bins]
            counts.bar(middle, [one.rows for one in bins], width=width * 0.8, color=COLOURS[place])
            rows += [
                [named("part", part), number(one.predicted), number(one.observed), number(one.rows)] for one in bins
            ]
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=DASHES[2])
        lines.legend.append(Key(0, _dashes(DASHES[2]), say("calibrated_key")))
        _unit(axes)
        axes.tick_params(labelbottom=False)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        counts.set_xlim(-0.01, 1.01)
        counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes.set_ylabel(canvas.text(headers[2]))
        counts.set_ylabel(canvas.text(headers[3]))
        counts.set_xlabel(canvas.text(headers[1]))
        return Drawing("calibration", title, note, canvas.svg(title, note), lines.legend, headers, rows)


def residuals(part: str, found: Regression) -> Drawing:
    title, note = say("residuals_title", part=named("part", part)), say("residuals_note")
    with Canvas(f"residuals-{part}", height=260) as canvas:
        axes = canvas.plot(say("residual"), say("rows"))
        edges = np.array(found.edges)
        axes.bar(edges[:-1], found.residuals, width=np.diff(edges), align="edge", color=COLOURS[0], linewidth=0)
        axes.axvline(0, color=INK, linewidth=1, linestyle=DASHES[1])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        svg = canvas.svg(title, note)
    rows: list[list[Cell]] = [
        [number(low), number(high), number(count)]
        for low, high, count in zip(found.edges[:-1], found.edges[1:], found.residuals, strict=True)
    ]
    headers = [say("from"), say("to"), say("rows")]
    return Drawing(f"residuals-{part}", title, note, svg, [], headers, rows)


def predicted(part: str, found: Regression) -> Drawing:
    """Points for a few rows, a density for many."""
    title = say("predicted_title", part=named("part", part))
    note = say("predicted_note" if found.density is None else "density_note")
    low, high = found.bounds
    with Canvas(f"predicted-{part}", height=260) as canvas:
        axes = canvas.plot(say("truth"), say("prediction"))
        if found.density is None:
            axes.plot(
                found.truth, found.predicted, "o", color=COLOURS[0], markersize=3.5, alpha=0.55, markeredgewidth=0
            )
        else:
            counts = np.array(found.density, np.float64)
            alpha = np.where(counts > 0, 0.12 + 0.88 * np.sqrt(counts / counts.max()), 0.0)
            picture = np.dstack([*(np.full(alpha.shape, part_of) for part_of in DENSITY), alpha])
            axes.imshow(picture, origin="lower", extent=(low, high, low, high), aspect="auto", interpolation="nearest")
        axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=DASHES[1])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        svg = canvas.svg(title, note)
    rows: list[list[Cell]] = [
        [number(truth), number(said)] for truth, said in list(zip(found.truth, found.predicted, strict=True))[:MAX_ROWS]
    ]
    return Drawing(f"predicted-{part}", title, note, svg, [], [say("truth"), say("prediction")], rows)


def importance(found: Sequence[Importance], is_regression: bool, *, is_transformed: bool = False) -> Drawing | None:
    """Bars for the most important columns, with the deviation over the repeats; ``is_transformed`` as in
    ``Importance``."""
    if not found:
        return None
    shown = found[:MAX_BARS][::-1]
    title, note = say("importance_title"), say("importance_note_of_error" if is_transformed else "importance_note")
    loss = say("importance_error" if is_transformed else "importance_loss")
    score = say("importance_r2" if is_regression else "importance_accuracy")
    with Canvas("importance", height=56 + 19 * len(shown)) as canvas:
        axes = canvas.axes(left=158, bottom=42, top=6)
        axes.grid(axis="x", linewidth=0.6)
        places = range(len(shown))
        axes.barh(places, [one.loss for one in shown], height=0.66, color=COLOURS[0])
        deviations = [one.deviation for one in shown]
        axes.errorbar([one.loss for one in shown], places, xerr=deviations, fmt="none", ecolor=INK, elinewidth=1)
        axes.set_yticks(list(places), canvas.labels([one.column for one in shown], 24))
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(canvas.text(loss))
        svg = canvas.svg(title, note)
    rows: list[list[Cell]] = [
        [plain(one.column), number(one.loss), number(one.deviation), number(one.score), number(one.repeats)]
        for one in found
    ]
    headers = [say("column"), loss, say("deviation"), score, say("repeats")]
    return Drawing("importance", title, note, svg, [], headers, rows)


def dependence(place: int, found: Dependence, y: Both, bounds: tuple[float, float]) -> Drawing:
    """The mean prediction over the values of one column. ``bounds`` are those of the vertical axis, the same for all
    columns, so that their effects can be compared."""
    name, column = f"dependence-{place}", plain(found.column)
    title, note = say("dependence_title", column=column), say("dependence_note")
    x = found.x or list(range(len(found.categories)))
    with Canvas(name) as canvas:
        text = canvas.labels([found.column], 48)[0]
        lines = Lines(canvas.plot(say("value"), y))
        for line in found.lines:
            style = {"marker": "o", "markersize": 4}
            lines.add(x, line.y, plain(line.label), **(style if found.x else style | {"linestyle": "none"}))
        lines.axes.set_xlabel(text)
        margin = 0.06 * (bounds[1] - bounds[0]) or 1.0
        lines.axes.set_ylim(bounds[0] - margin, bounds[1] + margin)
        if found.categories:
            few = len(found.categories) <= 5
            names = canvas.labels(found.categories, 12 if few else 6)
            lines.axes.set_xticks(x, names)
            lines.axes.set_xlim(-0.5, len(x) - 0.5)
        else:
            lines.axes.xaxis.set_major_locator(MaxNLocator(5))
        svg = canvas.svg(title, note)
    values = [plain(one) for one in found.categories] or [plain(one) for one in found.x]
    rows: list[list[Cell]] = [
        [value, *(number(line.y[row]) for line in found.lines)] for row, value in enumerate(values)
    ]
    headers = [column, *(plain(line.label) if line.label else y for line in found.lines)]
    return Drawing(name, title, note, svg, lines.legend if len(found.lines) > 1 else [], headers, rows)


def forecast(place: int, part: str, found: Forecast) -> Drawing:
    """True and predicted values of one group over time."""
    name, which = f"forecast-{part}-{place}", named("part", part)
    group = say("all_rows") if found.group is None else plain(found.group)
    title, note = say("forecast_title", group=group, part=which), say("forecast_note")
    with Canvas(name, width=2 * WIDTH, height=230) as canvas:
        lines = Lines(canvas.plot(say("time"), say("value"), left=70, right=50))
        lines.add(found.at, found.truth, say("truth"))
        lines.add(found.at, found.predicted, say("prediction"))
        ticks = thinned(len(found.at), 5)
        lines.axes.set_xticks([found.at[tick] for tick in ticks], canvas.labels([found.times[t] for t in ticks], 16))
        svg = canvas.svg(title, note)
    rows: list[list[Cell]] = [
        [plain(found.times[row]), number(found.truth[row]), number(found.predicted[row])]
        for row in thinned(len(found.at), MAX_ROWS)
    ]
    headers = [say("time"), say("truth"), say("prediction")]
    return Drawing(name, title, note, svg, lines.legend, headers, rows, wide=True)


def sequences(part: Part) -> Drawing | None:
    """The first channels of the sequences that are predicted worst and best, as small lines."""
    shown = [one for one in [*part.worst[:3], *part.best[:3]] if one.series]
    if not shown:
        return None
    name = f"sequences-{part.name}"
    title, note = say("sequences_title", part=named("part", part.name)), say("sequences_note")
    across, height = 3, 118.0
    lines_down = -(-len(shown) // across)
    with Canvas(name, width=2 * WIDTH, height=height * lines_down) as canvas:
        for place, example in enumerate(shown):
            down, right = divmod(place, across)
            left = 24 + right * (2 * WIDTH - 24) / across
            margins = {"left": left, "right": 2 * WIDTH - left - (2 * WIDTH - 24) / across + 20}
            axes = canvas.axes(**margins, top=24 + down * height, bottom=(lines_down - 1 - down) * height + 14)
            for channel, values in enumerate(example.series):
                axes.plot(values, color=COLOURS[channel], linestyle=DASHES[channel], linewidth=1.4)
            axes.tick_params(length=0, labelbottom=False, labelleft=False)
            axes.spines["left"].set_color(GRID)
            text = say("example_key", row=str(example.row), truth=example.truth, prediction=example.predicted)
            axes.set_title(canvas.text(text), fontsize=10, color=INK, loc="left")
        svg = canvas.svg(title, note)
    headers = [say("row"), say("truth"), say("prediction"), say("probability")]
    rows: list[list[Cell]] = [
        [str(one.row), plain(one.truth), plain(one.predicted), percent(one.probability)] for one in shown
    ]
    return Drawing(name, title, note, svg, [], headers, rows, wide=True)
