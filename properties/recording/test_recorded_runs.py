# SPDX-License-Identifier: Apache-2.0
"""A recording changes nothing in a run, and from each of its checkpoints the run follows again."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.recording.recorder import Recorder, Spacing
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS, look
from aether_edgecloud.properties.recording.recorded import (
    LIMIT,
    NAMES,
    SMALL,
    machine_of,
    opened,
    recorded,
    spacing_of,
)

_REPLAY = """
import sys
from pathlib import Path
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.recording.recording import Recording
recording = Recording.open(Path(sys.argv[1]), any_emulator=True)
machine = recording.machine()
machine.restore(recording.checkpoints.load(int(sys.argv[2])))
machine.run(recording.end)
print(state_sha256(machine), machine.console.output.hex())
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_run_is_the_run(name: str) -> None:
    machine = WORLDS[name].make()
    stop = machine.run(LIMIT)
    assert recorded(name).stop == stop
    assert recorded(name).seen == look(machine)
    machine.close()


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_come_back_as_they_were_in_any_order(name: str, tmp_path: Path) -> None:
    taken = recorded(name).snapshots
    with opened(name, tmp_path) as recording:
        checkpoints = recording.checkpoints
        assert list(checkpoints.positions) == [snapshot.instructions for snapshot in taken]
        assert len(taken) >= 10
        for index in random.Random(name).sample(range(len(taken)), len(taken)):
            found, expected = checkpoints.load(index), taken[index]
            assert found.cores == expected.cores
            assert found.schedule == expected.schedule
            assert found.devices == expected.devices
            assert found.console == expected.console
            assert found.ram == expected.ram
            assert list(found.ram) == sorted(expected.ram)
            assert found.machine == expected.machine


@pytest.mark.parametrize("name", NAMES)
def test_the_run_goes_on_the_same_from_any_checkpoint(name: str, tmp_path: Path) -> None:
    """One machine that is set back, forwards and backwards, and each time runs to the end."""
    expected = recorded(name)
    with opened(name, tmp_path) as recording, machine_of(recording) as machine:
        last = len(recording.checkpoints.positions) - 1
        for index in (last // 2, 0, last - 1, 1, last):
            machine.restore(recording.checkpoints.load(index))
            assert machine.instructions == recording.checkpoints.positions[index]
            if index < last:
                assert machine.run(LIMIT) == expected.stop
            assert look(machine) == expected.seen


def test_from_reset_without_any_checkpoint(tmp_path: Path) -> None:
    with opened("hello", tmp_path) as recording, machine_of(recording) as machine:
        assert machine.run(LIMIT) == recorded("hello").stop
        assert look(machine) == recorded("hello").seen


def test_another_process_comes_to_the_same_end(tmp_path: Path) -> None:
    """Nothing of the process that recorded is in the file."""
    expected = recorded("four CPUs on and off")
    path = expected.write(tmp_path)
    machine = WORLDS["four CPUs on and off"].make()
    machine.run(LIMIT)
    end = f"{state_sha256(machine)} {machine.console.output.hex()}\n"
    machine.close()
    for index in (3, len(expected.snapshots) - 2):
        done = subprocess.run(
            [sys.executable, "-c", _REPLAY, str(path), str(index)],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert done.stdout == end


@pytest.mark.parametrize("name", [SMALL, "hello"])
def test_what_the_file_says_of_the_run(name: str, tmp_path: Path) -> None:
    expected = recorded(name)
    with opened(name, tmp_path) as recording:
        assert recording.end == expected.stop.instructions
        assert recording.stop is expected.stop.kind
        assert not recording.notes
        world = WORLDS[name].make()
        assert recording.identity.board == world.board
        assert recording.identity.binary_sha256 == world.image.sha256
        assert recording.identity.target == name
        assert recording.el2().image == world.image.data
        assert recording.bundle() == world.setup.initrd
        assert recording.machine().setup == world.setup
        world.close()
        output = b"".join(chunk.data for chunk in recording.console)
        assert output == bytes(expected.snapshots[-1].console.output)
        positions = [chunk.position for chunk in recording.console]
        assert positions == sorted(positions)
        for snapshot in expected.snapshots:
            sent = b"".join(c.data for c in recording.console if c.position < snapshot.instructions)
            assert snapshot.console.output.startswith(sent)
        texts = [mark.text for mark in recording.marks]
        assert texts == (["reset", "end"] if name == SMALL else ["reset", "guest vm0", "end"])


def test_how_a_run_is_cut_does_not_show_in_its_recording(tmp_path: Path) -> None:
    """Looks at other places, as an interactive run takes them: the same checkpoints."""
    positions = []
    for step in (LIMIT, 70_001):
        machine = WORLDS["hello"].make()
        with Recorder(machine, tmp_path / "run.aet", spacing=spacing_of("hello")) as recorder:
            until = 0
            while True:
                until += step
                stop = recorder.run(until)
                if stop.kind is not StopKind.LIMIT:
                    break
            recorder.finish(stop)
        positions.append(list(Recording.open(tmp_path / "run.aet").checkpoints.positions))
        machine.close()
    assert positions[0] == positions[1]


def test_checkpoints_are_where_they_are_worth_it(tmp_path: Path) -> None:
    """More dirty pages put the next one off, walks and exceptions bring it nearer; `longest` does
    not let it wait for ever."""
    found = {}
    for pages, besides in ((0, 0), (1_000_000, 0), (1_000_000, 2_000)):
        spacing = Spacing(
            1_000,
            share=10,
            cpu_cost=1_000,
            page_cost=pages,
            longest=200_000,
            walk_cost=besides,
            exception_cost=besides,
        )
        machine = WORLDS["hello"].make()
        path = tmp_path / f"{pages} {besides}.aet"
        with Recorder(machine, path, spacing=spacing) as recorder:
            recorder.finish(recorder.run(LIMIT))
        found[pages, besides] = Recording.open(path).checkpoints.positions
        machine.close()
    assert len(found[0, 0]) > 2 * len(found[1_000_000, 0])
    assert max(np.diff(found[1_000_000, 0])) < 205_000
    assert min(np.diff(found[0, 0])[:-1]) >= 10_000
    assert len(found[1_000_000, 2_000]) > len(found[1_000_000, 0])


def test_only_the_mmu_model_is_recorded(tmp_path: Path) -> None:
    machine = WORLDS["hello, native"].make()
    with pytest.raises(UserError, match="MMU model"):
        Recorder(machine, tmp_path / "run.aet")
    assert not (tmp_path / "run.aet").exists()
    machine.close()


def test_a_recording_begins_at_reset(tmp_path: Path) -> None:
    machine = WORLDS[SMALL].make()
    machine.run(10)
    with pytest.raises(ValueError, match="reset"):
        Recorder(machine, tmp_path / "run.aet")
    machine.close()
