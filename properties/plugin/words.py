# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis found, in words: the shrunk example as steps, and how to have it again."""

import ast
import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence

import pytest

from aether_edgecloud.properties.plugin import options, profiles

PREFIX = "aether: "
_BLOB = re.compile(r"@reproduce_failure\('[^']*', b(?:'[^']*'|\"[^\"]*\")\)")
# It was "Falsifying example" once, and an explicit one has a word more.
_EXAMPLE = re.compile(r"^(?:Falsifying|Failing)[\w ]*(?:example|test case): ?")
_LARGE = 0xFFFF
_INVARIANT = "hypothesis_stateful_invariant"


def sections(item: pytest.Item, error: BaseException) -> list[tuple[str, str]]:
    """How to have the failure again, and what led to it, for pytest to show."""
    noted = notes(error)
    return told(
        [
            ("to repeat it", lambda: how_to_repeat(item, noted)),
            ("what led there", lambda: example(item, noted)),
        ]
    )


def told(parts: Sequence[tuple[str, Callable[[], str | None]]]) -> list[tuple[str, str]]:
    """Titles and texts; without those that have nothing to tell. What fails says so in a line: a
    report about a failure must not be another one."""
    found = []
    for title, tell in parts:
        try:
            text = tell()
        except Exception as error:
            text = f"cannot be told ({type(error).__name__}: {error})"
        if text:
            found.append((PREFIX + title, text))
    return found


def notes(error: BaseException) -> list[str]:
    """What was noted on an exception and, if it is a group, on those in it."""
    found = [str(note) for note in getattr(error, "__notes__", ())]
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found += notes(inner)
    return found


def how_to_repeat(item: pytest.Item, noted: Sequence[str]) -> str:
    """One line that runs the test again with the same examples, and Hypothesis's own way."""
    words = ["pytest", _test(item), *options.given(item.config), *_of_pytest(item.config)]
    if (number := _seed(item)) is not None:
        words.append(f"--hypothesis-seed={number}")
    lines = [shlex.join(words)]
    blob = next((found[0] for note in noted if (found := _BLOB.search(note))), None)
    if blob is not None:
        lines.append(f"that example alone: {blob} above {_name(item)}")
    return "\n".join(lines)


def _of_pytest(config: pytest.Config) -> list[str]:
    """What replaces the ini file, or values of it: our options may stand there."""
    words = []
    if file := config.getoption("inifilename", default=None):
        words += ["-c", str(file)]
    for override in config.getoption("override_ini", default=None) or ():
        if not override.startswith("strict"):  # what pytest makes of --strict-markers
            words += ["-o", override]
    return words


def _test(item: pytest.Item) -> str:
    """Its node ID as it is seen from where pytest was started, as are the files of the options."""
    _, colons, inner = item.nodeid.partition("::")
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return path + colons + inner


def seed(item: pytest.Item) -> int | str | None:
    """What Hypothesis's choices in this test came from; None where they are always the same."""
    return _seed(item)


def _seed(item: pytest.Item) -> int | str | None:
    found = profiles.property_of(item)
    if found is None:
        return None
    given = item.config.getoption("--hypothesis-seed", default=None)
    return profiles.seed_of(item) if given is None else str(given)


def _name(item: pytest.Item) -> str:
    found = profiles.property_of(item)
    kind = "class " if inspect.isclass(found) else ""
    return kind + str(getattr(found, "__name__", item.name))


def example(item: pytest.Item, noted: Sequence[str]) -> str | None:
    """The example that failed: the steps of a state machine, numbered, or the arguments."""
    start = next((n for n, note in enumerate(noted) if _EXAMPLE.match(note)), None)
    if start is None:
        return None
    said = [_EXAMPLE.sub("", note) for note in noted[start:] if not _BLOB.search(note)]
    if not inspect.isclass(profiles.property_of(item)):
        return _arguments(said[0], getattr(item, "fixturenames", ()))
    return "\n".join(_steps(profiles.property_of(item), said))


def _arguments(text: str, fixtures: Sequence[str]) -> str:
    """`name = value` for each argument that Hypothesis chose."""
    call = _call(text)
    if call is None:
        return text
    lines = []
    for keyword in call.keywords:
        if keyword.arg not in fixtures:
            source = ast.get_source_segment(text, keyword.value)
            lines.append(f"{keyword.arg} = {source}{_in_hexadecimal(keyword.value)}")
    return "\n".join(lines)


def _in_hexadecimal(value: ast.expr) -> str:
    """Large numbers here are addresses and bit patterns."""
    number = value.value if isinstance(value, ast.Constant) else None
    return f" ({number:#x})" if isinstance(number, int) and number > _LARGE else ""


def _steps(machine: type, said: Sequence[str]) -> Iterator[str]:
    """One line for each rule: what it was called with, and what it is in its author's words."""
    number = 0
    for text in said:
        for statement in _statements(text):
            source = ast.get_source_segment(text, statement) or text
            call = _value(statement)
            rule = _rule(machine, call)
            if rule is None or call is None or hasattr(rule, _INVARIANT):
                continue
            number += 1
            words = _in_words(rule, call)
            shown = source.replace("state.", "", 1)
            yield f"{number:>3}. {words}   [{shown}]" if words else f"{number:>3}. {shown}"


def _in_words(rule: object, call: ast.Call) -> str:
    """The first line of the rule's docstring; {names} in it are its arguments."""
    text = (inspect.getdoc(rule) or "").partition("\n")[0].rstrip(".")
    for keyword in call.keywords:
        text = text.replace(f"{{{keyword.arg}}}", ast.unparse(keyword.value))
    return text


def _rule(machine: type, call: ast.Call | None) -> object:
    if call is None or not isinstance(call.func, ast.Attribute) or call.func.attr == "teardown":
        return None
    return getattr(machine, call.func.attr, None)


def _value(statement: ast.stmt) -> ast.Call | None:
    value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    return value if isinstance(value, ast.Call) else None


def _call(text: str) -> ast.Call | None:
    statements = _statements(text)
    return _value(statements[0]) if len(statements) == 1 else None


def _statements(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError):
        return []
