"""Readers without processes: the same conversion of arguments, results and errors, and nothing to start."""

import asyncio
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from epochd.readers import protocol
from epochd.readers.pool import ReaderPool

P = ParamSpec("P")
T = TypeVar("T")


class InProcessReaders(ReaderPool):
    """Calls functions in a thread; there are no limits."""

    async def call(self, operation: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        request = protocol.encoded_call(operation, arguments)
        line = await asyncio.to_thread(protocol.answer, sys.modules[operation.__module__], request)
        return protocol.decoded_answer(operation, line)  # type: ignore[no-any-return]

    def warm(self) -> None:
        pass
