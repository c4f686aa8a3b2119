# SPDX-License-Identifier: Apache-2.0
"""The seeded bugs that concern several CPUs, each with the race that is to find it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.interleave.explore import Result
from aether_edgecloud.emulator.interleave.interleaving import Method
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.monitor.violation import Violation
from aether_edgecloud.emulator.toolchain import compilers, recipes, sources
from aether_edgecloud.emulator.toolchain.making import make
from aether_edgecloud.properties.adversary import races
from aether_edgecloud.properties.mutants import catalogue
from aether_edgecloud.properties.mutants.mutant import Edit
from aether_edgecloud.properties.mutants.tree import edited

MOST = 10_000
"""Schedules in which each is found."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """A bug, the race that shows it, and what that says then (a regular expression). `schedules`:
    it does not in the runs without preemption."""

    bug: str
    race: str
    expect: str
    schedules: bool = False


_TABLES = "Violation: (frozen|not-flushed|not-published|make-before-clean|vttbr-moved)"
HUNTS = (
    Hunt("tlbi-of-one-cpu", "share-twice", _TABLES),
    Hunt("dsb-of-one-cpu", "share-twice", _TABLES),
    Hunt("no-dsb-before-tlbi", "share-twice", _TABLES),
    Hunt("no-dsb-between-the-stages", "share-twice", _TABLES),
    Hunt("dsb-for-stores-after-tlbi", "reset-of-the-owner", _TABLES),
    Hunt("entries-not-published", "share-twice", _TABLES),
    Hunt("reclaim-of-what-is-borrowed", "retrieve-and-reclaim", "no order of the two"),
    Hunt("retrieve-twice", "retrieve-twice", "accepted, although"),
    Hunt("cpu-on-of-a-running-vcpu", "turn-on-twice", "CPU_ON of a vCPU that is on"),
    Hunt("stopped-vm-runs-on", "reset-beside", "has run while its VM was loaded"),
    Hunt("loaded-while-a-vcpu-runs", "reset-beside", "comes back|has run while", schedules=True),
    Hunt("sender-waits-for-ever", "ask-while-it-ends", "never answered"),
    Hunt("no-kick", "signal", "lost, or late"),
    Hunt("sleeper-not-woken-by-an-sgi", "signal", "lost, or late"),
    Hunt("cpu-on-twice-succeeds", "turn-on-twice", "answer 0x0 and 0x0"),
    Hunt("cpu-on-lock-leak", "turn-on-twice", "CPU_ON of a vCPU that is on"),
    Hunt("share-lock-leak", "share-twice", "refused with -4"),
    Hunt("stop-between-two-lives-refused", "stop-while-it-ends", "VM_STOP of", schedules=True),
    Hunt("answer-to-a-former-request", "answer-the-former-life", "another request",
         schedules=True),
    Hunt("share-lock-not-atomic", "share-twice", "refused with -4|no order", schedules=True),
    Hunt("ticket-not-atomic", "turn-on-twice", "come back|never at rest", schedules=True),
    Hunt("notification-lock-not-atomic", "notify", "X4 must be|refused with -4",
         schedules=True),
)  # fmt: skip

_OWN = {
    "share-lock-not-atomic": (
        "el2/ffa_memory.c",
        "bool got = __atomic_exchange_n(&shares->lock, 1, __ATOMIC_ACQUIRE) == 0;",
        "volatile uint32_t *lock = &shares->lock;\n    bool got = *lock == 0;\n    *lock = 1;",
    ),
    "ticket-not-atomic": (
        "el2/include/el2/spinlock.h",
        "uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);",
        "volatile uint32_t *next = &lock->next;\n    uint32_t ticket = *next;\n"
        "    *next = ticket + 1;",
    ),
    "notification-lock-not-atomic": (
        "el2/ffa_notify.c",
        "return __atomic_exchange_n(&notifications->lock, 1, __ATOMIC_ACQUIRE) == 0;",
        "volatile uint32_t *lock = &notifications->lock;\n    bool got = *lock == 0;\n"
        "    *lock = 1;\n    return got;",
    ),
}
"""Bugs of this list alone: locks that are taken by a load and a store."""


def edit_of(bug: str) -> Edit:
    """What the bug changes."""
    root = toolchain.SOURCE_ROOT
    if bug not in _OWN:
        return next(mutant.edit for mutant in catalogue.load(root) if mutant.id == bug)
    file, before, after = _OWN[bug]
    text = (root / file).read_bytes()
    assert text.count(before.encode()) == 1, bug
    start = text.index(before.encode())
    return Edit(file, start, start + len(before), after.encode())


def _build(edit: Edit, folder: Path) -> Path:
    """The ELF file of the hypervisor with that change."""
    recipe, root = recipes.EL2, toolchain.SOURCE_ROOT
    copy = folder / "sources"
    for file in sources.all_files(recipe, root):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, copy / file)
    (copy / edit.file).write_bytes(edited((root / edit.file).read_bytes(), edit))
    return make(recipe, compilers.select(recipe.kind), "", copy, folder).elf


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a hunt. `schedules`: 0 if the guests do not even get ready; 1 if the race goes
    wrong in any order."""

    what: str
    schedules: int
    result: Result | None = None


def hunt(one: Hunt, *, most: int = MOST, depth: int = 3) -> Found:
    """Runs the race on the hypervisor with that bug in it."""
    with tempfile.TemporaryDirectory(prefix="aether-race-") as folder:
        try:
            el2 = binary.load(_build(edit_of(one.bug), Path(folder)))
            prepared = races.Prepared(races.find(one.race), depth=depth, el2=el2)
        except (AssertionError, Violation) as error:
            return Found(f"{type(error).__name__}: {error}", 0)
    try:
        failure = prepared.explorer.learn()
        if failure is not None:
            return Found(failure.what, 1)
        chosen = prepared.explorer.schedules(Method.PCT)
        result = prepared.explorer.explore(chosen, most=most)
        found = result.first
        return Found("" if found is None else found.what, result.schedules, result)
    finally:
        prepared.close()
