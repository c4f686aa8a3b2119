# SPDX-License-Identifier: Apache-2.0
"""The app without a terminal, driven key by key."""

import asyncio
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.ui.app import ReplayApp
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.widgets.lines import Lines


class Piloted:
    """What a user at its keyboard does and sees."""

    def __init__(self, app: ReplayApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Keys, one after the other, and all that comes of them."""
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def type(self, text: str) -> None:
        """An answer to a question."""
        await self.pilot.press(*text, "enter")
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is worked on."""
        await self.pilot.pause()
        while not self.app.is_idle:
            await self.app.workers.wait_for_complete()
            await self.pilot.pause()
        await self.pilot.pause()

    def shown(self, name: str) -> str:
        """The text of a pane or line."""
        screen = self.app.screen_stack[1]
        lines = next(lines for lines in screen.query(Lines) if lines.name == name)
        return "\n".join(line.plain.rstrip() for line in lines.lines) if lines.display else ""

    def has_keys(self, pane: Pane) -> bool:
        """Whether keys are for that pane."""
        return self.app.session.looking.pane is pane

    @property
    def words(self) -> str:
        """The line for words."""
        return self.shown("words")

    @property
    def status(self) -> str:
        """The line at the top."""
        return self.shown("status")


def fly(
    replay: Replay,
    flight: Callable[[Piloted], Awaitable[None]],
    *,
    at: str | None = None,
    size: tuple[int, int] = (120, 40),
) -> None:
    """Shows a replay and does what `flight` says."""

    async def run() -> None:
        app = ReplayApp(replay, replay.moment(at or "0"))
        async with app.run_test(size=size) as pilot:
            piloted = Piloted(app, pilot)
            await piloted.settle()
            await flight(piloted)

    asyncio.run(run())
