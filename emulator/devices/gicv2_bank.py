# SPDX-License-Identifier: Apache-2.0
"""The state of a run of interrupts in a GICv2 distributor, one bit per interrupt."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aether_edgecloud.emulator.devices.device import State, saved_bytes, saved_int


@dataclass(slots=True)
class InterruptBank:
    """`count` interrupts; bit or byte i of each field belongs to the i-th.

    A bank holds either the SPIs, or the 32 SGIs and PPIs of one CPU. The pending state of an
    interrupt is `latched`, or its input `line` while it is level-sensitive (IHI 0048B, the
    description of GICD_ISPENDRn and GICD_ICPENDRn for level-sensitive interrupts).
    """

    count: int
    group: int = 0
    """1: Group 1."""
    enabled: int = 0
    latched: int = 0
    """Pending from an edge, an SGI, or a write to GICD_ISPENDRn."""
    line: int = 0
    """The input signal."""
    active: int = 0
    edge: int = 0
    """1: edge-triggered."""
    priority: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        if not self.priority:
            self.priority = bytearray(self.count)

    @property
    def implemented(self) -> int:
        """A bit for each interrupt of the bank."""
        return (1 << self.count) - 1

    @property
    def pending(self) -> int:
        """The pending state of each interrupt."""
        return self.latched | (self.line & ~self.edge)

    def set_line(self, index: int, asserted: bool) -> None:
        """The input signal takes a level; a rising edge is latched where edges count."""
        bit = 1 << index
        if asserted and not self.line & bit:
            self.latched |= bit & self.edge
        self.line = self.line | bit if asserted else self.line & ~bit

    def candidates(self, groups: tuple[bool, bool]) -> int:
        """Interrupts that may be forwarded: enabled, pending, not active, their group enabled."""
        ready = self.pending & self.enabled & ~self.active
        if not groups[0]:
            ready &= self.group
        if not groups[1]:
            ready &= ~self.group
        return ready

    def best(self, candidates: int) -> int:
        """Of a non-empty set, the interrupt of highest priority; the lowest number of equals."""
        best = -1
        while candidates:
            index = (candidates & -candidates).bit_length() - 1
            if best < 0 or self.priority[index] < self.priority[best]:
                best = index
            candidates &= candidates - 1
        return best

    def save(self) -> State:
        """The whole state."""
        return {
            "group": self.group,
            "enabled": self.enabled,
            "latched": self.latched,
            "line": self.line,
            "active": self.active,
            "edge": self.edge,
            "priority": self.priority.hex(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self.group = saved_int(state, "group")
        self.enabled = saved_int(state, "enabled")
        self.latched = saved_int(state, "latched")
        self.line = saved_int(state, "line")
        self.active = saved_int(state, "active")
        self.edge = saved_int(state, "edge")
        self.priority = bytearray(saved_bytes(state, "priority"))
