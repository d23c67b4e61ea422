"""Calendar parts as a graph: ``data.encoding.dates`` in exact integer arithmetic, for many columns at once.

Times are int64 microseconds since 1970, or since midnight. The calendar is the proleptic Gregorian one, as in ISO 8601.
"""

import math
from collections.abc import Sequence

from epochd.data.encoding.dates import CYCLES, DAY
from epochd.data.encoding.values import PER_SECOND
from epochd.onnx_graph.builder import Graph

DAY_TICKS = DAY * PER_SECOND["us"]
FIRST_WEEKDAY = 3
"""1970 began on a Thursday; Monday is 0."""
FIRST_DAY = 719_162
"""Days from 0001-01-01 to 1970-01-01."""
YEAR, FOUR_YEARS, CENTURY, FOUR_CENTURIES = 365, 1_461, 36_524, 146_097
"""Days; the last year of four, and the last century of four, are a day longer."""


def days(graph: Graph, times: str) -> str:
    """Days as float64."""
    return graph.op("Div", graph.cast(times, "FP64"), graph.constant(float(DAY_TICKS)))


def angles(graph: Graph, times: str, wanted: Sequence[tuple[int, str]], columns: int) -> str:
    """Positions in cycles as angles, float64 (…, cycles). ``times`` has so many ``columns``; ``wanted`` are a column's
    position and a cycle, in the order of CYCLES."""
    clock = graph.op("Mod", times, graph.constant(DAY_TICKS))
    whole = graph.op("Div", graph.op("Sub", times, clock), graph.constant(DAY_TICKS))
    found = []
    for cycle in CYCLES:
        places = [place for place, name in wanted if name == cycle]
        if not places:
            continue
        if cycle == "day":
            found.append(days(graph, graph.take(clock, places, columns)))
        else:
            position = _day_of_year if cycle == "year" else _day_of_week
            found.append(graph.cast(position(graph, graph.take(whole, places, columns)), "FP64"))
    return graph.op("Mul", graph.concat(found), graph.constant([2 * math.pi / CYCLES[name] for _, name in wanted]))


def _day_of_week(graph: Graph, days: str) -> str:
    """0 for Monday; a remainder has the sign of its divisor."""
    return graph.op("Mod", graph.op("Add", days, graph.constant(FIRST_WEEKDAY)), graph.constant(7))


def _day_of_year(graph: Graph, days: str) -> str:
    """0 for January 1, by the algorithm of Python's ``datetime.fromordinal``."""
    rest = graph.op("Mod", graph.op("Add", days, graph.constant(FIRST_DAY)), graph.constant(FOUR_CENTURIES))
    rest = _within_unit(graph, rest, CENTURY)
    rest = graph.op("Mod", rest, graph.constant(FOUR_YEARS))
    return _within_unit(graph, rest, YEAR)


def _within_unit(graph: Graph, days: str, unit: int) -> str:
    """Days since the begin of one of four units, the last of which is longer."""
    number = graph.op("Min", graph.op("Div", days, graph.constant(unit)), graph.constant(3))
    return graph.op("Sub", days, graph.op("Mul", number, graph.constant(unit)))
