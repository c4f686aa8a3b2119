# SPDX-License-Identifier: Apache-2.0
"""Text over the screen."""

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static


class Page(ModalScreen[None]):
    """A text that is read and left."""

    CSS = """
    Page { align: center middle; background: transparent; }
    Page VerticalScroll {
        width: 78; max-width: 100%; height: 90%; background: ansi_default;
        border: solid ansi_default;
    }
    """
    BINDINGS = [Binding("escape,q,question_mark,f1,enter", "dismiss", "leave")]  # noqa: RUF012

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(self._text)
