# SPDX-License-Identifier: Apache-2.0
"""The terminal UI of `aether replay`.

`model` says what is shown and what keys do, without a terminal; `widgets` draw it; `app` is the
program around them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.moments import Moment
    from aether_edgecloud.emulator.replay.replay import Replay


def run(replay: "Replay", at: "Moment | None" = None) -> None:
    """Shows a replay on the terminal until the user leaves; begins at the moment `at`; without it
    where the recording says that the run failed, or where the replay is. UserError if there is no
    terminal, or a small one, for a position that the run does not have, and for a file of bookmarks
    that is none."""
    from aether_edgecloud.emulator.errors import UserError
    from aether_edgecloud.emulator.ui import terminal

    if at is not None and not 0 <= at.position <= replay.end:
        raise UserError(
            f"position {at.position} is past the end of the run",
            where="--at",
            fix=f"its end is {replay.end}",
        )
    terminal.check()
    from aether_edgecloud.emulator.ui.app import ReplayApp
    from aether_edgecloud.emulator.ui.shelf import Shelf

    ReplayApp(replay, at, Shelf.of(replay)).run()
