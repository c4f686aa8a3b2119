# SPDX-License-Identifier: Apache-2.0
"""Mistakes in what a test, an option or the ini file asks for: one line, no traceback."""

import re

import pytest

TEST = "def test_it(aether_machine):\n    pass\n"

ON_THE_COMMAND_LINE = {
    "--aether-el2=missing.elf": "missing.elf: cannot be read (No such file or directory); *",
    "--aether-el2=words.txt": "words.txt: not a binary that boots at EL2; *",
    "--aether-el2=host.elf": "host.elf: an ELF for EM_X86_64, not for AArch64; *",
    "--aether-el2=cut.elf": "cut.elf: broken ELF: *",
    "--aether-bundle=broken.bundle": "*broken.bundle: *",
    "--aether-bundle=nobody": "no guest is called 'nobody'; *",
    "--aether-board=pdp11": "--aether-board: no board 'pdp11'; *",
    "--aether-ram=lots": "--aether-ram: 'lots' is not a size; *",
    "--aether-ram=1MiB": "*",
    "--aether-cpus=none": "--aether-cpus: 'none' is not a whole number from 1 on",
    "--aether-cpus=0": "--aether-cpus: '0' is not a whole number from 1 on",
    "--aether-quantum=0": "--aether-quantum: '0' is not a whole number from 1 on",
    "--aether-seed=-1": "--aether-seed: '-1' is not a whole number from 0 on",
    "--aether-until=never": "--aether-until: 'never' is no point of a run; *",
    "--aether-until=99999999999999999999999": "--aether-until: '9*9' is no point of a run; *",
    "--aether-quantum=99999999999999999999999": "--aether-quantum: '9*9' is not a whole number *",
    "--aether-mmu=native --aether-monitor=on": "--aether-monitor: the monitor needs the MMU model;"
    " leave it out, or --aether-mmu",
    "--aether-record=words.txt": "--aether-record: recordings cannot be *words.txt is no folder",
    "--aether-record=words.txt/left": "--aether-record: recordings cannot *words.txt is no folder",
    "--aether-mmu=both": "*argument --aether-mmu: invalid choice: 'both'*",
}


@pytest.fixture
def mistakes(project: pytest.Pytester) -> pytest.Pytester:
    """Files that are not what they should be."""
    (project.path / "words.txt").write_text("not an image, " * 20)
    elf = bytearray((project.path / "small.elf").read_bytes())
    (project.path / "cut.elf").write_bytes(elf[:100])
    elf[0x12:0x14] = (62).to_bytes(2, "little")
    (project.path / "host.elf").write_bytes(elf)
    (project.path / "broken.bundle").write_bytes(b"AETHERB1" + bytes(100))
    project.makepyfile(test_it=TEST)
    return project


def test_on_the_command_line_no_test_runs(mistakes: pytest.Pytester) -> None:
    """All in one process: pytest's main, called for each."""
    mistakes.makepyfile(
        main="""
        import sys, pytest
        for option in sys.argv[1:]:
            print("given:", option, flush=True)
            print("status", int(pytest.main(
                ["-q", *option.split(), *([] if "el2" in option else ["--aether-el2=small.elf"])])))
        """
    )
    result = mistakes.runpython_c(
        f"import sys; sys.argv[1:] = {list(ON_THE_COMMAND_LINE)!r};"
        "sys.stderr = sys.stdout; exec(open('main.py').read())"
    )
    told = result.stdout.str().split("given: ")[1:]
    assert len(told) == len(ON_THE_COMMAND_LINE)
    for (option, expected), text in zip(ON_THE_COMMAND_LINE.items(), told, strict=True):
        lines = [line for line in text.splitlines()[1:] if line]
        assert lines.pop() == "status 4", text
        if "invalid choice" in expected:
            continue  # argparse's own
        (line,) = lines
        assert line.startswith("ERROR: "), text
        pytest.LineMatcher([line]).fnmatch_lines([f"ERROR: *{expected}"])
        assert option in ON_THE_COMMAND_LINE


