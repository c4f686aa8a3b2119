# SPDX-License-Identifier: Apache-2.0
"""Of a stage 2 that a CPU has used by AT alone its TLB holds what those have looked up, and no
longer than until a TLBI. At EL2 nothing else is walked of it (Arm ARM D8, out-of-context
translation regimes)."""

from dataclasses import replace

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.states import STATES
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary, TlbState
from aether_edgecloud.emulator.adversary.tlb_exposure import Emptied, Exposure
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.events import Dsb
from aether_edgecloud.emulator.monitor.unclean import NONE, Unclean
from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.attached import Decoder, encode
from aether_edgecloud.properties.adversary.tlb_programs import (
    FAULT,
    FORGET_ALL,
    NOWHERE,
    PAGES,
    VISIT,
    boot,
    finish,
    guest,
    run,
)
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DSB_ISH,
    DSB_NSH,
    HCR,
    IPA,
    ISB,
    L2,
    L3,
    PAGE_LEAF,
    ROOT,
    ROOT2,
    SPARE,
    STAGE2_ON,
    TABLE,
    entry,
    msr,
    vttbr,
    write,
)

START = FORGET_ALL + STAGE2_ON
UNMAP = write(entry(L3, 0), 0) + DSB_ISH
ALL = "tlbi alle1is\n"
FLUSH = ALL + DSB_ISH + ISB
AWAY, BACK = (msr("vttbr_el2", value) + ISB for value in (vttbr(ROOT2, 2), vttbr(ROOT)))


def at(ipa: int, register: str = "x25") -> str:
    """Look an IPA up: PAR_EL1."""
    return f"{constant('x0', ipa)}\nat s12e1r, x0\nisb\nmrs {register}, par_el1\n"


FIRST, SECOND = at(IPA), at(IPA + 0x1000)


def is_held(body: str, *, start: str = START) -> bool:
    """Whether, after that, the first page is still translated though it is unmapped."""
    done = run(body + UNMAP + at(IPA, "x20"), start=start, code=p.assemble_at_guest(), count=1)
    assert done.found is not None
    return not done.found[0] & 1


@pytest.mark.parametrize(
    ("body", "held"),
    [
        (FIRST, True),
        (SECOND, False),
        (FIRST + AWAY + BACK + SECOND, True),
        # Its VMID is not in use when everything is invalidated.
        (FIRST + AWAY + FLUSH + BACK, False),
        (FIRST + AWAY + FLUSH + BACK + SECOND, False),
        (FIRST + AWAY + FLUSH + BACK + SECOND + FIRST, True),
        # It is in use.
        (FIRST + FLUSH, False),
        (FIRST + FLUSH + SECOND, False),
        (FIRST + FLUSH + FIRST, True),
        (FIRST + p.FLUSH_ALL, False),
        (FIRST + AWAY + p.FLUSH_ALL + BACK + SECOND, True),  # another VMID
        (FIRST + ALL + ISB, True),
        (FIRST + ALL + DSB_NSH + ISB, True),
        (FIRST + "tlbi alle1\n" + DSB_NSH + ISB, False),
        (FIRST + ALL + FIRST + DSB_ISH + ISB, True),
        (FIRST + ALL + "dsb ishst\n" + ISB, True),
        (FIRST + ALL + VISIT + DSB_ISH + ISB, True),
    ],
)
def test_what_has_been_looked_up_stays_until_a_tlbi(body: str, held: bool) -> None:
    assert is_held(body) == held


def test_below_el2_without_stage_2_nothing_is_walked() -> None:
    off, on = msr("hcr_el2", HCR & ~1) + ISB, msr("hcr_el2", HCR) + ISB
    there = VISIT.replace(constant("x1", NOWHERE), "adr x1, down")
    there = there.replace("    eret\n", "    eret\ndown:\n    hvc #0\n")
    assert not is_held(SECOND + off + there + on)
    assert is_held(SECOND + on + VISIT)


def test_what_was_never_held_is_not_held_when_it_goes_again() -> None:
    again = UNMAP + write(entry(L3, 0), PAGES[0] | PAGE_LEAF) + DSB_ISH
    assert not is_held(SECOND + again)
    assert is_held(SECOND + again + FIRST)


def test_a_cpu_that_starts_has_looked_nothing_up() -> None:
    machine = boot(SECOND + UNMAP, start=START, code=p.assemble_at_guest())
    adversary = TlbAdversary(machine, Choices(1, 256))
    for until in range(40, 120):
        machine.run(until)
        if adversary.exposure.save().never_held:
            break
    assert adversary.exposure.save().looked_up
    for tell in machine.cpu.on_power_on:
        tell()
    assert adversary.exposure.save() == Exposure().save()


