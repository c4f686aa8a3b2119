# SPDX-License-Identifier: Apache-2.0
"""Cache maintenance is done at the DSB after it, by the CPU that executed it (Arm ARM D7, ordering
and completion of data and instruction cache instructions): until then accesses past the caches,
walks and fetches may find it undone. Accesses through the cache to the same line may not."""

import pytest

from aether_edgecloud.emulator.monitor.poison import POISON
from aether_edgecloud.properties.adversary.cached_programs import (
    CODE,
    MMU_ON,
    OFF,
    TABLE,
    TWICE,
    WRITE_TABLE,
    adversary_of,
    machine,
    run,
    sweep,
)
from aether_edgecloud.properties.machine.bare import constant

HERE = "b .+4\n"
"""What follows is another straight line of code: a DSB acts where that begins."""
BARRIERS = ["dsb sy\n", "dsb ish\n", "dsb nsh\n", "dmb sy\n", ".word 0xd503309f\n"]
TOO_WEAK = ["", "dsb ishst\n", "dsb ishld\n", "isb\n", "dmb ishst\n"]
# X1 and X2 are PAGE through the cache and past it; X3 is 1, and dirty there.
DIRTY = TWICE + "str x3, [x1]\n"


def clean(operation: str, barrier: str) -> str:
    """X20: what is past the cache after a DC of the dirty line, X21: the same behind a DSB."""
    return (
        f"{DIRTY}dc {operation}, x1\n{HERE}{barrier}{HERE}ldr x20, [x2]\n{HERE}dsb sy\n{HERE}"
        "ldr x21, [x2]\n"
    )


@pytest.mark.parametrize("operation", ["cvac", "civac"])
def test_a_line_is_clean_behind_the_dsb(operation: str) -> None:
    for barrier in BARRIERS:
        assert run(clean(operation, barrier)).x[20:22] == [1, 1], barrier
    for barrier in TOO_WEAK:
        assert run(clean(operation, barrier)).x[20:22] == [POISON, 1], barrier
    assert run(clean(operation, ""), rate=0).x[20:22] == [1, 1]
    some = {run(clean(operation, ""), rate=128, seed=seed).x[20] for seed in range(12)}
    assert some == {POISON, 1}


def test_a_whole_page() -> None:
    """Each line for itself, and no other page."""
    text = f"""{TWICE}
    mov x4, #4096
    add x5, x1, x4
    add x6, x2, x4
    str x3, [x1, #64]
    str x3, [x1, #4032]
    str x3, [x5]
    dc cvac, x5
    mov x4, x1
    {HERE}dsb sy
    {HERE}
line:
    dc cvac, x4
    add x4, x4, #64
    cmp x4, x5
    b.lo line
    ldr x20, [x2, #64]
    ldr x21, [x2, #4032]
    ldr x22, [x6]
    {HERE}dsb sy
    {HERE}
    ldr x23, [x2, #64]
    ldr x24, [x2, #4032]
"""
    assert run(text).x[20:25] == [POISON, POISON, 1, 1, 1]
    assert run(text, rate=0).x[20:25] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("rate", [0, 128, 256])
def test_accesses_through_the_cache_come_in_program_order(rate: int) -> None:
    """To one line: what is stored after an invalidation is not lost with it, and a load after it
    finds memory."""
    for seed in range(6):
        lost = f"{TWICE}{HERE}str x3, [x2]\ndsb sy\ndc ivac, x1\n{HERE}mov x4, #7\nstr x4, [x1]\n"
        lost += f"{HERE}dsb sy\n{HERE}ldr x20, [x1]\ndc cvac, x1\n{HERE}dsb sy\n{HERE}"
        assert run(lost + "ldr x21, [x2]\n", rate=rate, seed=seed).x[20:22] == [7, 7]
        zeroed = lost.replace("str x4, [x1]", "dc zva, x1") + "ldr x21, [x2]\n"
        assert run(zeroed, rate=rate, seed=seed).x[20:22] == [0, 0]
        stale = f"{TWICE}ldr x22, [x1]\nstr x3, [x2]\ndsb sy\n{HERE}dc ivac, x1\n{HERE}"
        assert run(stale + "ldr x20, [x1]\n", rate=rate, seed=seed).x[20] == 1
        # In the same straight line of code, after a second DC of the page.
        stale += "add x4, x1, #64\ndc ivac, x4\nldr x20, [x1]\n"
        assert run(stale, rate=rate, seed=seed).x[20] == 1


