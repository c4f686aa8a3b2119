# SPDX-License-Identifier: Apache-2.0
"""The program in the terminal: keys become commands, which a thread carries out one by one."""

from collections import deque
from collections.abc import Callable
from functools import partial
from textwrap import wrap
from typing import TypeVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.screen import Screen as TextualScreen

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import Cancelled, Progress
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.ui.model import looking, moves, screen, timeline
from aether_edgecloud.emulator.ui.model.commands import (
    Action,
    Answer,
    Ask,
    Command,
    Screen,
    by_key,
)
from aether_edgecloud.emulator.ui.model.help import help_text, palette_line
from aether_edgecloud.emulator.ui.model.layout import SMALLEST, Pane
from aether_edgecloud.emulator.ui.model.row import Place
from aether_edgecloud.emulator.ui.model.session import Session, Shelf
from aether_edgecloud.emulator.ui.model.table import COMMANDS
from aether_edgecloud.emulator.ui.widgets.chooser import Chooser
from aether_edgecloud.emulator.ui.widgets.help import Page
from aether_edgecloud.emulator.ui.widgets.lines import Lines
from aether_edgecloud.emulator.ui.widgets.panes import PaneLines, TimelineLines
from aether_edgecloud.emulator.ui.widgets.prompt import Prompt
from aether_edgecloud.emulator.ui.work import Meter

_TELL_S = 0.1
"""How often the user is told how far long work is."""
_AHEAD = 32
"""Keys that may be typed before what they ask for is done."""


_CANCEL = "escape"
Answered = TypeVar("Answered")


def _redraw(session: Session, progress: Progress) -> Answer:
    return Answer()


class Main(TextualScreen[None]):
    """The panes, and the lines around them."""

    CSS = """
    Main { background: ansi_default; }
    Lines { position: absolute; width: 1; height: 1; }
    """

    def compose(self) -> ComposeResult:
        yield Lines("status")
        for pane in Pane:
            yield PaneLines(pane)
        yield TimelineLines("timeline")
        yield Lines("words")
        yield Lines("keys")

    def lines(self, name: str) -> Lines:
        """The widget of that name."""
        return next(lines for lines in self.query(Lines) if lines.name == name)

    def show(self, shown: screen.Shown) -> None:
        """This, from now on."""
        layout = shown.layout
        width, height = layout.width, layout.height
        for pane in Pane:
            box, lines = layout.box(pane), self.lines(pane.name)
            if box is None:
                lines.display = False
                continue
            lines.place(box.x, box.y, box.width, box.height)
            has_keys = pane is shown.focus
            lines.show(screen.lines(shown.panes[pane], box.width, has_keys=has_keys))
        bars = {
            "status": (0, 1, [shown.status]),
            "timeline": (height - 2 - layout.timeline, layout.timeline, shown.timeline),
            "keys": (height - 1, 1, [screen.keys(width)]),
        }
        for name, (y, rows, texts) in bars.items():
            self.lines(name).place(0, y, width, rows)
            self.lines(name).show(texts)
        self.lines("words").place(0, height - 2, width, 1)

    def say(self, words: str) -> None:
        """A line for the user."""
        self.lines("words").show([Text(words)])

    def too_small(self, width: int, height: int) -> None:
        """Nothing but the reason."""
        for lines in self.query(Lines):
            lines.display = False
        needed = f"{SMALLEST[0]}x{SMALLEST[1]}"
        told = wrap(f"enlarge the terminal to {needed} (it has {width}x{height})", max(width, 1))
        self.lines("words").place(0, 0, width, len(told))
        self.lines("words").show([Text(line) for line in told])


