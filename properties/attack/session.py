# SPDX-License-Identifier: Apache-2.0
"""A session of the attack: calls, and what guests do beside: they touch memory, end, begin anew."""

from collections.abc import Mapping
from dataclasses import replace

from aether_edgecloud.properties.attack import message_rules
from aether_edgecloud.properties.attack.abi import NOTIFICATION_INTID, PAGE, Life
from aether_edgecloud.properties.attack.caller import ABORTED, FILL, Caller, Pair
from aether_edgecloud.properties.attack.oracle import WORD
from aether_edgecloud.properties.attack.ownership import Doing, Vcpu
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import MEMORY_IPA, Result, Stuck, Who
from aether_edgecloud.properties.attack.verdict import Wrong

SYSTEM_RESET, SYSTEM_OFF = 0x8400_0009, 0x8400_0008
CPU_OFF, CPU_ON = 0x8400_0002, 0xC400_0003
GIB = 1 << 30
BLOCK = 1 | 1 << 10 | 3 << 8  # a 1 GiB block, attribute 0, inner shareable, AF
# T0SZ 25, inner and outer write-back, inner shareable, no TTBR1, 40-bit addresses.
TCR = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32
SCTLR = 0x30D0_0800
EMULATED = frozenset({0x8000, 0x9000, *range(0x8010, 0x8012)})
"""Pages of the emulated GIC and PL011."""
RET = (0xD65F03C0).to_bytes(8, "little")
SCRATCH = 0xFF0
PL011 = 0x0900_0000
GICD, GICC = 0x0800_0000, 0x0801_0000
ISENABLER, PMR, IAR, EOIR, SPURIOUS = 0x100, 4, 0xC, 0x10, 1023


