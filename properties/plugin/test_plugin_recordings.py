# SPDX-License-Identifier: Apache-2.0
"""--aether-record: a failing test leaves its run behind, and the replay of it is that run."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.recording.recording import FAILED, Recording
from aether_edgecloud.emulator.replay import Replay

FAILS = """
from hypothesis import given, strategies as st

def test_hands_on(aether_boot):
    booted = aether_boot()
    ram = booted.machine.board.ram_base
    booted.cpu.write_x({0: 7, 19: 0x1111})
    booted.run(5)
    booted.cpu.write_x({19: 0x2222})
    booted.machine.write_pa(ram + 0x100000, b"outside")
    booted.run(5)
    assert booted.cpu.registers()[19] == 0, "words of the failure"

@given(x19=st.integers(0, 2**40))
def test_shrunk(aether_boot, x19):
    booted = aether_boot()
    booted.cpu.write_x({19: x19})
    booted.run(5)
    assert x19 < 0x123456

def test_rule(aether_boot):
    booted = aether_boot()
    booted.cpu.write_x({0: 0})
    booted.run(60)

def test_passes(aether_boot):
    aether_boot().run(5)

def test_does_not_run(aether_boot):
    aether_boot()
    assert False

def test_unicorns_walker(aether_boot):
    aether_boot(mmu="native", monitor="off").run(5)
    assert False
"""


@pytest.fixture
def failing(project: pytest.Pytester) -> pytest.Pytester:
    project.makepyfile(test_fails=FAILS)
    project.makeini("[pytest]\naether_el2 = small.elf\naether_until = guest\naether_profile = pr\n")
    return project


def test_a_failure_leaves_its_run(failing: pytest.Pytester) -> None:
    result = failing.runpytest_subprocess("-q", "--aether-record=left")
    result.assert_outcomes(failed=5, passed=1)
    left = failing.path / "left"
    assert sorted(file.name for file in left.iterdir()) == [
        "test_fails.py-test_hands_on.aet",
        "test_fails.py-test_rule.aet",
        "test_fails.py-test_shrunk.aet",
    ]
    result.stdout.fnmatch_lines([
        "aether replay */left/test_fails.py-test_hands_on.aet",
        "aether replay */left/test_fails.py-test_shrunk.aet",
        "the machine has not run since it was booted: there is nothing to record",
        "only runs with the MMU model can be recorded",
    ])  # fmt: skip
    _check_hands_on(left / "test_fails.py-test_hands_on.aet")
    _check_shrunk(left / "test_fails.py-test_shrunk.aet")
    _check_rule(left / "test_fails.py-test_rule.aet")


def test_without_the_option_nothing_is_left(failing: pytest.Pytester) -> None:
    before = {file.name for file in failing.path.iterdir()}
    result = failing.runpytest_subprocess("-q", "test_fails.py::test_hands_on")
    result.stdout.no_fnmatch_line("*recording*")
    assert not any(name.endswith(".aet") for name in {f.name for f in failing.path.iterdir()})
    assert {"left"}.isdisjoint(before)


def _places(file: Path) -> dict[str, int]:
    recording = Recording.open(file)
    found = {mark.text: mark.position for mark in recording.marks}
    recording.close()
    return found


def _check_hands_on(file: Path) -> None:
    """What the test did from outside is in the replay, forwards and backwards."""
    places = _places(file)
    failed = places[FAILED + "AssertionError: words of the failure"]
    first, second = places["piece 1"], places["piece 2"]
    assert 0 < first < second < failed
    replay = Replay.open(file)
    ram = replay.machine.board.ram_base + 0x100000

    def seen(position: int) -> tuple[int, bytes]:
        replay.goto(position)
        return replay.machine.cpu.registers()[19], replay.machine.read_pa(ram, 7)

    expected = {
        first: (0x1111, bytes(7)),
        second - 1: (0x1111, bytes(7)),
        second: (0x2222, b"outside"),
        failed: (0x2222, b"outside"),
    }
    for position in (*expected, *reversed(expected)):
        assert seen(position) == expected[position]
    # Steps over the place where the test acted.
    replay.goto(second - 1)
    replay.step()
    assert replay.machine.cpu.registers()[19] == 0x2222
    replay.step(-1)
    assert replay.machine.cpu.registers()[19] == 0x1111
    replay.close()


def _check_shrunk(file: Path) -> None:
    """The smallest example, not the first that failed."""
    places = _places(file)
    replay = Replay.open(file)
    replay.goto(places["piece 1"])
    assert replay.machine.cpu.registers()[19] == 0x123456
    replay.close()


def _check_rule(file: Path) -> None:
    """It is opened at the very instruction that broke the rule, and tells which."""
    ((told, position),) = (one for one in _places(file).items() if one[0].startswith(FAILED))
    assert "valid-to-valid" in told
    pc = re.search(r"PC (0x[0-9a-f]+)", told)
    assert pc is not None
    replay = Replay.open(file)
    replay.goto(position)
    assert replay.machine.cpu.pc == int(pc[1], 0)
    replay.close()
    _check_rule_is_shown(file, told, position, int(pc[1], 0))


def _check_rule_is_shown(file: Path, told: str, position: int, pc: int) -> None:
    """Without a terminal, too: it begins there, and has the words."""
    values = json.loads(_printed(file, "--json"))
    assert (values["position"], values["pc"]) == (position, f"{pc:#x}")
    assert values["failed"] == {"position": position, "words": told}
    assert told in _printed(file, "--show", "disasm").splitlines()
    # Elsewhere they would be wrong.
    assert told not in _printed(file, "--at", "0", "--show", "disasm")
    assert json.loads(_printed(file, "--at", "0", "--json"))["position"] == 0


def _printed(file: Path, *arguments: str) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["replay", str(file), *arguments]) == 0
    return printed.getvalue()
