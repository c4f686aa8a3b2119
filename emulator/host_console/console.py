# SPDX-License-Identifier: Apache-2.0
"""The host's side of the console: where the guests' input comes from and their output goes.

Input from a pipe or a file is read when it is wanted, and waited for. On a terminal it is read as
it comes: keys go to the guest unseen by the host, Ctrl-C too; Ctrl-A x leaves, Ctrl-A Ctrl-A sends
one Ctrl-A. The terminal is put back however the run ends, by SIGTERM and SIGHUP too.
"""

import errno
import os
import select
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.keys import EscapeKeys, VmKeys
from aether_edgecloud.emulator.host_console.outputs import Painter, VmFiles
from aether_edgecloud.emulator.host_console.terminals import VmTerminals
from aether_edgecloud.emulator.report.console_lines import VmOutput
from aether_edgecloud.emulator.signals import leaving_by_signal

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What is wanted of a console beyond passing bytes on. `names` are the VMs', by number."""

    names: tuple[str, ...] = ()
    folder: Path | None = None
    """Where each VM's output is written to, one file for each."""
    terminals: bool = False
    """Each VM gets a pseudo-terminal."""
    input_after: bytes | None = None
    """Piped input waits until the console has shown this."""


class ConsoleIO:
    """Use as a context: inside it a terminal is in raw mode.

    `ended` turns true when no input will ever come again, `left` when the user wants to stop.
    """

    def __init__(
        self, source: int | None, output: BinaryIO, options: ConsoleOptions | None = None
    ) -> None:
        """`source` is a file descriptor, or None for no input at all. UserError for a folder that
        cannot be written."""
        options = options or ConsoleOptions()
        self.ended = source is None
        self.interactive = source is not None and os.isatty(source)
        self._source = source
        self._output = output
        self._keys = EscapeKeys()
        self._vm_keys = VmKeys(len(options.names))
        self._numbers = {name: number for number, name in enumerate(options.names, 1)}
        self._gate = None if self.interactive else _Gate(options.input_after)
        self._painter = Painter(_shared(options.names)) if _wants_colors(output) else None
        self._outputs = VmOutput(options.names)
        self._files = None if options.folder is None else VmFiles(options.folder, options.names)
        self._terminals = VmTerminals(options.names) if options.terminals else None
        self._waiting = bytearray()
        self._saved: list[int | list[bytes | int]] | None = None
        self._signals = leaving_by_signal()

    @property
    def left(self) -> bool:
        """The user typed Ctrl-A x."""
        return self._keys.leave

    @property
    def terminal_paths(self) -> Mapping[str, str]:
        """The VMs' pseudo-terminals, by name; none unless they were wanted."""
        return {} if self._terminals is None else self._terminals.paths

    @property
    def waiting(self) -> bool:
        """Input has been read that nobody has taken yet."""
        return bool(self._waiting)

    @property
    def exhausted(self) -> bool:
        """No byte will ever be taken again."""
        return self.left or (self.ended and not self._waiting and self._terminals is None)

    @property
    def sources(self) -> tuple[int, ...]:
        """The descriptors to wait on for input; none when there is no more, or not yet."""
        found: list[int] = []
        if self._source is not None and not self.ended and self._open:
            found.append(self._source)
        if self._terminals is not None:
            found += self._terminals.sources
        return tuple(found)

    def write(self, data: bytes) -> None:
        """The guests' output, shown at once."""
        if not data:
            return
        if self._gate is not None:
            self._gate.feed(data)
        self._show(data if self._painter is None else self._painter.feed(data))
        if self._files is not None or self._terminals is not None:
            self._give_out(self._outputs.feed(data))

    def _show(self, data: bytes) -> None:
        self._output.write(data)
        self._output.flush()

    def _give_out(self, parts: Sequence[tuple[str, bytes]]) -> None:
        for speaker, text in parts:
            if self._files is not None:
                self._files.write(speaker, text)
            if self._terminals is not None and speaker in self._numbers:
                self._terminals.write(speaker, text)

    def read_some(self, source: int | None = None) -> bytes:
        """What has come from one of `sources` (the first when None), waiting until something does:
        b"" when it has ended, or for keys that are not the guest's."""
        if self._terminals is not None and source is not None:
            name = self._terminals.sources.get(source)
            if name is not None:
                return self._vm_keys.to_vm(self._numbers[name], self._terminals.read(source))
        if self._source is None or self.ended:
            return b""
        data = os.read(self._source, _CHUNK)
        if not data:
            self.ended = True
        return self._vm_keys.typed(self._keys.filter(data) if self.interactive else data)

    def take_byte(self) -> int | None:
        """The next byte of input, or None.

        From a pipe or file alone it waits, and None says that the input has ended, or that it is
        not wanted yet. Else it does not wait, and None says that nothing has been typed.
        """
        while not self._waiting and not self.exhausted and self.sources:
            ready = self._ready() if self._is_live else self.sources
            if not ready:
                return None
            self._waiting += self.read_some(ready[0])
        return self._waiting.pop(0) if self._waiting else None

    def wait(self) -> None:
        """Waits until there is a byte to take, or there will be none any more."""
        while not self._waiting and not self.exhausted and self.sources:
            ready, _, _ = select.select(self.sources, [], [])
            self._waiting += self.read_some(ready[0])

    def pace(self, seconds: float) -> None:
        """Lets a user live in the guests' time: waits that long, or until something is typed. Who
        pipes input does not wait."""
        if self._is_live and not self._waiting and self.sources:
            select.select(self.sources, [], [], seconds)

    def poll_keys(self) -> bool:
        """Takes in what was typed; whether the user wants to leave."""
        while self._is_live and not self.left and (ready := self._ready()):
            self._waiting += self.read_some(ready[0])
        if self._terminals is not None:
            self._terminals.flush()
        return self.left

    @property
    def _is_live(self) -> bool:
        """Somebody types: there may be nothing now, and something later."""
        return self.interactive or self._terminals is not None

    @property
    def _open(self) -> bool:
        return self._gate is None or self._gate.open

    def _ready(self) -> list[int]:
        return select.select(self.sources, [], [], 0)[0] if self.sources else []

    def __enter__(self) -> "ConsoleIO":
        self._signals.__enter__()
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
        self._signals.__exit__(kind, error, trace)
        self._give_out(self._outputs.finish())
        if self._files is not None:
            self._files.close()
        if self._terminals is not None:
            self._terminals.close()
        if self._painter is not None and error is None:
            self._show(self._painter.finish())


