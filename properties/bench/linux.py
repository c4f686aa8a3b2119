# SPDX-License-Identifier: Apache-2.0
"""Linux from reset to poweroff: against QEMU, against the bare board, and in memory."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.bundle.description import Content, VmDescription
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.properties.bench.runs import child_report

_GUEST = "linux"
_MEMORY_CHILD = "aether_edgecloud.properties.bench.memory_child"
_WAYS = {
    "native": ("--mmu", "native"),
    "model": ("--mmu", "model"),
    "QEMU": ("--on", "qemu"),
}


def boot(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """One vCPU, all ways in turn; medians and their ratios."""
    yield from _alternately("Linux, 1 vCPU", 1, rounds, {"native": 2.0, "model": 3.0})


def boot_smp(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Four vCPUs."""
    yield from _alternately("Linux, 4 vCPUs", 4, rounds, {"native": 3.0})


def _alternately(
    what: str, cpus: int, rounds: int, aims: dict[str, float]
) -> Iterator[Figure | LeftOut | str]:
    walls: dict[str, list[float]] = {way: [] for way in (*aims, "QEMU")}
    instructions: dict[str, int] = {}
    for number in range(rounds):
        for way in tuple(walls):
            yield f"{what}: {way}, {number + 1} of {rounds}"
            try:
                report = child_report(_GUEST, "--cpus", str(cpus), *_WAYS[way])
            except UserError as e:
                yield LeftOut(f"{what}, {way}", str(e))
                del walls[way]
                continue
            walls[way].append(report["wall_s"])
            if report["instructions"] is not None:
                instructions[way] = report["instructions"]["total"]
    for way, found in walls.items():
        yield Figure(f"{what}, {way}", statistics.median(found), "s")
        if way in instructions:
            yield Figure(f"{what}, {way}", instructions[way] / 1e6, "M instructions")
    for way, aim in aims.items():
        if way in walls and "QEMU" in walls:
            ratio = statistics.median(walls[way]) / statistics.median(walls["QEMU"])
            yield Figure(f"{what}, {way} to QEMU", ratio, "times as long", aim)


def overhead(_: int) -> Iterator[Figure | LeftOut | str]:
    """Instructions of all levels, under the hypervisor and on the bare board."""
    name = "Linux boot, more than bare"
    yield f"{name}: under the hypervisor"
    try:
        vm = catalogue.description(_GUEST)
        guest = child_report(_GUEST, "--mmu", "native")["instructions"]["total"]
        yield f"{name}: bare"
        bare = _bare(vm)
    except UserError as e:
        yield LeftOut(name, str(e))
        return
    yield Figure("Linux boot, under the hypervisor", guest / 1e6, "M instructions")
    yield Figure("Linux boot, bare board", bare / 1e6, "M instructions")
    yield Figure(name, 100 * (guest / bare - 1), "%", 3.0)


def _bare(vm: VmDescription) -> int:
    """Linux entered at EL2 without a hypervisor, with the guest's memory, ramdisk and words."""
    assert vm.kernel is not None
    kernel = _content(vm.kernel)
    # Else it would set up KVM, which it cannot as a guest.
    words = f"{vm.bootargs or ''} kvm-arm.mode=none".strip()
    board = boards.by_name("virt", ram_size=vm.memory[0].size)
    ramdisk = b"" if vm.ramdisk is None else _content(vm.ramdisk)
    image = BootImage.from_bytes(kernel, "the kernel")
    machine = Machine(board, image, ramdisk, mmu=MmuMode.NATIVE, bootargs=words)
    stop = machine.run()
    machine.close()
    if stop.kind is not StopKind.SYSTEM_OFF:
        raise UserError(stop.kind.value, where="Linux on the bare board")
    return stop.instructions


def _content(source: Path | Content) -> bytes:
    return source.data if isinstance(source, Content) else source.read_bytes()


def memory(_: int) -> Iterator[Figure | LeftOut | str]:
    """Peak memory of the emulator's process beyond the guests' RAM that was touched."""
    for mmu, cpus in (("native", 1), ("model", 1), ("native", 4)):
        name = f"memory beyond guest RAM, {mmu}, {cpus} vCPU{'s' if cpus > 1 else ''}"
        yield name
        done = subprocess.run(
            [sys.executable, "-m", _MEMORY_CHILD, _GUEST, str(cpus), mmu],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            yield LeftOut(name, (done.stderr.strip().splitlines() or ["it failed"])[-1])
            continue
        found = json.loads(done.stdout)
        yield Figure(name, (found["peak"] - found["touched"]) / (1 << 20), "MiB", 150.0)
