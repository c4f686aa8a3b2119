# SPDX-License-Identifier: Apache-2.0
"""What a guest finds when EL2 enters it: registers, controls, vectors and stacks of EL2."""

from collections.abc import Callable, Sequence

from aether_edgecloud.emulator.check.el2_map import El2Map
from aether_edgecloud.emulator.check.finding import Entry, Findings, Place
from aether_edgecloud.emulator.check.position import Position
from aether_edgecloud.emulator.check.rules import MISALIGNED_STACK, RULES, RuleInfo
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.guest_state import (
    CONTROLS,
    GuestEvent,
    Guests,
    GuestWatch,
    value_name,
    vmid_of,
)
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.core import Activity

_UNKNOWN_AT_RESET = (
    "HCR_EL2", "CPTR_EL2", "MDCR_EL2", "HSTR_EL2", "CNTHCTL_EL2", "CNTVOFF_EL2", "VPIDR_EL2",
    "VMPIDR_EL2", "SCTLR_EL1",
)  # fmt: skip
"""What traps, time and identity of a guest, or its first instruction, depend on."""
_OF_STAGE2 = ("VTTBR_EL2", "VTCR_EL2")
_HCR_VM = 1
_VECTORS_SIZE = 0x800
_SP_ALIGNMENT, _NEAR = 16, 512
_SA, _SPSEL = 1 << 3, 1 << 0
_NOT_ON = tuple(a.value for a in (Activity.OFF, Activity.HELD, Activity.STARTING))


