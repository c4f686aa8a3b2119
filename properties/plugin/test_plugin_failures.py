# SPDX-License-Identifier: Apache-2.0
"""What a failure shows, with a real EL2 binary: how to have it again, what led there, registers,
tables, code. And what goes into the JUnit report."""

import hashlib
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from aether_edgecloud.emulator.machine.image import BootImage

FAILS = '''
import pytest
from pathlib import Path
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.properties.plugin import lab
from hypothesis import given, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from aether_edgecloud.properties.plugin import boot

def call(booted, x0):
    booted.cpu.write_x({0: x0})
    booted.run(60)

def test_fault(aether_boot):
    booted = aether_boot()
    call(booted, 0x5000_0123)
    assert booted.cpu.current_el == 1

@given(page=st.integers(0, 2**40))
def test_numbers(aether_boot, page):
    booted = aether_boot()
    call(booted, 1)
    assert page < 0x123456

class Calls(RuleBasedStateMachine):
    pages = Bundle("pages")

    @initialize()
    def start(self):
        """A guest that has not run."""
        self.booted = boot()
        self.calls = 0

    @rule(target=pages, page=st.integers(0, 7))
    def choose(self, page):
        return page

    @rule(page=pages, x0=st.integers(1, 2))
    def call(self, page, x0):
        """The guest calls with {x0} for {page}."""
        self.calls += 1

    @invariant()
    def few(self):
        assert getattr(self, "calls", 0) < 2

TestCalls = Calls.TestCase

def test_passes(aether_boot):
    call(aether_boot(), 1)

def test_closed(aether_boot):
    booted = aether_boot(copy=5)
    booted.machine.close()
    booted.machine.cpus = ()
    assert False

def test_observed():
    el2 = binary.load(Path("small.elf"))
    machine = Machine(virt(64 << 20), el2.image)
    for _ in range(2):
        lab.observe(machine, el2, seed=9)
        machine.run(machine.instructions + 5)
    assert False

def test_without_machine():
    assert False
'''


@pytest.fixture
def failing(project: pytest.Pytester) -> pytest.Pytester:
    project.makepyfile(test_fails=FAILS)
    project.makeini("[pytest]\naether_el2 = small.elf\naether_until = guest\naether_profile = pr\n")
    return project


def told(result: pytest.RunResult) -> dict[str, dict[str, list[str]]]:
    """Sections of ours by test and title, each a list of lines."""
    found: dict[str, dict[str, list[str]]] = {}
    test = ""
    lines: list[str] = []
    for line in result.outlines:
        if heading := re.fullmatch(r"_+ (\S+) _+", line):
            test, lines = heading[1], []
            found[test] = {}
        elif section := re.fullmatch(r"-+ aether: (.+?) -+", line):
            lines = found[test].setdefault(section[1], [])
        elif re.match(r"[-=]{5}", line):
            lines = []
        else:
            lines.append(line)
    return found


def test_a_failure_in_words(failing: pytest.Pytester, small_el2: Path) -> None:
    result = failing.runpytest_subprocess("-q", "--junitxml=junit.xml", "--aether-seed=3")
    result.assert_outcomes(failed=6, passed=1)
    sections = told(result)
    text = result.stdout.str()
    assert "Traceback" not in text and "cannot be told" not in text
    _check_stage2_fault(sections["test_fault"])
    _check_examples(sections)
    assert sections["test_without_machine"] == {}
    observed = sections["test_observed"]
    assert list(observed) == ["to repeat it", "machine", "tables", "code"]
    assert "small.elf (" in observed["machine"][0]
    closed = sections["test_closed"]
    assert closed["machine"] == ["it is closed, or in a state that cannot be read"]
    assert closed["to repeat it"][0].startswith("pytest test_fails.py::test_closed ")
    _check_junit(failing.path / "junit.xml", small_el2)

    # The line it gives does it.
    (line,) = (one for one in sections["test_numbers"]["to repeat it"] if one[:7] == "pytest ")
    again = failing.runpytest_subprocess("-q", *shlex.split(line)[1:])
    again.assert_outcomes(failed=1)
    assert told(again)["test_numbers"] == sections["test_numbers"]


