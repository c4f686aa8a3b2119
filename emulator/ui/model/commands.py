# SPDX-License-Identifier: Apache-2.0
"""What a command is: the keys, the palette, the help and the document are all made of these."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.ui.model.session import Session


class Group(enum.Enum):
    """Headings of the help."""

    STEP = "Step"
    FIND = "Find"
    GO = "Go"
    KEEP = "Keep"
    LOOK = "Look"


class Screen(enum.Enum):
    """What the terminal does by itself."""

    HELP = enum.auto()
    PALETTE = enum.auto()
    QUIT = enum.auto()
    CANCEL = enum.auto()
    COPY_LINK = enum.auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says: a line, and maybe a list to choose from."""

    words: str = ""
    choices: "Sequence[Choice]" = ()


Action = Callable[[Session, Progress], Answer]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list, and what choosing it does."""

    words: str
    action: Action


def _nothing(session: Session) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A command that needs words of the user, and what it asks for. `proposed` stand there to
    begin with."""

    prompt: str | Callable[[Session], str]
    action: Callable[[Session, str, Progress], Answer]
    proposed: Callable[[Session], str] = field(default=_nothing)

    def question(self, session: Session) -> str:
        """The prompt, here and now."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt(session)


@dataclass(frozen=True, slots=True)
class Command:
    """`keys` as Textual names them; the first is the one that is shown."""

    name: str
    keys: tuple[str, ...]
    group: Group
    help: str
    does: Action | Ask | Screen


def by_key(commands: Sequence[Command]) -> Mapping[str, Command]:
    """Each key's command. ValueError for a key that has two."""
    found: dict[str, Command] = {}
    for command in commands:
        for key in command.keys:
            if key in found:
                raise ValueError(f"{key} is both {found[key].name!r} and {command.name!r}")
            found[key] = command
    return found
