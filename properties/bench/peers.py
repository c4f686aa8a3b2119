# SPDX-License-Identifier: Apache-2.0
"""The hypervisor beside a peer: what exits to EL2 cost while the same Linux boots under each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.bundle.description import Description
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue, store
from aether_edgecloud.emulator.launch import binary, foreign
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.profile import Profile, Profiler
from aether_edgecloud.emulator.profile.figures import Figures
from aether_edgecloud.emulator.report.figure import Comparison, LeftOut
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.properties.foreign import xen_dom0

_NAME = "peers"
_MIB = 1 << 20
_GUEST_MEMORY = 128 * _MIB
_MMU = "native"

COLUMNS = ("count", "min", "median", "max", "total")
_FIRST = (
    *("irq", "mmio-read", "mmio-write", "sysreg-read", "sysreg-write", "hvc", "smc", "wfx"),
    "irq at EL2",
)


def beside(_: int) -> Iterator[Comparison | LeftOut | str]:
    """This hypervisor with Linux as its VM, and Xen with Linux as dom0: the same kernel and
    initramfs, 128 MiB, one CPU, the MMU native. What each takes for its console is its own."""
    found: dict[str, Profile] = {}
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        try:
            xen = foreign.load(xen_dom0.style(Path(folder))).request(mmu=_MMU)
        except UserError as e:
            yield LeftOut(_NAME, str(e))
            return
        for name, request in (("Aether", _own(Path(folder, "linux.bundle"))), (_version(), xen)):
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


def _version() -> str:
    """From its file's name, xen-4.17-arm64."""
    xen, _symbols = store.files(catalogue.XEN.name)
    return f"Xen {xen.name.split('-')[1]}"


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