class Session(Caller):
    """A world under attack."""

    # Accesses.

    def access(self, who: Pair, piece: Piece, ipa: int, offset: int = 0) -> None:
        """A load, store or fetch at an IPA with the MMU off: it goes through, or aborts, just as
        the specification says; a load reads what must be there."""
        page, vm = ipa >> 12, who[0]
        entry = self.state.maps[vm].get(page)
        by = f" (VA {ipa + offset:#x})" if offset else ""
        self.note(f"{self.name(who)}: {piece.name} at IPA {ipa:#x}{by}")
        if page in self.oracle.devices[vm] or page in EMULATED:
            return
        at = (page << 12) + WORD + offset
        x = {1: at, 2: FILL | page}
        good = entry is not None
        if piece is Piece.STORE:
            good = entry is not None and entry.rights.write
        elif piece is Piece.EXECUTE:
            good = entry is not None and entry.rights.execute
            if entry is not None:
                self.puppets.write((entry.frame << 12) + WORD, RET)
                self._value(entry.frame, int.from_bytes(RET, "little"))
        result = self.puppets.do(Who(*who), piece, x)
        if result is None:
            raise Wrong(f"{piece.name} at {ipa:#x} does not come back")
        self._check_access(who, piece, ipa, good, result)
        if entry is not None and good:
            if piece is Piece.STORE:
                self._value(entry.frame, FILL | page)
            value = self.state.values.get(entry.frame, 0)
            if piece is Piece.LOAD and value is not None and result.x[2] != value:
                raise Wrong(f"a load at {ipa:#x} reads {result.x[2]:#x}, must read {value:#x}")
        self.oracle.check(self.state)

    def access_by_va(self, who: Pair, piece: Piece, ipa: int) -> None:
        """The same through a stage 1 of the guest's own, which maps VA = IPA + 2 GiB."""
        if not MEMORY_IPA <= ipa < MEMORY_IPA + GIB:
            return
        table = self.pa(who[0], MEMORY_IPA + PAGE)
        if table is None:
            return
        self.puppets.write(table + 8, (MEMORY_IPA | BLOCK).to_bytes(8, "little"))
        self.puppets.write(table + 24, (MEMORY_IPA | BLOCK).to_bytes(8, "little"))
        self._value(table >> 12, None)
        on = {1: MEMORY_IPA + PAGE, 2: TCR, 3: 0xFF, 4: SCTLR | 1}
        if self.puppets.do(Who(*who), Piece.STAGE1, on) is None:
            raise Wrong("the guest's stage 1 does not work")
        try:
            self.access(who, piece, ipa, offset=2 * GIB)
        finally:
            self.puppets.do(Who(*who), Piece.STAGE1, on | {4: SCTLR})

    def _value(self, frame: int, value: int | None) -> None:
        self.state = self.state.changed(values={**self.state.values, frame: value})

    def _check_access(self, who: Pair, piece: Piece, ipa: int, good: bool, result: Result) -> None:
        fault = result.fault
        if good and fault is not None:
            raise Wrong(f"{piece.name} of {self.name(who)} at {ipa:#x} must work: {fault}")
        if not good and fault is None:
            raise Wrong(f"{piece.name} of {self.name(who)} at {ipa:#x} must abort, and works")
        if fault is not None:
            ec = 0x21 if piece is Piece.EXECUTE else 0x25
            if fault.ec != ec or fault.esr & 0x3F != 0x10:
                raise Wrong(f"{piece.name} at {ipa:#x} must be an external abort: {fault}")

    def poke_device(self, who: Pair, ipa: int, value: int) -> None:
        """A 32-bit store to an emulated device."""
        self.note(f"{self.name(who)}: stores {value:#x} to {ipa:#x}")
        result = self.puppets.do(Who(*who), Piece.STORE_32, {1: ipa, 2: value})
        if result is None or result.fault is not None:
            raise Wrong(f"a store to {ipa:#x} must work: {result}")

    def peek_device(self, who: Pair, ipa: int) -> int:
        """A 32-bit load."""
        self.note(f"{self.name(who)}: loads from {ipa:#x}")
        result = self.puppets.do(Who(*who), Piece.LOAD_32, {1: ipa})
        if result is None or result.fault is not None:
            raise Wrong(f"a load from {ipa:#x} must work: {result}")
        return result.x[2]

    def interrupted(self, who: Pair) -> bool:
        """Whether a virtual interrupt waits to be taken: ISR_EL1.I."""
        result = self.puppets.do(Who(*who), Piece.READ_ISR, {})
        if result is None:
            raise Wrong("a vCPU does not come back")
        return bool(result.x[0] >> 7 & 1)

    def arm(self, vm: int) -> None:
        """vCPU 0 enables the interrupt of notifications at its GIC; it masks it by PSTATE."""
        for address, value in (
            (GICD, 1),
            (GICD + ISENABLER, 1 << NOTIFICATION_INTID),
            (GICC + PMR, 0xFF),
            (GICC, 1),
        ):
            self.poke_device((vm, 0), address, value)
        self.state = self.state.changed(armed=self.state.armed | {vm})

    def take_interrupt(self, vm: int) -> None:
        """vCPU 0 acknowledges what is pending, and ends it."""
        must = NOTIFICATION_INTID if self.state.notes[vm].rings else SPURIOUS
        found = self.peek_device((vm, 0), GICC + IAR)
        if found != must:
            raise Wrong(f"VM {vm} acknowledges interrupt {found}, must be {must}")
        if found == NOTIFICATION_INTID:
            self.poke_device((vm, 0), GICC + EOIR, found)
            notes = replace(self.state.notes[vm], rings=False)
            self.state = self.state.with_notes(vm, notes)

    @staticmethod
    def as_who(who: Pair) -> Who:
        return Who(*who)

    def sweep(self, who: Pair, page: int, count: int, *, write: bool) -> None:
        """Touches pages one after another: those it may reach work, all others abort."""
        pages = self.state.maps[who[0]]
        self.note(
            f"{self.name(who)}: {'writes' if write else 'reads'} {count} pages at"
            f" IPA {page << 12:#x}"
        )
        piece = Piece.SWEEP_WRITE if write else Piece.SWEEP_READ
        at = (page << 12) + SCRATCH
        result = self.puppets.do(Who(*who), piece, {1: at, 2: count, 3: PAGE})
        if result is None:
            raise Wrong("a sweep does not come back")
        for n in range(count):
            entry = pages.get(page + n)
            must = entry is not None and (entry.rights.write or not write)
            if page + n in self.oracle.devices[who[0]]:
                continue
            if bool(result.x[0] >> n & 1) != must:
                raise Wrong(
                    f"{self.name(who)} {'reaches' if not must else 'does not reach'} IPA"
                    f" {page + n << 12:#x} for a {'write' if write else 'read'}"
                )

    # Lives.

    def reset(self, who: Pair) -> None:
        """SYSTEM_RESET: the VM is loaded anew."""
        self.note(f"{self.name(who)}: SYSTEM_RESET")
        self._end(who, Piece.HVC, {0: SYSTEM_RESET}, restarts=True)

    def off(self, who: Pair) -> None:
        """SYSTEM_OFF: the VM is down."""
        self.note(f"{self.name(who)}: SYSTEM_OFF")
        self._end(who, Piece.HVC, {0: SYSTEM_OFF}, restarts=False)

    def crash(self, who: Pair) -> None:
        """An access that cannot be emulated: the VM ends, and restarts if the manifest says so."""
        vm = who[0]
        self.note(f"{self.name(who)}: crashes")
        restarts = self.state.configs[vm].restarts_crash
        self._end(who, Piece.CRASH, {1: PL011}, restarts)

    def _end(self, who: Pair, piece: Piece, x: Mapping[int, int], restarts: bool) -> None:
        vm = who[0]
        puppets = self.puppets
        askers = self._askers(vm)
        puppets.set_going(Who(*who), piece, x)
        self.calls += piece is Piece.HVC
        if restarts:
            after = message_rules.reset(self.state, vm)
            if who[1] != 0:
                puppets.pass_frames(1)  # or vCPU 0 would be one that still rests
            puppets.rest(Who(vm))
        else:
            after = message_rules.ended(self.state, vm)
            self._until_life(vm, Life.DOWN)
        self.state = after
        self._forget(vm)
        puppets.machine.seen.clear()  # before it ended, it went on
        for asker in askers:
            self._tell(asker, ABORTED)
        self.oracle.check(self.state)

    def cpu_off(self, who: Pair) -> None:
        """PSCI CPU_OFF of one of several that are on."""
        on = [w for w, v in self.state.vcpus.items() if w[0] == who[0] and v.doing is not Doing.OFF]
        if len(on) < 2 or (who[1] == 0 and who[0] in self.state.armed):
            return
        self.note(f"{self.name(who)}: CPU_OFF")
        if self.puppets.do(Who(*who), Piece.HVC, {0: CPU_OFF}, may_block=True) is not None:
            raise Wrong("CPU_OFF comes back")
        self.calls += 1
        self.state = self.state.with_vcpus({who: Vcpu()})
        self._check_silence()
        self.oracle.check(self.state)

    def cpu_on(self, who: Pair, vcpu: int) -> None:
        """PSCI CPU_ON."""
        target = (who[0], vcpu)
        self.note(f"{self.name(who)}: CPU_ON of vCPU {vcpu}")
        result = self.puppets.call(Who(*who), CPU_ON, vcpu, MEMORY_IPA)
        self.calls += 1
        off = self.state.vcpus[target].doing is Doing.OFF
        must = 0 if off else (1 << 64) - 4
        if result is None or result.x[0] != must:
            raise Wrong(f"CPU_ON must answer {must:#x}, answers {result}")
        if off:
            self.state = self.state.with_vcpus({target: Vcpu(Doing.RESTS)})
            try:
                self.puppets.rest(Who(*target))
            except Stuck as error:
                raise Wrong(f"vCPU {vcpu} never comes up: {error}") from None
        self.oracle.check(self.state)
