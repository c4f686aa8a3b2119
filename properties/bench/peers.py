# SPDX-License-Identifier: Apache-2.0
"""The hypervisor beside a peer: what exits to EL2 cost while the same Linux boots under each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.bundle.description import Description
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue, initramfs, store
from aether_edgecloud.emulator.launch import binary, foreign
from aether_edgecloud.emulator.launch.foreign import Module, ModuleKind, QemuStyle
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.profile import Profile, Profiler
from aether_edgecloud.emulator.profile.figures import Figures
from aether_edgecloud.emulator.report.figure import Comparison, LeftOut
from aether_edgecloud.emulator.report.request import RunRequest

_NAME = "peers"
_MIB = 1 << 20
_GUEST_MEMORY = 128 * _MIB
_XEN_MEMORY = 1 << 30
_XEN_WORDS = "dom0_mem=128M console=dtuart"
_DOM0_WORDS = "console=hvc0"
_DOM0_KERNEL, _DOM0_RAMDISK = 0x4900_0000, 0x4C00_0000
_MMU = "native"

COLUMNS = ("count", "min", "median", "max", "total")
_FIRST = (
    *("irq", "mmio-read", "mmio-write", "sysreg-read", "sysreg-write", "hvc", "smc", "wfx"),
    "irq at EL2",
)


def beside(_: int) -> Iterator[Comparison | LeftOut | str]:
    """This hypervisor with Linux as its VM, and Xen with Linux as dom0: the same kernel and
    initramfs, 128 MiB, one CPU, the MMU native. What each takes for its console is its own."""
    try:
        xen, _symbols = store.files(catalogue.XEN.name)
        kernel, busybox = store.files(catalogue.LINUX.name)
    except UserError as e:
        yield LeftOut(_NAME, str(e))
        return
    found: dict[str, Profile] = {}
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        ramdisk = Path(folder, "initramfs.cpio")
        ramdisk.write_bytes(initramfs.build(busybox.read_bytes()))
        for name, request in (
            ("Aether", _own(Path(folder, "linux.bundle"))),
            (_version(xen), _xen(xen, kernel, ramdisk)),
        ):
            yield name
            try:
                found[name] = _profile(request)
            except UserError as e:
                yield LeftOut(f"{_NAME}, {name}", str(e))
    if found:
        yield comparison(found)


def _own(bundle: Path) -> RunRequest:
    linux = catalogue.description(catalogue.LINUX.name, memory=_GUEST_MEMORY)
    bundle.write_bytes(build.build(Description((linux,)), where=_NAME))
    return build_request(str(bundle), binary.load(None), mmu=_MMU)


def _version(xen: Path) -> str:
    """From its file's name, xen-4.17-arm64."""
    return f"Xen {xen.name.split('-')[1]}"


def _xen(xen: Path, kernel: Path, ramdisk: Path) -> RunRequest:
    modules = (
        Module(_DOM0_KERNEL, kernel, ModuleKind.KERNEL, _DOM0_WORDS),
        Module(_DOM0_RAMDISK, ramdisk, ModuleKind.RAMDISK),
    )
    style = QemuStyle(xen, append=_XEN_WORDS, modules=modules, memory=_XEN_MEMORY)
    return foreign.load(style).request(mmu=_MMU)


def _profile(request: RunRequest) -> Profile:
    machine = build_machine(request, Bytes(b""))
    profiler = Profiler(machine)
    stop = machine.run()
    profile = profiler.finish()
    machine.close()
    if stop.kind is not StopKind.SYSTEM_OFF:
        raise UserError(stop.kind.value, where=request.target)
    return profile


def comparison(found: dict[str, Profile]) -> Comparison:
    """Profiles by the name of what they are of, class by class."""
    profiles = tuple(found.values())
    known = {stay.name for profile in profiles for stay in profile.stays} - {BOOT}
    names = [n for n in _FIRST if n in known] + sorted(known - set(_FIRST))
    rows: list[tuple[str, tuple[tuple[int | None, ...] | None, ...]]] = [
        (name, tuple(_class(profile, name) for profile in profiles)) for name in names
    ]
    for name, total in (
        ("all exits", _exits),
        ("boot, at EL2", _boot),
        ("EL2, in all", lambda p: (None, p.by_el[2])),
        ("EL1 and EL0", lambda p: (None, p.by_el[0] + p.by_el[1])),
    ):
        values = (total(profile) for profile in profiles)
        rows.append((name, tuple((count, None, None, None, sum_) for count, sum_ in values)))
    return Comparison("EL2 instructions of an exit", COLUMNS, tuple(found), tuple(rows))


def _class(profile: Profile, name: str) -> tuple[int | None, ...] | None:
    stay = profile.stay(name)
    return None if stay is None else _row(stay.figures)


def _row(f: Figures) -> tuple[int | None, ...]:
    return f.count, f.low, f.median, f.high, f.total


def _exits(profile: Profile) -> tuple[int | None, int]:
    figures = [stay.figures for stay in profile.exits]
    return sum(f.count for f in figures), sum(f.total for f in figures)


def _boot(profile: Profile) -> tuple[int | None, int]:
    stay = profile.stay(BOOT)
    return None, 0 if stay is None else stay.figures.total
