# SPDX-License-Identifier: Apache-2.0
"""`aether bench peers`: two profiles side by side."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.profile import Profile
from aether_edgecloud.emulator.report.figure import Comparison
from aether_edgecloud.properties.bench import catalogue, peers
from aether_edgecloud.properties.profile.runs import hypervisor, known, profiled


@pytest.fixture(scope="module")
def two(known_el2: El2Binary) -> dict[str, Profile]:
    own, other = hypervisor("hello"), known(known_el2)
    found = {"own": profiled(own, known_el2), "other": profiled(other, known_el2)}
    own.close()
    other.close()
    return found


def test_classes_stand_side_by_side(two: dict[str, Profile]) -> None:
    made = peers.comparison(two)
    assert (made.subjects, made.columns) == (("own", "other"), peers.COLUMNS)
    rows = dict(made.rows)
    own = two["own"].stay("mmio-read")
    assert own is not None
    figures = own.figures
    assert rows["mmio-read"] == (
        (figures.count, figures.low, figures.median, figures.high, figures.total),
        (1, 25, 25, 25, 25),
    )
    assert rows["smc"] == (None, (1, 15, 15, 15, 15))
    names = list(rows)
    assert names[:3] == ["irq", "mmio-read", "mmio-write"]
    assert names[-4:] == ["all exits", "boot, at EL2", "EL2, in all", "EL1 and EL0"]
    assert "brk at EL2" in names
    assert "boot" not in names


def test_totals_are_those_of_the_profiles(two: dict[str, Profile]) -> None:
    rows = dict(peers.comparison(two).rows)
    assert rows["boot, at EL2"][1] == (None, None, None, None, 31)
    assert rows["EL2, in all"][1] == (None, None, None, None, 1130)
    assert rows["EL1 and EL0"][1] == (None, None, None, None, 75)
    assert rows["all exits"][1] == (22, None, None, None, 1042)


@pytest.fixture
def fake(two: dict[str, Profile], monkeypatch: pytest.MonkeyPatch) -> Comparison:
    made = peers.comparison(two)

    def benchmark(_: int) -> Iterator[Comparison | str]:
        yield "working"
        yield made

    monkeypatch.setitem(catalogue.BENCHMARKS, "peers", benchmark)
    return made


def test_it_is_printed_and_written(
    fake: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "peers.json"
    assert main(["bench", "peers", "--json", str(file)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["smc", "1", "15", "15", "15", "15"] in lines
    (entry,) = json.loads(file.read_text())
    assert entry["name"] == fake.name
    smc = next(row for row in entry["rows"] if row["name"] == "smc")
    figures = {"count": 1, "min": 15, "median": 15, "max": 15, "total": 15}
    assert smc == {"name": "smc", "own": None, "other": figures}


def test_absent_guests_are_named_with_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path))
    assert main(["bench", "peers"]) == 2
    assert "aether guests fetch xen" in capsys.readouterr().out
