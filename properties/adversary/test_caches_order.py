# SPDX-License-Identifier: Apache-2.0
"""Accesses through the caches and maintenance of their lines come in program order (Arm ARM D7,
ordering of cache maintenance instructions): whatever waits for a DSB, a CPU that goes through the
caches alone cannot tell.
"""

import random
import struct

import pytest

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.interleave.interleaver import Interleaver
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.poison import POISON
from aether_edgecloud.properties.adversary.cached_programs import (
    ALIAS,
    CODE,
    MMU_ON,
    PAGE,
    TWICE,
    machine,
    run,
    sweep,
)
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant

HERE = "b .+4\n"
"""What follows is another straight line of code."""
SEVEN, NINE = 0xD280_00E5, 0xD280_0125  # mov x5, #7; mov x5, #9
RESULTS = 0x40B0_0000
ELSEWHERE = f"{constant('x1', PAGE + 0x9_5000)}\n"
"""A page whose translation no fetch or store of these programs pushes out of the emulator's TLB."""
LINES = ("x1", "x4")
"""Registers with their VAs: two lines of one page."""
_LOADS = 8
_MAINTENANCE = ("dc ivac", "dc ivac", "dc cvac", "dc civac", "ic ivau")
_BETWEEN = (HERE, HERE, "nop\n", "dsb sy\n", "isb\n")


class _Line:
    """A line in a cache: what it may hold there, and in memory. If it was stored to it may go to
    memory at any time, until it is invalidated."""

    def __init__(self, value: int) -> None:
        self.cached, self.memory = {value}, {value}

    def store(self, value: int) -> None:
        self.cached = {value}
        self.memory = self.memory | {value}

    def load(self, value: int) -> bool:
        """Whether it may be that."""
        is_possible = value in self.cached
        self.cached = {value}
        return is_possible

    def maintain(self, operation: str) -> None:
        if operation in ("dc cvac", "dc civac"):
            self.memory = self.cached
        elif operation == "dc ivac":
            self.cached = self.memory


def _program(source: random.Random, value: int) -> tuple[str, list[tuple[str, str, int]]]:
    """A short program, and what it does: operation, register of the VA, value or number of the
    load. It leaves what it has loaded at X9 and begins with `value` in both lines."""
    text = f"mov x3, #{value}\n{HERE}"
    text += "".join(f"str x3, [{name}]\ndc civac, {name}\n" for name in LINES) + f"dsb sy\n{HERE}"
    done: list[tuple[str, str, int]] = []
    loads = 0
    for number in range(value + 1, value + source.randrange(6, 15)):
        name = source.choice(LINES)
        match source.choice(("store", "load", "maintain", "maintain", "between")):
            case "store":
                text += f"mov x5, #{number}\nstr x5, [{name}]\n"
                done.append(("store", name, number))
            case "load" if loads < _LOADS - len(LINES):
                text += f"ldr x{20 + loads}, [{name}]\n"
                done.append(("load", name, loads))
                loads += 1
            case "maintain":
                operation = source.choice(_MAINTENANCE)
                text += f"{operation}, {name}\n"
                done.append((operation, name, 0))
            case _:
                text += source.choice(_BETWEEN)
    text += HERE
    for load, name in enumerate(LINES, _LOADS - len(LINES)):
        text += f"ldr x{20 + load}, [{name}]\n"
        done.append(("load", name, load))
    text += f"{HERE}dsb sy\n{HERE}"
    return text + "".join(f"str x{20 + n}, [x9], #8\n" for n in range(_LOADS)), done


def _is_possible(done: list[tuple[str, str, int]], value: int, loaded: list[int]) -> bool:
    lines = {name: _Line(value) for name in LINES}
    for operation, name, number in done:
        if operation == "store":
            lines[name].store(number)
        elif operation != "load":
            lines[name].maintain(operation)
        elif not lines[name].load(loaded[number]):
            return False
    return True


def _copy(word: int) -> str:
    """An instruction and a RET, written at CODE. X1 is that."""
    store = f"{constant('x1', CODE)}\n{constant('x4', 0xD65F_03C0 << 32 | word)}\nstr x4, [x1]\n"
    return f"{store}dc cvau, x1\ndsb sy\n"


@pytest.mark.parametrize("seed", range(6))
def test_whoever_goes_through_the_caches_alone_cannot_tell(seed: int) -> None:
    source = random.Random(seed)
    values = range(64, 64 * 60, 64)
    programs = [_program(source, value) for value in values]
    text = f"{TWICE}{ELSEWHERE}{constant('x9', RESULTS)}\nadd x4, x1, #64\n"
    of = machine(text + "".join(text for text, _ in programs))
    assert of.run(400_000).kind is StopKind.SYSTEM_OFF
    found = struct.iter_unpack(f"<{_LOADS}Q", of.memory.read(RESULTS, 8 * _LOADS * len(programs)))
    for value, (program, done), loaded in zip(values, programs, found, strict=True):
        assert _is_possible(done, value, list(loaded)), (program, loaded)
    of.close()


# X1, dirty in the cache, is invalidated; a store to it comes later in the straight line of code.
_INVALIDATED = f"{TWICE}{ELSEWHERE}str x3, [x1]\nadd x4, x1, #64\n{HERE}dc ivac, x1\n"
_STORED = f"{HERE}dsb sy\n{HERE}ldr x20, [x1]\n"


