# SPDX-License-Identifier: Apache-2.0
"""Small runs to go through, and what is true of them: every instruction and every access to memory,
seen by callbacks of Unicorn that the replay does not use."""

import ctypes as c
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unicorn import unicorn_const

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.registers import PC as _PC
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.recorder import Recorder, Spacing
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.program import Program
from aether_edgecloud.emulator.replay.replay import Replay

SPACING = Spacing(look=60_000, share=1, cpu_cost=0, page_cost=0, longest=60_000)
_RAM_SIZE = 64 << 20
_CODE_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_uint64, c.c_uint32, c.c_void_p)
_MEM_FN = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_uint64, c.c_int, c.c_int64, c.c_void_p)


@dataclass(frozen=True, slots=True)
class Run:
    """A guest of the catalogue with a vCPU on each of `cpus` CPUs, that take turns of `quantum`
    instructions."""

    guest: str
    cpus: int = 1
    quantum: int = 1_000

    def machine(self) -> Machine:
        """At reset."""
        described = catalogue.description(self.guest, cpus=self.cpus)
        bundle = build((replace(described, cpus=tuple(range(self.cpus))),), where=self.guest)
        image = BootImage.from_file(toolchain.artefact("el2").flat)
        board: Board = virt(cpus=self.cpus, ram_size=_RAM_SIZE)
        return Machine(board, image, bundle, quantum=self.quantum)


HELLO = Run("hello")
TRAPS = Run("traps")
ABORTS = Run("aborts")
SMP = Run("smp", 2, 50)
SMP_1 = Run("smp", 2, 1)


@functools.cache
def elf() -> bytes:
    """The EL2 binary with symbols."""
    return toolchain.artefact("el2").elf.read_bytes()


def live(run: Run) -> Replay:
    """A replay of a run that is made meanwhile."""
    machine = run.machine()
    program = Program.load(elf(), machine.loaded[0], {})
    return Replay.live(machine, title=run.guest, vms=("vm0",), program=program)


@functools.cache
def _recording(run: Run) -> bytes:
    machine = run.machine()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.aet")
        with Recorder(
            machine, path, target=run.guest, vms=("vm0",), elf=elf(), spacing=SPACING
        ) as recorder:
            recorder.finish(recorder.run(5_000_000))
        data = path.read_bytes()
    machine.close()
    return data


def recording(run: Run, folder: Path) -> Path:
    """A run in a file."""
    path = folder / f"{run.guest}.aet"
    path.write_bytes(_recording(run))
    return path


@dataclass(frozen=True, slots=True)
class Tried:
    """An instruction that was tried."""

    moment: Moment
    pc: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Accessed:
    """A load or store: position and CPU of its instruction, PA and size."""

    position: int
    cpu: int
    pa: int
    size: int
    is_store: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A stretch of a run, from the snapshot `start` to `end`."""

    start: Snapshot
    end: int
    tried: tuple[Tried, ...]
    accesses: tuple[Accessed, ...]


@functools.cache
def truth(run: Run, start: int, length: int) -> Truth:
    """What happens in `length` instructions from a position on."""
    machine = run.machine()
    machine.run(until=start)
    snapshot = machine.snapshot()
    tried: list[tuple[int, int, int]] = []
    accesses: list[Accessed] = []
    kept: list[object] = []
    for number, cpu in enumerate(machine.cpus):
        kept.append(_hook_code(machine, cpu, number, tried))
        kept.append(_hook_memory(machine, cpu, number, accesses))
        cpu.engine.code.flush()
    stop = machine.run(until=start + length)
    del kept
    machine.close()
    return Truth(snapshot, stop.instructions, tuple(_moments(tried)), tuple(accesses))


def _position(machine: Machine, cpu: Cpu, pc: int) -> int:
    others = sum(other.retired for other in machine.cpus if other is not cpu)
    return others + cpu.retired + (pc - int(cpu.state.block_pc)) // 4


def _hook_code(
    machine: Machine, cpu: Cpu, number: int, tried: list[tuple[int, int, int]]
) -> Callable[..., None]:
    def on_code(_uc: int, pc: int, _size: int, _user: int) -> None:
        if not cpu.state.reason:  # else another hook has stopped the engine before it
            tried.append((_position(machine, cpu, pc), pc, number))

    callback = _CODE_FN(on_code)
    cpu.engine._hook_python(unicorn_const.UC_HOOK_CODE, callback)
    return callback


def _hook_memory(
    machine: Machine, cpu: Cpu, number: int, accesses: list[Accessed]
) -> Callable[..., None]:
    base, size = machine.board.ram_base, machine.board.ram_size
    pc = cpu.engine.batch([_PC])

    def on_access(_uc: int, kind: int, pa: int, width: int, _value: int, _user: int) -> None:
        position = _position(machine, cpu, pc.read()[0])
        is_store = kind == unicorn_const.UC_MEM_WRITE
        accesses.append(Accessed(position, number, pa, width, is_store))

    callback = _MEM_FN(on_access)
    kinds = unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE
    cpu.engine._hook_python(kinds, callback, base, base + size - 1)
    return callback


def _moments(tried: list[tuple[int, int, int]]) -> list[Tried]:
    found: list[Tried] = []
    last: tuple[int, int, int] | None = None
    for one in tried:
        # The same again is the same instruction, that was looked at before it began.
        if one != last:
            position, pc, cpu = one
            is_next = found and found[-1].moment.position == position
            attempt = found[-1].moment.attempt + 1 if is_next else 0
            found.append(Tried(Moment(position, attempt), pc, cpu))
        last = one
    return found
