# SPDX-License-Identifier: Apache-2.0
"""The command that compares the run with another."""

from pathlib import Path

from aether_edgecloud.emulator.replay.difference import Difference, difference
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model.commands import Action, Answer, Ask, Choice
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.row import Address
from aether_edgecloud.emulator.ui.model.session import Session

_MOST = 500


def _compare(session: Session, said: str, progress: Progress) -> Answer:
    place = session.place
    other = Replay.open(Path(said.strip()).expanduser())
    try:
        found = difference(session.replay, other, progress)
    except BaseException:
        session.replay.goto(place.position, attempt=place.attempt)
        raise
    finally:
        other.close()
    session.asked["compare"] = said
    if found is None:
        session.replay.goto(place.position, attempt=place.attempt)
        return Answer("the two runs are the same to their ends")
    session.arrived()
    return told(found)


def told(found: Difference) -> Answer:
    """What differs where two runs part: this one's values first."""
    choices = [
        Choice(f"CPU {one.cpu} {one.name:<12} {_hex(one.a)} | {_hex(one.b)}", _stay)
        for one in found.registers
    ]
    choices += [Choice(f"memory at PA {pa:#x}", _show(pa)) for pa in found.pages]
    where = f"they part at {found.position:,}"
    if found.ended:
        where += f", where {'this' if found.ended == 'a' else 'the other'} run ends"
    if not found.has_memory:
        where += " (began with other memory: registers only)"
    return Answer(where, tuple(choices[:_MOST]))


def _hex(value: int | None) -> str:
    return "none" if value is None else f"{value:016x}"


def _stay(session: Session, progress: Progress) -> Answer:
    return Answer()


def _show(pa: int) -> Action:
    def act(session: Session, progress: Progress) -> Answer:
        session.looking.memory = Address(Space.PA, pa)
        session.looking.choose(Pane.MEMORY)
        return Answer()

    return act


COMPARE = Ask(
    "where another recording parts from this one: FILE",
    _compare,
    lambda session: session.asked.get("compare", ""),
)
