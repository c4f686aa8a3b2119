# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of a description and the parser say the same."""

import copy
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import build, toml, toml_vm
from aether_edgecloud.emulator.errors import UserError

from .test_bundle_kernel import image
from .test_bundle_toml import FULL, GUEST, KERNEL, LEAST, MISTAKES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.toml"))
SCHEMA = json.loads(toml.SCHEMA.read_text(encoding="utf-8"))


def complaints(document: dict[str, Any]) -> list[str]:
    """What the schema has against a document."""
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the descriptions name."""
    made = tmp_path_factory.mktemp("files")
    (made / "Image").write_bytes(image())
    for name in ("kernel.bin", "a", "rd.cpio"):
        (made / name).write_bytes(b"content")
    return made


def load(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def parses(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    """The description in a document that needs no text; None when it is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _: copy.deepcopy(document))
        try:
            return toml.parse("", file="x.toml", folder=folder)
        except UserError:
            return None


def builds(description: Any) -> bool:
    try:
        build.build(description, where="x.toml")
    except UserError:
        return False
    return True


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    assert complaints(load(path.read_text(encoding="utf-8"))) == []


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [FULL, LEAST, KERNEL, GUEST])
def test_what_is_parsed_is_valid(text: str) -> None:
    assert complaints(load(text)) == []


@pytest.mark.parametrize("text", [text for text, _, _ in MISTAKES])
def test_what_the_parser_refuses_is_not_valid(text: str) -> None:
    try:
        document = load(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    if 'guest = "helo"' not in text:  # the schema knows no guests
        assert complaints(document) != []


PASSED = KERNEL + 'devices = [{{ host = 4096, size = 4096, interrupts = [{}] }}, "gic"]\n'


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (PASSED.format(31), False),
        (PASSED.format(32), True),
        (PASSED.format(95), True),
        (PASSED.format(96), False),
        (PASSED.format(", ".join(str(n) for n in range(40, 48))), True),
        (PASSED.format(", ".join(str(n) for n in range(40, 49))), False),
        (KERNEL + "vcpus = 0\n", False),
        (KERNEL + "vcpus = 8\n", True),
        (KERNEL + "vcpus = 9\n", False),
        (KERNEL + "cpus = [7]\n", True),
        (KERNEL + "cpus = [8]\n", False),
        (KERNEL.replace('"k"', '"aether"'), False),
        (KERNEL.replace('"k"', f'"{"k" * 15}"'), True),
        (KERNEL.replace('"k"', f'"{"k" * 16}"'), False),
        (KERNEL * 2, None),
        ("".join(KERNEL.replace('"k"', f'"k{n}"') for n in range(8)), True),
        ("".join(KERNEL.replace('"k"', f'"k{n}"') for n in range(9)), False),
        (GUEST + 'dtb = "none"\n', True),
        (GUEST + "dtb_ipa = 0x40000000\n", True),
    ],
)
def test_limits_are_the_same(text: str, good: bool | None, folder: Path) -> None:
    """`good` None: the schema cannot tell."""
    try:
        built = builds(toml.parse(text, file="x.toml", folder=folder))
    except UserError:
        built = False
    assert built == (good or False)
    if good is not None:
        assert (complaints(load(text)) == []) == good


def test_every_key_is_in_both() -> None:
    vm = SCHEMA["$defs"]["vm"]["properties"]
    assert set(vm) == set(toml_vm.KEYS)
    assert set(SCHEMA["properties"]) == set(toml.KEYS)
    schedule = SCHEMA["$defs"]["schedule"]["properties"]
    assert set(schedule) == set(toml.SCHEDULE_KEYS)
    assert set(schedule["cpus"]["items"]["items"]["properties"]) == set(toml.SLOT_KEYS)
    passed = SCHEMA["$defs"]["passthrough"]["properties"]
    assert set(passed) == set(toml_vm.PASSTHROUGH_KEYS)
    assert set(vm["devices"]["items"]["oneOf"][0]["enum"]) == set(toml_vm.DEVICES)
    assert set(vm["restart"]["enum"]) == set(toml_vm.RESTARTS)
    assert set(vm["start"]["enum"]) == set(toml_vm.STARTS)


