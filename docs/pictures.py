# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of terminals in the documents: `make pictures`.

`aether run` is run for real; only the wall time, which differs from run to run, is left out. So is
`aether replay`, with a recording of that run. With `--check` nothing is written, and the exit
status is 1 when the picture in the README no longer shows what a run says.
"""

import argparse
import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI
from rich.text import Text

from aether_edgecloud.emulator.cli.run_emulator import run_on_emulator
from aether_edgecloud.emulator.host_console.console import ConsoleIO
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.report.table import print_report

FOLDER = Path(__file__).parent / "pictures"
PICTURE = FOLDER / "run.svg"
WIDTH = 80
COMMAND = "aether run"

# Without the web fonts of rich's own form: a picture that needs nothing else.
_FORM = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class _Terminal(io.StringIO):
    """A file that rich takes for a terminal, so that it writes colours."""

    def isatty(self) -> bool:
        return True


def record() -> Text:
    """The console and the report of a run, as a terminal of 80 columns shows them."""
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    os.environ.pop("NO_COLOR", None)
    output = io.BytesIO()
    request = build_request("hello", binary.load(None))
    report = run_on_emulator(request, ConsoleIO(None, output))
    table = _Terminal()
    print_report(report, table, WIDTH)
    said = output.getvalue().decode().replace("\r\n", "\n")
    shown = Text.from_ansi(said + table.getvalue())
    lines = [line for line in shown.split() if not line.plain.startswith("wall time")]
    for line in lines:
        line.rstrip()
    return Text("\n").join([Text(f"$ {COMMAND}", style="bold"), *lines])


def draw(shown: RenderableType, size: tuple[int, int | None] = (WIDTH, None)) -> str:
    """A picture of what a terminal of that size shows, as SVG."""
    width, height = size
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), force_terminal=True
    )
    console.print(shown, overflow="fold", end="")
    drawn = console.export_svg(title="", theme=MONOKAI, code_format=_FORM, unique_id="run")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


@dataclass(frozen=True, slots=True)
class View:
    """What is done in `aether replay` before its picture is taken: position, keys, terminal."""

    at: str
    keys: tuple[str, ...]
    size: tuple[int, int]


VIEWS = {
    "replay.svg": View("mark:guest hello", ("e", "5", "8", "2"), (120, 40)),
    "replay-small.svg": View("40%", ("n", "n"), (80, 24)),
    "replay-palette.svg": View("40%", (":", *"write"), (80, 24)),
}
UNSTEADY = {"replay-palette.svg"}
"""Not checked: Textual fills the palette's list as the host's clock goes."""


def record_run(path: Path) -> None:
    """A recording of the run."""
    command = [sys.executable, "-m", "aether_edgecloud.emulator.cli", "run", "--record", path.name]
    subprocess.run(
        command, cwd=path.parent, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )


async def look(recording: Path, view: View) -> str:
    """The picture of a view."""
    from aether_edgecloud.emulator.replay import Replay
    from aether_edgecloud.emulator.ui.app import ReplayApp

    replay = Replay.open(recording)
    app = ReplayApp(replay, replay.moment(view.at))
    async with app.run_test(size=view.size) as pilot:
        await app.workers.wait_for_complete()
        for key in view.keys:
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()
        screen: RenderableType = app.screen._compositor.render_update(full=True)
        return draw(screen, view.size)


def replays() -> dict[str, str]:
    """All views of a recording, by the names of their files."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "hello.aet"
        record_run(recording)
        return {name: asyncio.run(look(recording, view)) for name, view in VIEWS.items()}


def words(svg: str) -> list[str]:
    """The text in a picture, line by line, without regard to how rich's version draws it."""
    found: dict[str, str] = {}
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        place = re.search(r'\by="([^"]*)"', attributes)
        key = place[1] if place else ""
        found[key] = found.get(key, "") + unescape(text)
    return [" ".join(line.split()) for line in found.values() if line.strip()]


def main() -> int:
    """Draws the pictures, or checks them; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    check = parser.parse_args().check
    old = []
    for name, drawn in {PICTURE.name: draw(record()), **replays()}.items():
        path = FOLDER / name
        if not check:
            path.write_text(drawn, encoding="utf-8")
        elif name not in UNSTEADY and (
            not path.exists() or words(path.read_text(encoding="utf-8")) != words(drawn)
        ):
            old.append(name)
    if old:
        print(f"{', '.join(old)}: not what a run shows now: `make pictures`", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
