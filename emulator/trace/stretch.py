# SPDX-License-Identifier: Apache-2.0
"""Tracing a stretch of a run: before it the machine runs as fast as ever."""

import re
from collections.abc import Callable
from pathlib import Path

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.trace.file import TraceWriter
from aether_edgecloud.emulator.trace.recorder import Selection, TraceRecorder

AHEAD = 1 << 15
"""A machine stops at the end of a block, at most so many instructions late."""
END = (1 << 64) - 1
_RANGE = re.compile(r"((?:event|mark):[^:]*|[^:]*):((?:event|mark):[^:]*|[^:]*)")
_NUMBER = re.compile(r"[0-9][0-9_,]*")


def parse_number(text: str) -> int:
    """A position of a run that is not known yet: a number."""
    if not _NUMBER.fullmatch(text):
        raise UserError(f"{text!r} is no number of instructions", fix="use one like 12_000_000")
    return int(re.sub("[_,]", "", text))


def parse_range(text: str, place: Callable[[str], int] = parse_number) -> tuple[int, int]:
    """`FROM:TO` as positions [from, to); what is left out is the run's beginning or end. `place`
    knows what each means. UserError."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise UserError(
            f"{text!r} is no stretch of a run", fix="use FROM:TO, in instructions since reset"
        )
    begin = place(found[1]) if found[1] else 0
    end = place(found[2]) if found[2] else END
    if begin >= end:
        raise UserError(f"{text!r} has no instructions", fix="use FROM:TO with FROM less than TO")
    return begin, end


class _Nothing(Exception):
    """Is to be written."""


class Stretch:
    """Traces what is selected of a machine's run to a file, while `run` takes the machine on.

    The file is there, in the place of an earlier one, when the run is over and an instruction of it
    is selected; meanwhile it is a temporary file beside it. `about` is kept with the trace.
    `advance` runs the machine (as `Machine.run`).
    """

    def __init__(
        self,
        machine: Machine,
        path: Path,
        selection: Selection,
        about: dict[str, object],
        advance: Callable[[int], Stop] | None = None,
    ) -> None:
        self._machine = machine
        self._advance = advance or machine.run
        self._selection = selection
        self._place = atomic_file.replacing(path)
        self._writer = TraceWriter(
            path, {**about, **_described(selection)}, self._place.__enter__()
        )
        self._recorder: TraceRecorder | None = None
        self._is_over = False

    @property
    def instructions(self) -> int:
        """How many are in the file."""
        return self._writer.instructions

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self._writer.size

    @property
    def is_over(self) -> bool:
        """The stretch has been traced to its end."""
        return self._is_over

    def run(self, until: int) -> Stop:
        """Run the machine, at most until so many instructions have retired."""
        while True:
            here, chosen = self._machine.instructions, self._selection
            if not self._is_over and self._recorder is None and here + AHEAD >= chosen.begin:
                self._recorder = TraceRecorder(self._machine, self._writer.add, chosen)
            bound = until
            if not self._is_over:
                next_look = chosen.begin - AHEAD if self._recorder is None else chosen.end
                bound = min(until, max(next_look, here + 1))
            stop = self._advance(bound)
            if self._machine.instructions >= chosen.end:
                self._stop_recording()
            if stop.kind is not StopKind.LIMIT or self._machine.instructions >= until:
                return stop

    def finish(self) -> None:
        """The run is over: complete the file, unless there is no instruction for it."""
        try:
            self._stop_recording()
            if not self.instructions:
                raise _Nothing
            self._writer.end()
        except BaseException as e:
            self._place.__exit__(type(e), e, e.__traceback__)
            if not isinstance(e, _Nothing):
                raise
        else:
            self._place.__exit__(None, None, None)

    def _stop_recording(self) -> None:
        self._is_over = True
        if self._recorder is not None:
            recorder, self._recorder = self._recorder, None
            recorder.close()


def _described(selection: Selection) -> dict[str, object]:
    return {
        "from": selection.begin,
        "to": None if selection.end == END else selection.end,
        "els": sorted(selection.els),
        "vm": selection.vm,
    }
