# SPDX-License-Identifier: Apache-2.0
"""What is written to RAM from outside the machine is seen by all, whatever caches hold: by
cacheable accesses, by those past the caches, and by fetches."""

from aether_edgecloud.emulator.cpu.views import PageBit
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.properties.adversary.cached_programs import (
    CODE,
    PAGE,
    TWICE,
    adversary_of,
    machine,
)
from aether_edgecloud.properties.machine.bare import RAM_SIZE, constant

_RAM = 0x4000_0000
_WRITTEN = 0x77
_RET = 0xD65F_03C0
_SEVEN, _NINE = 0xD280_00E5, 0xD280_0125  # mov x5, #7; mov x5, #9
# Cache and memory differ: the line is dirty. Then past the cache until the outside has written.
_WAIT = f"""
    str x3, [x1]
    ldr x20, [x2]
wait:
    ldr x21, [x2]
    cmp x21, #{_WRITTEN}
    b.ne wait
    ldr x22, [x1]
"""


def _code(word: int) -> bytes:
    return (_RET << 32 | word).to_bytes(8, "little")


def _has(of: Machine, pa: int, bit: PageBit) -> bool:
    assert _RAM <= pa < _RAM + RAM_SIZE
    return bool(adversary_of(of).save().pages[(pa - _RAM) // 4096] & bit)


def _finish(of: Machine) -> list[int]:
    of.write_pa(PAGE, _WRITTEN.to_bytes(8, "little"))
    assert of.run(400_000).kind is StopKind.SYSTEM_OFF
    registers = of.cpu.registers()
    of.close()
    return registers


def test_data_past_the_cache_and_through_it() -> None:
    of = machine(TWICE + _WAIT)
    of.run(2_000)
    assert _has(of, PAGE, PageBit.SPLIT)
    x = _finish(of)
    assert x[20] != 1  # memory did not have it
    assert (x[21], x[22]) == (_WRITTEN, _WRITTEN)


def test_code_that_caches_hold() -> None:
    """Fetched, changed with no IC, and fetched as it was; then written from outside."""
    call = f"{constant('x9', CODE)}\n blr x9\n"
    store = f"{constant('x9', CODE)}\n {constant('x10', _RET << 32 | _SEVEN)}\n str x10, [x9]\n"
    prepared = store + "dc cvau, x9\n dsb sy\n ic ivau, x9\n dsb sy\n isb\n" + call
    changed = store.replace(constant("x10", _RET << 32 | _SEVEN), "str xzr, [x9, #8]")
    of = machine(TWICE + prepared + changed + "mov x5, #0\n" + call + "mov x6, x5\n" + _WAIT + call)
    of.run(2_000)
    assert _has(of, CODE, PageBit.HELD)
    of.write_pa(CODE, _code(_NINE))
    x = _finish(of)
    assert (x[6], x[5]) == (7, 9)


def test_code_where_nobody_has_been() -> None:
    no_invalidation = TWICE.replace("ic iallu", "nop")
    of = machine(no_invalidation + f"{constant('x9', CODE)}\n blr x9\n")
    of.write_pa(CODE, _code(_NINE))
    assert _finish(of)[5] == 9
