# SPDX-License-Identifier: Apache-2.0
"""Which mutants to try: by name, or some of them, chosen by a number or a date and nothing else."""

import difflib
import random
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.mutants import catalogue, general
from aether_edgecloud.properties.mutants.mutant import Mutant

GENERAL_SEED = 1

_GENERAL = re.compile(r"(.+):([0-9]{1,9}):([0-9]{1,9})")
"""File, line, and which of that line."""


def known(general_ones: bool, root: Path = toolchain.SOURCE_ROOT) -> tuple[Mutant, ...]:
    """All seeded bugs, or all mechanical mutants. UserError as their loaders."""
    return general.mutants(root) if general_ones else catalogue.load(root)


def named(mutants: Sequence[Mutant], ids: Sequence[str]) -> tuple[Mutant, ...]:
    """Those with these ids, each once, in the order of `ids`. UserError: unknown ids."""
    by_id = {mutant.id: mutant for mutant in mutants}
    names = tuple(dict.fromkeys(ids))
    unknown = [name for name in names if name not in by_id]
    if unknown:
        near = dict.fromkeys(one for name in unknown if (one := _nearest(name, by_id)) is not None)
        fix = f"did you mean {', '.join(near)}?" if near else "see `aether mutants --list`"
        raise UserError(f"no mutant {', '.join(map(repr, unknown))}", fix=fix)
    return tuple(by_id[name] for name in names)


def _nearest(name: str, ids: Iterable[str]) -> str | None:
    """What was meant, perhaps: of a general one that on the nearest line of its file."""
    if match := _GENERAL.fullmatch(name):
        file, line, number = match[1], int(match[2]), int(match[3])
        there = [found for one in ids if (found := _GENERAL.fullmatch(one)) and found[1] == file]
        if there:
            near = min(there, key=lambda one: (abs(int(one[2]) - line), abs(int(one[3]) - number)))
            return near[0]
    close = difflib.get_close_matches(name, ids, n=1)
    return close[0] if close else None


def sample(mutants: Sequence[Mutant], count: int, day: date) -> tuple[Mutant, ...]:
    """`count` of them for this day. Days that follow each other go through all of them."""
    if not mutants:
        return ()
    order = shuffled(mutants, 0)
    start = day.toordinal() * count % len(order)
    chosen = {order[(start + i) % len(order)].id for i in range(min(count, len(order)))}
    return tuple(mutant for mutant in mutants if mutant.id in chosen)


def spread(mutants: Sequence[Mutant], count: int, seed: int) -> tuple[Mutant, ...]:
    """`count` of them, of each file as large a part. So are the first of them, if not all are
    tried: the files take turns."""
    files: dict[str, list[Mutant]] = {}
    for mutant in shuffled(mutants, seed):
        files.setdefault(mutant.edit.file, []).append(mutant)
    ranks = {
        mutant.id: ((rank + 0.5) / len(group), mutant.id)
        for group in files.values()
        for rank, mutant in enumerate(group)
    }
    return tuple(sorted(mutants, key=lambda mutant: ranks[mutant.id])[:count])


def shuffled(mutants: Sequence[Mutant], seed: int) -> tuple[Mutant, ...]:
    """In an order that ids and seed decide: a new mutant changes the order of no two others."""
    return tuple(sorted(mutants, key=lambda m: random.Random(f"{seed} {m.id}").random()))
