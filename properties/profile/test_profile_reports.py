# SPDX-License-Identifier: Apache-2.0
"""`aether profile`: its table, JSON, Perfetto file, and the names of functions."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.profile import symbol_file
from aether_edgecloud.emulator.profile.code_names import CodeNames
from aether_edgecloud.emulator.profile.figures import figures
from aether_edgecloud.emulator.profile.profile import FunctionCost
from aether_edgecloud.emulator.profile.table import bars
from aether_edgecloud.properties.profile.runs import known

_COUNT = {"type": "integer", "minimum": 0}
_FIGURES: dict[str, Any] = {
    "count": {"type": "integer", "minimum": 1},
    "min": _COUNT, "median": _COUNT, "max": _COUNT, "total": _COUNT,
    "histogram": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"from": _COUNT, "below": _COUNT, "count": _COUNT},
            "required": ["from", "below", "count"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT = {"type": "string"}
_ITEM = _object(name=_TEXT, **_FIGURES)
_GROUP = _object(name=_TEXT, **_FIGURES, items=_list(_ITEM))
_STAYS = _list(_object(**{"class": _TEXT}, **_FIGURES, inside=_COUNT, groups=_list(_GROUP)))
SCHEMA = _object(
    format={"const": "aether-exit-profile"},
    version={"const": 1},
    target=_TEXT,
    binary_sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    board=_TEXT,
    cpus=_COUNT,
    end=_TEXT,
    symbols={"type": ["string", "null"]},
    instructions=_object(el0=_COUNT, el1=_COUNT, el2=_COUNT),
    exits=_STAYS,
    at_el2=_STAYS,
    boot=_STAYS,
    not_returned=_list(_object(**{"class": _TEXT}, instructions=_COUNT)),
    functions=_list(
        _object(
            name=_TEXT,
            address={"type": "string", "pattern": "^0x[0-9a-f]+$"},
            instructions=_COUNT,
            entered=_COUNT,
            by_class={"type": "object", "additionalProperties": _COUNT},
        )
    ),
)


@pytest.fixture(scope="module")
def image(known_el2: El2Binary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The known program as a flat image, which has no symbols."""
    path = tmp_path_factory.mktemp("image") / "known.bin"
    path.write_bytes(known_el2.image.data)
    return path


