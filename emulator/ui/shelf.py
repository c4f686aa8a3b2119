# SPDX-License-Identifier: Apache-2.0
"""Bookmarks from one session to the next: a file beside the recording, that goes with it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.ui.model.history import Bookmark, Bookmarks

_SUFFIX = ".bookmarks"
_FORMAT = "aether-bookmarks 1"
_MOST = 1 << 20
"""Bytes of a file that is read."""
_MOMENT = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([1-9][0-9]{0,2}))?")
"""Exactly as `Moment.text` writes it."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """`file` is where bookmarks are, `run` the run that they are of, `end` its last position. The
    file is JSON: {"format", "run", "bookmarks": [[moment, name]]}, moments as in `Moment.text`."""

    file: Path
    run: str
    end: int

    @classmethod
    def of(cls, replay: Replay) -> "Shelf":
        """Of a recording."""
        return cls(Path(replay.title + _SUFFIX), replay.run_id, replay.end)

    def load(self) -> Bookmarks:
        """What was kept; none of another run, that was in the recording's place before. UserError
        for a file of something else."""
        try:
            with self.file.open("rb") as file:
                kept = json.loads(file.read(_MOST))
            found, run = _bookmarks(kept), kept["run"]
            marks = found.all()
            if run == self.run and marks and marks[-1].moment.position > self.end:
                raise ValueError
        except FileNotFoundError:
            return Bookmarks()
        except OSError as e:
            raise self._bad(f"cannot be read ({e.strerror})") from None
        except (ValueError, TypeError, LookupError, RecursionError, UserError):
            raise self._bad("holds no bookmarks") from None
        return found if run == self.run else Bookmarks()

    def save(self, bookmarks: tuple[Bookmark, ...]) -> None:
        """Keep these. UserError if that is not possible."""
        if not bookmarks:
            self._remove()
            return
        kept = [[mark.moment.text, mark.name] for mark in bookmarks]
        text = json.dumps({"format": _FORMAT, "run": self.run, "bookmarks": kept}, indent=1)
        if len(text) >= _MOST:
            raise UserError("cannot hold so many bookmarks", where=str(self.file))
        atomic_file.write(self.file, f"{text}\n".encode())

    def _remove(self) -> None:
        try:
            self.file.unlink(missing_ok=True)
        except OSError as e:
            raise UserError(f"cannot be removed ({e.strerror})", where=str(self.file)) from None

    def _bad(self, words: str) -> UserError:
        return UserError(words, where=str(self.file), fix="move it away")


def _bookmarks(kept: Any) -> Bookmarks:
    """ValueError, TypeError, LookupError or UserError for what `save` does not write."""
    marks = kept["bookmarks"]
    if kept["format"] != _FORMAT or not (isinstance(kept["run"], str) and isinstance(marks, list)):
        raise ValueError
    found = Bookmarks()
    for mark in marks:
        text, name = mark
        match = _MOMENT.fullmatch(text)
        if match is None or not (isinstance(mark, list) and isinstance(name, str)):
            raise ValueError
        moment = Moment(int(match[1]), int(match[2] or 0))
        if found.at(moment) is not None:
            raise ValueError
        found.set(moment, name)
    return found
