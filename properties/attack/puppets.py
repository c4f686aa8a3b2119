# SPDX-License-Identifier: Apache-2.0
"""Puppets: the real binary runs VMs whose vCPUs do what the driver says, one thing at a time.

The driver runs the machine until the vCPU it wants waits in its own slot, gives it registers and a
PC (`puppet_code`), and runs on until it waits again. Nothing of the hypervisor is bypassed: what
the vCPU does it does as a guest, in its slot, with its stage 2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.core import Activity, Core
from aether_edgecloud.emulator.machine.schedule import Schedule
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.telemetry import layout, pages
from aether_edgecloud.properties.attack import puppet_code
from aether_edgecloud.properties.attack.puppet_code import REST, RESTED, RESTING, Piece
from aether_edgecloud.properties.attack.world import TRIO as TRIO
from aether_edgecloud.properties.attack.world import Place as Place
from aether_edgecloud.properties.attack.world import Slot as Slot
from aether_edgecloud.properties.attack.world import World as World

PAGE = 4096
RAM_SIZE = 64 << 20
MEMORY_IPA = 0x4000_0000
PINNED = 0x4280_0000
"""PA of the first VM's memory; the others follow 1 MiB apart."""
QUANTUM = 1_000
LIMIT = 3_000_000
"""Instructions after which a machine that shows nothing of what is waited for is stuck."""


