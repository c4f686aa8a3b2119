# SPDX-License-Identifier: Apache-2.0
"""From sources to the files of a product: compile, link, check, flatten."""

import re
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import artefacts, image, recipes, sources
from aether_edgecloud.emulator.toolchain.artefacts import Artefact, Origin
from aether_edgecloud.emulator.toolchain.compilers import Compiler
from aether_edgecloud.emulator.toolchain.recipes import Check, Kind, Recipe

_OFFSET_LINE = re.compile(r'\.ascii\s+"-> (\w+) [#$]?(-?\d+)')


def make(recipe: Recipe, compiler: Compiler, key: str, root: Path, folder: Path) -> Artefact:
    """Compile, link, check and describe a product; its files are left in `folder`.

    UserError: an error in the sources, or an image that fails one of its checks.
    """
    arguments = [
        *compiler.arguments(recipe.kind),
        *recipes.arguments(recipe),
        # Nothing of where it was built stays in the product.
        f"-ffile-prefix-map={root}=.",
        f"-ffile-prefix-map={folder}=.",
    ]
    if recipe.offsets is not None:
        _write_offsets(recipe.offsets, compiler, arguments, root, folder)
        arguments.append(f"-I{folder}")
    if recipe.linker_script is not None:
        arguments.append(f"-Wl,-T,{recipe.linker_script}")
    elf_path = folder / f"{recipe.basename}{'.elf' if recipe.kind is Kind.IMAGE else '.so'}"
    files = sources.compiled_files(recipe, root)
    compiler.run([*arguments, *files, "-o", str(elf_path)], root)
    return _finish(recipe, compiler, key, root, elf_path)


def _write_offsets(
    source: str, compiler: Compiler, arguments: list[str], root: Path, folder: Path
) -> None:
    """Compile `source` to assembly and turn its marked lines into `offsets.h`."""
    assembly = folder / "offsets.s"
    compiler.run([*arguments, "-S", source, "-o", str(assembly)], root)
    found = _OFFSET_LINE.findall(assembly.read_text(encoding="utf-8"))
    assembly.unlink()
    if not found:
        raise UserError('holds no line `.ascii "-> NAME VALUE"`', where=source)
    lines = [f"#define {name} {value}" for name, value in found]
    (folder / "offsets.h").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _finish(recipe: Recipe, compiler: Compiler, key: str, root: Path, elf_path: Path) -> Artefact:
    flat_path = elf_path
    elf_sha256 = artefacts.sha256_of(elf_path)
    if recipe.kind is Kind.IMAGE:
        elf = image.open_elf(elf_path)
        if Check.NO_RELOCATIONS in recipe.checks:
            image.check_no_relocations(elf, recipe.name)
        if Check.NO_FP in recipe.checks:
            image.check_no_fp(elf, recipe.name, recipe.fp_exempt)
        flat_path = elf_path.with_suffix(".bin")
        flat_path.write_bytes(image.flat_image(elf))
    return Artefact(
        name=recipe.name,
        key=key,
        compiler=compiler.identity,
        elf=elf_path,
        flat=flat_path,
        sha256=artefacts.sha256_of(flat_path),
        elf_sha256=elf_sha256,
        sizes=image.sizes(image.open_elf(elf_path)),
        lines_of_code=sources.count_lines(recipe, root),
        origin=Origin.BUILT,
    )
