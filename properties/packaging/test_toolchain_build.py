# SPDX-License-Identifier: Apache-2.0
"""What is built: the same bytes everywhere, by two compilers."""

import subprocess
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import Artefact, build

IMAGES = ("el2", "stub:hello")


@pytest.mark.parametrize("name", [*IMAGES, "hooks"])
def test_same_bytes_in_any_folder(
    name: str,
    tree: Path,
    other_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A compiler cache for each, so that the second build cannot be answered by the first.
    first = build(name, into=tmp_path / "first", root=tree)
    monkeypatch.setenv("AETHER_CACHE", str(tmp_path / "second cache"))
    second = build(name, into=tmp_path / "second", root=other_tree)
    assert first.key == second.key
    assert first.flat.read_bytes() == second.flat.read_bytes()
    content = first.elf.read_bytes()
    assert content == second.elf.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"site-packages" not in content


def _objcopy(prefix: str, artefact: Artefact, to: Path) -> bytes:
    command = [f"{prefix}objcopy", "-O", "binary", str(artefact.elf), str(to)]
    subprocess.run(command, check=True)
    return to.read_bytes()


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("compiler", ["zig", "gcc"])
def test_flat_image_is_what_objcopy_writes(
    name: str,
    compiler: str,
    tree: Path,
    tmp_path: Path,
    cross_gcc: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if compiler == "gcc":
        monkeypatch.setenv("CROSS_COMPILE", cross_gcc)
    artefact = build(name, into=tmp_path / "out", root=tree)
    assert artefact.compiler.startswith("zig" if compiler == "zig" else cross_gcc)
    assert artefact.flat.read_bytes() == _objcopy(cross_gcc, artefact, tmp_path / "objcopy.bin")


def test_sizes_are_those_of_size(tree: Path, tmp_path: Path, cross_gcc: str) -> None:
    artefact = build("stub:hello", into=tmp_path, root=tree)
    command = [f"{cross_gcc}size", "--format=berkeley", str(artefact.elf)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text, data, bss = (int(word) for word in shown.splitlines()[1].split()[:3])
    assert (artefact.sizes.text, artefact.sizes.data, artefact.sizes.bss) == (text, data, bss)


def test_the_hooks_are_always_built_for_this_machine(
    tree: Path, tmp_path: Path, cross_gcc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSS_COMPILE", cross_gcc)
    assert build("hooks", into=tmp_path, root=tree).compiler.startswith("zig")


def test_an_error_in_a_source_is_told_with_its_place(tree: Path, tmp_path: Path) -> None:
    code = "int zz(void);\nint zz(void)\n{\n    return nothing;\n}\n"
    (tree / "el2" / "zz_added.c").write_text(code, encoding="utf-8")
    with pytest.raises(UserError, match=r"zz_added\.c:4:12: .*'?nothing'?.*; the whole output is"):
        build("el2", into=tmp_path / "out", root=tree)
    assert not any((tmp_path / "out").iterdir())
