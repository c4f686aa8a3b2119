# SPDX-License-Identifier: Apache-2.0
"""What is built: the same bytes everywhere, by two compilers, and only if it may run at EL2."""

import subprocess
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import Artefact, build, recipe_names

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
    assert first.elf.read_bytes() == second.elf.read_bytes()


@pytest.mark.parametrize("name", recipe_names())
def test_nothing_tells_where_it_was_built(name: str, tree: Path, tmp_path: Path) -> None:
    content = build(name, into=tmp_path / "out", root=tree).elf.read_bytes()
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
    flat = artefact.flat.read_bytes()
    assert flat == _objcopy(cross_gcc, artefact, tmp_path / "objcopy.bin")
    assert len(flat) >= artefact.sizes.data


def test_sizes_are_those_of_size(tree: Path, tmp_path: Path, cross_gcc: str) -> None:
    artefact = build("el2", into=tmp_path, root=tree)
    command = [f"{cross_gcc}size", "--format=berkeley", str(artefact.elf)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text, data, bss = (int(word) for word in shown.splitlines()[1].split()[:3])
    assert (artefact.sizes.text, artefact.sizes.data, artefact.sizes.bss) == (text, data, bss)


def _assembly(tree: Path, *lines: str) -> None:
    """Add an assembly file to the hypervisor."""
    code = "\n".join((".text", ".globl added", "added:", *lines, "ret", ""))
    (tree / "el2" / "zz_added.S").write_text(code, encoding="utf-8")


@pytest.mark.parametrize(
    "instruction",
    [
        "fmov d0, x1",
        "ldr q3, [x0]",
        "stp d8, d9, [sp, #-16]!",
        "movi v0.2d, #0",
        "ldr s1, [x2, x3, lsl #2]",
        "st1 {v0.16b}, [x1]",
    ],
)
def test_fp_at_el2_fails_the_build(instruction: str, tree: Path, tmp_path: Path) -> None:
    _assembly(tree, ".arch_extension fp", ".arch_extension simd", "nop", instruction)
    with pytest.raises(UserError) as caught:
        build("el2", into=tmp_path / "out", root=tree)
    line = str(caught.value)
    assert instruction.split()[0] in line
    assert "added+0x4" in line
    assert "general registers" in line
    assert not any((tmp_path / "out").iterdir())


def test_data_that_looks_like_fp_is_none(tree: Path, tmp_path: Path) -> None:
    _assembly(tree, "b 1f", ".word 0x9e670020", ".quad 0x3dc000033dc00003", "1: nop")
    build("el2", into=tmp_path / "out", root=tree)


def test_fp_in_c_fails_the_build(tree: Path, tmp_path: Path) -> None:
    code = "double zz(double x);\ndouble zz(double x)\n{\n    return x * 2;\n}\n"
    (tree / "el2" / "zz_added.c").write_text(code, encoding="utf-8")
    with pytest.raises(UserError):
        build("el2", into=tmp_path / "out", root=tree)


def test_an_absolute_address_fails_the_build(tree: Path, tmp_path: Path) -> None:
    code = 'const char *zz_names[] = {"one", "two"};\n'
    (tree / "el2" / "zz_added.c").write_text("extern " + code.split(" =")[0] + ";\n" + code)
    with pytest.raises(UserError, match=r"absolute address in zz_names|relocations"):
        build("el2", into=tmp_path / "out", root=tree)


@pytest.mark.parametrize("name", recipe_names())
def test_the_second_compiler_builds(
    name: str, tree: Path, tmp_path: Path, cross_gcc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSS_COMPILE", cross_gcc)
    artefact = build(name, into=tmp_path, root=tree)
    assert artefact.compiler.startswith("zig" if name == "hooks" else cross_gcc)


@pytest.mark.parametrize(
    ("name", "source", "place"),
    [("el2", "int zz(void)\n{\n    return nothing;\n}\n", "el2/zz_added.c:3")],
)
def test_an_error_in_a_source_is_told_with_its_place(
    name: str, source: str, place: str, tree: Path, tmp_path: Path
) -> None:
    (tree / "el2" / "zz_added.c").write_text(source, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        build(name, into=tmp_path / "out", root=tree)
    assert caught.value.where is not None
    assert caught.value.where.startswith(place) or "zz_added.c" in caught.value.where
    assert not any((tmp_path / "out").iterdir())
