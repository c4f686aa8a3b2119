# SPDX-License-Identifier: Apache-2.0
"""What programs see that maintain the caches, and those that do not (Arm ARM B2, mismatched memory
attributes; D7, cache maintenance).

A plain emulator runs all of them alike.
"""

import pytest

from aether_edgecloud.emulator.monitor.poison import POISON
from aether_edgecloud.properties.adversary.cached_programs import (
    BSS,
    BSS_SIZE,
    CODE,
    MMU_ON,
    OFF,
    PAGE,
    TABLE,
    TWICE,
    WRITE_TABLE,
    adversary_of,
    machine,
    maintain,
    run,
    sweep,
)
from aether_edgecloud.properties.machine.bare import constant

TRANSLATED = WRITE_TABLE + maintain("ivac", TABLE, 64) + MMU_ON
# EL1 with its MMU off, stage 2 off: its data goes past the caches.
GUEST = f"""
    mov x1, #0x80000000
    msr hcr_el2, x1
    {constant("x1", 0x30D0_0800)}
    msr sctlr_el1, x1
    adr x1, guest
    msr elr_el2, x1
    mov x1, #0x3c5
    msr spsr_el2, x1
    eret
guest:
    {constant("x1", PAGE)}
"""
ZERO_PAGE = f"""
    {constant("x1", PAGE)}
    add x2, x1, #4096
zero:
    stp xzr, xzr, [x1], #16
    cmp x1, x2
    b.lo zero
    dsb sy
"""
READ = "ldr x20, [x1]\n ldr x21, [x1, #2048]\n"


def test_tables_written_past_the_cache() -> None:
    without = WRITE_TABLE + MMU_ON
    too_early = maintain("ivac", TABLE, 64) + WRITE_TABLE + MMU_ON
    assert not run(without).finished
    assert not run(too_early).finished
    assert run(TRANSLATED).finished
    assert run(WRITE_TABLE + maintain("civac", TABLE, 64) + MMU_ON).finished
    assert not run(WRITE_TABLE + maintain("cvac", TABLE, 64) + MMU_ON).finished
    assert run(without, caches=False).finished
    assert run(without, rate=0).finished


def test_tables_in_the_image_that_are_written_past_the_cache() -> None:
    """Of what firmware has loaded the boot protocol promises that it is clean, not that it is
    gone."""
    at_label = (WRITE_TABLE + MMU_ON).replace(constant("x1", TABLE), "adr x1, table")
    text = at_label + OFF + ".balign 4096\ntable: .space 4096\n"
    assert not run(text).finished
    assert run(text, invalidated=True).finished
    assert run(text, rate=0).finished
    # What it has not loaded may be there.
    assert not run(WRITE_TABLE + MMU_ON, invalidated=True).finished


def test_a_sweep_leaves_nothing_behind() -> None:
    """What is then written past the cache is what is read in later."""
    assert run(sweep("isw") + WRITE_TABLE + MMU_ON).finished
    assert run(sweep("cisw") + WRITE_TABLE + MMU_ON).finished
    assert not run(sweep("csw") + WRITE_TABLE + MMU_ON).finished
    assert not run(sweep("isw", (1,)) + WRITE_TABLE + MMU_ON).finished
    touched = WRITE_TABLE + sweep("isw") + WRITE_TABLE + MMU_ON
    assert run(touched).finished
    again = touched + f"{constant('x1', 0x30C5_1830)}\n msr sctlr_el2, x1\n isb\n"
    # The table has been read in since then.
    again += f"{constant('x1', TABLE)}\n str xzr, [x1, #8]\n dsb sy\n" + MMU_ON
    assert run(again).finished
    assert not run(again, caches=False).finished


def test_walks_that_do_not_go_through_the_cache() -> None:
    uncached = MMU_ON.replace(constant("x1", 0x8081_3519), constant("x1", 0x8081_3019))
    assert uncached != MMU_ON
    assert run(WRITE_TABLE + uncached).finished
    # With SCTLR_EL2.C at 0 no walk is cacheable, whatever TCR_EL2 says.
    no_cache = MMU_ON.replace(constant("x1", 0x30C5_1835), constant("x1", 0x30C5_1831))
    assert no_cache != MMU_ON
    assert run(WRITE_TABLE + no_cache).finished


@pytest.mark.parametrize(
    ("maintenance", "expected"),
    [
        ("", (POISON, POISON)),
        (maintain("ivac", PAGE, 4096), (POISON, POISON)),
        (maintain("cvau", PAGE, 4096), (POISON, POISON)),
        (maintain("civac", PAGE, 2048), (0, POISON)),
        (maintain("civac", PAGE, 4096), (0, 0)),
        (maintain("cvac", PAGE, 4096), (0, 0)),
        (sweep("cisw"), (0, 0)),
        (sweep("csw"), (0, 0)),
        (sweep("cisw", (0,)), (POISON, POISON)),
        (sweep("cisw", (1,)), (POISON, POISON)),
        (sweep("isw"), (POISON, POISON)),
    ],
    ids=["none", "ivac", "cvau", "half", "civac", "cvac", "cisw", "csw", "l1", "l2", "isw"],
)
def test_a_scrubbed_page_read_past_the_cache(maintenance: str, expected: tuple[int, int]) -> None:
    text = TRANSLATED + ZERO_PAGE + maintenance + GUEST + READ
    outcome = run(text)
    assert outcome.finished
    assert (outcome.x[20], outcome.x[21]) == expected


