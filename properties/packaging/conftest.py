# SPDX-License-Identifier: Apache-2.0
"""A copy of the sources that a test may change, and a cache of its own."""

import shutil
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain import SOURCE_ROOT

BUILT_FOLDERS = ("el2", "stage2", "guest_stubs", "emulator/cpu")


def copy_sources(to: Path) -> Path:
    """Copy what the recipes read; returns `to`."""
    for folder in BUILT_FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCE_ROOT / folder, to / folder, ignore=ignored)
    return to


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The sources, copied."""
    return copy_sources(tmp_path / "tree")


@pytest.fixture
def other_tree(tmp_path: Path) -> Path:
    """The same sources in a folder with a longer name."""
    return copy_sources(tmp_path / "another place" / "with a longer name" / "tree")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is found that an earlier build left, and zig is the compiler."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("AETHER_CACHE", str(cache))
    monkeypatch.delenv("CROSS_COMPILE", raising=False)
    return cache
