# SPDX-License-Identifier: Apache-2.0
"""`aether bench`: runs the benchmarks of properties/bench and tells their figures."""

import importlib
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.figure import Comparison, Figure, LeftOut

# By name: what is measured does not import what measures it.
_BENCHMARKS = "aether_edgecloud.properties.bench.catalogue"
_NOTHING_MEASURED = 2


@click.command("bench")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the figures as JSON; - for stdout.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="How often what takes time is repeated; medians are told.")  # fmt: skip
def command(names: tuple[str, ...], json_file: Path | None, rounds: int) -> int:
    """Run the benchmarks, or those NAMEd. Times depend on the machine; counts do not."""
    output.check_place(json_file)
    module = importlib.import_module(_BENCHMARKS)
    known = module.BENCHMARKS
    for name in names:
        if name not in known:
            raise UserError(f"no benchmark {name!r}", fix=f"there are: {', '.join(known)}")
    found: list[Figure | LeftOut | Comparison] = []
    errors = Console(stderr=True)
    with errors.status("") as status:
        for name in names or tuple(known):
            for item in known[name](rounds):
                if not isinstance(item, str):
                    found.append(item)
                    continue
                status.update(f"{name}: {escape(item)}")
                if not errors.is_terminal:
                    errors.print(f"{name}: {escape(item)}")
    if json_file is not None:
        output.write_json(json_file, [_entry(item) for item in found])
    if json_file != output.STDOUT:
        figures = [item for item in found if not isinstance(item, Comparison)]
        if figures:
            _print(figures)
        for item in found:
            if isinstance(item, Comparison):
                _print_comparison(item)
    is_nothing = all(isinstance(item, LeftOut) for item in found)
    return _NOTHING_MEASURED if names and is_nothing else 0


def _print(found: list[Figure | LeftOut]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("benchmark", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("aim", justify="right", no_wrap=True)
    for item in found:
        if not isinstance(item, Figure):
            table.add_row(escape(item.name), "-", f"[dim]{escape(item.why)}[/]")
            continue
        table.add_row(escape(item.name), _number(item.value), item.unit, _aim(item))
    output.wide().print(table)


def _aim(item: Figure) -> str:
    if item.aim is None:
        return ""
    met = item.value <= item.aim if item.lower_is_better else item.value >= item.aim
    sign = "<=" if item.lower_is_better else ">="
    return f"[{'green' if met else 'red'}]{sign} {_number(item.aim)}[/]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def _print_comparison(found: Comparison) -> None:
    """The subjects side by side."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(escape(found.name), no_wrap=True)
    for subject in found.subjects:
        for number, column in enumerate(found.columns):
            heading = column if number else f"{subject}: {column}"
            table.add_column(escape(heading), justify="right", no_wrap=True)
    for name, values in found.rows:
        cells: list[str] = []
        for row in values:
            numbers = row or (None,) * len(found.columns)
            cells += ["" if n is None else _number(n) for n in numbers]
        table.add_row(escape(name), *cells)
    output.wide().print(table)


def _entry(item: Figure | LeftOut | Comparison) -> dict[str, object]:
    match item:
        case Figure():
            return {"name": item.name, "value": item.value, "unit": item.unit, "aim": item.aim}
        case LeftOut():
            return {"name": item.name, "left_out": item.why}
        case Comparison():
            return {"name": item.name, "rows": [_row(item, row) for row in item.rows]}


def _row(
    item: Comparison, row: tuple[str, tuple[tuple[int | None, ...] | None, ...]]
) -> dict[str, object]:
    name, values = row
    by_subject = {
        subject: None if found is None else dict(zip(item.columns, found, strict=True))
        for subject, found in zip(item.subjects, values, strict=True)
    }
    return {"name": name, **by_subject}
