# SPDX-License-Identifier: Apache-2.0
"""A program in a terminal of this process's making: what it writes becomes a screen of characters,
what tests type becomes its input."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

LIMIT_S = 120
"""A program that hangs ends here; nothing is measured by it."""
_COLOUR = re.compile(rb"\x1b\[([\d;:]*)m")
_CHUNK = 1 << 16
_CALM_S = 3


class Terminal:
    """Columns by rows of characters, and the program that draws on them."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int,
        rows: int,
        environment: Mapping[str, str],
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.written = bytearray()
        """All the program has written."""
        self._ours, theirs = os.openpty()
        self.resize(columns, rows)
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """The screen, without the blanks at the ends of lines."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    @property
    def colours(self) -> set[int]:
        """Numbers of the colours that were asked for: codes 30 to 49 and 90 to 107."""
        codes = (
            int(code or 0)
            for found in _COLOUR.findall(self.written)
            for code in re.split(rb"[;:]", found)
        )
        return {code for code in codes if 30 <= code <= 49 or 90 <= code <= 107} - {39, 49}

    def resize(self, columns: int, rows: int) -> None:
        """As if the user had made the window larger or smaller."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "_process"):
            os.killpg(self._process.pid, signal.SIGWINCH)

    def type(self, keys: str) -> "Terminal":
        """What a keyboard sends."""
        os.write(self._ours, keys.encode())
        return self

    def until(self, is_there: Callable[["Terminal"], bool]) -> "Terminal":
        """Reads until the screen is as wanted; fails if the program ends or hangs before."""
        while not is_there(self):
            assert self._read(), f"it ended with this on the screen:\n{self.text}"
        return self

    def shows(self, *words: str) -> "Terminal":
        """Reads until all of these words are on the screen."""
        return self.until(lambda terminal: all(word in terminal.text for word in words))

    def calm(self) -> "Terminal":
        """Reads until nothing comes for a while. For drawing what tests compare with, only."""
        while select.select([self._ours], [], [], _CALM_S)[0] and self._read():
            pass
        return self

    def end(self) -> int:
        """Reads until the program ends; its exit status."""
        while self._read():
            pass
        return self._process.wait(LIMIT_S)

    def _read(self) -> bool:
        """More of what the program writes; False once it has ended."""
        ready, _, _ = select.select([self._ours], [], [], LIMIT_S)
        assert ready, f"nothing happens any more; on the screen:\n{self.text}"
        try:
            data = os.read(self._ours, _CHUNK)
        except OSError:  # nobody has it open any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


def _own_terminal() -> None:
    """The program's terminal is the one that signals come from."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
