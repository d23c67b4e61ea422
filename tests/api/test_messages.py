import pytest

from epochd.api.messages import Message, Translator
from epochd.core.jobs import State
from epochd.core.language import preferred


def test_the_guides_text_is_the_default():
    assert Translator().message(Message.STARTED) == "Epoch训练已启动"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, None),
        ("", None),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh;q=0.3, en;q=0.7", "en"),
        ("fr, en;q=0.2", "en"),
        ("fr", None),
        ("*", None),
        ("*, en;q=0.5", None),
        ("en;q=0", None),
        ("en;q=high", None),
    ],
)
def test_accept_language_chooses_the_language(header, language):
    assert preferred(header) == language


def test_every_text_exists_in_both_languages_and_for_every_state():
    for language in ("zh", "en"):
        assert len({Translator(language).message(message) for message in Message}) == len(Message)
        assert all(Translator(language).state(state) for state in State)
    assert all(len(message.value) == 2 and message.value[1].isascii() for message in Message)
