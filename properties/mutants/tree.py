# SPDX-License-Identifier: Apache-2.0
"""A private copy of the sources, in which one file at a time is changed.

The copy has the shape of an installed package, so that with its folder on PYTHONPATH everything
that is imported, built and run from there is the copy. What it builds stays in the copy; stubs and
hooks, which no mutant changes, are taken from the user's cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import artefacts, compilers, recipes
from aether_edgecloud.emulator.toolchain.artefacts import Origin
from aether_edgecloud.emulator.toolchain.cache import cache_folder
from aether_edgecloud.emulator.toolchain.making import make
from aether_edgecloud.properties.mutants.mutant import Edit

PACKAGE = "aether_edgecloud"
FOLDERS = ("el2", "emulator", "guest_stubs", "properties", "stage2")
SETTINGS = "pyproject.toml"

# A mutant may leave something unused, or compare what is always so: what the compiler warns of is
# not what is being measured. On the first line, a comment, so that no line number changes.
_WARNINGS = (
    *("pragmas", "unknown-warning-option", "unused", "unused-value", "unused-parameter"),
    *("conversion", "sign-conversion", "sign-compare", "constant-conversion", "overflow"),
    *("parentheses", "bitwise-op-parentheses", "logical-op-parentheses", "empty-body"),
    *("tautological-compare", "type-limits", "extra", "self-assign", "implicit-fallthrough"),
    *("shift-count-overflow", "shift-count-negative", "shift-overflow", "div-by-zero"),
    *("division-by-zero", "uninitialized", "sometimes-uninitialized", "maybe-uninitialized"),
    *("conditional-uninitialized", "return-type", "invalid-noreturn", "array-bounds"),
    *("infinite-recursion", "misleading-indentation", "int-in-bool-context", "bool-operation"),
    *("constant-logical-operand", "logical-not-parentheses", "bool-compare", "unreachable-code"),
    *("tautological-constant-out-of-range-compare", "unused-but-set-variable", "unused-variable"),
)
_QUIET = " ".join(f'_Pragma("GCC diagnostic ignored \\"-W{name}\\"")' for name in _WARNINGS)

_HOST_LIBRARY = (
    "from aether_edgecloud.stage2.host import build_library, zig_build;"
    "print(build_library(zig_build()))"
)


def edited(source: bytes, edit: Edit) -> bytes:
    """The text of the edit's file with the change, quiet about what a compiler would warn of."""
    after = source[: edit.start] + edit.text + source[edit.end :]
    if not edit.file.endswith(".c"):
        return after
    comment, _, rest = after.partition(b"\n")
    assert comment.startswith(b"//")
    return _QUIET.encode() + b"\n" + rest


class NotCompiled(Exception):
    """The sources do not build; the text says why."""


class Tree:
    """A copy of the sources at `root`, in `folder`."""

    def __init__(self, folder: Path, root: Path = toolchain.SOURCE_ROOT) -> None:
        self.folder = folder
        self.root = folder / PACKAGE
        self.cache = folder / "cache"
        for name in FOLDERS:
            shutil.copytree(
                root / name,
                self.root / name,
                ignore=shutil.ignore_patterns("shipped", ".hypothesis", "*.building-*"),
            )
        if (root / SETTINGS).is_file():
            shutil.copy(root / SETTINGS, self.root)
        else:  # an installed package
            (self.root / SETTINGS).write_text(
                '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n'
                'markers = ["nightly: slow"]\n',
                encoding="utf-8",
            )
        self._share_cache()

    def _share_cache(self) -> None:
        folder = self.cache / "artefacts"
        folder.mkdir(parents=True)
        for kept in cache_folder("artefacts").iterdir():
            if not kept.name.startswith(("el2-", ".")):
                (folder / kept.name).symlink_to(kept)
        (self.cache / "zig").symlink_to(cache_folder("zig"))

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to see this copy, and no other."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "AETHER_CACHE": str(self.cache),
            "PYTHONHASHSEED": "0",
        }

    @contextmanager
    def changed(self, edit: Edit) -> Iterator[None]:
        """With the file changed; afterwards it is as it was."""
        path = self.root / edit.file
        before = path.read_bytes()
        path.write_bytes(edited(before, edit))
        try:
            yield
        finally:
            path.write_bytes(before)

    def products(self, file: str) -> tuple[str, ...]:
        """Digests of all that is built from `file`. NotCompiled."""
        try:
            found = [self._el2()]
        except UserError as error:
            raise NotCompiled(f"{error.where}: {error.what}") from error
        if file.startswith("stage2/"):
            found.append(self._host_library())
        return tuple(found)

    def _el2(self) -> str:
        """Build the binary, and leave it where a process of this copy finds it. Always in the same
        folder, so that the compiler's cache has all but the file that changed."""
        recipe = recipes.find("el2", self.root)
        key = toolchain.product_key(recipe.name, root=self.root)
        final = self.cache / "artefacts" / f"{recipe.basename}-{key[:16]}"
        found = artefacts.load(final, key, Origin.CACHED)
        if found is None:
            folder = self.folder / "building"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            compiler = compilers.select(recipe.kind)
            found = make(recipe, compiler, key, self.root, folder)
            found.save_description()
            shutil.rmtree(final, ignore_errors=True)
            shutil.copytree(folder, final)
        return found.sha256

    def _host_library(self) -> str:
        """The parts of the host's page-table library that are loaded: not its debug information."""
        from elftools.elf.elffile import ELFFile

        done = subprocess.run(
            [sys.executable, "-c", _HOST_LIBRARY],
            env=self.environment, cwd=self.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise NotCompiled(done.stderr.strip().splitlines()[-1])
        digest = hashlib.sha256()
        with Path(done.stdout.strip()).open("rb") as file:
            for section in ELFFile(file).iter_sections():
                if section["sh_flags"] & 2 and section["sh_type"] == "SHT_PROGBITS":  # SHF_ALLOC
                    digest.update(section.data())
        return digest.hexdigest()
