# SPDX-License-Identifier: Apache-2.0
"""A hypervisor that lets a secret out is found, and what is told of it is what leaks."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.noninterference.result import Comparison, Verdict
from aether_edgecloud.emulator.noninterference.secret import SecretKind
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT
from aether_edgecloud.properties.mutants import catalogue
from aether_edgecloud.properties.mutants.mutant import Edit
from aether_edgecloud.properties.mutants.tree import Tree

from . import patches
from .worlds import ALL, KEEPER, OBSERVER, World, two_runs

REGISTERS = World((replace(KEEPER, case="registers"), OBSERVER))


def leaks(found: Comparison) -> list[str]:
    """The names of what differs first."""
    assert found.difference is not None
    assert found.difference.vm == "observer"
    assert [vm.verdict for vm in found.vms if vm.name == "observer"] == [Verdict.DIFFERENT]
    return [value.name for value in found.difference.values]


@pytest.mark.parametrize(
    ("register", "function"),
    [
        ("TPIDR_EL1", "el1_load"),
        ("CNTV_CVAL_EL0", "el1_load"),
        pytest.param("FPCR", "fpsimd_load", marks=pytest.mark.nightly),
        pytest.param("CONTEXTIDR_EL1", "el1_load", marks=pytest.mark.nightly),
        pytest.param("MAIR_EL1", "el1_load", marks=pytest.mark.nightly),
        pytest.param("FAR_EL1", "el1_load", marks=pytest.mark.nightly),
    ],
)
def test_a_register_that_is_not_switched(register: str, function: str) -> None:
    subject = REGISTERS.subject(image=patches.without_write(register, function))
    found = two_runs(subject)
    assert leaks(found) == [register]


def test_a_slot_that_begins_when_the_work_is_done() -> None:
    """EL2 looks at the clock again and again in place of a sleep until the tick."""
    image = patches.without_sleep("run", "sleep_until", "serve")
    assert "time" in leaks(two_runs(REGISTERS.subject(image=image)))


def test_memory_that_is_given_out_as_it_was_left() -> None:
    image = patches.without_call("vm_load", "mm_zero")
    found = two_runs(REGISTERS.subject(image=image), kinds=frozenset({SecretKind.RESIDUE}))
    assert leaks(found) == []
    difference = found.difference
    assert difference is not None and difference.number == 0 and difference.pages > 900
    first = difference.memory[0]
    assert first.a != first.b and 0x4000_0000 <= first.ipa < 0x4000_0000 + (4 << 20)


# Built anew from changed sources: as seeded bugs are.


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    yield Tree(tmp_path_factory.mktemp("tree"))


def built(tree: Tree, edit: Edit) -> BootImage:
    """The hypervisor with one change."""
    with tree.changed(edit):
        tree.products("el2/")
        key = toolchain.product_key("el2", root=tree.root)
        return BootImage.from_file(tree.cache / "artefacts" / f"el2-{key[:16]}" / "el2.bin")


ANYTHING = World()
BEFORE = World((replace(OBSERVER, stub="listener", case=None), KEEPER))
"""The secret is in the second VM: what goes to the first by mistake is another's."""
NO_SCRUB = frozenset({SecretKind.RESIDUE})


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("bug", "world", "secret", "kinds"),
    [
        ("fpcr-not-loaded", REGISTERS, 0, ALL),
        ("tpidr-el1-shared", REGISTERS, 0, ALL),
        ("contextidr-csselr-shared", REGISTERS, 0, ALL),
        ("timer-compare-value-not-switched", REGISTERS, 0, ALL),
        ("restart-without-scrub", ANYTHING, 0, NO_SCRUB),
        ("uart-interrupt-at-vm-0", BEFORE, 1, ALL),
    ],
)
def test_a_seeded_bug_that_leaks(
    bug: str, world: World, secret: int, kinds: frozenset[SecretKind], tree: Tree
) -> None:
    bugs = {one.id: one for one in catalogue.load(SOURCE_ROOT)}
    subject = world.subject(secret, built(tree, bugs[bug].edit))
    found = two_runs(subject, ms=60, kinds=kinds)
    assert found.difference is not None and found.difference.vm == "observer"


@pytest.mark.nightly
def test_a_slot_that_begins_a_while_after_the_last_one_ended(tree: Tree) -> None:
    """The window is counted from when EL2 has done its work."""
    file, before = "el2/sched.c", b"    sleep_until(start + window);\n    bool runs"
    text = (tree.root / file).read_bytes()
    assert text.count(before) == 1
    start = text.index(before)
    after = before.replace(b"start + window", b"counter() + window / 2")
    subject = ANYTHING.subject(image=built(tree, Edit(file, start, start + len(before), after)))
    assert "time" in leaks(two_runs(subject, ms=60))
