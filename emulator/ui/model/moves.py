# SPDX-License-Identifier: Apache-2.0
"""Commands that go to another moment of the run."""

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.conditions import (
    AnyOf,
    Condition,
    Direction,
    EventOf,
    Execute,
    Hit,
    RegisterWrite,
    StepOut,
    StepOver,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.replay import MOST_HITS
from aether_edgecloud.emulator.replay.views.maps import Map
from aether_edgecloud.emulator.replay.views.memory import Space, physical
from aether_edgecloud.emulator.ui.model import walks, words
from aether_edgecloud.emulator.ui.model.commands import Action, Answer, Ask, Choice
from aether_edgecloud.emulator.ui.model.history import History
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.row import Address, Mapped, Place, Register
from aether_edgecloud.emulator.ui.model.session import RECORDED_KINDS, Session

_EDGE = {Direction.FORWARD: "end", Direction.BACK: "beginning"}


def search(
    session: Session,
    what: Condition,
    way: Direction,
    progress: Progress,
    *,
    is_step: bool = False,
) -> Answer:
    """Goes to the nearest place where `what` is met, or says that there is none."""
    hit = session.replay.find(what, way, progress)
    if hit is None:
        return Answer(f"nothing found up to the {_EDGE[way]} of the run")
    session.arrived(is_step=is_step)
    return Answer(hit.words)


def goto(session: Session, place: Place, progress: Progress) -> Answer:
    """Goes to a place."""
    session.replay.goto(place.position, attempt=place.attempt, progress=progress)
    session.arrived()
    return Answer()


def begin(at: Moment | None) -> Action:
    """To the moment `at`; without one, to where the recording says that the run failed."""

    def act(session: Session, progress: Progress) -> Answer:
        mark = session.replay.failure
        where = at if at is not None or mark is None else Moment(mark.position)
        if where is not None:
            session.replay.goto(where.position, attempt=where.attempt, progress=progress)
        session.history = History.at(session.place)
        session.settle()
        notes = " | ".join(session.replay.notes)
        if mark is not None and mark.position == session.replay.position:
            return Answer(mark.text)
        return Answer(notes)

    return act


def step(way: Direction) -> Action:
    """One instruction."""

    def act(session: Session, progress: Progress) -> Answer:
        moved = session.replay.step(way.value)
        session.arrived(is_step=True)
        return Answer() if moved else Answer(f"this is the {_EDGE[way]} of the run")

    return act


def over(way: Direction) -> Action:
    """One instruction of the same CPU, calls as one."""
    return lambda session, progress: search(session, StepOver(), way, progress, is_step=True)


def out(way: Direction) -> Action:
    """Out of the function."""
    return lambda session, progress: search(session, StepOut(), way, progress)


def to_stop(way: Direction) -> Action:
    """To a breakpoint or watchpoint."""

    def act(session: Session, progress: Progress) -> Answer:
        if not session.stops:
            return Answer("there is no breakpoint (b) and no watchpoint (v)")
        conditions = tuple(stop.condition for stop in session.stops)
        what = conditions[0] if len(conditions) == 1 else AnyOf(conditions)
        return search(session, what, way, progress)

    return act


def to_event(way: Direction) -> Action:
    """To an event of a chosen kind."""
    return lambda session, progress: search(session, EventOf(session.kinds), way, progress)


def here(session: Session) -> Execute:
    """The instruction at the code cursor, executed by whoever is in the same place."""
    cpu = session.cpu
    return Execute(session.code_at, vmid=None if cpu.el == 2 else cpu.vmid, el=cpu.el)


def to_execution(way: Direction) -> Action:
    """Of the instruction at the code cursor."""
    return lambda session, progress: search(session, here(session), way, progress)


def executions(session: Session, progress: Progress) -> Answer:
    """All of the instruction at the code cursor, in the part of the run that the timeline shows."""
    span, what = session.span, here(session)
    hits = session.replay.find_all(what, span.start, span.end - 1, progress)
    if not hits:
        return Answer(f"{what.va:#x} is not executed in what the timeline shows")
    more = "the first " if len(hits) == MOST_HITS else ""
    return Answer(f"executed {more}{len(hits):,} times", tuple(map(_hit, hits)))


def _hit(hit: Hit) -> Choice:
    place = Place(hit.position, hit.attempt)
    return Choice(
        f"{Moment(hit.position, hit.attempt).shown:>15}  {hit.words}",
        lambda session, progress: goto(session, place, progress),
    )


def pa_of(session: Session, address: Address) -> int:
    """Its PA here and now. UserError where nothing is mapped."""
    found = physical(session.replay, address.value, address.space, cpu=session.looking.cpu)
    if found is None:
        raise UserError(f"{address} is not mapped here", fix="give its PA, as pa:0x1234")
    return found


def to_write(way: Direction) -> Ask:
    """Of a byte."""

    def act(session: Session, said: str, progress: Progress) -> Answer:
        where = words.address(session, said, session.memory_at.space)
        return search(session, Write(pa_of(session, where)), way, progress)

    which = "next" if way is Direction.FORWARD else "last"
    return Ask(f"{which} write of the byte at", act, lambda session: str(session.memory_at))


def to_register_write(way: Direction) -> Ask:
    """Of a register."""

    def act(session: Session, said: str, progress: Progress) -> Answer:
        session.asked["register"] = said
        return search(session, RegisterWrite(said.strip(), session.looking.cpu), way, progress)

    def proposed(session: Session) -> str:
        subject = session.subject(Pane.REGISTERS)
        if session.looking.pane is Pane.REGISTERS and isinstance(subject, Register):
            return subject.name
        return session.asked.get("register", "x0")

    which = "next" if way is Direction.FORWARD else "last"
    return Ask(f"{which} write of register", act, proposed)


def to_entry_write(way: Direction) -> Ask:
    """Of an entry of a translation table."""

    def act(session: Session, said: str, progress: Progress) -> Answer:
        which, where = _entry(session, said)
        if where.space is Space.PA:
            return search(session, TableEntryWrite(where.value), way, progress)
        steps = walks.entries(session.replay, session.cpu.cpu, which, where.value)
        if not steps:
            raise UserError(f"no table translates {where} here", fix="give an entry as pa:0x1234")
        return search(session, TableEntryWrite(steps[-1].pa), way, progress)

    def proposed(session: Session) -> str:
        subject = session.subject()
        if isinstance(subject, Mapped):
            return f"{'ipa' if subject.which is Map.STAGE2 else 'va'}:{subject.ia:#x}"
        return str(session.memory_at)

    way_word = "next" if way is Direction.FORWARD else "last"
    return Ask(f"{way_word} write of the entry that maps (or pa:ENTRY)", act, proposed)


def _entry(session: Session, said: str) -> tuple[Map, Address]:
    where = words.address(session, said, session.memory_at.space)
    if where.space is Space.IPA:
        return Map.STAGE2, where
    return (Map.STAGE1_EL2 if session.cpu.el == 2 else Map.STAGE1_LOW), where


def _go(session: Session, said: str, progress: Progress) -> Answer:
    place = words.place(session, said)
    session.replay.visit(Moment(place.position, place.attempt), progress)
    session.arrived()
    return Answer()


GO = Ask("go to (number, 40%, +N, -N, event:N, mark:NAME, bookmark, end)", _go)


def wander(by: int) -> Action:
    """Through the places that were visited."""

    def act(session: Session, progress: Progress) -> Answer:
        place = session.history.peek(by)
        if place is None:
            return Answer("no place was visited before" if by < 0 else "no place was left behind")
        session.replay.goto(place.position, attempt=place.attempt, progress=progress)
        session.history.move(by)
        session.settle()
        return Answer()

    return act


_MOST_FOUND = 500
_TELL_EVERY = 1 << 14


def _look_up(session: Session, said: str, progress: Progress) -> Answer:
    """Symbols first, then events from the cursor on, and those before it."""
    wanted = said.strip().casefold()
    if not wanted:
        return Answer("nothing to search for")
    table = session.replay.symbols
    choices = [
        Choice(f"{name}  {address:#x}", _show_symbol(name, address))
        for address, name in zip(table.addresses, table.names, strict=True)
        if wanted in name.casefold()
    ][:_MOST_FOUND]
    events = session.replay.events
    first = int(events.position.searchsorted(session.replay.position))
    count = len(events)
    has_all = session.kinds >= RECORDED_KINDS
    for done in range(count):
        if done % _TELL_EVERY == 0:
            progress.at(done, count)
        index = (first + done) % count
        if not has_all and events.kind[index] not in session.kinds:
            continue
        said_of_it = events.say(index)
        if wanted in said_of_it.casefold():
            choices.append(_event(Place(*session.replay.event_moment(index)), said_of_it))
            if len(choices) >= _MOST_FOUND:
                break
    if not choices:
        return Answer(f"no symbol and no event has {said.strip()!r} in its name")
    return Answer(f"symbols and events with {said.strip()!r}", tuple(choices))


def _show_symbol(name: str, address: int) -> Action:
    def act(session: Session, progress: Progress) -> Answer:
        session.looking.code = address
        session.looking.memory = Address(Space.VA, address)
        return Answer(f"code and memory show {name}; x goes to its next execution")

    return act


def _event(place: Place, said: str) -> Choice:
    return Choice(
        f"{Moment(place.position, place.attempt).shown:>15}  {said}",
        lambda session, progress: goto(session, place, progress),
    )


LOOK_UP = Ask("search symbols and events for", _look_up)
