# SPDX-License-Identifier: Apache-2.0
"""Commands for what is kept: breakpoints, watchpoints, bookmarks."""

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.conditions import Access, Read, Write
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.ui.model import moves, words
from aether_edgecloud.emulator.ui.model.commands import Action, Answer, Ask, Choice
from aether_edgecloud.emulator.ui.model.history import Bookmark, Stop
from aether_edgecloud.emulator.ui.model.row import Place
from aether_edgecloud.emulator.ui.model.session import Session

_WATCHED: dict[str, type[Read | Write | Access]] = {"r": Read, "w": Write, "rw": Access}
_BYTES = 8
_MOST_BYTES = 4096


def breakpoint_here(session: Session, progress: Progress) -> Answer:
    """Sets or takes away the one at the code cursor."""
    where = moves.here(session)
    kept = [stop for stop in session.stops if stop.condition != where]
    if len(kept) < len(session.stops):
        session.stops = kept
        return Answer(f"no breakpoint at {where.va:#x} any more")
    name = session.replay.symbols.at(where.va) if where.el == 2 else None
    told = f"breakpoint at {where.va:#x} at EL{where.el}"
    told += f" of VM {where.vmid}" if where.vmid is not None else ""
    told += f", {name}" if name else ""
    session.stops.append(Stop(where, told, where.va))
    return Answer(told)


def _watch(session: Session, said: str, progress: Progress) -> Answer:
    where, *rest = said.split() or [""]
    kinds = [word for word in rest if word in _WATCHED]
    sizes = [size for size in map(words.number, rest) if size is not None]
    if len(kinds) + len(sizes) != len(rest) or len(kinds) > 1 or len(sizes) > 1:
        raise UserError(f"{said!r} is no watchpoint", fix="write ADDRESS, SIZE and r, w or rw")
    size = sizes[0] if sizes else _BYTES
    if not 1 <= size <= _MOST_BYTES:
        raise UserError(f"a watchpoint is of 1 to {_MOST_BYTES} bytes, not {size}")
    address = words.address(session, where, session.memory_at.space)
    kind = kinds[0] if kinds else "w"
    pa = moves.pa_of(session, address)
    told = f"watchpoint ({kind}) on {size} bytes at {address}, PA {pa:#x}"
    session.stops.append(Stop(_WATCHED[kind](pa, size), told))
    return Answer(told)


WATCH = Ask("watch ADDRESS [SIZE] [r|w|rw]", _watch, lambda session: f"{session.memory_at} 8 w")


def drop(session: Session, progress: Progress) -> Answer:
    """Offers to take away a breakpoint or watchpoint."""
    if not session.stops:
        return Answer("there is no breakpoint and no watchpoint")
    return Answer("choose what to take away", tuple(map(_dropping, session.stops)))


def _dropping(stop: Stop) -> Choice:
    def act(session: Session, progress: Progress) -> Answer:
        session.stops = [one for one in session.stops if one != stop]
        return Answer(f"taken away: {stop.words}")

    return Choice(stop.words, act)


def _bookmark(session: Session, said: str, progress: Progress) -> Answer:
    here, name = session.moment, said.strip()
    there, where = session.bookmarks.at(here), here.shown
    if there is None:
        session.bookmarks.set(here, name or f"#{here.text}")
        told = f"bookmark {name or here.text} at {where}"
    elif name in ("", there):
        session.bookmarks.clear(here)
        told = f"no bookmark at {where} any more"
    else:
        session.bookmarks.set(here, name)
        told = f"bookmark {there} at {where} is now {name}"
    try:
        session.keep_bookmarks()
    except UserError as error:
        told += f"; for this session only: {error}"
    return Answer(told)


def _asked(session: Session) -> str:
    if session.bookmarks.at(session.moment) is None:
        return "name of the bookmark"
    return "new name of the bookmark (empty or the same clears it)"


BOOKMARK = Ask(_asked, _bookmark, lambda session: session.bookmarks.at(session.moment) or "")


def bookmarks(session: Session, progress: Progress) -> Answer:
    """Offers the bookmarks and the recording's marks."""
    named = [Bookmark(Moment(mark.position), mark.text) for mark in session.replay.marks]
    kept = [*session.bookmarks.all(), *named]
    if not kept:
        return Answer("there is no bookmark (k sets one) and no mark")
    return Answer("bookmarks and marks", tuple(map(_going, kept)))


def _going(mark: Bookmark) -> Choice:
    act: Action = lambda session, progress: moves.goto(  # noqa: E731
        session, Place(*mark.moment), progress
    )
    return Choice(f"{mark.moment.shown:>15}  {mark.name}", act)