Profiled = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def profiled(image: Path, tmp_path: Path) -> Iterator[Profiled]:
    """Runs `aether profile` of the known program; the JSON, and the Perfetto file."""

    def run(*arguments: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
        file, trace = tmp_path / "profile.json", tmp_path / "trace.json"
        of = [] if "hello" in arguments else ["--bare", "--kernel", str(image)]
        words = ["profile", *of, *map(str, arguments), "--json", str(file)]
        assert main([*words, "--perfetto", str(trace)]) == 0
        return json.loads(file.read_text()), json.loads(trace.read_text())

    yield run


def test_json_is_as_described_and_adds_up(profiled: Profiled, known_el2: El2Binary) -> None:
    assert known_el2.elf is not None
    found, _ = profiled("--symbols", known_el2.elf)
    jsonschema.validate(found, SCHEMA)
    every = [*found["exits"], *found["at_el2"], *found["boot"]]
    assert [len(found[part]) for part in ("exits", "at_el2", "boot")] == [11, 2, 1]
    unfinished = sum(stay["instructions"] for stay in found["not_returned"])
    assert sum(stay["total"] for stay in every) + unfinished == found["instructions"]["el2"]
    assert sum(f["instructions"] for f in found["functions"]) == found["instructions"]["el2"]
    for stay in every:
        assert sum(bucket["count"] for bucket in stay["histogram"]) == stay["count"]
        for group in stay["groups"]:
            assert group["items"] == [] or (
                sum(item["total"] for item in group["items"]) == group["total"]
            )
        assert not stay["groups"] or sum(g["total"] for g in stay["groups"]) == stay["total"]
    for function in found["functions"]:
        assert sum(function["by_class"].values()) == function["instructions"]
    uart = next(s for s in found["exits"] if s["class"] == "mmio-write")["groups"][0]
    assert (uart["name"], uart["count"], uart["total"]) == ("UART", 3, 665)
    assert uart["histogram"] == [
        {"from": 16, "below": 32, "count": 2},
        {"from": 512, "below": 1024, "count": 1},
    ]
    assert found["end"] == "firmware switched the machine off"


def test_equal_runs_give_equal_bytes(profiled: Profiled, tmp_path: Path) -> None:
    profiled()
    first = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    profiled()
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == first


def test_perfetto_has_each_stay_once_and_nested_ones_inside(profiled: Profiled) -> None:
    found, trace = profiled()
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    totals: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in slices:
        if event["args"].get("returned", True):
            totals[event["name"]] += event["args"]["instructions"]
            counts[event["name"]] += 1
    every = [*found["exits"], *found["at_el2"], *found["boot"]]
    assert counts == {stay["class"]: stay["count"] for stay in every}
    assert totals == {stay["class"]: stay["total"] for stay in every}
    told = sum(event["args"]["instructions"] for event in slices)
    assert told == found["instructions"]["el2"]
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in slices:
        begin = round(1000 * event["ts"])
        end = begin + round(1000 * event["dur"])
        args = event["args"]
        assert end - begin == args["instructions"] + args["inside"]  # one CPU
        open_ones = tracks[event["pid"], event["tid"]]
        assert not open_ones or open_ones[-1][0] <= begin
        while open_ones and open_ones[-1][1] <= begin:
            open_ones.pop()
        assert not open_ones or end <= open_ones[-1][1]
        open_ones.append((begin, end))
    assert {event["name"] for event in trace["traceEvents"] if event["ph"] == "M"} == {
        "process_name",
        "thread_name",
    }


def test_perfetto_tells_what_an_exit_was_about(profiled: Profiled) -> None:
    _, trace = profiled()
    about = {e["args"]["about"] for e in trace["traceEvents"] if "about" in e["args"]}
    assert {"UART 0x9000018", "ID_AA64PFR0_EL1", "PSCI_VERSION", "RAM 0x41000000"} <= about


def as_text(known_el2: El2Binary, line: Callable[[int, str], str]) -> str:
    """The symbols as they are linked."""
    names = symbols.load(known_el2.elf, range(0x1011000, 0x1018000))
    return "".join(
        line(a, n) + "\n" for a, n in zip(names.addresses, names.names, strict=True) if n
    )


@pytest.mark.parametrize(
    "line",
    [
        lambda address, name: f"{address:016x} T {name}",
        lambda address, name: f"{address:016x} t {name}",
        lambda address, name: f"{address:016x} 0000000000000010 t {name}",
        lambda address, name: f"{address:x} W {name}\tsource.S:7",
    ],
    ids=["nm", "local", "nm -S", "nm -l"],
)
def test_symbols_may_be_text(
    profiled: Profiled, known_el2: El2Binary, tmp_path: Path, line: Callable[[int, str], str]
) -> None:
    assert known_el2.elf is not None
    file = tmp_path / "System.map"
    text = as_text(known_el2, line)
    file.write_text("                 U elsewhere\n" + text + "0000000001012000 d $d\n\n")
    by_text, _ = profiled("--symbols", file)
    by_elf, _ = profiled("--symbols", known_el2.elf)
    assert by_text["functions"] == by_elf["functions"]
    assert by_text["symbols"] == str(file)


def test_without_symbols_it_says_so(profiled: Profiled, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = profiled()
    assert found["symbols"] is None
    assert [f["name"] for f in found["functions"]] == ["page 0x40200000"]
    assert "by page: there are no symbols" in capsys.readouterr().out


def test_an_elf_file_names_its_own_functions(profiled: Profiled, known_el2: El2Binary) -> None:
    assert known_el2.elf is not None
    found, _ = profiled("hello", "--binary", known_el2.elf)
    assert found["functions"][0]["name"] == "synchronous"


def test_the_table(image: Path, known_el2: El2Binary, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["profile", "--bare", "--kernel", str(image), "--symbols", str(known_el2.elf)]
    assert main([*words, "--details", "1", "--functions", "3"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (
        ["at", "EL2", "1,130", "(93.8%),", "1,042", "of", "them", "in", "exits"],
        ["not", "returned", "hvc", "26", "instructions"],
        ["mmio-write", "3", "27", "27", "611", "665", "63.8%", "█", "▄"],
        ["hvc", "7", "15", "19", "23", "135", "13.0%", "▂█"],
        ["#0x20", "2", "18", "18", "22", "40"],
        ["and", "4", "more"],
        ["taken", "at", "EL2", "itself"],
        ["brk", "at", "EL2", "1", "8", "8", "8", "8"],
        ["boot", "1", "31", "31", "31", "31"],
    ):
        assert row in rows, row
    names = [row[0] for row in rows[[row[:2] for row in rows].index(["at", "EL2,"]) + 1 :]]
    assert names == ["synchronous", "call", "vectors", "and"]


def test_bars_show_all_that_is_not_empty() -> None:
    assert bars((0, 0, 1000, 1, 0, 500), range(1, 7)) == " █▁ ▄ "
    assert bars((), range(3)) == "   "


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ({}, (0, 0, 0, 0, 0)),
        ({7: 1}, (1, 7, 7, 7, 7)),
        ({7: 1, 9: 1}, (2, 7, 7, 9, 16)),
        ({7: 1, 9: 2}, (3, 7, 9, 9, 25)),
        ({0: 3, 5: 1, 100: 1}, (5, 0, 0, 100, 105)),
    ],
)
def test_figures(lengths: dict[int, int], expected: tuple[int, ...]) -> None:
    found = figures(Counter(lengths))
    assert (found.count, found.low, found.median, found.high, found.total) == expected


def test_a_binary_that_gets_stuck_is_profiled_up_to_there(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its vectors, and all behind them, are zeros: an exception without end."""
    broken = bytearray(image.read_bytes())
    broken[0x800:] = bytes(len(broken) - 0x800)
    file = tmp_path / "broken.bin"
    file.write_bytes(broken)
    assert main(["profile", "--bare", "--kernel", str(file)]) == 1
    out = capsys.readouterr().out
    assert "exceptions follow one another" in out
    assert "boot" in out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no symbols"),
        (b"\x7fELF and no more", "has no symbols"),
        (b"\xff\xfe", ":1: is no list of symbols"),
        (b"hello world\n", ":1: is no list of symbols"),
        (b"0000000000200000 d data\n", "has no symbols"),
    ],
)
def test_files_without_symbols_are_refused(
    tmp_path: Path,
    image: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    words: str,
) -> None:
    file = tmp_path / "symbols"
    file.write_bytes(content)
    assert main(["profile", "--bare", "--kernel", str(image), "--symbols", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"aether: {file}:")
    assert words in error
    assert len(error.splitlines()) == 1


def test_outputs_are_checked_before_the_run(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(tmp_path / "one")
    words = ["profile", "--bare", "--kernel", str(image)]
    assert main([*words, "--json", one, "--perfetto", one]) == 2
    assert main([*words, "--perfetto", str(tmp_path / "none" / "file")]) == 2
    assert main([*words, "--perfetto", "-"]) == 2
    assert main([*words, "--json", str(image)]) == 2
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()


def test_json_to_stdout_is_all_that_is_printed(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "--bare", "--kernel", str(image), "--json", "-"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_pieces_of_code_are_cut_where_functions_end(known_el2: El2Binary) -> None:
    machine = known(known_el2)
    names = symbol_file.read(Path(str(known_el2.elf)), machine.loaded[0])
    machine.close()
    skip, leave = names.address_of("skip"), names.address_of("leave")
    assert skip is not None and leave == skip + 12
    code = CodeNames(names)
    assert [(p.name, p.address, p.instructions) for p in code.cut(skip + 4, 3)] == [
        ("skip", skip + 4, 2),
        ("leave", leave, 1),
    ]
    assert [(p.name, p.start) for p in code.cut(0x5000_0FFC, 2)] == [
        ("page 0x50000000", 0x5000_0000),
        ("page 0x50001000", 0x5000_1000),
    ]


def test_boot_is_told_apart_of_a_functions_cost() -> None:
    cost = FunctionCost("f", 0, 12, 1, (("irq", 5), ("boot", 4), ("brk at EL2", 3)))
    assert (cost.at_boot, cost.in_exits) == (4, 8)
