# SPDX-License-Identifier: Apache-2.0
"""The terminal UI of `aether replay`.

`model` says what is shown and what keys do, without a terminal; `widgets` draw it; `app` is the
program around them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay


def run(replay: "Replay", at: int | None = None) -> None:
    """Shows a replay on the terminal until the user leaves; begins at position `at`; without it
    where the recording says that the run failed, or where the replay is. UserError if there is no
    terminal, or a small one, and for a position that the run does not have."""
    from aether_edgecloud.emulator.errors import UserError
    from aether_edgecloud.emulator.ui import terminal

    if at is not None and not 0 <= at <= replay.end:
        raise UserError(
            f"position {at} is past the end of the run",
            where="--at",
            fix=f"its end is {replay.end}",
        )
    terminal.check()
    from aether_edgecloud.emulator.ui.app import ReplayApp

    ReplayApp(replay, at).run()
