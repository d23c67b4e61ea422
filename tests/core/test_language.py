import time

import pytest

from epochd.core.language import Catalogue, chinese, current, of_environment, translated

CATALOGUE = Catalogue.of(
    {
        "the queue is full": "队列已满",
        "the dataset {0} is built in": "数据集 {0} 是内置的",
        "the dataset {0} is built in and cannot be {1}": "数据集 {0} 是内置的，不能{1}",
        "{0} of {1} rows are empty": "{1} 行中有 {0} 行为空",
        "removed": "删除",
        "task {0} cannot start: {1}": "任务 {0} 无法启动：{1}",
        "row {0} of column {1} is empty": "列 {1} 的第 {0} 行为空",
        "not translated yet": "",
        "{0} is not translated either": "",
    }
)


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("the queue is full", "队列已满"),
        ("the dataset 'iris' is built in", "数据集 'iris' 是内置的"),
        ("3 of 10 rows are empty", "10 行中有 3 行为空"),
        ("row 12,000 of column 'a b' is empty", "列 'a b' 的第 12,000 行为空"),
    ],
)
def test_a_message_is_translated_with_what_differs_in_its_places(message: str, translation: str) -> None:
    assert CATALOGUE.translated(message) == translation
    assert CATALOGUE.knows(message)


def test_the_template_with_most_text_of_its_own_is_taken() -> None:
    assert CATALOGUE.translated("the dataset 'iris' is built in and cannot be removed") == (
        "数据集 'iris' 是内置的，不能删除"
    )


def test_a_message_within_a_message_is_translated_too() -> None:
    assert CATALOGUE.translated("task t1 cannot start: the queue is full") == "任务 t1 无法启动：队列已满"
    assert CATALOGUE.translated("task t1 cannot start: out of luck") == "任务 t1 无法启动：out of luck"


def test_messages_that_are_joined_are_translated_one_by_one() -> None:
    joined = "the queue is full; 3 of 10 rows are empty; the dataset 'a' is built in"
    assert CATALOGUE.translated(joined) == "队列已满；10 行中有 3 行为空；数据集 'a' 是内置的"
    assert CATALOGUE.translated("epochs: the queue is full") == "epochs：队列已满"
    assert CATALOGUE.knows("the queue is full; 3 of 10 rows are empty")


@pytest.mark.parametrize(
    "message", ["", "no such message", "not translated yet", "this is not translated either", "a; b: c"]
)
def test_what_is_not_known_stays_as_it_is(message: str) -> None:
    assert CATALOGUE.translated(message) == message
    assert not CATALOGUE.knows(message)


@pytest.mark.parametrize(
    "value",
    ["'客户 流失（一月） 表.csv'", "'the queue is full'", '"removed"', '{"removed": "the queue is full"}', "12"],
)
def test_values_of_users_are_never_translated(value: str) -> None:
    assert CATALOGUE.translated(f"the dataset {value} is built in") == f"数据集 {value} 是内置的"


def test_a_thousand_messages_take_much_less_than_a_second() -> None:
    catalogue = chinese()
    messages = [f"the dataset 'name {n}' has no column 'of {n} rows'; row {n} is not a number" for n in range(500)]
    messages += [f"epochs: input should be greater than {n}, but 0 was given" for n in range(500)]
    catalogue.translated(messages[0])
    started = time.process_time()
    for message in messages:
        catalogue.translated(message)
    assert time.process_time() - started < 2.0


def test_no_text_of_a_client_takes_long() -> None:
    """With a regular expression, this one took minutes."""
    catalogue = Catalogue.of({"{0} has {1} of {2} in {3} at {4}": "{0}"})
    text = "x has x of x in x at " * 90 + "; y"
    started = time.process_time()
    catalogue.translated(text)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        (
            "input should be greater than or equal to 1, but 0 was given",
            "输入应大于或等于 1，但给出的是 0",
        ),
        (
            "Input should be a valid integer, unable to parse string as an integer, but 'ab' was given",
            "输入应为整数，但无法将字符串解析为整数，但给出的是 'ab'",
        ),
        ("input should be 'a', 'b' or 'c', but 'x y' was given", "输入应为 'a', 'b' 或 'c'，但给出的是 'x y'"),
        (
            "list should have at least 1 item after validation, not 0, but [] was given",
            "列表至少应有 1 项，而不是 0 项，但给出的是 []",
        ),
        ("not valid JSON: expected value at line 1 column 2", "不是有效的 JSON：此处应为一个值（第 1 行第 2 列）"),
    ],
)
def test_the_messages_of_pydantic_are_in_the_catalogue(message: str, translation: str) -> None:
    assert translated(message, "zh") == translation


def test_the_language_is_that_of_the_context_unless_it_is_given() -> None:
    message = "Input should be a valid integer"
    assert translated(message) == message
    token = current.set("zh")
    try:
        assert translated(message) == "输入应为整数"
        assert translated(message, "en") == message
    finally:
        current.reset(token)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_GB", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "en_GB", "EPOCHD_LANGUAGE": "zh"}, "zh"),
        ({"LANG": "zh_CN", "EPOCHD_LANGUAGE": ""}, "zh"),
    ],
)
def test_the_language_of_a_shell(environment: dict[str, str], language: str) -> None:
    assert of_environment(environment) == language