IN_TESTS = """
import pytest

@pytest.mark.parametrize("choices", [
    {"el2": "missing.elf"},
    {"cpus": 0},
    {"cpus": True},
    {"bundle": 7},
    {"bundle": b"AETHERB1" + bytes(100)},
    {"until": "never"},
    {"until": -1},
    {"until": 10**23},
    {"until": "guest", "el2": "loop.bin", "monitor": False},
    {"until": 10**17, "el2": "loop.bin", "monitor": False},
    {"events": "some"},
    {"mmu": "native", "monitor": True},
    {"monitor": "perhaps"},
    {"elf": "small.elf"},
    {"copy": "second"},
], ids=lambda choices: "+".join(choices))
def test_factory(aether_boot, choices):
    aether_boot(**choices)

@pytest.mark.aether("small.elf")
def test_marker(aether_machine):
    pass

@pytest.mark.aether(elf="small.elf")
def test_marker_of_another_name(aether_machine):
    pass

@pytest.mark.aether(monitor="off")
def test_monitor(aether_monitor):
    pass
"""
TOLD_IN_TESTS = (
    "missing.elf: cannot be read (No such file or directory); *",
    "cpus: 0 is not a whole number from 1 on",
    "cpus: True is not a whole number from 1 on",
    "bundle: a int is no bundle; *",
    "bundle: *",
    "until: 'never' is no point of a run; *",
    "until: -1 is no point of a run; *",
    "until: 1" + 23 * "0" + " is no point of a run; *",
    "loop.bin: has ended after * instructions: *; boot it with a smaller until",
    "events: 'some' is no choice of events; choose off, on or caches",
    "loop.bin: entered no guest in * instructions: *; boot it with until=reset or a number*",
    "*monitor*needs the MMU model*",
    "monitor: 'perhaps' is neither on nor off",
    "no such choice: elf; there are: el2, bundle, *",
    "copy: 'second' is not a whole number",
    "the marker aether takes keywords only, as cpus=2",
    "no such choice: elf; there are: el2, bundle, *",
    "the machine has no monitor; *",
)


def test_in_a_test_it_fails_that_test(mistakes: pytest.Pytester) -> None:
    # An image that switches the machine off at once.
    code = bytes.fromhex("00 80 b0 52 00 01 80 72 03 00 00 d4 00 00 00 14")
    words = (0x14000010).to_bytes(4, "little") + bytes(12) + (0x1000).to_bytes(8, "little")
    head = words + (0xA).to_bytes(8, "little") + bytes(24) + b"ARM\x64" + bytes(4)
    assert len(head) == 64
    (mistakes.path / "loop.bin").write_bytes(head + code)
    mistakes.makeini("[pytest]\naether_el2 = small.elf\n")
    mistakes.makepyfile(test_it=IN_TESTS)
    result = mistakes.runpytest_subprocess("-q", "--tb=short")
    result.assert_outcomes(failed=15, errors=3)
    assert "Traceback" not in result.stdout.str()
    summary = [line for line in result.outlines if line.startswith(("FAILED", "ERROR "))]
    assert len(summary) == len(TOLD_IN_TESTS)
    text = result.stdout.str()
    for line in TOLD_IN_TESTS:
        pytest.LineMatcher(text.splitlines()).fnmatch_lines([line])
    assert not [line for line in result.outlines if re.match(r"test_it\.py:\d+", line)]


def test_the_ini_file_is_looked_at_when_a_machine_boots(mistakes: pytest.Pytester) -> None:
    """What it names may be made by a fixture; a test without a machine does not care."""
    mistakes.makeini("[pytest]\naether_el2 = later.elf\naether_cpus = some\n")
    given = "def test_given(aether_boot):\n    aether_boot(el2='small.elf')\n"
    mistakes.makepyfile(test_it=TEST + given + "def test_other():\n    pass\n")
    result = mistakes.runpytest_subprocess("-q")
    result.assert_outcomes(errors=1, failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*later.elf: cannot be read (No such file or directory); *",
            "tox.ini: aether_cpus: 'some' is not a whole number from 1 on",
        ]
    )