class ReplayApp(App[None]):
    """The UI of one replay, which is its own until it ends. Begins at the moment `at`, or where the
    replay is. Bookmarks are kept on `shelf`. UserError for one that holds something else."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "aether replay"

    def __init__(
        self, replay: Replay, at: Moment | None = None, shelf: Shelf | None = None
    ) -> None:
        # The terminal's own colours: they are legible on its background, and there are terminals
        # with no others. Without NO_COLOR's colours, all else stays: bold, reverse, underlined.
        super().__init__(ansi_color=True)
        self.session = Session(replay, shelf)
        self._at = at
        self._keys = by_key(COMMANDS)
        self._meter: Meter | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._main = Main()
        self._terminal: Size | None = None
        self._is_opening = False
        self._held: list[events.Key] = []

    @property
    def is_idle(self) -> bool:
        """Nothing is worked on, and nothing waits."""
        return self._meter is None and not self._waiting

    def on_mount(self) -> None:
        self.push_screen(self._main)
        self.set_interval(_TELL_S, self._tell)
        self.call_after_refresh(self._do, moves.begin(self._at))

    def on_unmount(self) -> None:
        self._cancel()

    def on_resize(self, event: events.Resize) -> None:
        # Textual's own handler, which changes `size`, comes after this one.
        self._terminal = event.size
        self._do(_redraw)

    # Keys and mouse.

    async def on_event(self, event: events.Event) -> None:
        """Keys are taken here, before any widget: so those that follow a command which opens a
        question go to that question, however fast they are typed."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            if self._is_opening and event.key != _CANCEL:
                self._held.append(event)
                return
            if self.screen is self._main:
                command = self._keys.get(event.character or "") or self._keys.get(event.key)
                if command is not None:
                    self.perform(command)
                return
        await super().on_event(event)

    def _open(
        self, modal: ModalScreen[Answered], chosen: Callable[[Answered | None], None]
    ) -> None:
        """A question over the screen; keys wait until it takes them."""

        def closed(answered: Answered | None) -> None:
            chosen(answered)
            self._next()

        self._is_opening = True
        self.push_screen(modal, closed)
        modal.call_after_refresh(self._opened)

    async def _opened(self) -> None:
        while self._held:
            await super().on_event(self._held.pop(0))
        self._is_opening = False

    def on_pane_lines_clicked(self, message: PaneLines.Clicked) -> None:
        self._do(looking.click(message.pane, message.row))

    def on_pane_lines_scrolled(self, message: PaneLines.Scrolled) -> None:
        self._do(looking.scroll(message.pane, message.by))

    def on_timeline_lines_clicked(self, message: TimelineLines.Clicked) -> None:
        place = Place(timeline.at(self.session.span, message.width, message.column))
        self._do(lambda session, progress: moves.goto(session, place, progress))

    # Commands.

    def perform(self, command: Command) -> None:
        """Begin what a command does."""
        match command.does:
            case Screen() as wish:
                self._screen(wish)
            case Ask() as ask:
                self._ask(ask)
            case action:
                self._do(action)

    def _screen(self, wish: Screen) -> None:
        match wish:
            case Screen.QUIT:
                self._cancel()
                self.exit()
            case Screen.CANCEL:
                self._cancel()
            case Screen.HELP:
                self._open(Page(help_text(COMMANDS)), lambda _: None)
            case Screen.PALETTE:
                named = [command for command in COMMANDS if command.does is not Screen.PALETTE]
                self._offer(
                    "commands", [*map(palette_line, named)], lambda n: self.perform(named[n])
                )
            case Screen.COPY_LINK:
                link = self.session.link
                self.copy_to_clipboard(link)
                self._main.say(f"copied: {link}")

    def _ask(self, ask: Ask) -> None:
        if self._later(partial(self._ask, ask)):
            self._is_opening = True
            return

        def answered(said: str | None) -> None:
            if said is not None:
                self._do(lambda session, progress: ask.action(session, said, progress))

        self._open(Prompt(ask.question(self.session), ask.proposed(self.session)), answered)

    def _offer(self, title: str, lines: list[str], chosen: Callable[[int], None]) -> None:
        def answered(number: int | None) -> None:
            if number is not None:
                chosen(number)

        self._open(Chooser(title, lines), answered)

    # Work: at most one action at a time has the session.

    def _do(self, action: Action) -> None:
        if self._later(partial(self._do, action)):
            return
        size = self._terminal or self.size
        if size.width < SMALLEST[0] or size.height < SMALLEST[1]:
            self._main.too_small(size.width, size.height)
            return
        meter = self._meter = Meter()
        self.run_worker(partial(self._work, action, meter, (size.width, size.height)), thread=True)

    def _later(self, wish: Callable[[], None]) -> bool:
        """Whether it has to wait. What is typed too far ahead is lost."""
        if self._meter is None:
            return False
        if len(self._waiting) < _AHEAD:
            self._waiting.append(wish)
        return True

    def _work(self, action: Action, meter: Meter, size: tuple[int, int]) -> None:
        """In a thread of its own."""
        try:
            answer = action(self.session, meter)
        except Cancelled:
            answer = Answer("ended before it was done")
        except UserError as error:
            answer = Answer(str(error))
        shown = screen.draw(self.session, *size)
        self.call_from_thread(self._show, answer, shown)

    def _show(self, answer: Answer, shown: screen.Shown) -> None:
        self._meter = None
        self._main.show(shown)
        self._main.say(answer.words)
        if answer.choices:
            choices = answer.choices
            lines = [choice.words for choice in choices]
            self._offer(answer.words, lines, lambda n: self._do(choices[n].action))
        if (shown.layout.width, shown.layout.height) != (self._terminal or self.size):
            self._waiting.append(partial(self._do, _redraw))
        self._next()

    def _next(self) -> None:
        """What waits, as far as it need not wait any more."""
        while self._waiting and self._meter is None and self.screen is self._main:
            self._waiting.popleft()()

    def _cancel(self) -> None:
        self._waiting.clear()
        self._held.clear()
        self._is_opening = False
        if self._meter is not None:
            self._meter.cancel()

    def _tell(self) -> None:
        if self._meter is not None:
            self._main.say(self._meter.words)
