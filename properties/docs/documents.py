# SPDX-License-Identifier: Apache-2.0
"""Reads the documents: fenced blocks, links, headings.

A block whose info string names a file (```toml guest.toml) is that file. A block ```console is a
session: lines that begin with `$ ` are run, one after another in one folder with the document's
files, and the lines below a command are its output. There `...` stands for any number of lines, or
for any part of one line. Blocks of any other kind are not run.
"""

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(.*)$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]+`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its info string, split, and its text."""

    info: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a session and the output shown below it."""

    command: str
    shown: tuple[str, ...]


def blocks(document: str) -> list[Block]:
    """The fenced blocks, in order."""
    found: list[Block] = []
    inside: list[str] | None = None
    info: tuple[str, ...] = ()
    for line in document.splitlines():
        fence = _FENCE.match(line)
        if inside is not None and fence:
            found.append(Block(info, "".join(f"{one}\n" for one in inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
        elif fence:
            inside, info = [], tuple(fence[1].split())
    assert inside is None, "a block without end"
    return found


def prose(document: str) -> str:
    """The text outside of fenced blocks."""
    kept, fenced = [], False
    for line in document.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            kept.append(line)
    return "\n".join(kept)


def files(document: str) -> dict[str, str]:
    """Files that the document gives, by name."""
    return {b.info[1]: b.text for b in blocks(document) if len(b.info) == 2}


def session(document: str) -> list[Step]:
    """The commands of all ```console blocks, in order."""
    found: list[Step] = []
    for block in blocks(document):
        if block.info != ("console",):
            continue
        for line in block.text.splitlines():
            if line.startswith("$ "):
                found.append(Step(line.removeprefix("$ "), ()))
            else:
                last = found.pop()
                found.append(Step(last.command, (*last.shown, line)))
    return found


def links(document: str) -> list[str]:
    """The targets of all links and pictures."""
    return _LINK.findall(_CODE.sub("", prose(document)))


def code_words(document: str) -> list[str]:
    """What stands in backquotes outside of blocks."""
    return [word[1:-1] for word in _CODE.findall(prose(document))]


def anchors(document: str) -> set[str]:
    """The names that headings can be linked by."""
    titles = _HEADING.findall(prose(document))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def first_missing(shown: tuple[str, ...], output: list[str]) -> str | None:
    """The first line shown that the output does not have where it should; None when all is there.

    Lines follow one another directly, unless `...` stands between them. The output may go on.
    """
    at, skip = 0, False
    for line in shown:
        if line == "...":
            skip = True
            continue
        last = len(output) if skip else min(at + 1, len(output))
        hit = next((i for i in range(at, last) if _matches(line, output[i])), None)
        if hit is None:
            return line
        at, skip = hit + 1, False
    return None


def _matches(shown: str, line: str) -> bool:
    pattern = "*".join(re.sub(r"([\[*?])", r"[\1]", part) for part in shown.split("..."))
    return fnmatch.fnmatchcase(line.rstrip(), pattern)
