"""Every ``message`` text of the API, in Chinese and English.

The guide's texts are Chinese and stand by default; a client whose ``Accept-Language`` prefers English
gets English. Clients decide by status codes and field names, never by these texts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from epochd.core.jobs import State

Language = Literal["zh", "en"]

DEFAULT: Language = "zh"


class Text(StrEnum):
    """The names of the texts."""

    STARTED = "started"
    RESUMED = "resumed"
    PAUSING = "pausing"
    STOPPING = "stopping"
    REMOVED = "removed"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TEXTS: dict[Text, dict[Language, str]] = {
    Text.STARTED: {"zh": "Epoch训练已启动", "en": "Epoch training started"},
    Text.RESUMED: {"zh": "Epoch训练已恢复", "en": "Epoch training resumed"},
    Text.PAUSING: {
        "zh": "正在暂停：训练进程尚未完成检查点保存",
        "en": "Pausing: the worker has not finished its checkpoint yet",
    },
    Text.STOPPING: {"zh": "正在停止：训练进程尚未退出", "en": "Stopping: the worker has not ended yet"},
    Text.REMOVED: {"zh": "Epoch训练已删除", "en": "Epoch training was removed"},
    Text.PENDING: {"zh": "Epoch训练正在排队", "en": "Epoch training is waiting for a slot"},
    Text.RUNNING: {"zh": "Epoch训练进行中", "en": "Epoch training is running"},
    Text.PAUSED: {"zh": "Epoch训练已暂停", "en": "Epoch training is paused"},
    Text.COMPLETED: {"zh": "Epoch训练已完成", "en": "Epoch training is complete"},
    Text.FAILED: {"zh": "Epoch训练失败", "en": "Epoch training failed"},
    Text.CANCELLED: {"zh": "Epoch训练已取消", "en": "Epoch training was cancelled"},
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says the texts in the language of one request."""

    language: Language = DEFAULT

    def say(self, text: Text) -> str:
        return TEXTS[text][self.language]

    def state(self, state: State) -> str:
        """The sentence that describes a task in this state."""
        return self.say(Text(state.value))


def preferred(accept_language: str | None) -> Language:
    """The language a header such as ``en-GB,zh;q=0.8`` asks for; the first of equals, Chinese when in doubt.

    A simple reading of RFC 9110 section 12.5.4: subtags are ignored, ``*`` stands for the default.
    """
    best: tuple[float, Language] = (0.0, DEFAULT)
    for entry in (accept_language or "").split(","):
        tag, _, parameters = entry.partition(";")
        language = _known(tag)
        quality = _quality(parameters)
        if language is not None and quality > best[0]:
            best = (quality, language)
    return best[1]


def _known(tag: str) -> Language | None:
    match tag.strip().lower().split("-")[0]:
        case "en":
            return "en"
        case "zh" | "*":
            return "zh"
        case _:
            return None


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
