"""A table in which nothing is wrong, for tests to spoil."""

from typing import Any

ROWS = 40


def table(**columns: Any) -> dict[str, Any]:
    """ROWS rows: features a (numbers) and b (text of 3 values), binary target y."""
    good = {
        "a": [float(i * 7 % ROWS) for i in range(ROWS)],
        "b": [("u", "v", "w")[i % 3] for i in range(ROWS)],
        "y": [i // 2 % 2 for i in range(ROWS)],
    }
    return good | columns


def only_problem(inspection: Any) -> tuple[str, str]:
    """Field and message of the one problem."""
    assert len(inspection.problems) == 1, inspection.problems
    problem = inspection.problems[0]
    assert problem.hint
    return problem.field, problem.message


def only_warning(inspection: Any) -> Any:
    assert inspection.problems == []
    assert len(inspection.warnings) == 1, inspection.warnings
    return inspection.warnings[0]
