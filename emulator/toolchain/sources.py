# SPDX-License-Identifier: Apache-2.0
"""The source files of a recipe: where they are, what their hash is, how many lines they hold."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain.recipes import Recipe

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds `el2/`, `stage2/`, `emulator/`: a checkout, or the installed package."""

_KEY_FORMAT = "1"

# A string, a character constant, a line comment or a block comment, whichever starts first.
_COMMENT_OR_LITERAL = re.compile(
    r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?\*/""", re.DOTALL
)


def expand(root: Path, patterns: Iterable[str]) -> set[str]:
    """The files below `root` that match a pattern, as relative POSIX paths."""
    return {
        path.relative_to(root).as_posix()
        for pattern in patterns
        for path in root.glob(pattern)
        if path.is_file()
    }


def compiled_files(recipe: Recipe, root: Path) -> tuple[str, ...]:
    """The files handed to the compiler, sorted. UserError if a pattern finds none."""
    for pattern in recipe.sources:
        if not any(root.glob(pattern)):
            raise _missing(pattern, root)
    return tuple(sorted(expand(root, recipe.sources) - expand(root, recipe.excluded)))


def all_files(recipe: Recipe, root: Path) -> tuple[str, ...]:
    """Every file the product depends on, sorted: sources, headers, linker script, offsets."""
    extra = {name for name in (recipe.linker_script, recipe.offsets) if name is not None}
    for name in sorted(extra):
        if not (root / name).is_file():
            raise _missing(name, root)
    return tuple(sorted({*compiled_files(recipe, root), *expand(root, recipe.headers), *extra}))


def key(recipe: Recipe, root: Path, compiler: str, command: Iterable[str]) -> str:
    """Hash of all that decides the product: files, compiler and its command line, as hex."""
    digest = hashlib.sha256()
    for part in (_KEY_FORMAT, recipe.name, compiler, *command):
        digest.update(part.encode() + b"\0")
    for name in all_files(recipe, root):
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()


def lines_of_code(text: str) -> int:
    """Lines of C or assembly that are neither blank nor comment only."""

    def blank(match: re.Match[str]) -> str:
        literal: str | None = match.group(1)
        return literal if literal is not None else "\n" * match.group().count("\n")

    return sum(bool(line.strip()) for line in _COMMENT_OR_LITERAL.sub(blank, text).splitlines())


def count_lines(recipe: Recipe, root: Path) -> int:
    """Lines of code of the product: C, assembly and headers, not the linker script."""
    return sum(
        lines_of_code((root / name).read_text(encoding="utf-8"))
        for name in all_files(recipe, root)
        if name.endswith((".c", ".h", ".S"))
    )


def _missing(name: str, root: Path) -> UserError:
    return UserError(
        f"{name} is missing",
        where=str(root),
        fix="restore the file, or install aether-edgecloud again",
    )
