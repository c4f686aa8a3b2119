# SPDX-License-Identifier: Apache-2.0
"""The seeded bugs: TOML files by subject, checked and placed in the sources as they stand."""

import re
import tomllib
from pathlib import Path
from typing import NoReturn

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.mutants.mutant import Edit, Mutant

FOLDER = Path(__file__).resolve().parent / "bugs"
FOLDERS = ("el2/", "stage2/")
KNOWN_BUGS = 60
"""Known bugs have the numbers 1 to this."""

_FIELDS = {"id", "title", "recreates", "file", "before", "after", "tests", "expect"}
_OPTIONAL = {"recreates"}
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def load(root: Path, folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """All entries, in the order of the files' names. `root` holds el2/ and stage2/.

    UserError: a file that is not as it should be, or an entry whose place is not there exactly
    once.
    """
    found: list[Mutant] = []
    ids: dict[str, Path] = {}
    for path in sorted(folder.glob("*.toml")):
        for number, table in enumerate(_tables(path), 1):
            mutant = _mutant(root, path, number, table)
            if mutant.id in ids:
                _refuse(path, mutant.id, f"the id is there already, in {ids[mutant.id].name}")
            ids[mutant.id] = path
            found.append(mutant)
    return tuple(found)


def _tables(path: Path) -> list[dict[str, object]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(error), where=str(path)) from None
    tables = content.pop("bug", None)
    if content or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise UserError("holds something else than [[bug]]", where=str(path))
    return tables


def _mutant(root: Path, path: Path, number: int, table: dict[str, object]) -> Mutant:
    name = str(table.get("id", f"entry {number}"))
    wrong = sorted((_FIELDS - _OPTIONAL - set(table)) | (set(table) - _FIELDS))
    if wrong:
        _refuse(path, name, f"{', '.join(wrong)}: missing or unknown")
    if not _ID.fullmatch(name):
        _refuse(path, name, "the id is not of a-z, 0-9 and single -")
    text = {key: table[key] for key in ("title", "file", "before", "after", "expect")}
    for key, value in text.items():
        if not isinstance(value, str) or (not value and key != "after"):
            _refuse(path, name, f"{key} is not a text")
    try:
        re.compile(str(text["expect"]))
    except re.error as error:
        _refuse(path, name, f"expect: {error}")
    return Mutant(
        id=name,
        title=str(text["title"]),
        edit=_edit(root, path, name, str(text["file"]), str(text["before"]), str(text["after"])),
        tests=_selectors(root, path, name, table["tests"]),
        expect=str(text["expect"]),
        recreates=_numbers(path, name, table.get("recreates", [])),
    )


def _edit(root: Path, path: Path, name: str, file: str, before: str, after: str) -> Edit:
    if not file.startswith(FOLDERS) or not (root / file).is_file():
        _refuse(path, name, f"{file}: not a source of the hypervisor")
    text = (root / file).read_bytes()
    count = text.count(before.encode())
    if count != 1:
        _refuse(path, name, f"`before` is in {file} {count} times, not once")
    if before == after:
        _refuse(path, name, "`after` is `before`")
    start = text.index(before.encode())
    return Edit(file, start, start + len(before.encode()), after.encode())


def _selectors(root: Path, path: Path, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        _refuse(path, name, "tests is not a list of selectors")
    for selector in value:
        if not isinstance(selector, str) or not (root / selector.partition("::")[0]).exists():
            _refuse(path, name, f"{selector}: there is no such test file")
    return tuple(value)


def _numbers(path: Path, name: str, value: object) -> tuple[int, ...]:
    good = isinstance(value, list) and all(
        isinstance(number, int) and 1 <= number <= KNOWN_BUGS for number in value
    )
    if not good:
        _refuse(path, name, f"recreates is not a list of numbers from 1 to {KNOWN_BUGS}")
    assert isinstance(value, list)
    return tuple(value)


def _refuse(path: Path, name: str, what: str) -> NoReturn:
    raise UserError(what, where=f"{path.name}: {name}", fix="correct the catalogue of seeded bugs")
