# SPDX-License-Identifier: Apache-2.0
"""A search skips what lies between two checkpoints if no page of interest was touched there: the
file names every page that is written, whatever it holds afterwards."""

from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.container import Chunk, ChunkReader
from aether_edgecloud.emulator.recording.file_checkpoints import FileCheckpoints
from aether_edgecloud.emulator.recording.pieces import PieceKeeper, record_pieces
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS
from aether_edgecloud.properties.recording.recorded import SMALL, opened


def _written(machine: Machine) -> set[int]:
    flags = np.frombuffer(memoryview(machine.memory.dirty_pages), np.bool_)
    return set(np.flatnonzero(flags).tolist())


def _check(recording: Recording) -> int:
    """How many pages are written between checkpoints; the file names all of them."""
    checkpoints, count = recording.checkpoints, 0
    assert isinstance(checkpoints, FileCheckpoints)
    machine = recording.machine()
    for index, end in enumerate(checkpoints.positions[1:]):
        machine.restore(checkpoints.load(index))
        machine.run(end)
        touched = checkpoints.touched(index)
        assert touched is not None and _written(machine) <= touched, index
        count += len(_written(machine))
        before, after = checkpoints.load(index).ram, checkpoints.load(index + 1).ram
        pages = before.keys() | after.keys()
        assert {p for p in pages if before.get(p) != after.get(p)} <= touched
    assert checkpoints.touched(len(checkpoints.positions) - 1) is None
    machine.close()
    return count


@pytest.mark.parametrize(
    "name",
    [SMALL, "counters, four CPUs", "one that reads"]
    + [pytest.param(name, marks=pytest.mark.nightly) for name in ("hello", "four CPUs on and off")],
)
def test_every_page_that_a_run_writes_is_touched(name: str, tmp_path: Path) -> None:
    with opened(name, tmp_path) as recording:
        assert _check(recording) > 10


def test_a_page_that_was_zero_and_is_zero_again_is_touched(tmp_path: Path) -> None:
    """The run writes it, and then whoever drives the machine clears it."""
    machine = WORLDS[SMALL].make()
    keeper = PieceKeeper(machine)
    machine.run(400)
    before = keeper.pieces.starts[0].ram
    page = max(machine.snapshot().ram.keys() - before.keys())
    machine.write_pa(machine.board.ram_base + page * PAGE_SIZE, bytes(PAGE_SIZE))
    machine.run(500)
    file = tmp_path / "run.aet"
    record_pieces(keeper.pieces, machine, file, target="pieces")
    machine.close()
    recording = Recording.open(file)
    checkpoints = recording.checkpoints
    assert isinstance(checkpoints, FileCheckpoints)
    index = list(checkpoints.positions).index(keeper.pieces.starts[1].instructions)
    assert page not in checkpoints.load(index - 1).ram
    assert page not in checkpoints.load(index).ram
    assert page in (checkpoints.touched(index - 1) or ())
    # Where nothing ran, nothing is touched but what was changed.
    assert checkpoints.positions[:2] == [0, 0]
    assert not checkpoints.touched(0)
    assert _check(recording)
    recording.close()


def test_each_table_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Chunk] = []
    read = ChunkReader.read

    def note(reader: ChunkReader, chunk: Chunk) -> bytes:
        seen.append(chunk)
        return read(reader, chunk)

    monkeypatch.setattr(ChunkReader, "read", note)
    with opened(SMALL, tmp_path) as recording:
        checkpoints = recording.checkpoints
        assert isinstance(checkpoints, FileCheckpoints)
        assert recording.end >= checkpoints.positions[-1]
        for index in range(len(checkpoints.positions)):
            checkpoints.load(index)
            checkpoints.touched(index)
    tables = [chunk for chunk in seen if chunk.type == chunks.TABLE]
    assert len(tables) == len(set(tables)) == len(checkpoints.positions)
