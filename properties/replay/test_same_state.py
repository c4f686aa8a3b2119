# SPDX-License-Identifier: Apache-2.0
"""The machine at a position is the same whatever way it was reached, in whatever process."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.replay import Direction, Execute, Replay
from aether_edgecloud.properties.replay.runs import HELLO, SMP, TRAPS, Run, live, recording

_ALONE = """
import sys
from pathlib import Path
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.replay import Replay
replay = Replay.open(Path(sys.argv[1]))
for position in map(int, sys.argv[2:]):
    replay.goto(position)
    print(state_sha256(replay.machine))
"""


@pytest.mark.parametrize(
    "run", [HELLO, pytest.param(TRAPS, marks=pytest.mark.nightly), SMP], ids=lambda run: run.guest
)
def test_same_state_whatever_the_way(run: Run, tmp_path: Path) -> None:
    path = recording(run, tmp_path)
    replay = Replay.open(path)
    positions = random.Random(7).sample(range(20, replay.end), 2)
    seen = {}
    for position in positions:
        replay.goto(position)
        seen[position] = state_sha256(replay.machine)
    for position in positions:
        replay.goto(position - 5)
        while replay.position < position:
            replay.step()
        assert state_sha256(replay.machine) == seen[position], "stepped to"
        while replay.position < position + 3 and replay.step():
            pass
        while replay.position > position:
            replay.step(-1)
        while replay.attempt:
            replay.step(-1)
        assert state_sha256(replay.machine) == seen[position], "stepped back to"
        what = Execute(replay.machine.cpus[replay.cpu].pc)
        replay.step(1)
        assert replay.find(what, Direction.BACK) is not None
        assert state_sha256(replay.machine) == seen[position], "found"
    replay.close()
    command = [sys.executable, "-c", _ALONE, str(path), *map(str, reversed(positions))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [seen[position] for position in reversed(positions)]


def test_a_live_run_is_the_recorded_one(tmp_path: Path) -> None:
    recorded, made = Replay.open(recording(HELLO, tmp_path)), live(HELLO)
    for position in (5, 123_456, 950_001):
        for replay in (recorded, made):
            replay.goto(position)
        assert state_sha256(recorded.machine) == state_sha256(made.machine)
    recorded.close()
    made.close()
