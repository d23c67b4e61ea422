"""Every ``message`` of an answer with success, in Chinese and English.

Clients should rely on status codes and field names, not on these texts.
"""

from dataclasses import dataclass
from enum import Enum

from epochd.core.jobs import JobKind, State
from epochd.core.language import DEFAULT, Language


class Message(Enum):
    """The Chinese and the English text of each message; that of a state has its name, for a prediction after
    ``PREDICTION_``."""

    STARTED = "Epoch训练已启动", "Epoch training started"
    REPLAYED = "Epoch训练将重复执行", "Epoch training is repeated"
    RESUMED = "Epoch训练已恢复", "Epoch training resumed"
    PRIORITISED = "优先级已更改", "The priority was changed"
    PAUSING = "正在暂停：训练进程尚未完成检查点保存", "Pausing: the worker has not saved its checkpoint yet"
    STOPPING = "正在停止：训练进程尚未退出", "Stopping: the worker has not exited yet"
    REMOVED = "Epoch训练已删除", "Epoch training was removed"
    PENDING = "Epoch训练正在排队", "Epoch training is queued"
    RUNNING = "Epoch训练进行中", "Epoch training is running"
    PAUSED = "Epoch训练已暂停", "Epoch training is paused"
    COMPLETED = "Epoch训练已完成", "Epoch training is complete"
    FAILED = "Epoch训练失败", "Epoch training failed"
    CANCELLED = "Epoch训练已取消", "Epoch training was cancelled"
    PREDICTION_STARTED = "批量预测已启动", "Batch prediction started"
    PREDICTION_RESUMED = "批量预测已恢复", "Batch prediction resumed"
    PREDICTION_PAUSING = (
        "正在暂停：预测进程尚未完成当前部分",
        "Pausing: the worker has not completed its current part yet",
    )
    PREDICTION_STOPPING = "正在停止：预测进程尚未退出", "Stopping: the worker of the prediction has not exited yet"
    PREDICTION_REMOVED = "批量预测已删除", "Batch prediction was removed"
    PREDICTION_PENDING = "批量预测正在排队", "Batch prediction is queued"
    PREDICTION_RUNNING = "批量预测进行中", "Batch prediction is running"
    PREDICTION_PAUSED = "批量预测已暂停", "Batch prediction is paused"
    PREDICTION_COMPLETED = "批量预测已完成", "Batch prediction is complete"
    PREDICTION_FAILED = "批量预测失败", "Batch prediction failed"
    PREDICTION_CANCELLED = "批量预测已取消", "Batch prediction was cancelled"


@dataclass(frozen=True, slots=True)
class Translator:
    """The messages in the language of one request."""

    language: Language = DEFAULT

    def message(self, message: Message) -> str:
        chinese, english = message.value
        return english if self.language == "en" else chinese

    def state(self, state: State, kind: JobKind = JobKind.TRAINING) -> str:
        """The message that describes a task in this state."""
        return self.message(Message[state.name if kind is JobKind.TRAINING else f"PREDICTION_{state.name}"])
