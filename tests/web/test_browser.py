"""The dashboard in headless Chromium, with real servers and trainings: ``web/e2e``. It needs Node.js, Chromium and the
build of the dashboard; ``make dashboard-test`` installs the packages that it needs and runs all of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
NEEDED = {
    "Node.js": shutil.which("npx"),
    "Chromium": CHROMIUM,
    "web/node_modules": (WEB / "node_modules/vitest").is_dir(),
    "a build of the dashboard": (WEB.parent / "src/epochd/api/static/index.html").is_file(),
}
MISSING = [name for name, found in NEEDED.items() if not found]


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
@pytest.mark.serial
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["flow", "pages"])
def test_the_dashboard_in_a_browser(part: str, tmp_path: Path) -> None:
    needed = {"EPOCHD_PYTHON": sys.executable, "EPOCHD_REPORT": "true", "CHROMIUM": str(CHROMIUM), "NO_COLOR": "1"}
    command = ["npx", "vitest", "run", "--config", "e2e/vitest.config.ts", part]
    ended = subprocess.run(command, cwd=WEB, env=os.environ | needed, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