def test_zeroing_by_line() -> None:
    zeroed = f"{constant('x1', PAGE)}\n dc zva, x1\n dsb sy\n"
    for maintenance, expected in (("", POISON), (maintain("cvac", PAGE, 64), 0)):
        assert run(TRANSLATED + zeroed + maintenance + GUEST + READ).x[20] == expected


def test_a_page_that_was_zero_and_is_zeroed_again() -> None:
    """The stores change nothing in the cache, where a stale zero is: the lines are dirty."""
    secret = f"{constant('x1', PAGE)}\n mov x2, #0x5ec\n str x2, [x1]\n dsb sy\n"
    # Zeros in cache and memory; a secret past the cache, with the MMU off; the page read, stale;
    # and zeroed.
    text = (
        TRANSLATED
        + ZERO_PAGE
        + maintain("civac", PAGE, 4096)
        + f"{constant('x1', 0x30C5_1830)}\n msr sctlr_el2, x1\n isb\n"
        + secret
        + f"{constant('x1', 0x30C5_1835)}\n msr sctlr_el2, x1\n isb\n"
        + f"{constant('x1', PAGE)}\n ldr x22, [x1]\n str xzr, [x1]\n dsb sy\n"
    )
    clean = maintain("civac", PAGE, 64)
    again = f"{constant('x1', PAGE)}\n ldr x23, [x1]\n"
    for seed in range(4):
        for rate in (128, 256):
            outcome = run(text + clean + again + GUEST + READ, rate=rate, seed=seed)
            assert outcome.x[20] == outcome.x[23] == 0
    unclean = run(text + GUEST + READ)
    assert unclean.x[22] == 0  # stale
    # Invalidated alone, the zero may have been written back before, or not.
    invalidated = text + maintain("ivac", PAGE, 64) + again + GUEST + READ
    outcomes = [run(invalidated, rate=128, seed=seed).x for seed in range(12)]
    assert {(x[20], x[23]) for x in outcomes} == {(0, 0), (0x5EC, 0x5EC)}


def test_a_dirty_line_goes_over_what_memory_has_got() -> None:
    body = GUEST + "mov x2, #0x77\n str x2, [x1]\n dsb sy\n hvc #0\n ldr x20, [x1]\n"
    vectors = "b end\n .balign 2048\nvectors:\n .space 0x400\n eret\n .balign 128\nend:\n"
    begin = "adr x1, vectors\n msr vbar_el2, x1\n"
    text = begin + TRANSLATED + ZERO_PAGE + body + OFF + vectors
    assert run(text.replace("b end", "nop")).x[20] == 0
    cleaned = begin + TRANSLATED + ZERO_PAGE + maintain("cvac", PAGE, 4096) + body + OFF + vectors
    assert run(cleaned).x[20] == 0x77


CALL = "blr x1\n"
INVALIDATE = "ic ivau, x1\n dsb sy\n isb\n"


def _copy(word: int) -> str:
    """An instruction and a RET, written at CODE."""
    return f"""
    {constant("x1", CODE)}
    {constant("x2", 0xD65F_03C0 << 32 | word)}
    str x2, [x1]
    dc cvau, x1
    dsb sy
"""


SEVEN, NINE = 0xD280_00E5, 0xD280_0125  # mov x5, #7; mov x5, #9
LATE_INVALIDATION = "ic iallu\n dsb sy\n isb\n"


@pytest.mark.parametrize("invalidate", [INVALIDATE, LATE_INVALIDATION])
def test_code_that_was_copied(invalidate: str) -> None:
    no_invalidation_before = TRANSLATED.replace("ic iallu", "nop")
    start = no_invalidation_before + "mov x5, #0\n"
    assert not run(start + _copy(SEVEN) + CALL).finished
    good = run(start + _copy(SEVEN) + invalidate + CALL)
    assert good.finished
    assert good.x[5] == 7


@pytest.mark.parametrize("rate", [128, 256])
def test_code_that_is_changed(rate: int) -> None:
    start = TRANSLATED + _copy(SEVEN) + INVALIDATE + CALL + "mov x6, x5\n" + _copy(NINE)
    changed = [run(start + CALL, rate=rate, seed=seed) for seed in range(8)]
    assert {outcome.x[6] for outcome in changed} == {7}
    assert {outcome.x[5] for outcome in changed} == ({7} if rate == 256 else {7, 9})
    for seed in range(4):
        assert run(start + INVALIDATE + CALL, rate=rate, seed=seed).x[5] == 9
    assert run(start + CALL, caches=False).x[5] == 9