TWO = """
[[vm]]
name = "k"
kernel = "Image"
ramdisk = "rd.cpio"
memory = "16MiB"
vcpus = 2
cpus = [0, 1]
restart = "crash"
peers = ["i"]
uuid = "01020304-0506-0708-090A-0b0c0d0e0f10"
manages = ["i"]
bootargs = "x"
config = { a = 1, b = "x" }
devices = ["gic", "pl011", { host = 0x9010000, size = 4096, interrupts = [34], compatible = ["c"] }]

[[vm]]
name = "i"
memory = [{ ipa = 0x40000000, size = "2MiB", hidden = false }]
images = [{ file = "a", ipa = 0x40000000 }]
entry = 0x40000000
dtb_ipa = 0x40100000
peers = ["k"]
start = "manual"

[schedule]
frame = "10ms"
window = "64us"
cpus = [[{ vm = "k", vcpu = 0, length = "4ms" }, { length = "1ms" }, { vm = "i", length = "5ms" }],
        [{ vm = "k", vcpu = 1, length = "9ms" }]]
"""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


PLACES = list(places(load(TWO)))
KEYS = st.sampled_from(
    [*toml_vm.KEYS, *toml_vm.PASSTHROUGH_KEYS, *toml.SLOT_KEYS, *toml.SCHEDULE_KEYS, "other"]
)
VALUES = st.sampled_from(
    [
        0, 1, 2, 7, 8, 9, -1, 31, 32, 95, 96, 4096, 1 << 31, 1 << 62, 1 << 63, 1.5, True, False,
        "", "a", "k", "i", "Image", "auto", "none", "aether", "a b", "A", "x" * 16, "a\nb", "never",
        "gic", "telemetry", "gpu", "4KiB", "1MB", "0x1000", "1.5MiB", "10ms", "64us", "1h", "5s",
        "manual", "01020304-0506-0708-090a-0b0c0d0e0f10", ["i"], ["k", "k"],
        [], ["a"], [0], [0, 1], [[]], {}, {"a": 1}, {"host": 4096, "size": 4096},
        [{"ipa": 0x40000000, "size": 0x100000}], [{"file": "a", "ipa": 0x40000000}],
    ]
)  # fmt: skip


@given(st.data())
def test_a_changed_description_is_judged_alike(folder: Path, data: st.DataObject) -> None:
    """What the schema lets pass is parsed, and what becomes a bundle passes the schema. (The schema
    knows nothing of what is in files, nor what fits together.)"""
    document = load(TWO)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(list(places(document)) or PLACES[:1]))
        home: Any = document
        for key in path:
            home = home[key]
        action = data.draw(st.sampled_from(["set", "remove", "add"]))
        if action == "set":
            home[last] = copy.deepcopy(data.draw(VALUES))
        elif action == "remove":
            del home[last]
        elif isinstance(home, dict):
            home[data.draw(KEYS)] = copy.deepcopy(data.draw(VALUES))
        else:
            home.append(copy.deepcopy(data.draw(VALUES)))
    wrong = complaints(document)
    with pytest.MonkeyPatch.context() as patch:
        parsed = parses(document, patch, folder)
    if not wrong and not any("guest" in vm for vm in document["vm"]):
        assert parsed is not None, document
    if parsed is not None and builds(parsed):
        assert wrong == [], document


def test_the_unchanged_description_becomes_a_bundle(folder: Path) -> None:
    assert builds(toml.parse(TWO, file="x.toml", folder=folder))


def test_the_schema_is_printed() -> None:
    command = [sys.executable, "-m", "aether_edgecloud.emulator.cli", "bundle", "--schema"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == SCHEMA
