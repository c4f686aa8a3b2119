# SPDX-License-Identifier: Apache-2.0
"""What is built from what: each product as data. Paths are relative to the source root."""

import runpy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError

STUB_PREFIX = "stub:"


class Kind(Enum):
    """Where a product runs."""

    IMAGE = "image"
    """Bare metal AArch64: an ELF file and a flat image."""
    SHARED_LIBRARY = "shared library"
    """A library of this machine, loaded by the emulator."""


class Check(Enum):
    """What an image is searched for after linking."""

    NO_FP = "no FP or SIMD instruction"
    NO_RELOCATIONS = "no absolute address left for a loader to fix"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One product: its sources, what they read, and how they are compiled and linked."""

    name: str
    kind: Kind
    sources: tuple[str, ...]
    """Patterns of the files handed to the compiler."""
    headers: tuple[str, ...]
    """Patterns of the files the sources include: they count for the key."""
    include_dirs: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    """Patterns taken out of `sources`."""
    linker_script: str | None = None
    offsets: str | None = None
    """C file whose `.ascii "-> NAME VALUE"` lines become `offsets.h`."""
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    """The build fails if the image does not pass."""
    fp_exempt: tuple[str, ...] = ()
    """Functions that may hold FP and SIMD instructions all the same."""

    @property
    def basename(self) -> str:
        """The name as part of a file name."""
        return self.name.replace(":", "-")


WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")

COMMON_FLAGS = (
    "-std=c11",
    "-O2",
    "-g",
    *WARNINGS,
    "-fno-common",
    "-fno-strict-aliasing",
)

FREESTANDING_FLAGS = (
    *COMMON_FLAGS,
    "-ffreestanding",
    "-nostdlib",
    "-fPIE",
    "-fvisibility=hidden",
    # ADR reaches all of an image. Without ADRP, Cortex-A53 erratum 843419 has nothing to go wrong.
    "-mcmodel=tiny",
    # A switch turned into a table of addresses would need relocation at run time.
    "-fno-jump-tables",
    # Identity-mapped: address 0 may be memory.
    "-fno-delete-null-pointer-checks",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    # A panic's backtrace walks the frame records.
    "-fno-omit-frame-pointer",
    "-mno-omit-leaf-frame-pointer",
    "-mno-outline-atomics",
)

# The linker script alone decides what lies in an image.
IMAGE_LINK_FLAGS = (
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    "-Wl,-z,max-page-size=4096",
)

EL2 = Recipe(
    name="el2",
    kind=Kind.IMAGE,
    sources=("el2/*.c", "el2/*.S", "stage2/*.c"),
    excluded=("el2/offsets.c",),
    headers=("el2/*.h", "el2/include/el2/*.h", "stage2/*.h", "stage2/include/stage2/*.h"),
    include_dirs=("el2/include", "el2", "stage2/include"),
    linker_script="el2/link.lds",
    offsets="el2/offsets.c",
    flags=FREESTANDING_FLAGS,
    # Linked as PIE, an address in a table leaves a relocation, which the check finds.
    link_flags=(*IMAGE_LINK_FLAGS, "-pie", "-Wl,--no-dynamic-linker", "-Wl,--no-gc-sections"),
    checks=(Check.NO_FP, Check.NO_RELOCATIONS),
    fp_exempt=("fpsimd_save", "fpsimd_load"),
)

HOOKS = Recipe(
    name="hooks",
    kind=Kind.SHARED_LIBRARY,
    sources=("emulator/cpu/*.c",),
    headers=("emulator/cpu/*.h",),
    include_dirs=("emulator/cpu",),
    # Linked to nothing: Unicorn's functions are handed in as pointers.
    flags=(*COMMON_FLAGS, "-fPIC", "-nostdlib"),
    link_flags=("-shared", "-Wl,--build-id=none"),
)

STUB_FOLDER = "guest_stubs"


def arguments(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's own compiler options: none names a place outside the source root."""
    includes = (f"-I{folder}" for folder in recipe.include_dirs)
    return (*recipe.flags, *includes, *recipe.link_flags)


def _stubs(root: Path) -> Iterator[Recipe]:
    """The stubs of the tree at `root`, which lists them itself."""
    catalogue = runpy.run_path(str(root / STUB_FOLDER / "catalogue.py"))

    def placed(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{STUB_FOLDER}/{name}" for name in names)

    for stub in catalogue["STUBS"]:
        yield Recipe(
            name=STUB_PREFIX + stub.name,
            kind=Kind.IMAGE,
            sources=placed((*stub.sources, *catalogue["RUNTIME_SOURCES"])),
            headers=placed(catalogue["HEADERS"]),
            include_dirs=placed(("runtime",)),
            linker_script=f"{STUB_FOLDER}/{catalogue['LINKER_SCRIPT']}",
            flags=(*FREESTANDING_FLAGS, "-ffunction-sections"),
            # A stub carries only what it uses of the runtime.
            link_flags=(*IMAGE_LINK_FLAGS, "-no-pie", "-Wl,--gc-sections"),
        )


def all_recipes(root: Path) -> Iterator[Recipe]:
    """Every product of the tree at `root`: the EL2 binary, the hooks, the stubs."""
    yield EL2
    yield HOOKS
    yield from _stubs(root)


def find(name: str, root: Path) -> Recipe:
    """The recipe called `name`. UserError, with the known names, if there is none."""
    for recipe in all_recipes(root):
        if recipe.name == name:
            return recipe
    known = ", ".join(recipe.name for recipe in all_recipes(root))
    raise UserError(f"nothing called {name!r} can be built", fix=f"choose one of: {known}")
