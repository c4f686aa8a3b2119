# SPDX-License-Identifier: Apache-2.0
"""What a command reports in one line: mistakes a user can put right, and faults of the emulator."""


class UserError(Exception):
    """A mistake in what the user gave: a file, a description, an option, a missing program.

    `what` says what is wrong, `where` the place (file, file and line, option, field), `fix` what
    to do about it. `str()` is the line the command prints behind `aether: `; it never holds a
    line break, so that one mistake is one line. The command ends with exit status 2.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = _one_line(what)
        self.where = None if where is None else _one_line(where)
        self.fix = None if fix is None else _one_line(fix)
        super().__init__(what)

    def __str__(self) -> str:
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        return line if self.fix is None else f"{line}; {self.fix}"


def _one_line(text: str) -> str:
    """`text` with every run of white space, and every unprintable character, made one space."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())


class EmulatorFault(Exception):
    """The emulator cannot go on: its engine and its models contradict each other. Never the user's
    mistake; the message says at which PC."""
