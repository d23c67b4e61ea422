"""The server's datasets from a shell."""

from pathlib import Path
from typing import Any

import pytest

from epochd.cli import console

from .conftest import Server


def test_a_dataset_is_added_listed_shown_and_removed(run: Any, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "colors.csv"
    file.write_text("x,color\n1,red\n2,red\n3,[blue]\n", encoding="utf-8")
    assert (
        run("datasets", "add", file, "--name", "paint", "--url", server.url).out
        == "paint: 3 rows, 2 columns, 29 bytes\n"
    )
    assert "paint" in run("datasets", "list", "--url", server.url).out
    shown = run("datasets", "show", "paint", "--url", server.url).out
    assert "red (2), [blue] (1)" in shown
    again = run("datasets", "add", file, "--name", "paint", "--url", server.url)
    assert (again.code, "replace" in again.err) == (console.FAILED, True)
    assert run("datasets", "add", file, "--name", "paint", "--replace", "--url", server.url).code == 0
    assert run("datasets", "remove", "paint", "--url", server.url).code == 0
    assert run("datasets", "show", "paint", "--url", server.url).code == console.FAILED


def test_a_file_with_a_chinese_name_becomes_a_dataset_of_that_name(run: Any, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "客户流失.csv"
    file.write_text("年龄,流失\n31,1\n52,0\n", encoding="utf-8")
    assert run("datasets", "add", file, "--url", server.url).out == "客户流失: 2 rows, 2 columns, 24 bytes\n"
    assert "客户流失" in run("datasets", "list", "--name", "流失", "--url", server.url).out
    assert "年龄" in run("datasets", "show", "客户流失", "--url", server.url).out
    assert run("datasets", "remove", "客户流失", "--url", server.url).out == "客户流失 has been removed\n"


def test_a_path_of_the_server_gets_a_name(run: Any, server: Server) -> None:
    (server.data_dir / "datasets" / "far.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    assert run("datasets", "add", "--name", "near", "--path", "far.csv", "--url", server.url).code == 0
    refused = run("datasets", "refresh", "near", "--url", server.url)
    assert "only a query can be refreshed" in refused.err


@pytest.mark.parametrize(
    "arguments", [[], ["--path", "x.csv"], ["--name", "x", "--query", "SELECT 1"], ["missing.csv"]]
)
def test_what_to_add_must_be_clear(run: Any, server: Server, arguments: list[str]) -> None:
    assert run("datasets", "add", *arguments, "--url", server.url).code == console.REFUSED
