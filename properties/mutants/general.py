# SPDX-License-Identifier: Apache-2.0
"""Mechanical mutants of C sources: another operator, another constant, a condition the other way
round, a statement left out. Found with a C parser, so that each is one piece of the syntax.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.mutants.accepted import accept
from aether_edgecloud.properties.mutants.assembly import instructions
from aether_edgecloud.properties.mutants.mutant import Edit, Mutant

if TYPE_CHECKING:
    from tree_sitter import Node

SELECTORS = Path(__file__).resolve().parent / "general.toml"

# To the nearest neighbour: a change that is too coarse is noticed by anything.
OPERATORS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "*",
    "%": "/",
    "&": "|",
    "|": "&",
    "^": "&",
    "<<": ">>",
    ">>": "<<",
    "&&": "||",
    "||": "&&",
    "+=": "-=",
    "-=": "+=",
    "|=": "&=",
    "&=": "|=",
    "^=": "|=",
    "<<=": ">>=",
    ">>=": "<<=",
}
_CONDITIONS = ("if_statement", "while_statement", "conditional_expression")
_TRUTH = {"true": "false", "false": "true"}


def selectors() -> dict[str, tuple[str, ...]]:
    """The tests of each source file, the most telling first."""
    tables = tomllib.loads(SELECTORS.read_text(encoding="utf-8"))["source"]
    return {file: tuple(table["tests"]) for table in tables for file in table["files"]}


def mutants(root: Path) -> tuple[Mutant, ...]:
    """All, in the order of the sources. UserError: no parser is installed; or as `accept`."""
    found = [
        Mutant(id=name, title=title, edit=edit, tests=tests)
        for file, tests in selectors().items()
        for name, title, edit in _numbered(file, _changes(root / file, file))
    ]
    return accept(root, found)


def _numbered(
    file: str, changes: Iterator[tuple[str, Edit, int]]
) -> Iterator[tuple[str, str, Edit]]:
    """An id for each: file, line, and which of that line."""
    last, count = 0, 0
    for title, edit, line in changes:
        count = count + 1 if line == last else 1
        last = line
        yield f"{file}:{line}:{count}", title, edit


def _changes(path: Path, file: str) -> Iterator[tuple[str, Edit, int]]:
    source = path.read_bytes()
    found = instructions(source) if path.suffix == ".S" else _statements(source)
    for start, end, text, what in sorted(found):
        before = " ".join(source[start:end].decode().split())
        line = source.count(b"\n", 0, start) + 1
        shown = before if len(before) <= 60 else before[:57] + "..."
        # Lines stay where they are, for what the compiler says and for debuggers.
        kept = text + b"\n" * (source[start:end].count(b"\n") - text.count(b"\n"))
        yield f"{what}: {shown}", Edit(file, start, end, kept), line


def _statements(source: bytes) -> list[tuple[int, int, bytes, str]]:
    try:
        import tree_sitter
        import tree_sitter_c
    except ImportError:
        raise UserError(
            "the C parser for general mutants is not installed",
            fix="pip install tree-sitter tree-sitter-c",
        ) from None
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))
    found: list[tuple[int, int, bytes, str]] = []
    # Not recursive: expressions nest as deep as they like.
    waiting = [parser.parse(source).root_node]
    while waiting:
        node = waiting.pop()
        if node.type in ("preproc_include", "preproc_def", "preproc_function_def", "comment"):
            continue
        if node.type == "static_assert_declaration":
            continue
        found += _of_node(node)
        waiting += node.children
    return found


def _of_node(node: "Node") -> Iterator[tuple[int, int, bytes, str]]:
    if node.type in ("binary_expression", "assignment_expression"):
        operator = node.child_by_field_name("operator")
        if operator is not None and operator.type in OPERATORS:
            other = OPERATORS[operator.type]
            yield (
                operator.start_byte,
                operator.end_byte,
                other.encode(),
                f"{operator.type} becomes {other}",
            )
    if node.type in _CONDITIONS:
        condition = node.child_by_field_name("condition")
        if condition is not None and condition.text is not None:
            inner = condition.text
            yield (
                condition.start_byte,
                condition.end_byte,
                b"(!(" + inner + b"))",
                "condition negated",
            )
    if node.type == "number_literal" and node.text is not None:
        text = b"(" + node.text + b" + 1)"
        yield node.start_byte, node.end_byte, text, "constant + 1"
    if node.type in _TRUTH:
        yield node.start_byte, node.end_byte, _TRUTH[node.type].encode(), "truth value inverted"
    if node.type in ("expression_statement", "break_statement", "continue_statement"):
        yield node.start_byte, node.end_byte, b";", "statement removed"
    if node.type == "return_statement" and node.named_child_count == 0:
        yield node.start_byte, node.end_byte, b";", "statement removed"
