# SPDX-License-Identifier: Apache-2.0
"""A target for tests of the protocol alone: four registers, 256 bytes, a tape of positions."""

from collections.abc import Sequence

from aether_edgecloud.emulator.gdb.requests import (
    ExecFile,
    Interrupted,
    Motion,
    Point,
    PointKind,
    Resume,
    Stop,
    TargetError,
    Thread,
    Why,
)

END = 100
BASE = 0x1000
MEMORY = bytes(range(256))
ELF = ExecFile("/program.elf", b"\x7fELF" + bytes(range(256)) * 200, 0x4020_0000)


class ScriptedTarget:
    """Thread 1 is at position p an instruction at address p; thread 2 does nothing. An interrupt is
    looked for every ten positions."""

    def __init__(self) -> None:
        self.position = 0
        self.points: set[Point] = set()
        self.physical = False
        self.asked: list[str] = []
        self.current = 1

    def threads(self) -> Sequence[Thread]:
        return (Thread(1, 0, "CPU 0", "EL2"), Thread(2, 1, "CPU 1", 'EL1, "a" <b> & c'))

    def description(self) -> str:
        return "<target>" + "$#}*" * 3000 + "</target>"

    def exec_file(self) -> ExecFile | None:
        return ELF

    def read_registers(self, thread: int) -> bytes:
        return bytes([thread]) * 8 + self.position.to_bytes(8, "little")

    def read_register(self, thread: int, number: int) -> bytes:
        if number > 3:
            raise TargetError(f"there is no register {number}")
        return bytes([thread, number])

    def write_register(self, thread: int, number: int) -> None:
        raise TargetError("this is $set# in *stone}\n")

    def expedited(self, thread: int) -> Sequence[int]:
        return (3,)

    def read_memory(self, thread: int, address: int, size: int) -> bytes:
        found = MEMORY[max(0, address - BASE) : max(0, address + size - BASE)]
        if address < BASE or not found:
            raise TargetError(f"{address:#x} is not mapped")
        return found

    def write_memory(self, thread: int, address: int, size: int) -> None:
        raise TargetError("read-only")

    def insert(self, point: Point) -> None:
        self.points.add(point)

    def remove(self, point: Point) -> None:
        self.points.discard(point)

    def remove_all(self) -> None:
        self.points.clear()

    def resume(self, what: Resume, interrupted: Interrupted) -> Stop:
        steps = what.motion in (Motion.STEP, Motion.STEP_BACK)
        way = -1 if what.motion in (Motion.BACK, Motion.STEP_BACK) else 1
        while True:
            if not 0 <= self.position + way <= END:
                return Stop(what.thread, Why.END if way > 0 else Why.BEGIN, notice="no more")
            self.position += way
            if what.motion is Motion.STEP_RANGE:
                steps = not what.start <= self.position < what.end
            if steps:
                return Stop(what.thread, Why.STEPPED)
            for point in self.points:
                if point.address == self.position:
                    return Stop(1, _WHY[point.kind], point.address)
            if self.position % 10 == 0 and interrupted():
                return Stop(what.thread, Why.INTERRUPTED)

    def monitor(self, line: str, interrupted: Interrupted) -> str:
        self.asked.append(line)
        if line == "fail":
            raise TargetError("it fails")
        return line * 2000


_WHY = {
    PointKind.SOFTWARE: Why.SOFTWARE,
    PointKind.HARDWARE: Why.HARDWARE,
    PointKind.WRITE: Why.WRITE,
    PointKind.READ: Why.READ,
    PointKind.ACCESS: Why.ACCESS,
}