class GuestRules:
    """Rules about the moments when EL2 enters guests and is entered from them.

    `el2_map`: what a CPU's stage 1 maps now. `is_reachable`: whether stage 2 leads to a PA.
    `entered`: told of the first entry of each CPU.
    """

    def __init__(
        self,
        machine: Machine,
        findings: Findings,
        position: Position,
        el2_map: Callable[[int], El2Map],
        is_reachable: Callable[[int], bool],
        entered: Callable[[int], None],
    ) -> None:
        self._machine = machine
        self._findings = findings
        self._position = position
        self._el2_map = el2_map
        self._is_reachable = is_reachable
        self._entered = entered
        self._guests = Guests()
        self._stacks: set[int] = set()  # CPUs whose stack is known
        self._watches = [
            GuestWatch(cpu, self._guests, self._listener(number))
            for number, cpu in enumerate(machine.cpus)
        ]
        self._controls = [
            cpu.engine.batch([reg.HCR_EL2, reg.VTTBR_EL2, reg.VTCR_EL2]) for cpu in machine.cpus
        ]
        self._told = [self._power_on(number) for number in range(len(machine.cpus))]
        for cpu, told in zip(machine.cpus, self._told, strict=True):
            cpu.on_power_on.append(told)

    def close(self) -> None:
        """Watch no more."""
        for cpu, watch, told in zip(self._machine.cpus, self._watches, self._told, strict=True):
            watch.close()
            cpu.on_power_on.remove(told)

    def place_of_eret(self, cpu: int) -> Place:
        """The ERET of a CPU whose next instruction is a guest's first."""
        instruction = self._machine.cpus[cpu].now() - 1
        return self._position.at(cpu, self._watches[cpu].eret, instruction)

    @property
    def vcpus(self) -> int:
        """How many have been entered."""
        return int(self._guests.count)

    def _power_on(self, cpu: int) -> Callable[[], None]:
        def power_on() -> None:
            self._watches[cpu].reset()
            self._stacks.discard(cpu)

        return power_on

    def _listener(self, cpu: int) -> Callable[[int, int, int, int], None]:
        def listen(kind: int, a: int, b: int, c: int) -> None:
            place = self.place_of_eret(cpu)
            if kind == GuestEvent.STACK:
                place = self._position.now(cpu)
            match kind:
                case GuestEvent.FIRST:
                    self._entered(cpu)
                    self._look_at_unset(cpu, place)
                case GuestEvent.LEAK:
                    self._leak(place, a, b, c)
                case GuestEvent.CARRIED:
                    self._carried(place, a, b, c)
                case GuestEvent.STACK:
                    self._look_at_stack(cpu, a, place)
                case GuestEvent.VECTORS:
                    self._look_at_vectors(cpu, a, place)

        return listen

    def _vmid(self, cpu: int) -> int | None:
        hcr, vttbr, _ = self._controls[cpu].read()
        return vttbr >> 48 if hcr & _HCR_VM else None

    def _look_at_unset(self, cpu: int, place: Place) -> None:
        has_stage2 = self._vmid(cpu) is not None
        needed: Sequence[str] = (*_UNKNOWN_AT_RESET, *(_OF_STAGE2 if has_stage2 else ()))
        unset = [name for name in needed if not self._watches[cpu].is_written(name)]
        if unset:
            words = f"CPU {cpu} enters its first guest; never written since reset: " + ", ".join(
                unset
            )
            self._findings.add(RULES["reset-unknown"], place, words)

    def _leak(self, place: Place, number: int, owner: int, value: int) -> None:
        vmid, name = self._vmid(place.cpu), value_name(number)
        words = (
            f"{name} of {_vm(vmid)} is {value:#x}, which {_vm(vmid_of(self._guests, owner))} had"
            " put there itself before its last exit"
        )
        self._findings.add(
            RULES["register-leak"], place, words, entry=Entry(vmid), value=value, kind=name
        )

    def _carried(self, place: Place, number: int, owner: int, value: int) -> None:
        vmid = self._vmid(place.cpu)
        words = (
            f"{CONTROLS[number]} of {_vm(vmid)} is {value:#x}, as it was for"
            f" {_vm(vmid_of(self._guests, owner))}, and not as {_vm(vmid)} had it; it was not"
            " written on the way"
        )
        rule = RULES["control-carried-over"]
        self._findings.add(
            rule, place, words, entry=Entry(vmid), value=value, kind=CONTROLS[number]
        )

    def _look_at_vectors(self, cpu: int, vbar: int, place: Place) -> None:
        def add(words: str) -> None:
            self._findings.add(RULES["bad-vectors"], place, words, value=vbar)

        if not self._watches[cpu].is_written("VBAR_EL2"):
            add(f"VBAR_EL2 of CPU {cpu} has not been written since reset")
            return
        if vbar % _VECTORS_SIZE:
            add(f"VBAR_EL2 is {vbar:#x}, no multiple of 2 KiB")
        el2_map = self._el2_map(cpu)
        mapped = el2_map.at(vbar & -_VECTORS_SIZE)
        if not el2_map.is_known:
            return
        if mapped is None or not self._machine.memory.is_ram(mapped.pa):
            add(f"VBAR_EL2 is {vbar:#x}, where EL2 maps no memory")
        elif not mapped.execute:
            add(f"VBAR_EL2 is {vbar:#x}, where EL2 cannot execute")
        elif self._is_reachable(mapped.pa):
            add(f"VBAR_EL2 is {vbar:#x}, PA {mapped.pa:#x}, which a guest can reach")

    def _look_at_stack(self, cpu: int, sp: int, place: Place) -> None:
        def add(words: str, rule: RuleInfo = RULES["bad-stack"]) -> None:
            self._findings.add(rule, place, words, value=sp, kind=rule.severity.value)

        self._stacks.add(cpu)
        if sp % _SP_ALIGNMENT:
            words = f"SP_EL2 of CPU {cpu} is {sp:#x}, no multiple of 16"
            if self._machine.cpus[cpu].engine.read(reg.SCTLR_EL2) & _SA:
                add(f"{words}, and SCTLR_EL2.SA is set", MISALIGNED_STACK)
            else:
                add(words)
        el2_map = self._el2_map(cpu)
        mapped = el2_map.at(sp - _SP_ALIGNMENT)
        if not el2_map.is_known:
            return
        if mapped is None or not self._machine.memory.is_ram(mapped.pa):
            add(f"SP_EL2 of CPU {cpu} is {sp:#x}, and EL2 maps no memory below it")
        elif not mapped.write:
            add(f"SP_EL2 of CPU {cpu} is {sp:#x}, and EL2 cannot write below it")
        elif self._is_reachable(mapped.pa & -4096):
            add(f"SP_EL2 of CPU {cpu} is {sp:#x}, PA {mapped.pa:#x}, which a guest can reach")
        if mapped is None:
            return
        for other in sorted(self._stacks - {cpu}):
            if self._machine.activity(other) in _NOT_ON:
                continue
            # As the other CPU has it mapped: each may have an address space of its own.
            theirs = self._stack_of(other)
            there = self._el2_map(other).at(theirs - _SP_ALIGNMENT)
            if there is None or not self._el2_map(other).is_known:
                continue
            if abs(there.pa - mapped.pa) < _NEAR and there.pa >> 12 == mapped.pa >> 12:
                words = f"SP_EL2 of CPU {cpu} is {sp:#x}, that of CPU {other} is {theirs:#x}"
                self._findings.add(RULES["shared-stack"], place, words, value=sp)

    def _stack_of(self, cpu: int) -> int:
        """SP_EL2. While a CPU uses it, it is its SP, and the bank is out of date."""
        watched = self._machine.cpus[cpu]
        is_in_use = watched.current_el == 2 and watched.engine.read(reg.PSTATE) & _SPSEL
        return int(watched.engine.read(reg.SP if is_in_use else reg.SP_BANK[2]))


def _vm(vmid: int | None) -> str:
    return "a guest without stage 2" if vmid is None else f"VMID {vmid}"
