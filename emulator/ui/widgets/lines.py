# SPDX-License-Identifier: Apache-2.0
"""A widget of lines that somebody else has laid out."""

from collections.abc import Sequence

from rich.text import Text
from textual.strip import Strip
from textual.widget import Widget


class Lines(Widget):
    """One `Text` for each row, cut to the width."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._lines: Sequence[Text] = ()

    def show(self, lines: Sequence[Text]) -> None:
        """These, from now on."""
        self._lines = lines
        self.refresh()

    @property
    def lines(self) -> Sequence[Text]:
        """What is shown."""
        return self._lines

    def place(self, x: int, y: int, width: int, height: int) -> None:
        """Where it is on the screen, in cells."""
        self.display = True
        self.styles.offset = (x, y)
        self.styles.width, self.styles.height = width, height

    def render_line(self, y: int) -> Strip:
        """A row, blank below the last."""
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width)
        line = self._lines[y].copy()
        line.truncate(width, overflow="crop", pad=True)
        return Strip(list(line.render(self.app.console, end="")), width)
