"""The sources of the dashboard: the types of the API are those of this server, nothing is fetched from elsewhere."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"


@pytest.fixture(scope="module")
def dashboard(load_script):
    """The script that builds it."""
    return load_script("dashboard")


def test_the_types_of_the_api_are_up_to_date(dashboard) -> None:
    """``python scripts/dashboard.py types`` writes them anew."""
    marked = dashboard.TYPES.read_text(encoding="utf-8").splitlines()[0]
    assert marked == f"{dashboard.MARK}{dashboard.fingerprint(dashboard.description())}"


def test_a_change_of_the_api_is_noticed_and_one_of_its_wording_is_not(dashboard) -> None:
    before = {"schemas": {"summary": {"description": "a", "properties": {"description": {"type": "string"}}}}}
    reworded = {"schemas": {"summary": {"description": "b", "properties": {"description": {"type": "string"}}}}}
    changed = {"schemas": {"summary": {"properties": {"description": {"type": "number"}}}}}
    found = [dashboard.fingerprint(dashboard.without_wording(one)) for one in (before, reworded, changed)]
    assert found[0] == found[1] != found[2]


def test_the_lock_file_names_versions_and_hashes_but_no_addresses() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert {name for name, package in packages.items() if "resolved" in package} == set()
    assert all("integrity" in package for name, package in packages.items() if name)


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = (WEB / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)|https?://", page)
    for source in (WEB / "src").rglob("*.ts*"):
        if ".test." not in source.name:
            assert not re.search(
                r"dangerouslySetInnerHTML|eval\(|new Function|https?://(?!www\.w3\.org)", source.read_text()
            ), source


def test_every_file_says_what_it_is_for() -> None:
    for source in [*(WEB / "src").rglob("*.ts*"), *(WEB / "e2e").rglob("*.ts")]:
        if ".test." not in source.name and source.name not in ("schema.ts", "vitest.config.ts"):
            assert source.read_text().startswith("/**"), source
