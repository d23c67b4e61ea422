"""The documentation matches the code: what exists is described, and what is described exists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from epochd.api.app import create_app
from epochd.cli import app as command_line
from epochd.cli.console import read_config
from epochd.core import errors, spec_fields, specs
from epochd.core.errors import InternalError
from epochd.core.events import Type
from epochd.core.installation import CPU_INDEX
from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]
PAGES = [*READMES, "CHANGELOG.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(page: str) -> dict[str, list[str]]:
    """All table rows of a page by the code in their first cell."""
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text(page).splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


def tree(page: str) -> Iterator[tuple[str, str]]:
    """Path and purpose of each line of a README's file tree."""
    block = re.search(r"```text\n(.*?)```", text(page), re.DOTALL)
    assert block is not None
    folders: list[str] = []
    for line in block[1].splitlines():
        name, _, purpose = line.strip().partition(" ")
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        yield "".join([*folders, name]), purpose.strip()
        folders.append(name)


def rooms() -> set[str]:
    """Every folder of the source that contains Python files, and the folder of the built-in datasets."""
    found = (path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "src/epochd").rglob("*.py"))
    return {f"{path}/" for path in found} | {"src/epochd/data/builtin/"}


ARCHITECTURE = "docs/architecture.md"
ROOMS_WITHOUT_PARAGRAPH = {"src/epochd/", "src/epochd/data/builtin/", "src/epochd/store/migrations/versions/"}
PATH = re.compile(r"`((?:[\w.]+/)+[\w.]+\.(?:py|json))`")


def road() -> list[str]:
    """The files that the road of one job names, in order."""
    section = text(ARCHITECTURE).partition("## The road of one job")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. \*\*`(\S+)`\*\* ", section, re.MULTILINE)
    assert set(PATH.findall(section)) == set(steps), "the road names files that are not steps of it"
    return steps


@pytest.mark.parametrize("page", READMES)
def test_the_file_tree_has_every_room_and_no_other(page: str) -> None:
    listed = {path for path, _ in tree(page)}
    assert {path for path in listed if path.startswith("src/") and path.endswith("/")} == rooms()


@pytest.mark.parametrize("page", READMES)
def test_the_files_in_the_file_tree_are_those_of_the_road(page: str) -> None:
    assert {path for path, _ in tree(page) if not path.endswith("/")} == {f"src/epochd/{path}" for path in road()}


def test_the_road_of_a_job_has_at_most_ten_files() -> None:
    assert 5 <= len(road()) <= 10


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    for path in PATH.findall(text(page)):
        assert (ROOT / "src/epochd" / path).is_file() or (ROOT / path).is_file(), path


@pytest.mark.parametrize("room", sorted(rooms() - ROOMS_WITHOUT_PARAGRAPH))
def test_every_room_has_its_paragraph_in_the_architecture(room: str) -> None:
    name = room.removeprefix("src/epochd/").removesuffix("/")
    assert re.search(rf"^- \*\*`{name}`\*\* .{{30}}", text(ARCHITECTURE), re.MULTILINE), name


@pytest.mark.parametrize("page", READMES)
def test_everything_in_the_file_tree_exists_and_has_a_purpose(page: str) -> None:
    for path, purpose in tree(page):
        assert (ROOT / path).exists(), path
        assert purpose or path == "src/epochd/", path


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(page)):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def shown_default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


