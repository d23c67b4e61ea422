"""A training config as a JSON file, which is what a person keeps of a training and submits again."""

import json
from pathlib import Path
from typing import Any

from epochd.core.errors import InvalidSpec, Problem


def read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec([Problem(str(path), f"cannot be read as JSON: {error}", "give a JSON file")]) from None
    if not isinstance(values, dict):
        problem = f"holds a JSON {type(values).__name__}, but a config is an object"
        raise InvalidSpec([Problem(str(path), problem, "see the files in examples/")])
    return values
