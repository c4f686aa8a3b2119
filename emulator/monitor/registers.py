# SPDX-License-Identifier: Apache-2.0
"""What the registers of each CPU lead to: which trees are live, with which VMID, and whether EL2 is
left with a stage 2 that makes sense."""

from dataclasses import dataclass, replace
from typing import Any

from aether_edgecloud.emulator.monitor.entries import Entries
from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.emulator.monitor.trees import Tree, Trees
from aether_edgecloud.emulator.monitor.violation import Rule
from aether_edgecloud.stage2.decode import Geometry

_SCTLR_M = 1 << 0
_HCR_VM, _HCR_DC = 1 << 0, 1 << 12
_HCR_TGE = 1 << 27
_VTCR_VS = 1 << 19


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """The registers of one CPU that matter, and what follows from them."""

    sctlr_el2: int = 0
    hcr_el2: int = 0
    ttbr0_el2: int = 0
    tcr_el2: int = 0
    vttbr_el2: int = 0
    vtcr_el2: int = 0
    mair_el2: int = 0
    el2_root: int | None = None
    """PA of the tree of EL2 in use; None without one."""
    stage2_root: int | None = None
    """PA of the tree that VTTBR_EL2 leads to, if it leads to one."""
    is_vttbr_new: bool = False
    """VTTBR_EL2 has changed, and no context synchronisation event has followed."""
    old_vmid: int = 0
    """The VMID before that."""
    had_stage2: bool = False
    """EL2 has been left with stage 2 on."""

    def changed(self, name: str, value: int | None) -> "CpuRegisters":
        """The same with another value of one field."""
        fields: dict[str, Any] = {name: value}
        return replace(self, **fields)

    @property
    def has_stage2(self) -> bool:
        """Whether stage 2 is on, by HCR_EL2.VM or .DC: otherwise nothing is cached of it."""
        return bool(self.hcr_el2 & (_HCR_VM | _HCR_DC))

    @property
    def vmid(self) -> int:
        """VTTBR_EL2.VMID."""
        return self.vttbr_el2 >> 48 & (0xFFFF if self.vtcr_el2 & _VTCR_VS else 0xFF)


