"""The one place where tests make a ticket."""

from pathlib import Path
from typing import Any

from epochd.core import specs
from epochd.core.tickets import Ticket

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""


def ticket(data_dir: Path, **values: Any) -> Ticket:
    """The first attempt at task "task": PyTorch, target ``target``.

    ``values`` are fields of the ticket, or else options of its spec.
    """
    fields = {name: values.pop(name) for name in list(values) if name in Ticket.model_fields}
    defaults = {"task_id": "task", "attempt": 1, "token": "secret", "server_url": NOWHERE, "dataset_roots": []}
    spec = specs.parse({"target_column": "target", "framework": "pytorch"} | values)
    return Ticket(**{**defaults, "data_dir": data_dir, "spec": spec} | fields)
