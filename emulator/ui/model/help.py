# SPDX-License-Identifier: Apache-2.0
"""The commands in words."""

from collections.abc import Sequence

from rich.text import Text

from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.commands import Command, Group

_KEYS, _NAME = 12, 20
_SHOWN = {"alt+left": "Alt-←", "alt+right": "Alt-→", "shift+tab": "Shift-Tab"}


def keys_of(command: Command) -> str:
    """The keys of a command, as they are printed on a keyboard."""
    return " ".join(map(_shown, command.keys))


def _shown(key: str) -> str:
    if key in _SHOWN:
        return _SHOWN[key]
    if key.startswith("ctrl+"):
        return f"Ctrl-{key[-1].upper()}"
    return key if len(key) == 1 else key.capitalize()


def help_text(commands: Sequence[Command]) -> Text:
    """All of them under their headings. Upper-case letters go backwards."""
    text = Text("Lower-case letters go forwards, upper-case letters back. Escape leaves.\n")
    for group in Group:
        text.append(f"\n{group.value}\n", styles.NAME)
        for command in commands:
            if command.group is group:
                text.append(f" {keys_of(command):<{_KEYS}}", styles.NAME)
                text.append(f"{command.name:<{_NAME}}").append(f"{command.help}\n", styles.DIM)
    return text


def palette_line(command: Command) -> str:
    """One of them in the palette."""
    return f"{command.name:<{_NAME}}{keys_of(command):<{_KEYS}}{command.help}"