def test_whose_dsb_ends_a_tlbi_and_whose_descriptor_comes_again() -> None:
    exposure = Exposure()
    exposure.begin(0, ROOT)
    exposure.look_up(0, ROOT, IPA)
    exposure.invalidate(0, ROOT, Emptied(issuer=1, shareable=True))
    exposure.complete(0, Dsb("ish", shareable=True, stores=True, all_accesses=True))
    assert exposure.has_looked_up(0, ROOT, IPA, 1)
    exposure.complete(1, Dsb("ish", shareable=True, stores=True, all_accesses=True))
    assert not exposure.has_looked_up(0, ROOT, IPA, 1)
    one = Unclean(entry(L3, 0), ROOT, 3, IPA, PAGES[0] | PAGE_LEAF, True, 0, (NONE, NONE))
    exposure.add(one, 2)
    assert not exposure.may_hold(0, one)
    exposure.look_up(0, ROOT, IPA)
    exposure.add(one, 2)
    assert exposure.may_hold(0, one)


def test_a_change_costs_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    add = Exposure.add

    def counted(exposure: Exposure, one: Unclean, cpus: int) -> None:
        added.append(one.key)
        add(exposure, one, cpus)

    monkeypatch.setattr(Exposure, "add", counted)
    count = 24
    mapped = "".join(write(entry(L3, n), PAGES[0] | PAGE_LEAF) for n in range(count))
    body = mapped + DSB_ISH + ISB + "".join(write(entry(L3, n), 0) for n in range(count))
    assert run(body + p.FLUSH_ALL).found == (FAULT, FAULT)
    # The second page was mapped elsewhere before.
    assert len(added) == len(set(added)) == count + 1


# Tables of stage 2 that were linked before their contents are visible.

POISON = write(entry(SPARE, 0), PAGES[3] | PAGE_LEAF) + DSB_ISH
FILL, LINK = write(entry(SPARE, 0), 0), write(entry(L2, 10), SPARE | TABLE)
THERE = IPA + (1 << 21)


def after(barrier: str) -> bytes:
    """A guest that has a barrier before it loads."""
    return assemble(barrier)[64:] + guest((THERE,))


@pytest.mark.parametrize("start", [START, START + VISIT], ids=["first ERET", "later ERET"])
@pytest.mark.parametrize("barrier", ["nop\n", DSB_ISH, "dsb sy\nisb\n"])
def test_it_may_be_walked_as_it_was_from_the_eret_on(start: str, barrier: str) -> None:
    def leaks(body: str, rate: int = 128) -> set[bool]:
        many = range(6)
        done = [
            run(body, start=start, ipas=(THERE,), code=after(barrier), rate=rate, seed=seed)
            for seed in many
        ]
        assert all(one.found is not None for one in done)
        return {one.leaks(PAGES[3]) for one in done}

    assert leaks(POISON + FILL + LINK) == {True, False}
    assert leaks(POISON + FILL + LINK, rate=0) == {False}
    assert leaks(POISON + FILL + LINK + DSB_ISH) == {False}
    assert leaks(POISON + FILL + "dmb ishst\n" + LINK) == {False}
    assert leaks(POISON + FILL + LINK + DSB_NSH) == {False}


def test_what_was_walked_goes_with_a_tlbi() -> None:
    flushed = POISON + FILL + LINK + VISIT + p.FLUSH_ALL
    left = POISON + FILL + LINK + VISIT + DSB_ISH
    assert run(left, start=START, ipas=(THERE,)).leaks(PAGES[3])
    assert run(flushed, start=START, ipas=(THERE,)).found == (FAULT,)
    once_more = left.replace("visit", "again")
    assert run(once_more, start=START + VISIT, ipas=(THERE,)).leaks(PAGES[3])


# States.


def _through_a_file(machine: Machine, adversary: TlbAdversary, until: str) -> None:
    """At the first moment at which there is some of that."""
    for number in range(20, 200):
        machine.run(number)
        state = adversary.save()
        if getattr(state, until, None) or getattr(state.exposure, until, None):
            break
    else:
        pytest.fail(until)
    snapshot = machine.snapshot()
    sections: document.Sections = {}
    plain = encode(list(snapshot.attachments), "s", sections)
    values, found = document.unpack(document.pack({"states": plain}, sections))
    read = tuple(Decoder(STATES).decode(values["states"], found))
    assert isinstance(read[1], TlbState)
    assert read[1] == state
    end, last = finish(machine, 1), adversary.save()
    machine.restore(replace(snapshot, attachments=read))
    assert adversary.save() == state
    assert finish(machine, 1) == end
    assert adversary.save() == last


@pytest.mark.parametrize(
    ("until", "body"),
    [
        ("linked", POISON + FILL + LINK + VISIT + DSB_ISH),
        ("emptied", FIRST + ALL + FIRST + DSB_ISH + ISB + UNMAP),
        ("never_held", SECOND + UNMAP),
    ],
)
def test_it_comes_back_from_a_file(until: str, body: str) -> None:
    machine = boot(body, start=START, code=after(DSB_ISH))
    _through_a_file(machine, TlbAdversary(machine, Choices(3, 128)), until)
