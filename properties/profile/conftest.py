# SPDX-License-Identifier: Apache-2.0
"""A program with exits of known lengths."""

import subprocess
import sys
from pathlib import Path

import pytest

from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.binary import El2Binary

SOURCE = Path(__file__).with_name("known_el2.S")


@pytest.fixture(scope="session")
def known_el2(tmp_path_factory: pytest.TempPathFactory) -> El2Binary:
    """`known_el2.S` as an ELF file."""
    file = tmp_path_factory.mktemp("known") / "known.elf"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding"]
    command += ["-mcpu=cortex_a72", "-nostdlib", "-o", str(file), str(SOURCE)]
    subprocess.run(command, check=True)
    return binary.load(file)
