# SPDX-License-Identifier: Apache-2.0
"""The program in real (pseudo-)terminals, as a process of its own: whole screens, without colour
too, and what terminals do to it."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from aether_edgecloud.properties.cli.command_line import COMMAND, aether
from aether_edgecloud.properties.ui.pseudo_terminal import Terminal

SCREENS = Path(__file__).parent / "screens"
"""What screens of the small program look like. AETHER_REDRAW=1 draws them anew: look at what git
says has changed."""
_ESCAPE = "\x1b"


@contextmanager
def opened(
    file: Path,
    size: tuple[int, int] = (80, 24),
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> Iterator[Terminal]:
    """`aether replay` on a terminal."""
    # COLUMNS and LINES would stand for the size of the terminal.
    own = ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES")
    variables = {k: v for k, v in os.environ.items() if k not in own}
    variables |= {"TERM": "xterm-256color", **(environment or {})}
    with Terminal([*COMMAND, "replay", str(file), *arguments], *size, variables) as terminal:
        yield terminal


def _compare(name: str, terminal: Terminal) -> None:
    """It comes to look like that."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("AETHER_REDRAW"):
        SCREENS.mkdir(exist_ok=True)
        path.write_text(terminal.calm().text + "\n", encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    terminal.until(lambda terminal: terminal.text + "\n" == expected)


_nightly = pytest.mark.nightly
_SCREENS = [
    pytest.param((80, 24), False, id="80x24-no-colour"),
    pytest.param((120, 40), True, id="120x40-colour"),
    pytest.param((80, 24), True, id="80x24-colour", marks=_nightly),
    pytest.param((120, 40), False, id="120x40-no-colour", marks=_nightly),
]


@pytest.mark.parametrize(("size", "colour"), _SCREENS)
def test_screens(small: Path, size: tuple[int, int], colour: bool) -> None:
    """The same characters with and without colour."""
    environment = {} if colour else {"NO_COLOR": "1"}
    name = "x".join(map(str, size))
    with opened(small, size, environment) as terminal:
        terminal.shows("0 of 60", "start", "? help")
        _compare(f"{name}-reset", terminal)
        terminal.type("g36\r").shows("36 of 60", "handle")
        _compare(f"{name}-handler", terminal)
        terminal.type("5").shows("5 stage 2")
        _compare(f"{name}-stage2", terminal)
        terminal.type("?").shows("Lower-case")
        _compare(f"{name}-help", terminal)
        terminal.type("q").until(lambda t: "Lower-case" not in t.text)
        terminal.type("q")
        assert terminal.end() == 0
        assert bool(terminal.colours) is colour


def test_keys_questions_and_lists(small: Path) -> None:
    """Steps in both directions, answers typed as fast as can be, Escape, and a mistake."""
    with opened(small) as terminal:
        terminal.shows("0 of 60")
        terminal.type("sss").shows("3 of 60")
        terminal.type("S").shows("2 of 60")
        terminal.type("g20\r").shows("20 of 60")
        terminal.type("g").shows("go to (")
        terminal.type(_ESCAPE).until(lambda t: "go to (" not in t.text)
        terminal.type(":").shows("type to see fewer")
        terminal.type("step back").shows("one instruction back")
        terminal.type(_ESCAPE).until(lambda t: "one instruction back" not in t.text)
        terminal.type("gnowhere\r").shows("nowhere")
        assert "Traceback" not in terminal.text
        terminal.type("s").shows("21 of 60")


def test_the_link_reopens_the_place(small: Path) -> None:
    with opened(small, arguments=("--at", "50%")) as terminal:
        terminal.shows("30 of 60").type("y").shows("copied: ")
        sent = terminal.written.rpartition(b"\x1b]52;c;")[2].partition(b"\x07")[0]
        link = base64.b64decode(sent).decode()
    assert link == f"{small}@30"
    with opened(Path(link)) as terminal:
        terminal.shows("30 of 60")


def test_bookmarks_are_there_again(small: Path, tmp_path: Path) -> None:
    """With the recording; not for another run, and never in place of something else."""
    file = tmp_path / "copied.aet"
    file.write_bytes(small.read_bytes())
    kept = tmp_path / "copied.aet.bookmarks"
    with opened(file, arguments=("--at", "20")) as terminal:
        terminal.shows("20 of 60").type("kodd write\r").shows("bookmark odd write at 20")
        terminal.type("q")
        assert terminal.end() == 0
    with opened(file) as terminal:
        terminal.shows("0 of 60").type("godd write\r").shows("20 of 60")
        terminal.type("k").shows("(empty or the same clears it): odd write")
        terminal.type("\r").shows("no bookmark at 20 any more")
        assert not kept.exists()
        terminal.type("k\r").shows("bookmark 20 at 20")
        kept.unlink()
        kept.mkdir()  # what stands in the way of the last one's removal
        terminal.type("k\r").shows("no bookmark at 20 any more; for this session only")
        terminal.type("q")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.written.decode()
    kept.rmdir()
    kept.write_text("shopping list")
    with opened(file) as terminal:
        assert terminal.end() == 2
        (line,) = terminal.written.decode().splitlines()
    assert "copied.aet.bookmarks: holds no bookmarks" in line
    assert kept.read_text() == "shopping list"


def test_the_window_may_change_its_size(small: Path) -> None:
    with opened(small) as terminal:
        terminal.shows("0 of 60", "events")
        terminal.resize(120, 40)
        terminal.shows("devices", "marks")
        terminal.resize(79, 24)
        terminal.shows("enlarge the terminal to 80x24 (it has 79x24)")
        terminal.resize(40, 10)
        terminal.shows("enlarge the terminal to 80x24", "40x10)")
        terminal.resize(80, 24)
        terminal.shows("0 of 60", "? help")
        terminal.type("q")
        assert terminal.end() == 0


@_nightly
def test_a_terminal_that_knows_no_colours(small: Path) -> None:
    with opened(small, environment={"TERM": "vt100"}) as terminal:
        terminal.shows("0 of 60", "? help").type("q")
        assert terminal.end() == 0
    assert not terminal.colours


@pytest.mark.parametrize("size", [(79, 24), pytest.param((80, 23), marks=_nightly)])
def test_a_small_terminal_is_a_line_and_status_2(small: Path, size: tuple[int, int]) -> None:
    with opened(small, size) as terminal:
        assert terminal.end() == 2
        lines = terminal.written.decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"aether: the terminal has {size[0]}x{size[1]} characters, ")


def test_a_terminal_without_a_cursor(small: Path) -> None:
    with opened(small, environment={"TERM": "dumb"}) as terminal:
        assert terminal.end() == 2
        assert len(terminal.written.decode().splitlines()) == 1


def test_no_terminal_at_all(small: Path) -> None:
    outcome = aether("replay", small)
    assert "there is no terminal" in outcome.error_line


def test_a_position_past_the_end(small: Path) -> None:
    with opened(small, arguments=("--at", "61")) as terminal:
        assert terminal.end() == 2
        lines = terminal.written.decode().splitlines()
    assert lines == ["aether: --at: position 61 is past the end of the run; its end is 60"]


def test_the_ui_is_not_loaded_where_it_is_not_shown() -> None:
    code = "import sys, aether_edgecloud.emulator.ui; sys.exit('textual' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
