"""The language of the command line: how it is chosen, and what it changes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.main import get_command

from epochd import cli
from epochd.cli import console, language, watching
from epochd.client import Client
from epochd.core import language as catalogue

from .conftest import CONFIG, Server, config_file

TRANSLATIONS = {
    "word: Usage": "用法",
    "Invalid value for {0}: {1}": "{0} 的值无效：{1}",
    "{0} is not a valid int.": "{0} 不是有效的整数。",
    "No such option: {0}": "没有选项 {0}",
    "Missing argument {0}.": "缺少参数 {0}。",
    "word: [default: {}]": "[默认：{}]",
    "word: [OPTIONS]": "[选项]",
    "Show this message and exit.": "显示此帮助并退出。",
    "List models with their newest version.": "列出模型及其最新版本，" * 20,
    "word: Options": "选项",
    "word: Error": "错误",
    "word: error": "错误",
    "word: name": "名称",
    "word: validation": "验证集",
    "word: baseline": "基线",
    "word: rows": "行数",
    "invalid settings: {0}": "设置无效：{0}",
    "input should be less than or equal to {0}": "输入应小于或等于 {0}",
    "{0} has been removed": "{0} 已删除",
    "epoch {0}/{1}  {2}": "轮次 {0}/{1}  {2}",
}
LOCALES = ("EPOCHD_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of its own, so that these tests do not depend on how the messages are translated."""
    known = catalogue.Catalogue.of(TRANSLATIONS)
    monkeypatch.setattr(catalogue, "chinese", lambda: known)


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *path, name)


COMMANDS = dict(commands(get_command(cli.app)))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LANG": "en_US", "LC_ALL": "", "EPOCHD_LANGUAGE": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "EPOCHD_LANGUAGE": "en"}, "en"),
    ],
)
def test_the_environment_chooses_the_language(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in LOCALES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language.chosen() == expected


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--language", "zh", "tasks", "--limit", "x"],
        ["tasks", "--language=zh", "--limit", "x"],
        ["tasks", "--limit", "x", "--language", "zh"],
    ],
    ids=" ".join,
)
def test_the_option_is_stronger_than_the_environment_wherever_it_stands(run: Any, arguments: list[str]) -> None:
    refused = run(*arguments)
    assert refused.code == console.REFUSED
    assert "'--limit' 的值无效：'x' 不是有效的整数。" in refused.err
    assert "用法：" in refused.err


@pytest.mark.usefixtures("few")
def test_english_is_chosen_by_the_option_in_a_chinese_environment(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    assert "缺少参数 'config'。" in run("train").err
    assert "Missing argument 'config'." in run("train", "--language", "en").err


@pytest.mark.parametrize(
    "arguments", [[], ["tasks", "--language"], ["--language", "fr"], ["--", "--language", "zh"], ["--language=", "x"]]
)
def test_what_is_no_language_changes_nothing(arguments: list[str]) -> None:
    language.choose(arguments)
    assert language.chosen() == "en"


def test_an_unknown_language_is_refused(run: Any) -> None:
    refused = run("tasks", "--language", "fr")
    assert refused.code == console.REFUSED
    assert "'fr' is not one of 'zh', 'en'" in refused.err


@pytest.mark.usefixtures("few")
def test_a_help_in_chinese_leaves_nothing_behind_and_cuts_nothing_off(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run("models", "list", "--help").out
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    shown = run("models", "list", "--help").out
    for text in ("用法：", "models list [选项]", "─ 选项 ─", "[默认：50]", "显示此帮助并退出。"):
        assert text in shown
    assert "…" not in run("models", "--help").out
    monkeypatch.setenv("EPOCHD_LANGUAGE", "en")
    assert run("models", "list", "--help").out == before
    assert "Usage: " in before


def test_the_help_of_every_command_is_translated(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {text for command in COMMANDS.values() for text in (command.help, *(one.help for one in command.params))}
    known = catalogue.chinese().exact
    lacking = sorted(text for text in texts if text and language.cleandoc(text) not in known)
    if lacking:
        pytest.skip(f"the catalogue is not complete: {len(lacking)} help texts, such as {lacking[0]!r}")
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    monkeypatch.setenv("COLUMNS", "400")
    for path in COMMANDS:
        shown = re.sub("`[^`]+`|用法：[a-z .-]+", "", run(*path, "--help").out)
        assert re.findall(r"[A-Za-z]+(?: [a-z]+){2,}", shown) == [], path


@pytest.mark.usefixtures("few")
def test_invalid_settings_are_explained_in_chinese(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    refused = run("serve", "--port", 99999)
    assert refused.code == console.REFUSED
    assert refused.err.startswith("错误：设置无效：EPOCHD_PORT=99999：输入应小于或等于 65535\n")


@pytest.mark.usefixtures("few")
def test_titles_are_translated_and_aligned_but_what_users_named_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    console.show_table(["name", "rows"], [["name", "1"], ["客户流失", "12,000"]])
    console.show("name has been removed")
    *table, said = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["名称", "┃", "行数"]
    assert table[2].split() == ["name", "│", "1"]
    assert len({cell_len(line) for line in table}) == 1
    assert said == "name 已删除"


@pytest.mark.usefixtures("few")
def test_progress_and_figures_are_aligned_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    progress = {"current_epoch": 1, "total_epochs": 3, "latest_metrics": {"train_loss": 0.5}}
    watching.print_event({"type": "progress", "progress": progress})
    baselines = {"validation": [{"name": "mean", "rmse": 4.0}]}
    watching.show_metrics({"validation": {"rmse": 2.0, "r2": 0.5}, "baselines": baselines})
    first, title, *rows = capsys.readouterr().out.splitlines()
    assert first == "轮次 1/3  loss 0.5"
    start = cell_len(title[: title.index("验证集")])
    assert {len(re.match(r"\w+ +", row)[0]) for row in rows} == {start}  # type: ignore[index]
    assert [row.index("4 (mean)") for row in rows if "mean" in row] == [cell_len(title[: title.index("基线")])]


@pytest.mark.usefixtures("few")
def test_what_programs_read_is_the_same_in_both_languages(
    run: Any, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    predictions = "name,rows\nerror,name has been removed\n"
    monkeypatch.setattr("epochd.cli.prediction.predict_locally", lambda *_: predictions.encode())
    monkeypatch.setenv("EPOCHD_LANGUAGE", "zh")
    assert run("predict", "./model", "rows.csv").out == predictions
    started = run("train", config_file(tmp_path, CONFIG), "--detach", "--url", server.url).out
    assert started == client.tasks(limit=1)["tasks"][0]["task_id"] + "\n"
