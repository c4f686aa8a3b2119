# SPDX-License-Identifier: Apache-2.0
"""Where the mouse can be used."""

from textual import events
from textual.message import Message

from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.timeline import LABEL
from aether_edgecloud.emulator.ui.widgets.lines import Lines

_WHEEL = 3
_TITLE = 1


class PaneLines(Lines):
    """A pane."""

    class Clicked(Message):
        """On a row, counted from 0 below the title."""

        def __init__(self, pane: Pane, row: int) -> None:
            super().__init__()
            self.pane, self.row = pane, row

    class Scrolled(Message):
        """The wheel, in rows."""

        def __init__(self, pane: Pane, by: int) -> None:
            super().__init__()
            self.pane, self.by = pane, by

    def __init__(self, pane: Pane) -> None:
        super().__init__(pane.name)
        self._pane = pane

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(self._pane, event.y - _TITLE))

    def on_mouse_scroll_down(self) -> None:
        self.post_message(self.Scrolled(self._pane, _WHEEL))

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Scrolled(self._pane, -_WHEEL))


class TimelineLines(Lines):
    """The timeline."""

    class Clicked(Message):
        """On a column of its lanes, of `width`."""

        def __init__(self, column: int, width: int) -> None:
            super().__init__()
            self.column, self.width = column, width

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(event.x - LABEL, self.size.width - LABEL))
