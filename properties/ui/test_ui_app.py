# SPDX-License-Identifier: Apache-2.0
"""Keys on a real recording: the hypervisor with the stub guest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.replay.conditions import Condition, Direction, Hit
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.ui.model.help import keys_of
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.table import COMMANDS
from aether_edgecloud.emulator.ui.widgets.chooser import Chooser
from aether_edgecloud.emulator.ui.widgets.help import Page
from aether_edgecloud.emulator.ui.widgets.prompt import Prompt
from aether_edgecloud.properties.ui.piloted import Piloted, fly


@pytest.fixture(scope="module")
def hello(hello: Path) -> Iterator[Replay]:
    """The recording, opened once: where a test leaves it does not matter."""
    replay = Replay.open(hello)
    yield replay
    replay.close()


GUEST = "mark:guest hello"


def _position(piloted: Piloted) -> int:
    return piloted.app.session.replay.position


def test_forwards_and_backwards_is_the_same_place(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        start, seen = _position(ui), ui.shown("REGISTERS")
        for there, back in (("s", "S"), ("n", "N"), ("e", "["), ("o", "[")):
            await ui.press(there)
            assert _position(ui) > start
            await ui.press(back)
            assert (_position(ui), ui.shown("REGISTERS")) == (start, seen)

    fly(hello, flight, at="500_000")


def test_the_guests_first_instruction(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        assert "EL1 hello" in ui.status
        assert "▶40200000" in ui.shown("CODE")
        await ui.press("5")
        assert "40000000-" in ui.shown("STAGE2")
        await ui.press("8")
        assert "vm hello: start" in ui.shown("CONSOLE")
        await ui.press("9")
        assert "guest hello" in ui.shown("MARKS")
        await ui.press("S")
        assert "EL2" in ui.status
        assert "eret" in ui.shown("CODE")

    fly(hello, flight, at=GUEST)


def test_the_last_write_of_a_register_and_a_byte(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        replay = ui.app.session.replay
        before = replay.machine.cpu.registers()
        await ui.press("R")
        await ui.type("x1")
        assert _position(ui) < 500_000
        await ui.press("s")
        assert replay.machine.cpu.registers()[1] == before[1]
        await ui.press("[")
        await ui.press("W")
        await ui.type("sp")
        assert _position(ui) < 500_000
        assert "stores" in ui.words

    fly(hello, flight, at="500_000")


def test_breakpoints_run_to_and_back(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        here = _position(ui)
        await ui.press("b")
        assert "breakpoint at 0x40200000 at EL1 of VM 1" in ui.words
        await ui.press("E", "c")
        assert _position(ui) == here
        assert "●▶40200000" in ui.shown("CODE")
        await ui.press("c")
        assert "nothing found up to the end" in ui.words
        assert _position(ui) == here

    fly(hello, flight, at=GUEST)


def test_all_executions_and_a_choice_of_them(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        pc = ui.app.session.replay.machine.cpu.pc
        await ui.press("a")
        assert isinstance(ui.app.screen, Chooser)
        await ui.press("enter")
        assert _position(ui) < 500_000
        assert ui.app.session.replay.machine.cpu.pc == pc

    fly(hello, flight, at="500_000")


def test_search_by_name(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        await ui.press("/")
        await ui.type("hvc")
        assert isinstance(ui.app.screen, Chooser)
        await ui.pilot.press(*"hvc #0x0")
        await ui.press("down", "up", "enter")
        assert "hvc" in ui.shown("CODE") or "hvc" in ui.shown("EVENTS")
        assert _position(ui) != 500_000

    fly(hello, flight, at="500_000")


def test_work_can_be_ended(hello: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape ends what goes on, and the keys that wait for it; then the next key works."""

    def endless(
        self: Replay, what: Condition, way: Direction, progress: Progress | None = None
    ) -> Hit | None:
        assert progress is not None
        while True:
            progress.at(34, 100)

    async def flight(ui: Piloted) -> None:
        monkeypatch.setattr(Replay, "find", endless)
        await ui.pilot.press("n", "s", "s")
        assert not ui.app.is_idle
        while "working 34% (Escape ends it)" not in ui.words:
            await ui.pilot.pause()
        await ui.pilot.press("escape")
        await ui.settle()
        assert ui.words == "ended before it was done"
        assert _position(ui) == 500_000
        await ui.press("s")
        assert _position(ui) == 500_001

    fly(hello, flight, at="500_000")


def test_keys_that_are_typed_ahead_are_done_in_order(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        await ui.pilot.press("s", "s", "s", "s", "S")
        await ui.settle()
        assert _position(ui) == 500_003

    fly(hello, flight, at="500_000")


def test_leaving_while_work_goes_on(hello: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(
        self: Replay, what: Condition, way: Direction, progress: Progress | None = None
    ) -> Hit | None:
        assert progress is not None
        while True:
            progress.at(1, 2)

    async def flight(ui: Piloted) -> None:
        monkeypatch.setattr(Replay, "find", endless)
        await ui.pilot.press("n", "q")

    fly(hello, flight, at="500_000")


@pytest.mark.nightly
def test_every_pane_at_the_small_size(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        place = ui.app.session.place
        for pane in Pane:
            await ui.press(str(pane.value))
            shown = ui.shown(pane.name)
            assert shown.startswith(f"─ {pane.value} ")
            assert len(shown.splitlines()) > 2
            await ui.pilot.press("down", "pagedown", "up", "pageup", "end", "home", "left", "right")
            await ui.press("z", "z")
        assert ui.app.session.place == place

    fly(hello, flight, at=GUEST, size=(80, 24))


def test_help_and_palette_have_every_command(hello: Replay) -> None:
    async def flight(ui: Piloted) -> None:
        await ui.press("?")
        assert isinstance(ui.app.screen, Page)
        await ui.press("escape", ":")
        assert isinstance(ui.app.screen, Chooser)
        await ui.pilot.press(*"step back", "enter")
        await ui.settle()
        assert _position(ui) == 499_999
        await ui.press("g")
        assert isinstance(ui.app.screen, Prompt)
        await ui.press("escape")

    fly(hello, flight, at="500_000")


def test_the_mouse(hello: Replay) -> None:
    """A row is chosen, the wheel scrolls, the timeline goes there."""

    async def flight(ui: Piloted) -> None:
        await ui.pilot.click(offset=(90, 8))
        await ui.settle()
        assert ui.has_keys(Pane.REGISTERS)
        await ui.pilot.click(offset=(5, 5))
        await ui.settle()
        assert ui.has_keys(Pane.CODE)
        await ui.pilot.click(offset=(60, 32))
        await ui.settle()
        assert _position(ui) < 500_000

    fly(hello, flight, at="90%")


def test_the_document_lists_the_keys() -> None:
    document = Path(__file__).parents[2] / "docs" / "replay-ui.md"
    text = document.read_text(encoding="utf-8")
    for command in COMMANDS:
        keys = " ".join(f"`{key}`" for key in keys_of(command).split(" "))
        assert f"| {keys} | {command.name} | {command.help} |" in text
