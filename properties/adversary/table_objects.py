# SPDX-License-Identifier: Apache-2.0
"""A compiler that compiles each source by itself, and keeps what it has made: of programs that
differ in one file."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from aether_edgecloud.emulator.toolchain.cache import cache_folder
from aether_edgecloud.emulator.toolchain.compilers import Compiler
from aether_edgecloud.emulator.toolchain.recipes import Kind

_SOURCES = (".c", ".S")
_HEADERS = ("*.h", "*.inc")


class ObjectCompiler:
    """`compiler`, with objects in the user's cache. Sources see the headers below the root they
    are compiled in and those in `folder`."""

    def __init__(self, compiler: Compiler, folder: Path) -> None:
        self._compiler = compiler
        self._folder = folder

    @property
    def identity(self) -> str:
        return self._compiler.identity

    def arguments(self, kind: Kind) -> tuple[str, ...]:
        return self._compiler.arguments(kind)

    def run(self, arguments: Sequence[str], root: Path) -> None:
        """A command that compiles sources, and links them if it does not say -S. UserError as the
        compiler's."""
        sources = [word for word in arguments if word.endswith(_SOURCES)]
        if "-S" in arguments:
            self._compiler.run(arguments, root)
            return
        output = arguments.index("-o")
        options = [word for word in arguments[:output] if word not in sources]
        # Given a linker script, zig applies it to each object.
        compiling = [word for word in options if not word.startswith("-Wl,-T")]
        common = self._digest(compiling, root)
        objects = [str(self._object(compiling, root, source, common)) for source in sources]
        self._compiler.run([*options, *objects, *arguments[output:]], root)

    def _digest(self, options: Sequence[str], root: Path) -> bytes:
        """Of all that counts for every source. Where the sources lie does not."""
        text = "\0".join((self.identity, *options))
        text = text.replace(str(root), "root").replace(str(self._folder), "folder")
        digest = hashlib.sha256(text.encode())
        for pattern in _HEADERS:
            for header in (*sorted(root.rglob(pattern)), *sorted(self._folder.glob(pattern))):
                digest.update(f"\0{header.name}\0".encode() + header.read_bytes())
        return digest.digest()

    def _object(self, options: Sequence[str], root: Path, source: str, common: bytes) -> Path:
        name = hashlib.sha256(common + source.encode() + (root / source).read_bytes()).hexdigest()
        kept = cache_folder("binaries-with-bugs") / f"{name[:32]}.o"
        if not kept.is_file():
            made = self._folder / "made.o"
            self._compiler.run([*options, "-c", source, "-o", str(made)], root)
            os.replace(made, kept)
        return kept
