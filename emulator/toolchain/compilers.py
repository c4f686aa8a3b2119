# SPDX-License-Identifier: Apache-2.0
"""The compilers: zig from its Python package, and GNU gcc chosen by CROSS_COMPILE."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain.cache import cache_folder
from aether_edgecloud.emulator.toolchain.recipes import Kind

ZIG_VERSION = "0.17.1"
"""The one version whose output is the released binary; also pinned in pyproject.toml."""

_FIRST_ERROR = re.compile(
    r"^(?P<where>[^\s:]+:\d+(?::\d+)?): (?:fatal )?error: (?P<what>.*)$", re.MULTILINE
)


class Compiler(Protocol):
    """Turns C and assembly into an ELF file, run in the source root with relative paths."""

    @property
    def identity(self) -> str:
        """Name and version: a part of every key."""
        ...

    def arguments(self, kind: Kind) -> tuple[str, ...]:
        """The options this compiler needs for a kind of product."""
        ...

    def run(self, arguments: Sequence[str], root: Path) -> None:
        """Run once. UserError with the first error's place if it fails."""
        ...


@dataclass(frozen=True, slots=True)
class Zig:
    """`zig cc` of the pinned `ziglang` package: clang and lld, for any target from any host."""

    @property
    def identity(self) -> str:
        return f"zig {ZIG_VERSION}"

    def arguments(self, kind: Kind) -> tuple[str, ...]:
        if kind is Kind.SHARED_LIBRARY:
            # Not the CPU of this machine: the library may be shipped to another.
            return ("-target", _host_target(), "-mcpu=baseline")
        # Named features only: a CPU name would let NEON in, and plain `generic` rejects the
        # registers of EL2 and EL3. Aligned accesses, since memory is Device while the MMU is off.
        return (
            "-target",
            "aarch64-freestanding-none",
            "-mcpu=generic+el2vmsa+el3+strict_align-neon-fp_armv8",
            # zig adds run-time checks whose handlers do not exist here.
            "-fno-sanitize=undefined",
            "-Wno-unused-command-line-argument",
        )

    def run(self, arguments: Sequence[str], root: Path) -> None:
        cache = str(cache_folder("zig"))
        environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        executable = self._executable()
        # The headers it brings would leave their place in the debug information.
        mapped = f"-ffile-prefix-map={executable.parent}=zig"
        _run([str(executable), "cc", *arguments, mapped], root, environment)

    @staticmethod
    def _executable() -> Path:
        # Imported here: not needed by the many runs that compile nothing.
        import importlib.metadata
        import importlib.util

        fix = f"install the pinned compiler: pip install ziglang=={ZIG_VERSION}"
        spec = importlib.util.find_spec("ziglang")
        if spec is None or spec.origin is None:
            raise UserError("the compiler (Python package ziglang) is not installed", fix=fix)
        version = importlib.metadata.version("ziglang")
        if version != ZIG_VERSION:
            raise UserError(f"ziglang {version} is installed, {ZIG_VERSION} is needed", fix=fix)
        folder = Path(spec.origin).parent
        for name in ("zig", "zig.exe"):
            if (folder / name).is_file():
                return folder / name
        raise UserError("the package ziglang holds no zig program", where=str(folder), fix=fix)


@dataclass(frozen=True, slots=True)
class Gnu:
    """GNU gcc and binutils for the target, as `CROSS_COMPILE=aarch64-linux-gnu-` names them."""

    prefix: str

    @property
    def identity(self) -> str:
        gcc = self._executable()
        shown = subprocess.run([gcc, "--version"], capture_output=True, text=True, check=True)
        return f"{self.prefix}gcc {shown.stdout.splitlines()[0]}"

    def arguments(self, kind: Kind) -> tuple[str, ...]:
        if kind is not Kind.IMAGE:
            raise ValueError("a cross compiler builds no library for this machine")
        return (
            "-march=armv8-a",
            "-mgeneral-regs-only",
            "-mstrict-align",
            "-fno-tree-loop-distribute-patterns",
        )

    def run(self, arguments: Sequence[str], root: Path) -> None:
        _run([self._executable(), *arguments], root, {})

    def _executable(self) -> str:
        found = shutil.which(f"{self.prefix}gcc")
        if found is None:
            raise UserError(
                f"{self.prefix}gcc is not installed",
                where="CROSS_COMPILE",
                fix="apt-get install gcc-aarch64-linux-gnu, or unset CROSS_COMPILE to use zig",
            )
        return found


def select(kind: Kind) -> Compiler:
    """The compiler for a kind of product: zig, unless CROSS_COMPILE names one for the target."""
    prefix = os.environ.get("CROSS_COMPILE")
    return Gnu(prefix) if prefix and kind is Kind.IMAGE else Zig()


def _host_target() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = {"Linux": "linux-gnu", "Darwin": "macos"}.get(platform.system())
    if system is None:
        raise UserError(
            f"the emulator's C hooks cannot be built for {platform.system()}",
            fix="use Linux or macOS",
        )
    return f"{machine}-{system}"


def _run(command: Sequence[str], root: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, **environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    log = cache_folder("logs") / "compiler.log"
    log.write_text(f"{' '.join(command)}\n\n{done.stdout}{done.stderr}", encoding="utf-8")
    first = _FIRST_ERROR.search(done.stderr)
    where, what = (first["where"], first["what"]) if first else ("compiler", _summary(done))
    raise UserError(what, where=where, fix=f"the whole output is in {log}")


def _summary(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
    return lines[0] if lines else f"exit status {done.returncode}"
