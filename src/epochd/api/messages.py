"""Every ``message`` text of the API, in Chinese and English.

Chinese, the language of the public guide, is the default; a client whose ``Accept-Language`` prefers English gets
English. Clients should rely on status codes and field names, not on these texts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from epochd.core.jobs import State

Language = Literal["zh", "en"]

DEFAULT: Language = "zh"


class Message(StrEnum):
    """The names of the messages; those of a state have its value."""

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


MESSAGES: dict[Message, dict[Language, str]] = {
    Message.STARTED: {"zh": "Epoch训练已启动", "en": "Epoch training started"},
    Message.RESUMED: {"zh": "Epoch训练已恢复", "en": "Epoch training resumed"},
    Message.PAUSING: {
        "zh": "正在暂停：训练进程尚未完成检查点保存",
        "en": "Pausing: the worker has not saved its checkpoint yet",
    },
    Message.STOPPING: {"zh": "正在停止：训练进程尚未退出", "en": "Stopping: the worker has not exited yet"},
    Message.REMOVED: {"zh": "Epoch训练已删除", "en": "Epoch training was removed"},
    Message.PENDING: {"zh": "Epoch训练正在排队", "en": "Epoch training is queued"},
    Message.RUNNING: {"zh": "Epoch训练进行中", "en": "Epoch training is running"},
    Message.PAUSED: {"zh": "Epoch训练已暂停", "en": "Epoch training is paused"},
    Message.COMPLETED: {"zh": "Epoch训练已完成", "en": "Epoch training is complete"},
    Message.FAILED: {"zh": "Epoch训练失败", "en": "Epoch training failed"},
    Message.CANCELLED: {"zh": "Epoch训练已取消", "en": "Epoch training was cancelled"},
}


@dataclass(frozen=True, slots=True)
class Translator:
    """The messages in the language of one request."""

    language: Language = DEFAULT

    def message(self, message: Message) -> str:
        return MESSAGES[message][self.language]

    def state(self, state: State) -> str:
        """The message that describes a task in this state."""
        return self.message(Message(state.value))


def preferred_language(accept_language: str | None) -> Language:
    """The language that a header such as ``en-GB,zh;q=0.8`` prefers; the first of equal ones, Chinese if there is none.

    A simplified form of RFC 9110 section 12.5.4: subtags are ignored, ``*`` means the default language.
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
