# SPDX-License-Identifier: Apache-2.0
"""What an adversary has seen of the program that runs on it (`--adversary`)."""

from aether_edgecloud.emulator.adversary.caches import CacheAdversary
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.check.finding import Entry, Findings
from aether_edgecloud.emulator.check.position import Position
from aether_edgecloud.emulator.check.rules import RULES
from aether_edgecloud.emulator.machine import Machine

_CONFLICT, _UNINITIALISED = RULES["tlb-conflict"], RULES["uninitialised-read"]


class HardwareFindings:
    """Makes findings of what the adversaries of a machine keep. Both keep it in order."""

    def __init__(self, machine: Machine, findings: Findings, position: Position) -> None:
        self._findings = findings
        self._position = position
        kept = machine.attachments
        self._tlbs = [(one, 0) for one in kept if isinstance(one, TlbAdversary)]
        self._caches = [(one, 0) for one in kept if isinstance(one, CacheAdversary)]

    def look(self) -> None:
        """Take what is new. Often: what the other CPUs have retired is taken for what it was."""
        for number, (tlb, known) in enumerate(self._tlbs):
            if len(tlb.conflicts) > known:
                self._take_conflicts(tlb, known)
                self._tlbs[number] = (tlb, len(tlb.conflicts))
        for number, (caches, known) in enumerate(self._caches):
            if len(caches.uninitialised) > known:
                self._take_reads(caches, known)
                self._caches[number] = (caches, len(caches.uninitialised))

    def _take_conflicts(self, tlb: TlbAdversary, known: int) -> None:
        for c in tlb.conflicts[known:]:
            place = self._position.at(c.cpu, c.pc, c.instruction)
            what = f"{'VA' if c.vmid is None else 'IPA'} {c.ia:#x}"
            words = (
                f"{what} is used; the TLB may hold {c.old:#x} of level {c.level}, and in memory is"
                f" {c.new:#x} of level {c.new_level}"
            )
            entry = Entry(c.vmid, None, c.new_level, c.ia, c.old, c.new)
            self._findings.add(_CONFLICT, place, words, entry=entry)

    def _take_reads(self, caches: CacheAdversary, known: int) -> None:
        for read in caches.uninitialised[known:]:
            place = self._position.at(read.cpu, read.pc, read.instruction)
            words = f"the page at PA {read.pa:#x}, VA {read.va:#x}, of which no byte was written"
            self._findings.add(_UNINITIALISED, place, words, value=read.pa)
