# SPDX-License-Identifier: Apache-2.0
"""The host's side of the console: where the guest's input comes from and its output goes.

Input from a pipe or a file is read when it is wanted, and waited for. On a terminal it is read as
it comes: keys go to the guest unseen by the host, Ctrl-C too; Ctrl-A x leaves, Ctrl-A Ctrl-A sends
one Ctrl-A. The terminal is put back however the run ends, by SIGTERM and SIGHUP too.
"""

import errno
import os
import select
import signal
import sys
import termios
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError

_CHUNK = 4096
_CTRL_A = 0x01


class EscapeKeys:
    """Takes Ctrl-A sequences out of what is typed."""

    def __init__(self) -> None:
        self.leave = False
        """Ctrl-A x was typed."""
        self._escaped = False

    def filter(self, typed: bytes) -> bytes:
        """What of `typed` goes to the guest; nothing behind Ctrl-A x does."""
        out = bytearray()
        for byte in typed:
            if self.leave:
                break
            if self._escaped:
                self._escaped = False
                if byte in b"xX":
                    self.leave = True
                elif byte == _CTRL_A:
                    out.append(byte)
            elif byte == _CTRL_A:
                self._escaped = True
            else:
                out.append(byte)
        return bytes(out)


class ConsoleIO:
    """Use as a context: inside it a terminal is in raw mode.

    `ended` turns true when no input will ever come again, `left` when the user wants to stop.
    """

    def __init__(self, source: int | None, output: BinaryIO) -> None:
        """`source` is a file descriptor, or None for no input at all."""
        self.ended = source is None
        self.interactive = source is not None and os.isatty(source)
        self._source = source
        self._output = output
        self._keys = EscapeKeys()
        self._waiting = bytearray()
        self._saved: list[int | list[bytes | int]] | None = None
        self._handlers: dict[signal.Signals, object] = {}

    @property
    def left(self) -> bool:
        """The user typed Ctrl-A x."""
        return self._keys.leave

    @property
    def waiting(self) -> bool:
        """Input has been read that nobody has taken yet."""
        return bool(self._waiting)

    @property
    def exhausted(self) -> bool:
        """No byte will ever be taken again."""
        return self.left or (self.ended and not self._waiting)

    @property
    def source(self) -> int | None:
        """The descriptor to wait on for input; None when there is no more."""
        return None if self.ended else self._source

    def write(self, data: bytes) -> None:
        """The guest's output, shown at once."""
        if data:
            self._output.write(data)
            self._output.flush()

    def read_some(self) -> bytes:
        """What has come, waiting until something does: b"" when `ended`, or for keys that are not
        the guest's."""
        if self._source is None or self.ended:
            return b""
        data = os.read(self._source, _CHUNK)
        if not data:
            self.ended = True
        return self._keys.filter(data) if self.interactive else data

    def take_byte(self) -> int | None:
        """The next byte of input, or None.

        From a pipe or file it waits, and None says that the input has ended. From a terminal it
        does not wait, and None says that nothing has been typed.
        """
        while not self._waiting and not self.ended and not self.left:
            if self.interactive and not self._typed():
                return None
            self._waiting += self.read_some()
        return self._waiting.pop(0) if self._waiting else None

    def wait(self) -> None:
        """Waits until there is a byte to take, or there will be none any more."""
        while not self._waiting and not self.exhausted:
            self._waiting += self.read_some()

    def poll_keys(self) -> bool:
        """On a terminal, takes in what was typed; whether the user wants to leave."""
        while self.interactive and not self.ended and not self.left and self._typed():
            self._waiting += self.read_some()
        return self.left

    def _typed(self) -> bool:
        assert self._source is not None
        return bool(select.select([self._source], [], [], 0)[0])

    def __enter__(self) -> "ConsoleIO":
        # A signal's default would end the process on the spot: no terminal put back, no temporary
        # folder removed.
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _leave_by_signal)
        if self.interactive and self._source is not None:
            self._saved = termios.tcgetattr(self._source)
            _set_raw(self._source)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._saved is not None and self._source is not None:
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._saved)
            self._saved = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def _set_raw(terminal: int) -> None:
    """Every key to the guest as it is typed. Output stays cooked: a bare newline still returns."""
    mode = termios.tcgetattr(terminal)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN] = 1
    mode[6][termios.VTIME] = 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)


def _leave_by_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def open_console(input_file: Path | None, *, to_stderr: bool) -> ConsoleIO:
    """The console of the process, with its input from `input_file` when one is given.

    The guest's output goes to stdout, or to stderr when stdout is wanted for something else.
    Raises UserError when the file cannot be read.
    """
    output = sys.stderr.buffer if to_stderr else sys.stdout.buffer
    if input_file is None:
        return ConsoleIO(_stdin(), output)
    try:
        if input_file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        return ConsoleIO(os.open(input_file, os.O_RDONLY | os.O_CLOEXEC), output)
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(input_file), fix="name a file that exists"
        ) from None


def _stdin() -> int | None:
    """The standard input; None when the process was started without one."""
    try:
        return None if sys.stdin is None else sys.stdin.fileno()
    except (OSError, ValueError):
        return None
