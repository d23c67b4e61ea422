"""The part of a wheel's build that hatchling does not know: the dashboard, by the Node.js of the system or of PyPI."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

import dashboard


class DashboardHook(BuildHookInterface[Any]):
    """Builds the dashboard into the package. An editable installation leaves that to ``make setup``."""

    def dependencies(self) -> list[str]:
        return [] if self.target_name != "wheel" or dashboard.has_node() else [dashboard.NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            dashboard.build()
