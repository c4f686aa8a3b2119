# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's virtual GIC as a library of this machine, with UBSan that traps."""

import ctypes
import subprocess
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.stage2.host import zig_build

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("el2/host/vgic.c", "el2/vgic_lr.c", "el2/vgic_distributor.c")
_FLAGS = ("-shared", "-fPIC", "-O1", "-g", "-std=c11", "-Wall", "-Wextra", "-Werror")


class _Write(ctypes.Structure):
    _fields_ = (
        ("offset", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("bits", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class PhysicalWrite:
    """A register of the physical distributor was written, by the pCPU of a vCPU."""

    offset: int
    index: int
    bits: int
    cpu: int


class VgicLibrary:
    """`el2/host/vgic.c`: one VM, each vCPU on its own pCPU."""

    def __init__(self, path: Path) -> None:
        self._c = ctypes.CDLL(str(path))
        self._c.host_gich.restype = ctypes.POINTER(ctypes.c_uint32)
        self._c.host_read.restype = ctypes.c_uint64
        self._c.host_enter.restype = ctypes.c_bool
        self._writes = (_Write * 256).in_dll(self._c, "host_writes")
        self._count = ctypes.c_uint32.in_dll(self._c, "host_write_count")
        self._kicked = ctypes.c_uint32.in_dll(self._c, "host_kicked")

    def start(self, vcpus: int, list_registers: int, forwarded: tuple[int, ...]) -> None:
        intids = (ctypes.c_uint32 * len(forwarded))(*forwarded)
        self._c.host_start(vcpus, list_registers, intids, len(forwarded))
        self.take_writes()

    def gich(self, vcpu: int) -> "ctypes._Pointer[ctypes.c_uint32]":
        """The hypervisor interface of the vCPU's pCPU, as words."""
        found: ctypes._Pointer[ctypes.c_uint32] = self._c.host_gich(vcpu)
        return found

    def take_writes(self) -> list[PhysicalWrite]:
        """What was written to the physical distributor since the last call."""
        count = self._count.value
        assert count < len(self._writes)
        self._count.value = 0
        return [PhysicalWrite(w.offset, w.index, w.bits, w.cpu) for w in self._writes[:count]]

    def reset(self) -> None:
        self._c.host_reset()

    def load(self, vcpu: int) -> None:
        self._c.host_load(vcpu)

    def save(self, vcpu: int) -> None:
        self._c.host_save(vcpu)

    def enter(self, vcpu: int) -> bool:
        """False: there was nothing to do."""
        return bool(self._c.host_enter(vcpu))

    def physical(self, vcpu: int, intid: int) -> None:
        self._c.host_physical(vcpu, intid)

    def maintenance(self, vcpu: int) -> None:
        self._c.host_maintenance(vcpu)

    def set_level(self, vcpu: int, intid: int, level: bool) -> None:
        self._c.host_set_level(vcpu, intid, level)

    def read(self, vcpu: int, offset: int, size: int = 4) -> int:
        return int(self._c.host_read(vcpu, ctypes.c_uint64(offset), size))

    def write(self, vcpu: int, offset: int, value: int, size: int = 4) -> None:
        self._c.host_write(vcpu, ctypes.c_uint64(offset), size, ctypes.c_uint64(value))

    def dir(self, vcpu: int, value: int) -> None:
        self._c.host_dir(vcpu, value)


def build(folder: Path) -> VgicLibrary:
    """Compile and load it."""
    zig = zig_build()
    path = folder / "libvgic.so"
    includes = ("-Iel2/host/include", "-Iel2/include", "-Istage2/include")
    command = [*zig.command, *_FLAGS, *zig.flags, *includes, *_SOURCES, "-o", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    return VgicLibrary(path)
