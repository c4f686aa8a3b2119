# SPDX-License-Identifier: Apache-2.0
"""The C library, built for this machine: an arena of memory, and every primitive recorded.

`load` builds and loads it; `Arena` is memory with a pool of table pages and up to four address
spaces. One thread. Built with UBSan that traps: undefined behaviour ends the process; with
AETHER_STAGE2_REPORT=1 it says where before.
"""

import ctypes
import hashlib
import importlib.metadata
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aether_edgecloud.stage2.decode import Decoded, Geometry, decode_tables
from aether_edgecloud.stage2.protocol import Event, EventKind
from aether_edgecloud.stage2.spec import PAGE, Attr, Config, Memory, Perm, Regime, Status

FOLDER = Path(__file__).resolve().parent
SPACES_MAX = 4
ROOT_AREA = 16 * PAGE
"""Bytes kept for each space's root tables: the most that can be concatenated."""

_SOURCES = ("pgtable.c", "descriptor.c", "recorder/recorder.c")
_HEADERS = ("descriptor.h", "include/stage2/*.h")
_FLAGS = (
    "-shared",
    "-fPIC",
    "-O1",
    "-g",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-fno-omit-frame-pointer",
)
_TRAPPING = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
_REPORTING = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
ASAN_FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

ENV_COMPILER = "AETHER_STAGE2_CC"
"""Names another compiler (gcc, clang) for the host build, which is then one for ASan as well."""

ENV_REPORT = "AETHER_STAGE2_REPORT"
"""Set to 1: zig's runtime of UBSan, half a minute to build once, writes a report to stderr."""


class BuildError(Exception):
    """The host library cannot be built; the text says why."""


