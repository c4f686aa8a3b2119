# SPDX-License-Identifier: Apache-2.0
"""Signals that end a run in the emulator.

A handler that raises would raise wherever Python happens to be, also on the way into a callback
from C, where the exception is lost and the run goes on. So a handler only notes the signal and lets
the machine stop; it raises only while the run waits for input, where nothing else ends the wait.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def leaving_by_signal() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the process by SystemExit: their default would do so on the
    spot, with no terminal put back and no temporary folder removed."""
    before: dict[signal.Signals, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class SignalWatch:
    """Use as a context. `stop` makes the machine stop soon; it must not raise."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._caught: int | None = None
        self._waiting = False
        self._before: dict[signal.Signals, object] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around something that blocks: a signal ends it with an exception."""
        self._waiting = True
        try:
            self.check()
            yield
        finally:
            self._waiting = False

    def check(self) -> None:
        """Raises what a signal that has come means: KeyboardInterrupt, or SystemExit."""
        if self._caught == signal.SIGINT:
            raise KeyboardInterrupt
        if self._caught is not None:
            raise SystemExit(128 + self._caught)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._caught = number
        self._stop()
        if self._waiting:
            self.check()

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
