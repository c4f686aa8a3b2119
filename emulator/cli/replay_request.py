# SPDX-License-Identifier: Apache-2.0
"""What `aether replay` is asked to show, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.container import MAGIC
from aether_edgecloud.emulator.replay import parse
from aether_edgecloud.emulator.replay.conditions import Hit
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.memory import check_size

_MEMORY_SIZE = 256
_SUFFIX = ".aet"


class View(Enum):
    """Something to show, by the name it has on the command line."""

    REGISTERS = "regs"
    CODE = "disasm"
    STAGE1 = "stage1"
    STAGE2 = "stage2"
    BACKTRACE = "backtrace"
    STACK = "stack"
    MEMORY = "memory"
    CONSOLE = "console"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A view; `text` is what stands behind `memory:`."""

    view: View
    text: str = ""
    size: int = _MEMORY_SIZE


@dataclass(frozen=True, slots=True)
class Hits:
    """What --find has found; `is_more`: --all has left some out."""

    hits: Sequence[Hit]
    is_more: bool = False


_DEFAULT = (View.REGISTERS, View.CODE, View.BACKTRACE)
_ALL = tuple(view for view in View if view is not View.MEMORY)


def parse_show(text: str | None, *, as_json: bool) -> tuple[Wanted, ...]:
    """The views of --show; with --json alone the registers, the code and the backtrace. UserError
    for a name that is none."""
    if text is None:
        return tuple(Wanted(view) for view in _DEFAULT) if as_json else ()
    wanted: list[Wanted] = []
    for word in text.split(","):
        name, _, rest = word.strip().partition(":")
        if name == "all":
            wanted += [Wanted(view) for view in _ALL]
            continue
        view = next((view for view in View if view.value == name), None)
        if view is None or bool(rest) != (view is View.MEMORY):
            names = ", ".join(view.value for view in View if view is not View.MEMORY)
            fix = f"use {names}, memory:ADDRESS[+SIZE], all"
            raise UserError(f"{word.strip()!r} cannot be shown", where="--show", fix=fix)
        wanted.append(Wanted(view, rest))
    return tuple(wanted)


def check_views(replay: Replay, wanted: Sequence[Wanted], cpu: int | None) -> None:
    """Before anything is printed. UserError for a CPU or a range of memory that is none."""
    cpus = len(replay.machine.cpus)
    if cpu is not None and cpu >= cpus:
        raise UserError(f"there is no CPU {cpu}", where="--cpu", fix=f"use 0 to {cpus - 1}")
    for view in wanted:
        if view.view is View.MEMORY:
            check_size(parse.range_of(replay, view.text, view.size)[2])


def is_recording(file: Path) -> bool:
    """Whether a file says in its first bytes, or by its name, that it is a recording."""
    if file.suffix == _SUFFIX or not file.is_file():
        return file.suffix == _SUFFIX
    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def start_of(linked: str | None, at: str | None) -> str | None:
    """Where to begin: what the link says, or --at. UserError for both, and for a place that is told
    from a cursor."""
    if linked is not None and at is not None:
        raise UserError("the position is given twice", where="--at", fix="leave one of them out")
    start = linked if at is None else at
    if start is not None and start[:1] in ("+", "-"):
        fix = "it has no cursor yet: use 12_345, 40%, event:N, mark:NAME or end"
        raise UserError(f"{start!r} is told from a cursor", where="--at", fix=fix)
    return start


def split_link(text: str, command: str) -> tuple[Path, str | None]:
    """FILE[@POSITION]; a file that is called so is a file. UserError without FILE."""
    file, at, position = text.rpartition("@")
    if not text or (at and not file and not Path(text).exists()):
        raise UserError("FILE is missing", where=command, fix="give FILE[@POSITION]")
    if not at or Path(text).exists():
        return Path(text), None
    return Path(file), position
