# SPDX-License-Identifier: Apache-2.0
"""Mechanical mutants that no property can notice, with the reason: `accepted.toml`.

An entry names its mutant by the file, by a piece of the source that is there exactly once, and by
the change made in it. When the source changes so that it no longer fits, nothing is tried until
the entry has been looked at again.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.mutants.mutant import Mutant

FILE = Path(__file__).resolve().parent / "accepted.toml"
_FIELDS = {"file", "text", "change", "reason"}


def accept(root: Path, mutants: Sequence[Mutant], path: Path = FILE) -> tuple[Mutant, ...]:
    """The mutants, those of the entries with their reason. UserError: an entry that is not as it
    should be, or whose mutant is not there exactly once."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(error), where=str(path)) from None
    reasons: dict[str, str] = {}
    for number, entry in enumerate(content.get("accepted", []), 1):
        name = f"{path.name}: entry {number}"
        if set(entry) != _FIELDS or not all(isinstance(v, str) and v for v in entry.values()):
            _refuse(name, f"is not of the texts {', '.join(sorted(_FIELDS))}")
        mutant = _find(root, mutants, entry, name)
        if mutant.id in reasons:
            _refuse(name, f"{mutant.id} is accepted twice")
        reasons[mutant.id] = entry["reason"]
    return tuple(replace(mutant, accepted=reasons.get(mutant.id, "")) for mutant in mutants)


def _find(root: Path, mutants: Sequence[Mutant], entry: dict[str, str], name: str) -> Mutant:
    file, text, change = entry["file"], entry["text"].encode(), entry["change"]
    where = f"{name} ({file}: {change})"
    source = (root / file).read_bytes() if (root / file).is_file() else b""
    if source.count(text) != 1:
        _refuse(where, f"`text` is in {file} {source.count(text)} times, not once")
    start = source.index(text)
    found = [
        mutant
        for mutant in mutants
        if mutant.edit.file == file
        and mutant.title == change
        and start <= mutant.edit.start
        and mutant.edit.end <= start + len(text)
    ]
    if len(found) != 1:
        _refuse(where, f"`text` holds {len(found)} such changes, not one")
    return found[0]


def _refuse(where: str, what: str) -> NoReturn:
    raise UserError(what, where=where, fix="correct the list of accepted mutants")
