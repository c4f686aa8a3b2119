# SPDX-License-Identifier: Apache-2.0
"""Programs made of kept objects are those that are compiled at once."""

from pathlib import Path

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.toolchain import compilers
from aether_edgecloud.emulator.toolchain.making import make
from aether_edgecloud.properties.adversary.table_builds import Program
from aether_edgecloud.properties.adversary.table_objects import ObjectCompiler


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AETHER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_same_bytes_and_objects_used_again(tmp_path: Path, cache: Path) -> None:
    recipe, root = Program.DRILL.value, toolchain.SOURCE_ROOT
    compiler = compilers.select(recipe.kind)
    at_once, first, again = (tmp_path / name for name in ("at-once", "first", "again"))
    for folder in (at_once, first, again):
        folder.mkdir()
    wanted = make(recipe, compiler, "key", root, at_once).sha256
    assert make(recipe, ObjectCompiler(compiler, first), "key", root, first).sha256 == wanted
    objects = cache / "binaries-with-bugs"
    kept = {file: file.stat().st_mtime_ns for file in objects.glob("*.o")}
    assert len(kept) == 5
    assert make(recipe, ObjectCompiler(compiler, again), "key", root, again).sha256 == wanted
    assert {file: file.stat().st_mtime_ns for file in objects.glob("*.o")} == kept