@pytest.mark.parametrize("probe", ["dc ivac, x4", "dc cvac, x4", "ic ivau, x4"])
@pytest.mark.parametrize("store", ["str x5, [x1]", "dc zva, x1"])
@pytest.mark.parametrize("between", ["", HERE])
def test_a_store_behind_maintenance_of_its_page(probe: str, store: str, between: str) -> None:
    text = f"{_INVALIDATED}{between}{probe}\nmov x5, #7\n{store}\n{_STORED}"
    for seed in range(3):
        assert run(text, seed=seed).x[20] == (7 if "str" in store else 0)


@pytest.mark.parametrize("rate", [128, 256])
def test_a_store_that_an_interleaver_looks_at_first(rate: int) -> None:
    """A learning run translates the VA of each access of EL2."""
    text = f"{_INVALIDATED}{HERE}mov x5, #7\nstr x5, [x1]\n{_STORED}"
    for seed in range(4):
        of = machine(text, rate=rate, seed=seed)
        Interleaver(of).follow(Interleaving(), learning=True)
        assert of.run(400_000).kind is StopKind.SYSTEM_OFF
        assert of.cpu.registers()[20] == 7
        of.close()


def test_a_dc_behind_a_barrier_of_its_line_of_code_is_late() -> None:
    """The DSB before it is not its own."""
    text = f"{TWICE}str x3, [x1]\nadd x5, x1, #64\nstr x3, [x5]\n{HERE}dc cvac, x5\ndsb sy\n"
    text += f"dc cvac, x1\nldr x20, [x2]\n{HERE}dsb sy\n{HERE}ldr x21, [x2]\n"
    assert run(text).x[20:22] == [POISON, 1]
    assert run(text, rate=0).x[20:22] == [1, 1]


def test_one_sweep_after_another() -> None:
    """The DSB is behind all of them. The first drops a stale line."""
    first, second = (sweep(name).removesuffix("    dsb sy\n") for name in ("cisw", "csw"))
    text = f"{TWICE}ldr x22, [x1]\nstr x3, [x2]\ndsb sy\n{HERE}{first}{HERE}{second}{HERE}"
    assert run(f"{text}dsb sy\n{HERE}ldr x20, [x1]\n").x[20] == 1


@pytest.mark.parametrize("invalidate", ["ic ivau, x1\n", "ic iallu\n", "ic ialluis\n"])
def test_a_store_to_the_page_does_not_undo_an_invalidation(invalidate: str) -> None:
    """Of another line, before the DSB."""
    text = f"{TWICE}{_copy(SEVEN)}ic ivau, x1\ndsb sy\nisb\nblr x1\nmov x6, x5\n{_copy(NINE)}"
    text += f"blr x1\nmov x7, x5\n{HERE}{invalidate}{HERE}str x4, [x1, #256]\n{HERE}dsb sy\nisb\n"
    assert run(f"{text}{HERE}blr x1\n").x[5:8] == [9, 7, 7]


_SWITCH_OFF = f"{HERE}{constant('x0', smp.CPU_OFF)}\nsmc #0\n"
_UNTIL_OFF = f"""
    {smp.start(1)}
until_off:
    {constant("x0", smp.AFFINITY_INFO)}
    mov x1, #1
    mov x2, #0
    smc #0
    cmp x0, #1
    b.ne until_off
"""


def _two(first: str, second: str) -> list[int]:
    of = smp.machine(first, second, 2, MmuMode.MODEL)
    Plan(caches=True, seed=1, rate=256).attach(of)
    assert of.run(300_000).kind is StopKind.SYSTEM_OFF
    found = of.cpus[0].registers()
    of.close()
    return found


def test_maintenance_of_a_cpu_that_is_off_is_complete() -> None:
    """For whoever is told so, whether it ever goes on again or not."""
    again = f"{constant('x1', PAGE)}\n{constant('x2', PAGE + ALIAS)}\n"
    first = f"{TWICE}str x3, [x1]\n{_UNTIL_OFF}{again}ldr x20, [x2]\n"
    on = MMU_ON.replace("mov x1, #0xff", "mov x1, #0x44ff")
    assert _two(first, f"{on}{again}{HERE}dc cvac, x1\n{_SWITCH_OFF}")[20] == 1
    assert _two(first, f"{on}{again}{HERE}{_SWITCH_OFF}")[20] == POISON
    code = f"{TWICE}{_copy(SEVEN)}ic ivau, x1\ndsb sy\nisb\nblr x1\nmov x6, x5\n{_copy(NINE)}"
    code += f"blr x1\nmov x7, x5\n{_UNTIL_OFF}{constant('x1', CODE)}\nisb\nblr x1\n"
    code = code.replace("blr x1", "mov x9, x1\nblr x9")
    off = f"{on.replace('ic iallu', 'nop')}{constant('x1', CODE)}\n{HERE}"
    for invalidate, found in (("", 7), ("ic ivau, x1\n", 9), ("ic ialluis\n", 9)):
        assert _two(code, f"{off}{invalidate}{_SWITCH_OFF}")[5:8] == [found, 7, 7], invalidate
