# SPDX-License-Identifier: Apache-2.0
"""What was found, each place in the code once."""

from dataclasses import dataclass, replace

from aether_edgecloud.emulator.check.names import Names
from aether_edgecloud.emulator.check.rules import RuleInfo


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction of a run. `pc` is a VA at EL2, `instruction` the number of those that `cpu`
    had retired, `position` that of all CPUs together: the one `aether replay --at` takes."""

    cpu: int
    pc: int
    instruction: int
    position: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A translation table entry: its PA, level, the first address it translates (an IPA with a
    VMID, else a VA of EL2), and the descriptor before and after, where they are known."""

    vmid: int | None
    pa: int | None = None
    level: int | None = None
    ia: int | None = None
    old: int | None = None
    new: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A breach of a rule at one place of the code: `count` times, the first at `place`.

    `symbol` is "name+offset", `source` "file:line". `entry` is the table entry in question, `value`
    the page or register value where that is something else. `words` says what happened.
    """

    rule: RuleInfo
    count: int
    place: Place
    words: str
    entry: Entry | None = None
    value: int | None = None
    symbol: str | None = None
    source: str | None = None


class Findings:
    """Collects them. `rules`: those that are wanted."""

    def __init__(self, rules: frozenset[str], names: Names) -> None:
        self._rules = rules
        self.names = names
        self._found: dict[tuple[str, int, str], Finding] = {}

    def wants(self, rule: RuleInfo) -> bool:
        """Whether findings of a rule are kept."""
        return rule.id in self._rules

    def add(
        self,
        rule: RuleInfo,
        place: Place,
        words: str,
        *,
        entry: Entry | None = None,
        value: int | None = None,
        kind: str = "",
    ) -> None:
        """One more. Those of one rule, at one PC and of one `kind` are counted together."""
        if not self.wants(rule):
            return
        key = (rule.id, place.pc, kind)
        known = self._found.get(key)
        if known is not None:
            self._found[key] = replace(known, count=known.count + 1)
            return
        symbol, source = self.names.symbol(place.pc), self.names.source(place.pc)
        self._found[key] = Finding(rule, 1, place, words, entry, value, symbol, source)

    @property
    def found(self) -> tuple[Finding, ...]:
        """All, the worst first, then in the order of the run."""
        order = {"error": 0, "warning": 1, "note": 2}
        return tuple(
            sorted(
                self._found.values(),
                key=lambda f: (order[f.rule.severity.value], f.place.position),
            )
        )

    @property
    def count(self) -> int:
        """How many places so far."""
        return len(self._found)
