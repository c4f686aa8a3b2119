# SPDX-License-Identifier: Apache-2.0
"""Recordings to look at."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cli.run_record import record
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording.recorder import Recorder

SMALL_EL2 = Path(__file__).parents[1] / "plugin" / "small_el2.S"
"""A program that never changes, so that whole screens can be compared."""
_SMALL_RUN = 60


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hypervisor with the stub guest, recorded."""
    path = tmp_path_factory.mktemp("hello") / "hello.aet"
    request = build_request("hello", binary.load(None))
    machine = build_machine(request)
    with record(machine, path, request) as recorder:
        recorder.finish(recorder.run())
    machine.close()
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of 30 instructions and its guest, recorded."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copy(SMALL_EL2, folder)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding"]
    command += ["-mcpu=cortex_a72", "-nostdlib", "-g", "-o", "small.elf", SMALL_EL2.name]
    subprocess.run(command, cwd=folder, check=True)
    el2 = binary.load(folder / "small.elf")
    machine = Machine(virt(64 << 20), el2.image)
    elf = (folder / "small.elf").read_bytes()
    with Recorder(machine, folder / "small.aet", target="small", elf=elf) as recorder:
        recorder.finish(recorder.run(_SMALL_RUN))
    machine.close()
    return folder / "small.aet"