@dataclass(frozen=True, slots=True, order=True)
class Who:
    """A vCPU: VM by number, vCPU by index."""

    vm: int
    vcpu: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a vector of the puppet was entered with."""

    vector: int
    esr: int
    far: int

    @property
    def ec(self) -> int:
        return self.esr >> 26

    def __str__(self) -> str:
        return f"EC {self.ec:#x} ISS {self.esr & 0x1FFFFFF:#x} FAR {self.far:#x}"


@dataclass(frozen=True, slots=True)
class Result:
    """A vCPU that waits again: X0 to X30 and, if it took an exception, which."""

    x: tuple[int, ...]
    fault: Fault | None


class Stuck(AssertionError):
    """The machine does not come where it must."""


class PuppetMachine(Machine):
    """A machine that stops where the vCPUs that are wanted wait."""

    wanted: frozenset[Who] = frozenset()
    until = 0
    """CPU time, in instructions, from which on it stops anyway."""

    def open(self) -> None:
        """Before the first run."""
        registers: list[reg.CoreRegister | reg.SystemRegister] = list(reg.X)
        registers += [reg.ESR[1], reg.FAR[1]]
        cpus = [core.cpu.engine for core in self._cores]
        self._seen = [engine.batch(registers) for engine in cpus]
        self._identities = [engine.batch([reg.VTTBR_EL2, reg.VMPIDR_EL2]) for engine in cpus]
        self._numbers = [engine.batch(list(reg.X)) for engine in cpus]
        self.vttbr: dict[int, int] = {}
        self.arrived: dict[Who, tuple[Core, Result]] = {}
        self.going: frozenset[Who] = frozenset()
        self.seen: set[Who] = set()
        """vCPUs that have been at rest in a slot of theirs since this was emptied."""
        self.blocking: dict[int, tuple[Who, int]] = {}
        """Of those that are going, the ones whose call may never come back: by pCPU, with the end
        of the slot. If the pCPU sleeps at EL2 before that, there is nothing left for it to run."""
        self.blocked: set[Who] = set()

    def keep_code(self) -> None:
        """From now on the binary is not written: each end of a life has all code dropped, and only
        guests' is other code then."""
        image, base = self.loaded[0], self.board.ram_base
        pages = range((image.start - base) // PAGE, -(-(image.stop - base) // PAGE))
        for core in self._cores:
            core.cpu.engine.code.constant_pages = pages

    def _wait(self, core: Core) -> None:
        if self.until and core.time >= self.until:
            self._break = True
        if core.cpu.current_el == 1:
            if core.cpu.pc == MEMORY_IPA + RESTED:
                who = self._who_is(core)
                self.seen.add(who)
                if who in self.wanted:
                    self.arrived[who] = (core, self._result(core))
                    if self._met():
                        self._break = True
                        return  # it does not wait: it goes on with what it is given
                if not (core.cpu.lines.irq or core.cpu.lines.fiq):
                    self._rest_until_event(core)
                    return
        elif core.number in self.blocking:
            who, end = self.blocking[core.number]
            if core.time < end and who not in self.arrived:
                self.blocked.add(who)
                if self._met():
                    self._break = True
        super()._wait(core)

    def _rest_until_event(self, core: Core) -> None:
        """WFI, which virtual interrupts that the guest has masked do not end: it would spin."""
        self._wire(core)
        if core.event < self._limit:
            core.skip_to(core.event)
            self._wire(core)
            return
        core.activity = Activity.WAITING
        if self._is_alone:
            self._round = self._schedule.round_of(core.time, core.number) + 1
        self._end_slice(core)

    def _who_is(self, core: Core) -> Who:
        """Of the vCPU that a CPU at EL1 executes."""
        vttbr, vmpidr = self._identities[core.number].read()
        who = Who((vttbr >> 48) - 1, vmpidr & 7)
        self.vttbr[who.vm] = vttbr
        return who

    def _result(self, core: Core) -> Result:
        values = self._seen[core.number].read()
        fault = Fault(values[27] - 1, values[31], values[32]) if values[27] else None
        return Result(tuple(values[:31]), fault)

    def _met(self) -> bool:
        """All that are wanted have arrived; and while nobody has been told to go, still wait."""
        if self.wanted - self.arrived.keys() - self.blocked:
            return False
        return bool(self.going) or self.wanted <= self.at_rest().keys()

    def at_rest(self) -> dict[Who, Core]:
        """The vCPUs that are at rest at this moment, and the CPUs on which they are."""
        found = [c for c in self._cores if c.cpu.current_el == 1]
        return {self._who_is(c): c for c in found if c.cpu.pc - MEMORY_IPA in RESTING}

    def result_of(self, core: Core) -> Result:
        """The registers of a vCPU that is at rest."""
        return self._result(core)

    def go(self, core: Core, pc: int, x: Sequence[int]) -> None:
        """A vCPU that waits goes on at `pc`."""
        self._numbers[core.number].write(x)
        core.cpu.pc = pc
        if core.activity is Activity.WAITING:
            core.activity = Activity.WOKEN
            if self._running is not None:
                self._share(self._running)

    def take_turns(self, quantum: int, seed: int) -> None:
        """How the CPUs take turns from now on."""
        if (quantum, seed) == (self._schedule.quantum, self._schedule.seed):
            return
        if self._running is not None:
            self._end_slice(self._running)
        self._turns = []
        self._schedule = Schedule(quantum, seed, len(self._cores))
        self._round = self._schedule.round_at(max(core.time for core in self._cores)) + 1

    @property
    def time(self) -> int:
        return max(core.time for core in self._cores)


def _described(number: int, place: Place, world: World) -> VmDescription:
    extra: dict[str, object] = {"peers": place.peers, "manages": place.manages}
    known = {field.name for field in fields(VmDescription)}
    extra = {name: value for name, value in extra.items() if name in known}
    return VmDescription(
        name=place.name,
        memory=(Memory(MEMORY_IPA, place.pages * PAGE, PINNED + (number << 20)),),
        images=(ImageBytes("puppet", puppet_code.image(), MEMORY_IPA),),
        vcpus=len(place.cpus),
        cpus=place.cpus,
        devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
        dtb=DtbChoice.NONE,
        restart=place.restart,
        **extra,  # type: ignore[arg-type]
    )


def bundle(world: World) -> bytes:
    """The bundle of a world of puppets."""
    schedule = ScheduleDescription(
        frame_us=world.unit_us * world.units,
        cpus=tuple(
            tuple(SlotDescription(slot.vm, slot.vcpu, slot.units * world.unit_us) for slot in slots)
            for slots in world.slots
        ),
    )
    vms = tuple(_described(n, place, world) for n, place in enumerate(world.places))
    return build(Description(vms, schedule), where="puppets")


CPU_ON = 0xC400_0003


class Puppets:
    """A world that has booted, with every vCPU waiting."""

    def __init__(
        self,
        world: World = TRIO,
        *,
        mmu: MmuMode = MmuMode.MODEL,
        el2: binary.El2Binary | None = None,
        monitored: bool = True,
    ) -> None:
        self.world = world
        el2 = el2 or binary.load(None)
        board = virt(RAM_SIZE, len(world.slots))
        self.machine = PuppetMachine(
            board, el2.image, bundle(world), mmu=mmu, source=Bytes(b""), quantum=QUANTUM
        )
        self.machine.open()
        self.monitor: Monitor | None = None
        if monitored and mmu is MmuMode.MODEL:
            self.monitor = Monitor(self.machine)
            self.machine.attachments.append(self.monitor)
        self.symbols = symbols.load(el2.elf, board.place(el2.image.memory_size, 0).image)
        per_us = board.counter_hz // 1_000_000 * board.instructions_per_tick
        self.slot = world.unit_us * per_us
        self.frame = self.slot * world.units
        self.rest(*(Who(n) for n in range(len(world.places))), each=True)
        for number, place in enumerate(world.places):
            for vcpu in range(1, len(place.cpus)):
                done = self.call(Who(number), CPU_ON, vcpu, MEMORY_IPA)
                assert done is not None and done.x[0] == 0, done
                self.rest(Who(number, vcpu))
        self.machine.keep_code()

    @property
    def everyone(self) -> tuple[Who, ...]:
        """All vCPUs there are."""
        return tuple(
            Who(number, vcpu)
            for number, place in enumerate(self.world.places)
            for vcpu in range(len(place.cpus))
        )

    # What a vCPU is made to do.

    def call(self, who: Who, function: int, *arguments: int) -> Result | None:
        """HVC #0; None if it does not come back within a frame and more."""
        return self.do(who, Piece.HVC, dict(enumerate((function, *arguments))))

    def do(
        self, who: Who, piece: Piece, x: Mapping[int, int], *, may_block: bool = False
    ) -> Result | None:
        """One piece of code with these registers, all others 0. `may_block`: it is known not to
        come back once its pCPU has nothing left to do in its slot."""
        return self.race({who: (piece, x)}, may_block=may_block).get(who)

    def race(
        self,
        acts: Mapping[Who, tuple[Piece, Mapping[int, int]]],
        quantum: int = QUANTUM,
        seed: int = 0,
        *,
        later: int = 0,
        may_block: bool = False,
    ) -> dict[Who, Result]:
        """All of these vCPUs set going at the same time, or all but the first when that has
        executed `later` instructions; those that come back within a frame."""
        machine = self.machine
        self.rest(*acts)
        machine.take_turns(quantum, seed)
        early: dict[Who, tuple[Core, Result]] = {}
        try:
            if later:
                (first, act), *others = acts.items()
                early = self._start_early(first, act, later)
                acts = dict(others)
                self.rest(*acts)  # a slot may have ended
            self._go(acts, may_block=may_block)
            machine.arrived.update(early)
            machine.going |= frozenset(acts)
            machine.wanted = machine.going
            self._run(machine.time + self.frame + self.slot)
        finally:
            machine.going = machine.wanted = frozenset()
            machine.blocking = {}
            machine.take_turns(QUANTUM, 0)
        return {who: result for who, (_, result) in machine.arrived.items()}

    def _start_early(
        self, who: Who, act: tuple[Piece, Mapping[int, int]], instructions: int
    ) -> dict[Who, tuple[Core, Result]]:
        """One goes, all others wait; its result if it is back already."""
        machine = self.machine
        for core in machine.at_rest().values():
            core.cpu.pc = MEMORY_IPA + REST
        self._go({who: act})
        machine.going = machine.wanted = frozenset([who])
        machine.run(machine.instructions + instructions)
        return dict(machine.arrived)

    def set_going(self, who: Who, piece: Piece, x: Mapping[int, int]) -> None:
        """The same, for what does not come back; the machine does not run on yet."""
        self.rest(who)
        self._go({who: (piece, x)})
        self.machine.wanted = frozenset()

    def _go(
        self, acts: Mapping[Who, tuple[Piece, Mapping[int, int]]], *, may_block: bool = False
    ) -> None:
        machine = self.machine
        found = machine.at_rest()
        cores = {who: found[who] for who in acts}
        machine.arrived.clear()
        machine.blocked.clear()
        machine.seen.clear()
        if may_block:
            # The next event of a CPU whose guest waits is the end of the slot, if not that is there
            # already: then the guest goes on in its next slot.
            machine.blocking = {
                core.number: (who, core.event)
                for who, core in cores.items()
                if core.time < core.event < core.time + self.frame
            }
        for who, (piece, x) in acts.items():
            values = [0] * 31
            for number, value in x.items():
                values[number] = value
            machine.go(cores[who], MEMORY_IPA + piece.offset, values)

    def waits(self, who: Who) -> Result | None:
        """The registers of a vCPU once it waits; None if it does not within a frame and more."""
        machine = self.machine
        core = machine.at_rest().get(who)
        if core is not None:
            return machine.result_of(core)
        machine.arrived.clear()
        machine.wanted = frozenset([who])
        self._run(machine.time + self.frame + self.slot)
        machine.wanted = frozenset()
        found = machine.arrived.get(who)
        return None if found is None else found[1]

    def pass_frames(self, count: int) -> None:
        """Time goes by."""
        self.machine.wanted = frozenset()
        self._run(self.machine.time + count * self.frame)

    def pass_slot(self) -> None:
        """The time of the shortest slot goes by."""
        self.machine.wanted = frozenset()
        self._run(self.machine.time + self.slot)

    def rest(self, *who: Who, each: bool = False) -> None:
        """Until all of these wait at the same time; `each`: each of them at some time."""
        machine = self.machine
        if each:
            for one in who:
                self.rest(one)
            return
        if self.at_rest().keys() >= set(who):
            return
        machine.arrived.clear()
        machine.wanted = frozenset(who)
        self._run(machine.time + 6 * self.frame + LIMIT)
        if not machine.wanted <= machine.arrived.keys():
            missing = names(self.world, sorted(machine.wanted - machine.arrived.keys()))
            raise Stuck(f"{missing} never at rest: {self.where()}")

    def at_rest(self) -> dict[Who, Core]:
        """The vCPUs that wait at this moment, in slots of theirs, with their pCPUs."""
        return self.machine.at_rest()

    def _run(self, until: int) -> None:
        machine = self.machine
        machine.until = until
        stop = machine.run(machine.instructions + LIMIT)
        machine.until = 0
        if self.monitor is not None:
            self.monitor.check()
        if stop.kind is not StopKind.BREAK:
            raise Stuck(f"{stop.kind.value}: {self.where(stop)}")

    def where(self, stop: Stop | None = None) -> str:
        """Where the CPUs are, and the console's last lines."""
        said = bytes(self.machine.console.output).decode("latin-1").splitlines()[-12:]
        cpus = [
            f"CPU {core.number} EL{core.cpu.current_el} {core.cpu.pc:#x}"
            f" ({self.symbols.at(core.cpu.pc)}) {core.activity.name}"
            for core in self.machine._cores
        ]
        return "\n".join([str(stop or ""), *cpus, *said])

    # Memory, by PA.

    def read(self, pa: int, size: int) -> bytes:
        return self.machine.read_pa(pa, size)

    def write(self, pa: int, data: bytes) -> None:
        """As if a guest had stored it."""
        self.machine.write_pa(pa, data)

    def snapshot(self) -> Snapshot:
        return self.machine.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        machine = self.machine
        machine.restore(snapshot)
        machine.arrived.clear()
        machine.wanted = machine.going = frozenset()
        machine.blocking = {}

    def late(self) -> int:
        """Windows of slots that were missed: something has outlasted its slot."""
        address = self.symbols.address_of(layout.SYMBOL)
        found = None if address is None else pages.read_pages(self.read, address)
        parsed = None if found is None else pages.parse(found)
        assert parsed is not None
        return sum(cpu.late for cpu in parsed.hypervisor.cpus)

    def own_pages(self, vm: int) -> range:
        """PAs of the memory that the manifest gives a VM."""
        base = PINNED + (vm << 20)
        return range(base, base + self.world.places[vm].pages * PAGE, PAGE)

    def close(self) -> None:
        self.machine.close()


def names(world: World, who: Iterable[Who]) -> str:
    """vCPUs in words: a.0, b.1."""
    return ", ".join(f"{world.places[w.vm].name}.{w.vcpu}" for w in who)
