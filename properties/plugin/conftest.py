# SPDX-License-Identifier: Apache-2.0
"""A project of somebody else's, with a small EL2 program of its own, that uses the plugin."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain.cache import cache_root

SMALL_EL2 = Path(__file__).with_name("small_el2.S")


@pytest.fixture(scope="session")
def small_el2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ELF file, with its source beside it as in such a project."""
    folder = tmp_path_factory.mktemp("small-el2")
    shutil.copy(SMALL_EL2, folder)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding"]
    command += ["-mcpu=cortex_a72", "-nostdlib", "-g", "-o", "small.elf", SMALL_EL2.name]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "small.elf"


@pytest.fixture
def project(
    pytester: pytest.Pytester, small_el2: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A folder with `small.elf`; run pytest there as a process of its own, since a profile is for a
    whole process."""
    cache = cache_root()
    for name in ("AETHER_PROFILE", "AETHER_REQUIRE_ALL", "CI", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    # pytester gives the process another home.
    monkeypatch.setenv("AETHER_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copy(small_el2, pytester.path)
    return pytester