class _Gate:
    """Opens when the console has shown some words; from the start when there are none."""

    def __init__(self, words: bytes | None) -> None:
        self.open = not words
        self._words = words or b""
        self._seen = b""

    def feed(self, data: bytes) -> None:
        if self.open:
            return
        self._seen = (self._seen + data)[-len(data) - len(self._words) :]
        self.open = self._words in self._seen


def _shared(names: Sequence[str]) -> Sequence[str]:
    """The names that stand before lines: none when one VM has the console to itself."""
    return names if len(names) > 1 else ()


def _wants_colors(output: BinaryIO) -> bool:
    """A terminal, and nobody who wants no colours (no-color.org)."""
    try:
        return output.isatty() and not os.environ.get("NO_COLOR")
    except ValueError:  # closed
        return False


def _set_raw(terminal: int) -> None:
    """Every key to the guest as it is typed. Output stays cooked: a bare newline still returns."""
    mode = termios.tcgetattr(terminal)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN] = 1
    mode[6][termios.VTIME] = 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)


def open_console(
    input_file: Path | None, *, to_stderr: bool, options: ConsoleOptions | None = None
) -> ConsoleIO:
    """The console of the process, with its input from `input_file` when one is given.

    The guest's output goes to stdout, or to stderr when stdout is wanted for something else.
    Raises UserError when the file cannot be read, or the options' folder not be written.
    """
    output = sys.stderr.buffer if to_stderr else sys.stdout.buffer
    source = _stdin() if input_file is None else open_input(input_file)
    return ConsoleIO(source, output, options)


def open_input(file: Path) -> int:
    """A descriptor to read a file of input from. Raises UserError."""
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(file), fix="name a file that exists"
        ) from None


def _stdin() -> int | None:
    """The standard input; None when the process was started without one."""
    try:
        return None if sys.stdin is None else sys.stdin.fileno()
    except (OSError, ValueError):
        return None