@pytest.mark.parametrize("rate", [0, 256])
def test_code_that_is_fetched_past_the_caches(rate: int) -> None:
    """Instruction caches may hold it all the same (B2: it needs no DC CVAU, but it needs IC)."""
    start = _copy(SEVEN) + INVALIDATE + CALL + "mov x6, x5\n" + _copy(NINE)  # the MMU is off
    changed = run(start + CALL, rate=rate)
    assert (changed.x[6], changed.x[5]) == (7, 7 if rate else 9)
    assert run(start + INVALIDATE + CALL, rate=rate).x[5] == 9


def test_what_nobody_has_written() -> None:
    load = f"{constant('x1', PAGE)}\n ldr x20, [x1, #8]\n ldr x21, [x1, #16]\n"
    for text, pages in (
        (load, [PAGE]),
        (TRANSLATED + load, [PAGE]),
        (TRANSLATED + maintain("civac", PAGE, 4096), []),
        (TRANSLATED + ZERO_PAGE + load, []),
        (f"{constant('x1', PAGE)}\n strb wzr, [x1]\n" + load, []),
        (GUEST + load, []),
    ):
        outcome = run(text)
        assert [read.pa for read in outcome.uninitialised] == pages
        assert all(read.va == read.pa and read.cpu == 0 for read in outcome.uninitialised)


def test_the_same_run_again() -> None:
    body = GUEST + READ + "str x20, [x1, #64]\n hvc #0\n" + READ
    vectors = "b end\n .balign 2048\nvectors:\n .space 0x400\n eret\n .balign 128\nend:\n"
    text = "adr x1, vectors\n msr vbar_el2, x1\n" + TRANSLATED + ZERO_PAGE
    text = (text + maintain("ivac", PAGE, 1024) + body + OFF + vectors).replace("b end", "nop")
    seen = set()
    for seed in range(3):
        of = machine(text, rate=128, seed=seed)
        for limit in (200, 400, 700):
            of.run(limit)
            snapshot = of.snapshot()
            of.run(400_000)
            first, state = of.cpu.registers(), adversary_of(of).save()
            of.restore(snapshot)
            of.run(400_000)
            assert of.cpu.registers() == first
            assert adversary_of(of).save() == state
            of.restore(snapshot)
        seen.add(tuple(first))
        of.close()
    assert len(seen) > 1


def test_dirty_lines_of_the_bss_at_reset() -> None:
    """What is written to the BSS past a cache that holds it dirty may be lost."""
    write = f"{constant('x1', BSS)}\n mov x2, #0x77\n str x2, [x1]\n dsb sy\n"
    before, after = (maintain("ivac", BSS, 64) for _ in range(2))
    load = f"{constant('x1', BSS)}\n ldr x20, [x1]\n"
    assert run(before + write + after + TRANSLATED + load, bss=BSS_SIZE).x[20] == 0x77
    assert run(write + after + TRANSLATED + load, bss=BSS_SIZE).x[20] == POISON
    assert run(write + after + TRANSLATED + load, bss=BSS_SIZE, rate=0).x[20] == 0x77
    assert run(write + after + TRANSLATED + load).x[20] == 0x77  # no BSS


def test_el2_reads_what_a_guest_has_written_past_the_cache() -> None:
    """EL2 has read the page before: it may see that again, unless it invalidates it."""
    begin = "adr x1, vectors\n msr vbar_el2, x1\n"
    before = f"{constant('x1', PAGE)}\n ldr x22, [x1]\n"
    store = "mov x2, #0x77\n str x2, [x1]\n dsb sy\n hvc #0\n"
    vectors = ".balign 2048\nvectors:\n .space 0x400\n"
    after = f"{constant('x1', PAGE)}\n ldr x20, [x1]\n"
    text = begin + TRANSLATED + before + GUEST + store + vectors
    assert run(text + after).x[20] == POISON
    assert run(text + after, rate=0).x[20] == 0x77
    assert run(text + maintain("ivac", PAGE, 64) + after).x[20] == 0x77


def test_zeroing_by_line_past_the_cache() -> None:
    text = """
    str x3, [x1]
    str x3, [x1, #64]
    dsb sy
    ldr x20, [x2, #64]
    dc zva, x2
    dsb sy
    ldr x22, [x2]
    ldr x23, [x2, #64]
"""
    outcome = run(TWICE + text)
    assert (outcome.x[20], outcome.x[22], outcome.x[23]) == (POISON, 0, POISON)
    plain = run(TWICE + text, caches=False)
    assert (plain.x[20], plain.x[22], plain.x[23]) == (1, 0, 1)


def test_one_page_by_two_types_in_turn() -> None:
    text = "ldr x20, [x1]\n str x3, [x2]\n ldr x21, [x1]\n ldr x22, [x2]\n ldr x23, [x1]\n"
    assert run(TWICE + text).x[20:24] == [POISON, POISON, 1, POISON]
    assert run(TWICE + text, rate=0).x[20:24] == [POISON, 1, 1, 1]
    invalidated = text.replace("ldr x21", "dc ivac, x1\n dsb sy\n ldr x21")
    assert run(TWICE + invalidated).x[20:24] == [POISON, 1, 1, 1]
