# SPDX-License-Identifier: Apache-2.0
"""A replay that remembers what it was asked, and stops where a test wants it to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from aether_edgecloud.emulator.elf.symbols import Symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind, Events
from aether_edgecloud.emulator.recording.recording import FAILED, Mark
from aether_edgecloud.emulator.replay.conditions import Condition, Direction, Hit
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import Cancelled, Progress
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views import registers
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.replay.views.registers import CpuView, RegisterView
from aether_edgecloud.emulator.ui.model import moves
from aether_edgecloud.emulator.ui.model.session import Session
from aether_edgecloud.properties.ui.columns import events

PC = 0x4008_0110
SP = 0x4009_0000
END = 10_000


class SaidEvents(Events):
    """Events that say their kind."""

    __slots__ = ()

    def say(self, index: int) -> str:
        return f"{EventKind(int(self.kind[index])).name.lower()} number {index}"


def said(happened: Sequence[tuple[int, EventKind, int]]) -> Events:
    """Of (position, kind, VMID)."""
    made = events(happened)
    columns = (made.position, made.cpu, made.kind, made.vm, made.a, made.b, made.c)
    return SaidEvents(*columns)


@dataclass
class StandIn:
    """As much of a `Replay` as commands need. `hits` are the answers of `find`, in turn."""

    hits: list[Hit | None] = field(default_factory=list)
    all_hits: list[Hit] = field(default_factory=list)
    position: int = 100
    attempt: int = 0
    end: int = END
    cpu: int = 0
    title: str = "runs/boot.aet"
    notes: Sequence[str] = ()
    marks: Sequence[Mark] = (Mark(0, "reset"), Mark(900, "guest 1"))
    symbols: Symbols = field(
        default_factory=lambda: Symbols(
            (0x4008_0000, 0x4008_0100), ("vectors", "trap"), (0x4008_0100, SP), SP
        )
    )
    events: Events = field(default_factory=lambda: said([]))
    machine: object = field(default_factory=lambda: SimpleNamespace(cpus=(0, 1)))
    asked: list[object] = field(default_factory=list)
    cancels: bool = False

    def goto(self, position: int, *, attempt: int = 0, progress: Progress | None = None) -> None:
        if self.cancels:
            raise Cancelled
        if not 0 <= position <= self.end:
            raise UserError(f"the run ends at {self.end}")
        self.position, self.attempt = position, attempt

    def visit(self, moment: Moment, progress: Progress | None = None) -> None:
        self.goto(moment.position, attempt=moment.attempt, progress=progress)

    def step(self, count: int = 1, *, cpu: int | None = None) -> bool:
        if not 0 <= self.position + count <= self.end:
            return False
        self.position += count
        return True

    def find(
        self, what: Condition, direction: Direction, progress: Progress | None = None
    ) -> Hit | None:
        self.asked.append((what, direction))
        hit = self.hits.pop(0)
        if hit is not None:
            self.position, self.attempt = hit.position, hit.attempt
        return hit

    def find_all(
        self, what: Condition, first: int, last: int, progress: Progress | None = None
    ) -> list[Hit]:
        self.asked.append((what, first, last))
        return self.all_hits

    def moment(self, text: str) -> Moment:
        if not text.isdigit():
            raise UserError(f"{text!r} is no position")
        return Moment(int(text))

    def event_moment(self, number: int) -> Moment:
        return Moment(int(self.events.position[number]))

    @property
    def failure(self) -> Mark | None:
        return next((mark for mark in self.marks if mark.text.startswith(FAILED)), None)


def cpu_view(*, el: int = 2, vmid: int = 1) -> CpuView:
    """A CPU at `PC`."""
    general = [RegisterView(f"X{n}", 0x10 * n, 0x99 if n == 3 else None) for n in range(31)]
    general += [RegisterView("SP", SP, None), RegisterView("PC", PC, PC - 4)]
    return CpuView(0, el, PC, "trap+0x10", vmid, "linux", "running", 0, 0, tuple(general), ())


def session(
    monkeypatch: pytest.MonkeyPatch, replay: StandIn | None = None, view: CpuView | None = None
) -> tuple[Session, StandIn]:
    """A session on a stand-in; nothing is mapped but PA = address + 1 GiB below 4 GiB."""
    shown = view or cpu_view()
    monkeypatch.setattr(registers, "registers", lambda replay, cpu=None: shown)

    def physical(replay: Replay, address: int, space: Space, *, cpu: int | None) -> int | None:
        return address + (1 << 30) if address < 1 << 32 else None

    monkeypatch.setattr(moves, "physical", physical)
    replay = replay or StandIn()
    return Session(cast(Replay, replay)), replay