def test_every_setting_is_documented_and_no_other() -> None:
    described = {name for name in rows("docs/configuration.md") if name.startswith("EPOCHD_")}
    assert described == {f"EPOCHD_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_default_of_a_setting_is_the_documented_one(name: str) -> None:
    documented = rows("docs/configuration.md")[f"EPOCHD_{name.upper()}"][0]
    default = Settings.model_fields[name].get_default()
    if name == "slots":
        assert documented == "half the CPUs, 1 to 4"
    elif not default:
        assert not documented.startswith("`")
    else:
        shown = (
            json.dumps(default)
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else default
        )
        assert documented == f"`{shown}`"


def test_every_training_option_is_documented() -> None:
    assert set(TrainingSpec.model_fields) <= set(rows("docs/configuration.md"))


@pytest.mark.parametrize("name", sorted(set(TrainingSpec.model_fields)))
def test_the_default_of_a_training_option_is_the_documented_one(name: str) -> None:
    field = TrainingSpec.model_fields[name]
    cells = rows("docs/configuration.md")[name]
    if field.default is PydanticUndefined:
        assert "required" in cells
    elif field.default is not None:
        assert f"`{shown_default(field)}`" in cells


def test_the_documented_choices_of_an_option_are_all_there() -> None:
    for option, kind in {"optimizer": spec_fields.Optimizer, "learning_rate_scheduler": spec_fields.Scheduler}.items():
        for choice in get_args(kind):
            assert choice in " ".join(rows("docs/configuration.md")[option])


def test_every_route_is_documented_and_no_other() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    described = {
        name for name in rows("docs/api.md") if name.startswith(("GET ", "POST ", "PUT ", "PATCH ", "DELETE "))
    }
    assert described == served


@pytest.mark.parametrize("page", READMES)
def test_the_readmes_name_every_path(page: str) -> None:
    protocols = {"/v2": "/v2/…", "/serving/": "/serving/{model}/…"}
    for path in create_app(Settings()).openapi()["paths"]:
        path = next((shown for start, shown in protocols.items() if path.startswith(start)), path)
        assert f"`{path.removeprefix('/api/v1/epoch-training')}`" in text(page)


def test_every_event_type_and_state_is_documented() -> None:
    assert set(Type) <= set(rows("docs/api.md"))
    for state in State:
        assert state in text("docs/api.md")


def codes(base: type[errors.EpochdError]) -> set[str]:
    return {base.code}.union(*(codes(kind) for kind in base.__subclasses__()))


def test_every_error_code_that_a_client_can_meet_is_documented() -> None:
    assert InternalError in errors.EpochdError.__subclasses__()
    unseen = {
        "error",
        errors.SettingsError.code,
        errors.ServerUnreachable.code,
        errors.WrongProcess.code,
        errors.AgentLost.code,
    }
    for code in codes(errors.EpochdError) - unseen:
        assert f"`{code}`" in text("docs/api.md"), code


@pytest.mark.parametrize("page", READMES)
def test_every_command_stands_in_the_readmes(page: str) -> None:
    for command in command_line.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert re.search(rf"epochd {name}\b|\b(and|与) {name}\b|{name} 与", text(page)), name


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.json")), ids=lambda path: path.name)
def test_every_example_is_a_good_config(path: Path) -> None:
    assert specs.parse(read_config(path)).target_column


UNPUBLISHED = re.compile(r"\b(?:pipx?|tool|uv) (?:install|add)\b[^`#\n]*\bepochd\b|epochd\[")
"""epochd is on no package index: such a command would install what somebody else publishes under its name."""


@pytest.mark.parametrize("path", [*PAGES, "src", "scripts", "examples", "Makefile", "pyproject.toml"])
def test_nothing_advises_to_install_a_package_that_is_not_published(path: str) -> None:
    files = [ROOT / path] if (ROOT / path).is_file() else [f for f in (ROOT / path).rglob("*") if f.is_file()]
    for file in files:
        if file.suffix in {".py", ".md", ".json", ".toml", ""}:
            for line in file.read_text(encoding="utf-8").splitlines():
                assert not UNPUBLISHED.search(line), f"{file}: {line}"


@pytest.mark.parametrize("page", [*READMES, "docs/operations.md"])
def test_the_index_of_pytorch_for_cpus_is_named_where_pytorch_is_installed(page: str) -> None:
    assert f"--index-url {CPU_INDEX}" in text(page)
