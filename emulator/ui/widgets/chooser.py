# SPDX-License-Identifier: Apache-2.0
"""A list to choose from; what is typed leaves fewer."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from aether_edgecloud.emulator.ui.model.matching import matching


class Chooser(ModalScreen[int | None]):
    """Gives the number of the line chosen, or None after Escape."""

    CSS = """
    Chooser { align: center middle; background: transparent; }
    Chooser Vertical {
        width: 76; max-width: 100%; height: 80%; background: ansi_default;
        border: solid ansi_default;
    }
    Chooser Label { width: 100%; text-style: bold; height: 1; }
    Chooser OptionList { height: 1fr; border: none; padding: 0; background: ansi_default; }
    Chooser OptionList > .option-list--option-highlighted { text-style: bold reverse; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "leave"),
        Binding("down", "cursor('cursor_down')", "next"),
        Binding("up", "cursor('cursor_up')", "previous"),
        Binding("pagedown", "cursor('page_down')", "next page"),
        Binding("pageup", "cursor('page_up')", "previous page"),
    ]

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._all = lines

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._title, markup=False)
            yield Input(placeholder="type to see fewer", compact=True)
            yield OptionList()

    def on_mount(self) -> None:
        self._fill("")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def on_input_submitted(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._choose(options.get_option_at_index(options.highlighted))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option)

    def action_cursor(self, move: str) -> None:
        getattr(self.query_one(OptionList), f"action_{move}")()

    def _choose(self, option: Option) -> None:
        self.dismiss(int(option.id or 0))

    def _fill(self, typed: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        found = matching(self._all, typed)
        options.add_options(
            Option(Text(self._all[n], no_wrap=True, overflow="ellipsis"), id=str(n)) for n in found
        )
        options.highlighted = 0 if found else None