def test_the_line_is_one_for_where_pytest_was_started(
    failing: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(failing.mkdir("inner"))
    result = failing.runpytest_subprocess("-q", "../test_fails.py::test_numbers")
    (line, _) = told(result)["test_numbers"]["to repeat it"]
    assert line == "pytest ../test_fails.py::test_numbers --aether-profile=pr"
    failing.runpytest_subprocess("-q", *shlex.split(line)[1:]).assert_outcomes(failed=1)


@pytest.mark.nightly
def test_the_line_has_what_stood_for_the_ini_file(failing: pytest.Pytester) -> None:
    """Another binary may be named there."""
    (failing.path / "other.ini").write_text("[pytest]\naether_el2 = small.elf\n")
    failing.makeini("[pytest]\naether_el2 = missing.elf\n")
    options = ["-c", "other.ini", "-o", "aether_until=guest", "-o", "aether_seed=5 "]
    result = failing.runpytest_subprocess("-q", "test_fails.py::test_fault", *options)
    sections = told(result)["test_fault"]
    (line,) = sections["to repeat it"]
    assert shlex.split(line) == ["pytest", "test_fails.py::test_fault", *options]
    again = failing.runpytest_subprocess("-q", *shlex.split(line)[1:])
    assert told(again)["test_fault"] == sections
    assert "machine" in sections


def _check_stage2_fault(sections: dict[str, list[str]]) -> None:
    assert list(sections) == ["to repeat it", "machine", "tables", "code", "code below EL2"]
    (repeat,) = sections["to repeat it"]
    assert repeat == "pytest test_fails.py::test_fault --aether-profile=pr --aether-seed=3"
    machine = pytest.LineMatcher(sections["machine"])
    machine.fnmatch_lines(
        [
            "*small.elf (*), CPU 0 of 1, after * instructions at EL2 in stuck: the limit *",
            "x0  0000000050000123 *",
            "pc  *",
            "pstate *EL2h*",
            "ESR_EL2 * data abort from a lower EL: translation fault, level 2, on a read, *",
            " *EC=0x24 (data abort from a lower EL)*DFSC=*",
            "FAR_EL2 *0x0000000050000123",
            "HPFAR_EL2 *",
            "HCR_EL2 *",
            " *VM (stage 2 on)*",
            "VTTBR_EL2 *",
            " *VMID=0x1 *",
        ]
    )
    tables = pytest.LineMatcher(sections["tables"])
    tables.fnmatch_lines(
        [
            "*IPA *to PA * rights *",
            "0x40201000-0x40201fff *same *4 KiB *r-x *Normal WB *",
            "no entry maps 0x50000123",
            "entries for 0x50000123:",
            " * level 1 at 0x40202008: 0x0000000040203003 table at 0x40203000",
            " * level 2 at 0x40203400: 0x0000000000000000 invalid",
        ]
    )
    code = pytest.LineMatcher(sections["code"])
    code.fnmatch_lines(
        [
            "stuck:",
            "-> 0x0000402000f4 *14000000 *b *#0x402000f4 *small_el2.S:*",
        ]
    )
    below = pytest.LineMatcher(sections["code below EL2"])
    below.fnmatch_lines(["guest:", "-> 0x000040201004 *ldr *x5, [[]x0[]] *small_el2.S:*"])


def _check_examples(sections: dict[str, dict[str, list[str]]]) -> None:
    numbers = sections["test_numbers"]
    assert numbers["what led there"] == ["page = 1193046 (0x123456)"]
    repeat, alone = numbers["to repeat it"]
    assert repeat == "pytest test_fails.py::test_numbers --aether-profile=pr --aether-seed=3"
    assert re.fullmatch(
        r"that example alone: @reproduce_failure\('.+', b.+\) above test_numbers", alone
    )
    steps = sections["TestCalls.runTest"]
    assert steps["what led there"] == [
        "  1. A guest that has not run   [start()]",
        "  2. pages_0 = choose(page=0)",
        "  3. The guest calls with 1 for pages_0   [call(page=pages_0, x0=1)]",
        "  4. The guest calls with 1 for pages_0   [call(page=pages_0, x0=1)]",
    ]
    assert steps["to repeat it"][1].endswith(" above class Calls")


def _check_junit(file: Path, small_el2: Path) -> None:
    image = BootImage.from_file(small_el2).sha256
    elf = hashlib.sha256(small_el2.read_bytes()).hexdigest()
    found = {}
    for case in ET.parse(file).getroot().iter("testcase"):
        found[case.get("name")] = {
            one.get("name"): one.get("value") for one in case.iter("property")
        }
    assert found["test_without_machine"] == {}
    usual = {"aether_image_sha256": image, "aether_elf_sha256": elf, "aether_seed": "3"}
    for name in ("test_fault", "test_passes"):
        instructions = int(found[name].pop("aether_instructions") or 0)
        # Its boot counts where this test was the one that booted.
        assert instructions >= 60
        assert found[name] == usual
    # To the end of a block, twice.
    assert 10 <= int(found["test_observed"].pop("aether_instructions") or 0) <= 60
    assert found["test_observed"] == usual | {"aether_seed": "9"}
    numbers = found["test_numbers"]
    assert int(numbers.pop("hypothesis_examples") or 0) > 10
    assert int(numbers.pop("aether_instructions") or 0) > 600
    assert numbers == usual | {"hypothesis_seed": "derandomized"}


@pytest.mark.nightly
def test_the_workers_of_xdist_tell_as_much(failing: pytest.Pytester) -> None:
    (failing.path / "test_fails.py").write_text(FAILS.partition("class Calls")[0], encoding="utf-8")
    result = failing.runpytest_subprocess(
        "-q", "-n", "2", "--junitxml=junit.xml", "--aether-profile=nightly"
    )
    result.assert_outcomes(failed=2)
    sections = {name.rpartition("::")[2]: s for name, s in told(result).items()}
    seeds = re.findall(r"--hypothesis-seed=(\d+)", result.stdout.str())
    assert len(seeds) == 1
    assert "page = 1193046 (0x123456)" in sections["test_numbers"]["what led there"]
    assert "machine" in sections["test_fault"]
    report = (failing.path / "junit.xml").read_text(encoding="utf-8")
    assert f'<property name="hypothesis_seed" value="{seeds[0]}" />' in report


VIOLATES = """
def test_it(aether_boot):
    booted = aether_boot()
    booted.cpu.write_x({0: 0})
    booted.run(60)
"""


def test_a_violation_marks_its_entry(failing: pytest.Pytester) -> None:
    """EL2 puts another page into an entry without break-before-make."""
    failing.makepyfile(test_fails=VIOLATES)
    result = failing.runpytest_subprocess("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *Violation: valid-to-valid: *level 3 entry at PA 0x40204008*"])
    sections = told(result)["test_it"]
    pytest.LineMatcher(sections["tables"]).fnmatch_lines(
        [
            "0x40201000-0x40201fff *0x40205000 *r-x *<- here",
            "the entry at 0x40204008, level 3:",
            " *was *0x000000004020177f page at 0x40201000, r-x, Normal WB",
            " *is now *0x000000004020577f page at 0x40205000, r-x, Normal WB",
            "entries for 0x40201000:",
            "-> level 3 at 0x40204008: *",
        ]
    )
    pytest.LineMatcher(sections["code"]).fnmatch_lines(
        ["replace:", "->*str *x2, [[]x1, #8[]] *small_el2.S:*"]
    )
