"""SIGTERM and a closed terminal end a command as Ctrl-C does: what was half-written is removed, the exit code is 130."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def as_ctrl_c() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the first SIGTERM or SIGHUP; what follows is ignored, because ``timeout`` sends two.

    A signal that is ignored already, as under ``nohup``, stays ignored. Only the main thread may ask for signals.
    """
    old: dict[signal.Signals, Any] = {}

    def interrupt(number: int, frame: Any) -> None:
        del frame
        # Removing drafts takes a moment, and must not be cut short in its turn; Ctrl-C still can.
        for one in old:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.strsignal(number))

    if threading.current_thread() is threading.main_thread():
        heard = {number: signal.getsignal(number) for number in _ENDINGS}
        old |= {number: handler for number, handler in heard.items() if handler not in {signal.SIG_IGN, None}}
        for number in old:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
