# SPDX-License-Identifier: Apache-2.0
"""The run of a test that failed, as a recording that `aether replay` opens."""

import re
from pathlib import Path

import pytest

from aether_edgecloud.emulator.monitor.violation import Violation
from aether_edgecloud.emulator.recording.pieces import record_pieces
from aether_edgecloud.emulator.recording.recording import FAILED
from aether_edgecloud.properties.plugin import failure, words
from aether_edgecloud.properties.plugin.lab import Use
from aether_edgecloud.properties.plugin.options import RECORD, look_up

_SUFFIX = ".aet"
_LONGEST = 300
"""Characters of a mark."""


def sections(item: pytest.Item, error: BaseException, use: Use) -> list[tuple[str, str]]:
    """Writes the recording of the machine that the test used last, and says so."""
    return words.told([("recording", lambda: _write(item, error, use))])


def _write(item: pytest.Item, error: BaseException, use: Use) -> str | None:
    given = look_up(item.config, RECORD)
    if given is None:
        return None
    if use.keeper is None:
        return "only runs with the MMU model can be recorded"
    pieces = use.keeper.pieces
    if not pieces.starts:
        return "the machine has not run since it was booted: there is nothing to record"
    folder = Path(given.text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        return f"{folder}: cannot be made ({e.strerror})"
    path = folder / (_file_name(item.nodeid) + _SUFFIX)
    record_pieces(
        pieces,
        use.machine,
        path,
        target=item.nodeid,
        elf=None if use.el2.elf is None else use.el2.elf.read_bytes(),
        marks=[_mark(error, use, pieces.end)],
    )
    return f"aether replay {path}"


def _mark(error: BaseException, use: Use, end: int) -> tuple[int, str]:
    """Where it went wrong and how: the instruction that broke a rule of the monitor, else where
    the machine stood when the test failed."""
    seen = failure.violation(use, error)
    if isinstance(seen, Violation):
        # No other CPU has run since: the monitor ends the run.
        since = use.machine.cpus[seen.cpu].retired - seen.instruction
        return max(0, end - since), _in_words(str(seen))
    told = str(error).strip().partition("\n")[0]
    return end, _in_words(f"{type(error).__name__}: {told}" if told else type(error).__name__)


def _in_words(text: str) -> str:
    return FAILED + " ".join(text.split())[:_LONGEST]


def _file_name(nodeid: str) -> str:
    """A file's name of a test's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid.rpartition("/")[2]).strip("-.")[:120]