class Registers:
    """The registers of all CPUs. Steps raise Violation."""

    def __init__(self, trees: Trees, journal: Journal, is_ram: "RamTest", cpus: int) -> None:
        self._trees = trees
        self._is_ram = is_ram
        self.cpus: Table[int, CpuRegisters] = Table(journal)
        for cpu in range(cpus):
            self.cpus.put(cpu, CpuRegisters())
        self.entries = Entries(trees, journal, cpus, self.in_use)
        self._root_of: Table[int, int] = Table(journal)
        """By VMID: PA of the root that ran with it."""
        self.exposes_by_register = True
        """Stage 2 counts as cached from the MSR on that leads to it with HCR_EL2.VM; else from
        `enter`, as hardware has it."""
        self._vmid_of: Table[int, int] = Table(journal)
        """By PA of a root: the VMID that it ran with."""

    def in_use(self, root: int) -> int:
        """A bit for each CPU whose registers lead to a tree."""
        return sum(
            1 << cpu
            for cpu, registers in self.cpus.items()
            if root in (registers.el2_root, registers.stage2_root)
        )

    def reset(self, cpu: int) -> None:
        """A CPU has been switched on: its TLB is empty."""
        self.cpus.put(cpu, CpuRegisters())
        for root in list(self._trees.trees):
            self.entries.hide(root, 1 << cpu)
            self._drop_unused(root)
        self._forget_gone()

    def write(self, cpu: int, name: str, value: int) -> None:
        """MSR of one of the registers, by its name in CpuRegisters."""
        before = self.cpus[cpu]
        if getattr(before, name) == value:
            return
        after = before.changed(name, value)
        if name == "vttbr_el2":
            if self.entries.has_pending(cpu):
                self._trees.breach(Rule.VTTBR_MOVED, cpu, vmid=before.vmid, pa=value)
            old_vmid = before.old_vmid if before.is_vttbr_new else before.vmid
            after = replace(after, is_vttbr_new=True, old_vmid=old_vmid)
        self.cpus.put(cpu, after)
        if name in ("vttbr_el2", "vtcr_el2") or (name == "hcr_el2" and after.has_stage2):
            self._lead(cpu, "stage2_root", _stage2(after))
        elif name in ("ttbr0_el2", "tcr_el2", "sctlr_el2"):
            self._lead(cpu, "el2_root", _el2(after))

    def _lead(self, cpu: int, which: str, geometry: Geometry | None) -> None:
        """A register of `cpu` leads to a tree of this geometry, or to none."""
        registers = self.cpus[cpu]
        before = registers.stage2_root if which == "stage2_root" else registers.el2_root
        root = None if geometry is None or not self._is_ram(geometry.root) else geometry.root
        self.cpus.put(cpu, registers.changed(which, root))
        if before is not None and before != root:
            self._drop_unused(before)
        if geometry is None or root is None:
            return
        vmid = registers.vmid if which == "stage2_root" else None
        is_cached = vmid is None or (registers.has_stage2 and self.exposes_by_register)
        exposed = 1 << cpu if is_cached else 0
        tree = self._trees.trees.get(root)
        if tree is not None and _shape(tree.geometry) != _shape(geometry):
            # Of another size: it is walked anew.
            self.entries.drop(root)
            tree = None
        if tree is None:
            self._trees.add(cpu, Tree(geometry, vmid, exposed))
        elif exposed & ~tree.exposed or tree.vmid != vmid:
            changed = replace(tree, exposed=tree.exposed | exposed, vmid=vmid)
            self._trees.trees.put(root, changed)

    def is_out(self, cpu: int) -> bool:
        """Whether stage 2 is on, and nothing of the tree that VTTBR_EL2 leads to is cached."""
        registers = self.cpus[cpu]
        root = registers.stage2_root
        tree = None if root is None else self._trees.trees.get(root)
        return tree is not None and registers.has_stage2 and not tree.exposed >> cpu & 1

    def enter(self, cpu: int) -> None:
        """From now on anything of that tree may be cached."""
        root = self.cpus[cpu].stage2_root
        if root is not None and self.is_out(cpu):
            tree = self._trees.trees[root]
            self._trees.trees.put(root, replace(tree, exposed=tree.exposed | 1 << cpu))

    def _drop_unused(self, root: int) -> None:
        """A tree that no TLB holds anything of is live as long as a register leads to it."""
        tree = self._trees.trees.get(root)
        if tree is not None and not tree.exposed and not self.in_use(root):
            self.entries.drop(root)

    def synchronise(self, cpu: int) -> None:
        """A context synchronisation event: ISB, or an exception, or a return from one."""
        registers = self.cpus[cpu]
        if registers.is_vttbr_new:
            self.cpus.put(cpu, replace(registers, is_vttbr_new=False))

    def leave(self, cpu: int) -> None:
        """`cpu` leaves EL2 for EL1 or EL0."""
        self.synchronise(cpu)
        self._forget_gone()
        self.entries.leave(cpu)
        registers = self.cpus[cpu]
        vmid, root = registers.vmid, registers.stage2_root
        if not registers.hcr_el2 & _HCR_VM:
            if registers.had_stage2:
                self._trees.breach(Rule.STAGE2_OFF, cpu, vmid=vmid, pa=registers.hcr_el2)
            return
        if root is None or registers.hcr_el2 & _HCR_TGE:
            self._trees.breach(Rule.BAD_ROOT, cpu, vmid=vmid, pa=registers.vttbr_el2)
            return
        if self._root_of.get(vmid, root) != root:
            self._trees.breach(Rule.TWO_ROOTS, cpu, vmid=vmid, pa=root)
        if self._vmid_of.get(root, vmid) != vmid:
            self._trees.breach(Rule.TWO_VMIDS, cpu, vmid=vmid, pa=root)
        if root not in self._vmid_of:
            self._root_of.put(vmid, root)
            self._vmid_of.put(root, vmid)
        if not registers.had_stage2:
            self.cpus.put(cpu, replace(registers, had_stage2=True))

    def _forget_gone(self) -> None:
        """Trees that are live no more leave their VMIDs."""
        for root in [root for root in self._vmid_of if root not in self._trees.trees]:
            self._root_of.drop(self._vmid_of[root])
            self._vmid_of.drop(root)


class RamTest:
    """Whether RAM is at a PA."""

    def __init__(self, base: int, size: int) -> None:
        self._ram = range(base, base + size)

    def __call__(self, pa: int, /) -> bool:
        return pa in self._ram


def _shape(geometry: Geometry) -> tuple[int, int, int]:
    return geometry.ia_bits, geometry.start_level, geometry.pa_bits


def _stage2(registers: CpuRegisters) -> Geometry | None:
    try:
        return Geometry.stage2(registers.vtcr_el2, registers.vttbr_el2)
    except ValueError:
        return None


def _el2(registers: CpuRegisters) -> Geometry | None:
    if not registers.sctlr_el2 & _SCTLR_M:
        return None
    try:
        return Geometry.el2(registers.tcr_el2, registers.ttbr0_el2, registers.mair_el2)
    except ValueError:
        return None
