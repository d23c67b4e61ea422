import pytest

from epochd.api.messages import MESSAGES, Message, Translator, preferred_language
from epochd.core.jobs import State


def test_the_guides_text_is_the_default():
    assert Translator().message(Message.STARTED) == "Epoch训练已启动"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "zh"),
        ("", "zh"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh;q=0.3, en;q=0.7", "en"),
        ("fr, en;q=0.2", "en"),
        ("fr", "zh"),
        ("*", "zh"),
        ("en;q=0", "zh"),
        ("en;q=high", "zh"),
    ],
)
def test_accept_language_chooses_the_language(header, language):
    assert preferred_language(header) == language


def test_every_text_exists_in_both_languages_and_for_every_state():
    assert set(MESSAGES) == set(Message)
    assert all(set(versions) == {"zh", "en"} for versions in MESSAGES.values())
    assert all(Translator("en").state(state) for state in State)