def test_a_clean_comes_after_what_was_written_past_it() -> None:
    """The dirty line goes over that. With the DSB between, it does not."""
    text = f"{DIRTY}dc civac, x1\n{HERE}@mov x4, #7\nstr x4, [x2]\n{HERE}dsb sy\n{HERE}"
    text += "ldr x20, [x2]\nldr x21, [x1]\n"
    assert run(text.replace("@", "")).x[20:22] == [1, 1]
    # The cache may have read in again what memory had before.
    assert run(text.replace("@", f"dsb sy\n{HERE}")).x[20:22] == [7, 1]
    assert run(text.replace("@", ""), rate=0).x[20:22] == [7, 7]


def test_an_invalidation_does_not_keep_a_dirty_line_from_going_before_it() -> None:
    """Memory is written past a dirty line which DC IVAC has named, as at boot."""
    text = f"{DIRTY}ldr x22, [x2]\ndc ivac, x1\n{HERE}@mov x4, #7\nstr x4, [x2]\n{HERE}dsb sy\n"
    text += f"{HERE}ldr x20, [x2]\n"
    assert run(text.replace("@", "")).x[20] == 1
    assert run(text.replace("@", f"dsb sy\n{HERE}")).x[20] == 7
    assert run(text.replace("@", ""), rate=0).x[20] == 7


def test_walks_need_the_dsb() -> None:
    """EL2's table was written past the cache, and its stale line invalidated."""
    invalidate = f"{constant('x1', TABLE)}\ndc ivac, x1\n{HERE}"
    on = MMU_ON.replace("dsb sy", "dsb nshst")  # of the TLBI here; too weak for DC
    assert on != MMU_ON
    assert not run(WRITE_TABLE + invalidate + on).finished
    assert run(WRITE_TABLE + invalidate + "dsb sy\n" + on).finished
    assert run(WRITE_TABLE + invalidate + on, rate=0).finished


@pytest.mark.parametrize("operation", ["cisw", "csw"])
def test_a_sweep_needs_it_too(operation: str) -> None:
    text = DIRTY + sweep(operation).removesuffix("    dsb sy\n") + "@" + HERE + "ldr x20, [x2]\n"
    text += f"{HERE}dsb sy\n{HERE}ldr x21, [x2]\n"
    assert run(text.replace("@", "")).x[20:22] == [POISON, 1]
    assert run(text.replace("@", f"{HERE}dsb sy\n")).x[20:22] == [1, 1]
    assert run(text.replace("@", ""), rate=0).x[20:22] == [1, 1]


SEVEN, NINE = 0xD280_00E5, 0xD280_0125  # mov x5, #7; mov x5, #9


def _copy(word: int) -> str:
    return f"""
    {constant("x1", CODE)}
    {constant("x4", 0xD65F_03C0 << 32 | word)}
    str x4, [x1]
    dc cvau, x1
    dsb sy
"""


@pytest.mark.parametrize("invalidate", ["ic ivau, x1\n", "ic iallu\n", "ic ialluis\n"])
def test_instructions_are_old_until_the_dsb(invalidate: str) -> None:
    start = TWICE + _copy(SEVEN) + invalidate + "dsb sy\nisb\nblr x1\nmov x6, x5\n" + _copy(NINE)
    start += f"{invalidate}{HERE}"
    late = f"blr x1\nmov x7, x5\n{HERE}dsb sy\nisb\nblr x1\n"
    outcome = run(start + late)
    assert (outcome.x[6], outcome.x[7], outcome.x[5]) == (7, 7, 9)
    outcome = run(start + "dsb sy\nisb\n" + late)
    assert (outcome.x[6], outcome.x[7], outcome.x[5]) == (7, 9, 9)
    outcome = run(start + late, rate=0)
    assert (outcome.x[6], outcome.x[7], outcome.x[5]) == (7, 9, 9)


@pytest.mark.parametrize("rate", [128, 256])
def test_the_same_from_a_snapshot(rate: int) -> None:
    """What waits for the DSB is part of it."""
    text = clean("civac", "") + HERE + sweep("csw").removesuffix("    dsb sy\n")
    text += f"{HERE}ic iallu\n{HERE}str x3, [x1, #128]\ndc cvac, x1\n{HERE}ldr x22, [x2, #128]\n"
    ends = set()
    for seed in range(4):
        of = machine(text + OFF, rate=rate, seed=seed)
        waiting = 0
        for limit in range(60, 110, 6):
            of.run(limit)
            snapshot = of.snapshot()
            saved = adversary_of(of).save()
            waiting += any(one.deferred for one in saved.views)
            of.run(400_000)
            first, state = of.cpu.registers(), adversary_of(of).save()
            of.restore(snapshot)
            assert adversary_of(of).save() == saved
            of.run(400_000)
            assert of.cpu.registers() == first
            assert adversary_of(of).save() == state
            of.restore(snapshot)
        assert waiting
        ends.add(tuple(first[20:23]))
        of.close()
    assert len(ends) > (rate == 128)
