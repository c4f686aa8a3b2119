# SPDX-License-Identifier: Apache-2.0
"""The programs of the table, as they are and with one bug in them: built once, and kept in the
user's cache."""

import hashlib
import shutil
import tempfile
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator import atomic_file, toolchain
from aether_edgecloud.emulator.toolchain import compilers, recipes, sources
from aether_edgecloud.emulator.toolchain.cache import cache_folder
from aether_edgecloud.emulator.toolchain.making import make
from aether_edgecloud.emulator.toolchain.recipes import Kind, Recipe
from aether_edgecloud.properties.adversary.table_objects import ObjectCompiler
from aether_edgecloud.properties.mutants.mutant import Edit
from aether_edgecloud.properties.mutants.tree import edited

_DRILL = "properties/adversary/drill"


class Program(Enum):
    """What runs at EL2. The value is its recipe."""

    HYPERVISOR = recipes.EL2
    DRILL = Recipe(
        name="drill",
        kind=Kind.IMAGE,
        sources=(f"{_DRILL}/*.c", f"{_DRILL}/*.S", "stage2/*.c", "el2/pgtable_primitives.c"),
        headers=("el2/include/el2/*.h", "stage2/*.h", "stage2/include/stage2/*.h"),
        include_dirs=("el2/include", "stage2/include"),
        linker_script=f"{_DRILL}/drill.lds",
        flags=recipes.EL2.flags,
        link_flags=recipes.EL2.link_flags,
        checks=recipes.EL2.checks,
    )
    """The page-table library alone, used as no hypervisor here does."""


def binary(program: Program, edit: Edit | None = None, root: Path = toolchain.SOURCE_ROOT) -> bytes:
    """The flat image of a program with this change, if its file is one of the program's; None: as
    it is. UserError: it does not build."""
    recipe = program.value
    files = sources.all_files(recipe, root)
    if edit is not None and edit.file not in files:
        edit = None
    if edit is None and program is Program.HYPERVISOR:
        return toolchain.artefact("el2", root=root).flat.read_bytes()
    changed = b"" if edit is None else edited((root / edit.file).read_bytes(), edit)
    compiler = compilers.select(recipe.kind)
    command = (*compiler.arguments(recipe.kind), *recipes.arguments(recipe))
    key = sources.key(recipe, root, compiler.identity, command)
    name = hashlib.sha256(f"{key}\0{edit and edit.file}\0".encode() + changed).hexdigest()
    place = cache_folder("binaries-with-bugs") / f"{name[:32]}.bin"
    if not place.is_file():
        with tempfile.TemporaryDirectory(prefix="aether-table-") as folder:
            copy = Path(folder, "sources")
            for file in files:
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / file, copy / file)
            if edit is not None:
                (copy / edit.file).write_bytes(changed)
            objects = ObjectCompiler(compiler, Path(folder))
            product = make(recipe, objects, name, copy, Path(folder))
            atomic_file.write(place, product.flat.read_bytes())
    return place.read_bytes()