@dataclass(frozen=True, slots=True)
class Build:
    """How the host library is built. `flags` come after those every build has."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...] = _TRAPPING


def zig_build() -> Build:
    """zig of the `ziglang` package, for any CPU of this machine's kind."""
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError as error:
        raise BuildError("the package ziglang is missing: pip install ziglang") from error
    command = (sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline")
    flags = _REPORTING if os.environ.get(ENV_REPORT) == "1" else _TRAPPING
    return Build(command, f"zig {version}", flags)


def asan_build(compiler: str) -> Build:
    """A compiler of the system with ASan and UBSan; the process must preload its libasan."""
    path = shutil.which(compiler)
    if path is None:
        raise BuildError(f"there is no compiler {compiler}")
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return Build((path,), shown.stdout, ASAN_FLAGS)


def cache_folder() -> Path:
    """`AETHER_CACHE`, else `XDG_CACHE_HOME`/aether-edgecloud, else ~/.cache/aether-edgecloud."""
    chosen = os.environ.get("AETHER_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "aether-edgecloud"


def build_library(build: Build) -> Path:
    """The library for these sources and this build, made if it is not there yet. BuildError."""
    files = sorted(FOLDER / name for name in _SOURCES) + sorted(
        file for pattern in _HEADERS for file in FOLDER.glob(pattern)
    )
    digest = hashlib.sha256(repr(build).encode() + repr(_FLAGS).encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    folder = cache_folder() / "stage2-host"
    library = folder / f"stage2-{digest.hexdigest()[:32]}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as aside:
            output = Path(aside) / library.name
            flags = (*_FLAGS, *build.flags, "-Iinclude")
            command = [*build.command, *flags, *_SOURCES, "-o", str(output)]
            zig = str(cache_folder() / "zig")
            environment = {"ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig}
            # A sanitizer that was preloaded for this process is not meant for the compiler.
            environment = {**os.environ, **environment, "LD_PRELOAD": ""}
            done = subprocess.run(
                command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise BuildError(f"{' '.join(command)}\n{done.stderr}")
            # Whoever builds at the same time builds the same: the last one wins.
            output.replace(library)
    except OSError as error:
        fix = "set AETHER_CACHE to a folder you may write to"
        raise BuildError(f"{folder}: {error.strerror}; {fix}") from error
    return library


_U32, _U64, _I32, _HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32, ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_uint64)
_CONFIG = [_U32, _U32, _U32, _U32, _U32, _U32]
_PROTOTYPES: dict[str, tuple[object, list[object]]] = {
    "host_new": (_HANDLE, [_U64, _U64]),
    "host_free": (None, [_HANDLE]),
    "host_gaps_intact": (_I32, [_HANDLE]),
    "host_read_page": (None, [_HANDLE, _U64, ctypes.c_char_p]),
    "host_read_past": (_U64, [_HANDLE]),
    "host_poke": (None, [_HANDLE, _U64, _U64]),
    "host_event_count": (_U64, [_HANDLE]),
    "host_events": (_HANDLE, [_HANDLE]),
    "host_forget_events": (None, [_HANDLE]),
    "host_free_pages": (_U32, [_HANDLE]),
    "host_set_vttbr": (None, [_HANDLE, _U64]),
    "host_vttbr": (_U64, [_HANDLE]),
    "host_pool_init": (_I32, [_HANDLE, _U64, _U32]),
    "host_root_size": (_U64, [*_CONFIG]),
    "host_init": (_I32, [_HANDLE, _U32, *_CONFIG, _U64]),
    "host_map": (_I32, [_HANDLE, _U32, _U64, _U64, _U64, _U32, _U32]),
    "host_unmap": (_I32, [_HANDLE, _U32, _U64, _U64]),
    "host_protect": (_I32, [_HANDLE, _U32, _U64, _U64, _U32]),
    "host_reserve": (_I32, [_HANDLE, _U32, _U64, _U64]),
    "host_fill": (_I32, [_HANDLE, _U32, _U64, _U64, _U64, _U32, _U32]),
    "host_hold": (_I32, [_HANDLE, _U32, _U64, _U64]),
    "host_clear": (None, [_HANDLE, _U32]),
    "host_walk": (_I32, [_HANDLE, _U32, _U64, _OUT]),
    "host_registers": (None, [_HANDLE, _U32, _OUT]),
}


@cache
def load() -> ctypes.CDLL:
    """Build if need be, and load. The compiler is zig, or what AETHER_STAGE2_CC names."""
    other = os.environ.get(ENV_COMPILER)
    library = ctypes.CDLL(str(build_library(asan_build(other) if other else zig_build())))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def _perm_bits(perm: Perm) -> int:
    return perm.read | perm.write << 1 | perm.exec << 2 | perm.exec_el0 << 3


def _config_arguments(config: Config) -> tuple[int, ...]:
    numbers = (config.regime, config.ia_bits, config.pa_bits, config.vmid)
    return (*numbers, config.xnx, config.pages_only)


def root_size(config: Config) -> int:
    """`pgt_root_size`."""
    return int(load().host_root_size(*_config_arguments(config)))


@dataclass(frozen=True, slots=True)
class Walk:
    """`struct pgt_walk`."""

    descriptor: int
    level: int
    size: int
    pa: int
    attr: Attr


@dataclass(frozen=True, slots=True)
class Registers:
    """What the library computes for the registers of one address space."""

    vttbr_el2: int
    vtcr_el2: int
    ttbr0_el2: int
    tcr_el2: int
    start_level: int


class Arena:
    """Memory from PA `base` (a multiple of 64 KiB): areas for four roots, then the pool."""

    def __init__(self, pool_pages: int, base: int = 0x4000_0000) -> None:
        self._library = load()
        self.base = base
        self.pool_base = base + SPACES_MAX * ROOT_AREA
        self.pages = (self.pool_base - base) // PAGE + pool_pages
        self._handle: int | None = self._library.host_new(base, self.pages)
        if self._handle is None:
            raise MemoryError
        self.pool = range(self.pool_base, self.pool_base + pool_pages * PAGE)
        self.pool_status = self.pool_init(self.pool_base, pool_pages)

    def close(self) -> None:
        """Free the memory; the arena is not usable afterwards."""
        if self._handle is not None:
            self._library.host_free(self._handle)
            self._handle = None

    def pool_init(self, base: int, pages: int) -> Status:
        return Status(self._library.host_pool_init(self._handle, base, pages))

    def root_of(self, space: int) -> int:
        """PA of the root area of a space."""
        return self.base + space * ROOT_AREA

    def init(self, space: int, config: Config, root: int | None = None) -> Status:
        where = self.root_of(space) if root is None else root
        arguments = _config_arguments(config)
        return Status(self._library.host_init(self._handle, space, *arguments, where))

    def map(self, space: int, ia: int, pa: int, size: int, attr: Attr) -> Status:
        bits = _perm_bits(attr.perm)
        return Status(self._library.host_map(self._handle, space, ia, pa, size, bits, attr.type))

    def unmap(self, space: int, ia: int, size: int) -> Status:
        return Status(self._library.host_unmap(self._handle, space, ia, size))

    def protect(self, space: int, ia: int, size: int, perm: Perm) -> Status:
        bits = _perm_bits(perm)
        return Status(self._library.host_protect(self._handle, space, ia, size, bits))

    def reserve(self, space: int, ia: int, size: int) -> Status:
        return Status(self._library.host_reserve(self._handle, space, ia, size))

    def fill(self, space: int, ia: int, pa: int, size: int, attr: Attr) -> Status:
        bits = _perm_bits(attr.perm)
        return Status(self._library.host_fill(self._handle, space, ia, pa, size, bits, attr.type))

    def hold(self, space: int, ia: int, size: int) -> Status:
        return Status(self._library.host_hold(self._handle, space, ia, size))

    def clear(self, space: int) -> None:
        self._library.host_clear(self._handle, space)

    def walk(self, space: int, ia: int) -> tuple[Status, Walk]:
        out = (ctypes.c_uint64 * 6)()
        status = Status(self._library.host_walk(self._handle, space, ia, out))
        descriptor, level, size, pa, bits, memory = out
        perm = Perm(bool(bits & 1), bool(bits & 2), bool(bits & 4), bool(bits & 8))
        return status, Walk(descriptor, level, size, pa, Attr(perm, Memory(memory)))

    def registers(self, space: int) -> Registers:
        out = (ctypes.c_uint64 * 5)()
        self._library.host_registers(self._handle, space, out)
        return Registers(*out)

    @property
    def free_pages(self) -> int:
        return int(self._library.host_free_pages(self._handle))

    @property
    def vttbr(self) -> int:
        """VTTBR_EL2 as the last primitive left it."""
        return int(self._library.host_vttbr(self._handle))

    @vttbr.setter
    def vttbr(self, value: int) -> None:
        self._library.host_set_vttbr(self._handle, value)

    def take_events(self) -> list[Event]:
        """What was recorded since the last call, oldest first."""
        count = self._library.host_event_count(self._handle)
        events = self._library.host_events(self._handle)
        raw = ctypes.string_at(events, count * 24) if count else b""
        self._library.host_forget_events(self._handle)
        return [Event(EventKind(kind), a, b) for kind, a, b in struct.iter_unpack("=QQQ", raw)]

    @property
    def gaps_intact(self) -> bool:
        """Whether nothing was written between the pages. (Under ASan it ends the process.)"""
        return bool(self._library.host_gaps_intact(self._handle))

    def read_past(self) -> int:
        """Read the word after the first page, which a build under ASan must not survive."""
        return int(self._library.host_read_past(self._handle))

    def page(self, pa: int) -> bytes:
        buffer = ctypes.create_string_buffer(PAGE)
        self._library.host_read_page(self._handle, (pa - self.base) // PAGE, buffer)
        return buffer.raw

    def snapshot(self) -> bytes:
        """All memory."""
        return b"".join(self.page(self.base + i * PAGE) for i in range(self.pages))

    def poke(self, pa: int, value: int) -> None:
        """Store a 64-bit word behind the library's back."""
        if pa % 8 != 0 or not self.base <= pa < self.base + self.pages * PAGE:
            raise ValueError(f"{pa:#x} is not an aligned address in the arena")
        self._library.host_poke(self._handle, pa, value)

    def decode(self, space: int, config: Config) -> Decoded:
        """The tables of a space, from memory and the register values the library gives."""

        def read_table(pa: int, entries: int, /) -> tuple[int, ...] | None:
            if not self.base <= pa < self.base + self.pages * PAGE:
                return None
            words: tuple[int, ...] = struct.unpack("=512Q", self.page(pa))
            return words[:entries]

        registers = self.registers(space)
        if config.regime is Regime.STAGE2:
            geometry = Geometry.stage2(registers.vtcr_el2, registers.vttbr_el2, xnx=config.xnx)
        else:
            geometry = Geometry.el2(registers.tcr_el2, registers.ttbr0_el2, 0x0400_44FF)
        root = range(self.root_of(space), self.root_of(space) + ROOT_AREA)
        return decode_tables(read_table, geometry, (root, self.pool))
