# SPDX-License-Identifier: Apache-2.0
"""What users type for addresses, sizes and kinds of events."""

import re

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.parse import kind_name
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model.row import Address, Place
from aether_edgecloud.emulator.ui.model.session import EVERY_KIND, Session, value_of

_TOP = 1 << 64
_SPACED = re.compile(r"(va|ipa|pa|el2|guest):(.+)", re.IGNORECASE)
_SUM = re.compile(r"(.+?)\s*([+-])\s*(0x[0-9a-f_]+|[0-9][0-9_]*)", re.IGNORECASE)
_NUMBER = re.compile(r"0x[0-9a-f_]+|[0-9][0-9_,]*", re.IGNORECASE)


def number(text: str) -> int | None:
    """A number, decimal or with 0x; `_` and `,` may stand between digits. None for other words."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text.replace(",", ""), 0 if text[:2].lower() == "0x" else 10)
    except ValueError:
        return None


def address(session: Session, text: str, space: Space = Space.VA) -> Address:
    """`0x4000`, `symbol`, `x3`, any of these with `+0x10`; `va:` (of the CPU's EL), `el2:`,
    `guest:`, `ipa:` or `pa:` before it says what it is. UserError for anything else."""
    spaced = _SPACED.fullmatch(text.strip())
    if spaced:
        space, text = Space(spaced[1].lower()), spaced[2]
    value = _value(session, text.strip())
    if value is None:
        fix = "write 0x1234, a symbol or a register, with va:, el2:, guest:, ipa: or pa: before it"
        raise UserError(f"{text.strip()!r} is not an address", fix=fix)
    return Address(space, value % _TOP)


def _value(session: Session, text: str) -> int | None:
    plain = number(text)
    if plain is not None:
        return plain
    known = session.replay.symbols.address_of(text)
    if known is not None:
        return known
    register = value_of(session.cpu, text)
    if register is not None:
        return register
    total = _SUM.fullmatch(text)
    if not total:
        return None
    base, offset = _value(session, total[1]), number(total[3])
    if base is None or offset is None:
        return None
    return base + offset if total[2] == "+" else base - offset


def place(session: Session, text: str) -> Place:
    """A bookmark's name, or what a replay takes for a position. UserError for anything else."""
    marked = session.bookmarks.named(text.strip())
    return Place(*(session.replay.moment(text.strip()) if marked is None else marked))


def kinds(text: str) -> frozenset[EventKind]:
    """Names of kinds between spaces or commas, their beginnings too; `all`, or nothing, is all,
    and `-name` all but that. UserError for a name that is none."""
    chosen: set[EventKind] = set()
    dropped: set[EventKind] = set()
    for word in re.split(r"[\s,]+", text.strip().lower()):
        if word in ("", "all"):
            continue
        (dropped if word[0] == "-" else chosen).update(_kind(word.removeprefix("-")))
    return frozenset((chosen or EVERY_KIND) - dropped)


def _kind(word: str) -> set[EventKind]:
    name = word.replace("-", "_").upper()
    if name in EventKind.__members__:
        return {EventKind[name]}
    found = {kind for kind in EventKind if name and kind.name.startswith(name)}
    if not found:
        known = ", ".join(kind_name(kind) for kind in EventKind)
        raise UserError(f"no kind of event is called {word!r}", fix=f"there are: {known}")
    return found


def kinds_in_words(chosen: frozenset[EventKind]) -> str:
    """What `kinds` reads again."""
    if chosen == EVERY_KIND:
        return "all"
    missing = EVERY_KIND - chosen
    if len(missing) < len(chosen):
        return " ".join(f"-{kind_name(kind)}" for kind in sorted(missing))
    return " ".join(kind_name(kind) for kind in sorted(chosen))
