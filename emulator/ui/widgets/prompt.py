# SPDX-License-Identifier: Apache-2.0
"""A line in which the user answers a question."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input, Label


class Prompt(ModalScreen[str | None]):
    """Gives what was typed, or None after Escape."""

    CSS = """
    Prompt { align: left bottom; background: transparent; }
    Prompt Horizontal { height: 1; margin-bottom: 1; background: ansi_default; }
    Prompt Label { width: auto; text-style: bold; }
    Prompt Input { width: 1fr; }
    """
    BINDINGS = [Binding("escape", "dismiss(None)", "leave")]  # noqa: RUF012

    def __init__(self, question: str, proposed: str) -> None:
        super().__init__()
        self._question = question
        self._proposed = proposed

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label(f"{self._question}: ")
            yield Input(self._proposed, compact=True, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
