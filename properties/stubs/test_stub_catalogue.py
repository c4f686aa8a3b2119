# SPDX-License-Identifier: Apache-2.0
"""The catalogue says what is there."""

import struct
from pathlib import Path

import pytest

from aether_edgecloud import guest_stubs
from aether_edgecloud.emulator import toolchain
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.guest_stubs.catalogue import STUBS, Stub

FOLDER = Path(next(iter(guest_stubs.__path__)))
NAMES = [stub.name for stub in STUBS]
HEADER = struct.pack("<I4sQQ", 0x1400_0006, b"STUB", 0, 0)


def test_names_are_those_of_vms() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for name in NAMES:
        assert 1 <= len(name) <= 15
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("stub", STUBS, ids=NAMES)
def test_cases_are_numbered_in_order(stub: Stub) -> None:
    assert [case.number for case in stub.cases] == list(range(len(stub.cases)))
    assert len({case.name for case in stub.cases}) == len(stub.cases)
    assert not stub.cases or stub.cases[0].end is stub.end


def test_every_source_belongs_to_something() -> None:
    here = {
        path.relative_to(FOLDER).as_posix()
        for pattern in ("*.c", "*.S", "*.h", "*.lds")
        for path in FOLDER.rglob(pattern)
    }
    listed = {source for stub in STUBS for source in stub.sources}
    listed |= {*catalogue.RUNTIME_SOURCES, *catalogue.HEADERS, catalogue.LINKER_SCRIPT}
    assert here == listed


@pytest.mark.parametrize("stub", STUBS, ids=NAMES)
def test_images_can_be_patched(stub: Stub) -> None:
    image = toolchain.artefact(f"stub:{stub.name}").flat.read_bytes()
    patched = catalogue.patched(image, case=5, parameter=1 << 40)
    assert struct.unpack_from("<QQ", patched, 8) == (5, 1 << 40)
    assert patched[:8] + bytes(16) + patched[24:] == image


@pytest.mark.parametrize("name", ["crash", "fault-loop"])
def test_cases_are_the_probes_of_that_number(name: str) -> None:
    """The names in the image's table of probes, in order."""
    image = toolchain.artefact(f"stub:{name}").flat.read_bytes()
    places = [
        image.index(b"\0" + case.name.encode() + b"\0") for case in catalogue.find(name).cases
    ]
    first = places[0]
    assert places == [first + 64 * number for number in range(len(places))]


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="not the flat image"):
        catalogue.patched(bytes(64), case=1)


def test_unknown_names() -> None:
    with pytest.raises(KeyError, match="hello"):
        catalogue.find("nobody")
    with pytest.raises(KeyError, match="nothing"):
        catalogue.find("crash").case("nothing")
