"""Programs that open an export, in a process that cannot import epochd."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
PRELUDE = """
import json, sys, warnings
class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} cannot be imported here", name=name)
sys.meta_path.insert(0, Refusal())
given = json.loads(sys.argv[1])
"""


def documented(form: str) -> str:
    """The Python code that the documentation gives for a form, as one statement of a program."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {form}\n")[2]
    return f"exec({section.partition('```python')[2].partition('```')[0]!r})"


def start(program: str, given: Any, *, refused: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    """Start a program that has ``given``, made JSON, and can import neither epochd nor the ``refused`` modules."""
    code = f"REFUSED = {('epochd', *refused)!r}\n{PRELUDE}\n{program}"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet"}
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, json.dumps(given, default=str)],
        env={**os.environ, **quiet, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a program has printed; it must have succeeded."""
    out, err = process.communicate(timeout=170)
    assert process.returncode == 0, err
    return out


def run(program: str, given: Any, **options: Any) -> str:
    return finish(start(program, given, **options))


def epochd(*arguments: object, cwd: Path, **environment: str) -> str:
    """Run the command line in a process of its own, which may import any framework; return what it has printed."""
    command = [sys.executable, "-m", "epochd.cli", *map(str, arguments)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GIT_PYTHON_REFRESH": "quiet"}
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **quiet, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
