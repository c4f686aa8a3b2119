# SPDX-License-Identifier: Apache-2.0
"""Which way of running shows which seeded bug, to guests that look, and to the checker.

A bug is seen when what the console shows, or how the run ends, differs from what the same way gives
with the real binary. The real binary itself must show no guest anything wrong, in any way. Seen so
or not, each bug has a property of the suite that kills it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary import table_builds, table_ways
from aether_edgecloud.properties.adversary.table_builds import Program
from aether_edgecloud.properties.adversary.table_scenarios import SCENARIOS, Scenario
from aether_edgecloud.properties.adversary.table_ways import ADVERSARIES, Outcome, Trial, Way
from aether_edgecloud.properties.mutants import catalogue
from aether_edgecloud.properties.mutants.mutant import Mutant

NUMBERS = frozenset({*range(1, 23), 25, 26, *range(55, 61)})
"""Known bugs (docs/seeded-bugs.md) of translation, barriers, caches, scrubbing and start-up."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Of one bug, run in one way. `what` differs first, nothing: no run differs; `where`: the run;
    `runs`: how many were made."""

    what: str
    where: str = ""
    runs: int = 0

    @property
    def is_seen(self) -> bool:
        return bool(self.what)


@dataclass(frozen=True, slots=True)
class Row:
    """One bug."""

    bug: Mutant
    cells: dict[Way, Cell]

    @property
    def number(self) -> int:
        """Of the known bug that it re-creates, the first of those of this table."""
        return min(number for number in self.bug.recreates if number in NUMBERS)

    @property
    def killer(self) -> str:
        """See killer()."""
        return killer(self.bug)

    @property
    def is_seen(self) -> bool:
        """In any way that was tried."""
        return any(cell.is_seen for cell in self.cells.values())

    @property
    def is_seen_by_adversary(self) -> bool:
        return any(self.cells[way].is_seen for way in ADVERSARIES if way in self.cells)

    @property
    def is_unseen_by_adversary(self) -> bool:
        """Both together have tried, and none has shown it."""
        return Way.BOTH in self.cells and not self.is_seen_by_adversary


def killer(bug: Mutant, root: Path = toolchain.SOURCE_ROOT) -> str:
    """The property that the catalogue names first; `aether mutants` shows that it kills the bug.
    UserError: it names none that there is."""
    selector = next(iter(bug.tests), "")
    file, _, name = selector.partition("[")[0].partition("::")
    there = (root / file).is_file() and selector != ""
    if there and name:
        text = (root / file).read_text(encoding="utf-8")
        there = re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE) is not None
    if not there:
        raise UserError(
            f"no property kills {bug.id}: there is no {selector or 'test that it names'}",
            fix="name the test that does in properties/mutants/bugs",
        )
    return selector


def bugs() -> tuple[Mutant, ...]:
    """Those of the table, by number. UserError: one of them has no killer."""
    found = [bug for bug in catalogue.load(toolchain.SOURCE_ROOT) if NUMBERS & set(bug.recreates)]
    for bug in found:
        killer(bug)
    return tuple(sorted(found, key=lambda bug: (min(NUMBERS & set(bug.recreates)), bug.id)))


class Table:
    """Makes rows. `ways` and `scenarios` say what is run; the real binary's runs are made once."""

    def __init__(
        self, ways: Sequence[Way] = tuple(Way), scenarios: Sequence[Scenario] = SCENARIOS
    ) -> None:
        self._ways = tuple(ways)
        self._scenarios = tuple(scenarios)
        self._outcomes: dict[Trial, Outcome] = {}

    def real(self, trial: Trial) -> Outcome:
        """What comes of the real binary. UserError if it is wrong itself: then a column says
        nothing."""
        if trial not in self._outcomes:
            real = table_builds.binary(trial.scenario.program)
            outcome = table_ways.run(real, trial)
            wrong = [*outcome.wrong, outcome.rule] if outcome.rule else outcome.wrong
            wrong += [outcome.end] if outcome.end != StopKind.SYSTEM_OFF.value else []
            if wrong:
                raise UserError(
                    f"the real binary: {wrong[0]}",
                    where=f"{trial.way.value}, {trial}",
                    fix="the model or the hypervisor is wrong: aether check tells more",
                )
            self._outcomes[trial] = outcome
        return self._outcomes[trial]

    def row(self, bug: Mutant, told: Callable[[Way, Cell], None] = lambda *_: None) -> Row:
        """Try one bug in every way. UserError: it does not build."""
        cells: dict[Way, Cell] = {}
        for way in self._ways:
            cells[way] = self.cell(bug, way)
            told(way, cells[way])
        return Row(bug, cells)

    def cell(self, bug: Mutant, way: Way) -> Cell:
        """One bug in one way."""
        programs = {p: table_builds.binary(p, bug.edit) for p in Program}
        concerned = [p for p in Program if programs[p] != table_builds.binary(p)]
        scenarios = tuple(s for s in self._scenarios if s.program in concerned)
        runs = 0
        for trial in table_ways.trials(way, scenarios):
            real = self.real(trial)
            outcome = table_ways.run(programs[trial.scenario.program], trial)
            what = outcome.rule if way is Way.CHECKER else outcome.differs(real)
            runs += 1
            if what:
                return Cell(what, str(trial), runs)
        return Cell("", runs=runs)
