# SPDX-License-Identifier: Apache-2.0
"""The watch over guests' registers (`guest_state.c`) once more: registers have names, and of each
guest there is what is remembered of them."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu.guest_state import CONTROLS, SYSTEM, GuestEvent

X = tuple(f"X{n}" for n in range(31))
V = tuple(f"V{n}" for n in range(32))
MOST_GUESTS, MOST_STACKS = 64, 16
NO_GUEST = 0xFFFF_FFFF
_HCR_VM, _CPTR_TFP = 1 << 0, 1 << 10
_VBAR = len(X) + SYSTEM.index("VBAR_EL1")
_AT_EXCEPTION = range(len(X), _VBAR)
"""Numbers of ESR_EL1, FAR_EL1, ELR_EL1 and SPSR_EL1."""
_U64 = (1 << 64) - 1

Registers = Mapping[str, int]
"""What the registers of a CPU hold, by name; V0-V31 are 128 bits wide."""


@dataclass(slots=True)
class GuestTwin:
    """What is known of a vCPU. `vmid` is None without stage 2."""

    vmid: int | None
    affinity: int
    results: frozenset[int] = frozenset()
    """Numbers of the X registers that the answer to the last exit may change."""
    values: dict[int, int] = field(default_factory=dict)
    """As last seen, by number: X0-X30, `SYSTEM`, V0-V31 in halves."""
    own: set[int] = field(default_factory=set)
    """Numbers of values that the guest itself has made."""
    controls: tuple[int, ...] = (0,) * len(CONTROLS)
    """At its last entry."""


def _identity(registers: Registers) -> tuple[int | None, int]:
    """VMID and affinity of the vCPU in the registers."""
    vmid = registers["VTTBR_EL2"] >> 48 if registers["HCR_EL2"] & _HCR_VM else None
    return vmid, registers["VMPIDR_EL2"] & 0xFFFF_FFFF


def _seen(registers: Registers) -> dict[int, int]:
    """What the guest would read, by number; V0-V31 only where they do not trap to EL2."""
    values = [registers[name] for name in (*X, *SYSTEM)]
    if not registers["CPTR_EL2"] & _CPTR_TFP:
        values += [half for v in V for half in (registers[v] & _U64, registers[v] >> 64)]
    return dict(enumerate(values))


def _results(kind: int, esr: int) -> frozenset[int]:
    match kind:
        case ExceptionClass.HVC | ExceptionClass.SMC:
            return frozenset(range(18))  # SMCCC 1.1: X0-X17
        case ExceptionClass.SYSREG:
            return frozenset([esr >> 5 & 31])  # ISS.Rt
        case ExceptionClass.DATA_ABORT_LOWER:
            return frozenset([esr >> 16 & 31])  # ISS.SRT
    return frozenset()


def _is_telling(value: int) -> bool:
    """Not in the 17 bits, sign included, that anybody's small numbers take."""
    signed = value - (1 << 64) if value >> 63 else value
    return not -(1 << 16) <= signed < 1 << 16


def _has_exception(registers: Registers) -> bool:
    """Whether the guest goes on at one of its 16 vectors."""
    base = registers["VBAR_EL1"] & ~0x7FF
    return registers["PC"] in range(base, base + 0x800, 0x80)


class GuestStateTwin:
    """The watch on one CPU. `guests` are those of all CPUs, by number; `tell` is told what the
    listener of `GuestWatch` is."""

    def __init__(self, guests: list[GuestTwin], tell: Callable[[int, int, int, int], None]) -> None:
        self.guests = guests
        self._tell = tell
        self.stay = 1
        self.last: int | None = None
        self.has_entered = False
        self.vbar: int | None = None
        self.stacks: deque[int] = deque(maxlen=MOST_STACKS)
        self.written: dict[str, int] = {}

    def reset(self) -> None:
        """The CPU has been switched on."""
        self.has_entered, self.last = False, None
        self.stacks.clear()
        self.written.clear()

    def write(self, name: str, el: int) -> None:
        """MSR at an EL."""
        if el == 2:
            self.written[name] = self.stay

    def left(self, registers: Registers, kind: int) -> None:
        """An exception has been taken to EL2 from below."""
        self.stay += 1
        self.last = self._find(registers)
        if registers["SP"] not in self.stacks:
            self.stacks.append(registers["SP"])
            self._tell(GuestEvent.STACK, registers["SP"], 0, 0)
        if self.last is None:
            return
        guest = self.guests[self.last]
        guest.results = _results(kind, registers["ESR_EL2"])
        for n, value in _seen(registers).items():
            if guest.values.get(n, value) != value:
                guest.own.add(n)
            guest.values[n] = value

    def entered(self, registers: Registers) -> None:
        """EL2 has been left; the guest's first instruction is next."""
        number = self._find(registers)
        if not self.has_entered:
            self.has_entered, self.vbar = True, None
            self._tell(GuestEvent.FIRST, NO_GUEST if number is None else number, 0, 0)
        if self.vbar != registers["VBAR_EL2"]:
            self.vbar = registers["VBAR_EL2"]
            self._tell(GuestEvent.VECTORS, self.vbar, 0, 0)
        if number is None:
            return
        guest = self.guests[number]
        self._look_at_controls(guest, registers)
        self._look_at_values(guest, registers)
        self.last = number

    def _find(self, registers: Registers) -> int | None:
        """The number of the vCPU in the registers; None if there are too many."""
        vmid, affinity = _identity(registers)
        for number, guest in enumerate(self.guests):
            if (guest.vmid, guest.affinity) == (vmid, affinity):
                return number
        if len(self.guests) == MOST_GUESTS:
            return None
        self.guests.append(GuestTwin(vmid, affinity))
        return len(self.guests) - 1

    def _look_at_controls(self, guest: GuestTwin, registers: Registers) -> None:
        """Those that EL2 sets by guest, and left as a guest of another VM had them."""
        now = tuple(registers[name] for name in CONTROLS)
        before = None if self.last is None else self.guests[self.last]
        if before is not None and before.vmid != guest.vmid and guest.values:
            for n, name in enumerate(CONTROLS):
                is_carried = now[n] == before.controls[n] != guest.controls[n]
                if is_carried and self.written.get(name) != self.stay:
                    self._tell(GuestEvent.CARRIED, n, self.last or 0, now[n])
        guest.controls = now

    def _look_at_values(self, guest: GuestTwin, registers: Registers) -> None:
        """Those that EL2 has changed: a value that is another VM's own must not be among them."""
        answers = set(guest.results)
        if _has_exception(registers):
            answers.update(_AT_EXCEPTION)
        for n, value in _seen(registers).items():
            if guest.values.get(n) == value:
                continue
            guest.values[n] = value
            guest.own.discard(n)
            if n in answers or not _is_telling(value):
                continue
            for owner, other in enumerate(self.guests):
                if other.vmid != guest.vmid and n in other.own and other.values[n] == value:
                    self._tell(GuestEvent.LEAK, n, owner, value)
                    break
