# SPDX-License-Identifier: Apache-2.0
"""When something is built again, and what a user is told when it cannot be."""

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import (
    Origin,
    artefact,
    build,
    product_key,
    shared_library,
)
from aether_edgecloud.emulator.toolchain.sources import SOURCE_ROOT, expand

CHANGED = (
    sorted(expand(SOURCE_ROOT, ["el2/*.c"]))[0],
    sorted(expand(SOURCE_ROOT, ["el2/*.S"]))[0],
    sorted(expand(SOURCE_ROOT, ["el2/include/el2/*.h"]))[0],
    sorted(expand(SOURCE_ROOT, ["stage2/*.c"]))[0],
    sorted(expand(SOURCE_ROOT, ["stage2/include/stage2/*.h"]))[0],
    "el2/link.lds",
    "el2/offsets.c",
)


def test_built_once_then_found_then_built_again(tree: Path) -> None:
    first = artefact("hooks", root=tree)
    again = artefact("hooks", root=tree)
    assert (first.origin, again.origin) == (Origin.BUILT, Origin.CACHED)
    assert (first.flat, first.sha256) == (again.flat, again.sha256)
    with (tree / "emulator" / "cpu" / "hooks.c").open("a", encoding="utf-8") as file:
        file.write("int zz_added(void);\nint zz_added(void)\n{\n    return 1;\n}\n")
    changed = artefact("hooks", root=tree)
    assert changed.origin is Origin.BUILT
    assert changed.sha256 != first.sha256


@pytest.mark.parametrize("name", CHANGED)
def test_any_changed_source_counts(name: str, tree: Path) -> None:
    before = product_key("el2", root=tree)
    with (tree / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert product_key("el2", root=tree) != before


@pytest.mark.parametrize("name", ["el2/zz.c", "el2/include/el2/zz.h", "stage2/zz.c"])
def test_a_new_or_renamed_file_counts(name: str, tree: Path) -> None:
    before = product_key("el2", root=tree)
    (tree / name).write_text("", encoding="utf-8")
    added = product_key("el2", root=tree)
    (tree / name).rename((tree / name).with_stem("zy"))
    assert len({before, added, product_key("el2", root=tree)}) == 3


def test_what_is_not_compiled_does_not_count(tree: Path) -> None:
    before = product_key("el2", root=tree)
    (tree / "el2" / "NOTES.md").write_text("not a source\n", encoding="utf-8")
    (tree / "guest_stubs" / "hello.c").write_text("int x;\n", encoding="utf-8")
    assert product_key("el2", root=tree) == before


def test_the_compiler_counts(tree: Path, cross_gcc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_zig = product_key("el2", root=tree)
    hooks_with_zig = product_key("hooks", root=tree)
    monkeypatch.setenv("CROSS_COMPILE", cross_gcc)
    assert product_key("el2", root=tree) != with_zig
    assert product_key("hooks", root=tree) == hooks_with_zig


@pytest.mark.parametrize("damage", ["flat", "elf", "description", "missing"])
def test_a_damaged_result_is_built_again(damage: str, tree: Path) -> None:
    good = artefact("stub:hello", root=tree)
    content = good.flat.read_bytes()
    if damage == "flat":
        good.flat.write_bytes(content[:-1])
    elif damage == "elf":
        good.elf.write_bytes(b"\x7fELF")
    elif damage == "description":
        (good.flat.parent / "artefact.json").write_text("{}", encoding="utf-8")
    else:
        good.flat.unlink()
    again = artefact("stub:hello", root=tree)
    assert again.origin is Origin.BUILT
    assert again.flat.read_bytes() == content


def test_a_builder_that_comes_second_takes_what_is_there(tree: Path, tmp_path: Path) -> None:
    first = build("stub:hello", into=tmp_path / "out", root=tree)
    stamp = first.flat.stat().st_mtime_ns
    second = build("stub:hello", into=tmp_path / "out", root=tree)
    assert second.origin is Origin.CACHED
    assert second.flat.stat().st_mtime_ns == stamp
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.flat.parent.name]


def test_the_hooks_are_a_library() -> None:
    assert shared_library("hooks").suffix == ".so"


def test_unknown_name() -> None:
    with pytest.raises(UserError, match=r"'el3' can be built; choose one of: el2, hooks, stub:"):
        artefact("el3")


def test_no_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ziglang\) is not installed; .*pip install ziglang=="):
        artefact("el2", root=tree)


def test_another_zig(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.0")
    with pytest.raises(UserError, match=r"ziglang 0\.1\.0 is installed, .* is needed; .*pip"):
        artefact("el2", root=tree)


def test_a_cross_compiler_that_is_not_there(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSS_COMPILE", "no-such-machine-")
    with pytest.raises(UserError, match="CROSS_COMPILE: no-such-machine-gcc is not installed; "):
        artefact("el2", root=tree)


def test_a_cache_that_cannot_be_made(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("AETHER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="set AETHER_CACHE to a folder you may write to"):
        artefact("el2", root=tree)


@pytest.mark.parametrize("name", ["el2/link.lds", "el2/offsets.c", "guest_stubs/hello.c"])
def test_a_missing_source(name: str, tree: Path) -> None:
    (tree / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        artefact("stub:hello" if "stubs" in name else "el2", root=tree)
