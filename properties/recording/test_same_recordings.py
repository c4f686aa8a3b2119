# SPDX-License-Identifier: Apache-2.0
"""A run gives one recording: nothing of the host, of its clock or of the process is in it."""

from pathlib import Path

import pytest

from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS, look
from aether_edgecloud.properties.recording.recorded import LIMIT, NAMES, recorded, spacing_of


@pytest.mark.parametrize("name", NAMES)
def test_two_recordings_of_a_run_are_equal(name: str, tmp_path: Path) -> None:
    machine = WORLDS[name].make()
    path = tmp_path / "run.aet"
    with Recorder(
        machine, path, target=name, vms=("vm0", "vm1"), spacing=spacing_of(name)
    ) as recorder:
        recorder.finish(recorder.run(LIMIT))
    machine.close()
    assert path.read_bytes() == recorded(name).content


@pytest.mark.parametrize("name", ["hello", "hello, native"])
def test_two_machines_at_one_place_are_equal(name: str) -> None:
    """After ERETs, at which Unicorn notes the host's time; also with its own walker, of which runs
    are not recorded."""
    found: list[tuple[object, ...]] = []
    machines = [WORLDS[name].make() for _ in range(2)]
    for machine in machines:
        while machine.find_guest(1) is None:
            machine.run(machine.instructions + 10_000)
        snapshot = machine.snapshot()
        found.append((snapshot.cores, snapshot.schedule, snapshot.devices, snapshot.ram))
    assert found[0] == found[1]
    ends = [_end(machine) for machine in machines]
    machines[0].restore(snapshot)
    assert _end(machines[0]) == ends[0] == ends[1]
    for machine in machines:
        machine.close()


def _end(machine: Machine) -> tuple[object, ...]:
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    return look(machine)
