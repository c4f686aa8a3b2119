# SPDX-License-Identifier: Apache-2.0
"""Guests out of several packages, whose names hold version numbers."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import apt, catalogue, fetch, initramfs, store

from .test_guests_initramfs import busybox

CLOUD = "linux-image-6.1.0-*-cloud-arm64"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["linux-image-6.1.0-9-cloud-arm64", "linux-image-6.1.0-10-cloud-arm64"], "10"),
        (["linux-image-6.1.0-9-cloud-arm64-unsigned"], "9"),
        (["linux-image-6.1.0-56-cloud-arm64", "linux-image-6.1.0-56-cloud-arm64-dbg"], "56"),
        (["linux-image-6.1.0-56-arm64", "linux-image-6.1.0-56-rt-arm64"], None),
        (["linux-image-6.10.0-56-cloud-arm64", "linux-image-cloud-arm64"], None),
        (["linux-image-6.1.0-0.deb11.6-cloud-arm64", "linux-image-6.1.0-0.deb11"], None),
        (["linux-image-6.1.0-1.2-cloud-arm64", "linux-image-6.1.0-1-cloud-arm64"], "1.2"),
    ],
)
def test_the_newest_is_chosen_by_version(names: list[str], expected: str | None) -> None:
    found = apt.by_version(CLOUD, names)
    if expected is None:
        assert found == []
    else:
        assert found[0].startswith(f"linux-image-6.1.0-{expected}-cloud-arm64")


@given(st.permutations([f"linux-image-6.1.0-{n}-cloud-arm64" for n in (1, 2, 9, 10, 56, 100)]))
def test_the_order_they_are_listed_in_is_nothing(names: list[str]) -> None:
    numbers = [int(name.split("-")[3]) for name in apt.by_version(CLOUD, names)]
    assert numbers == [100, 56, 10, 9, 2, 1]


def test_of_a_signed_and_an_unsigned_one_the_signed() -> None:
    signed = "linux-image-6.1.0-9-cloud-arm64"
    assert apt.by_version(CLOUD, [f"{signed}-unsigned", signed]) == [signed, f"{signed}-unsigned"]


# Plays apt-get, apt-cache and dpkg-deb over a folder of "packages": folders of files.
PLAYER = """
import io, os, pathlib, shutil, sys, tarfile
packages = pathlib.Path(os.environ["FAKE_PACKAGES"])
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
if name == "apt-cache" and words[0] == "pkgnames":
    print("\\n".join(p.name for p in packages.iterdir() if p.name.startswith(words[1])))
    print(words[1] + "999-cloud-arm64")
elif name == "apt-cache":
    for word in words[1:]:
        if (packages / word).exists():
            print(f" {word} | 1.2 | http://somewhere main")
elif name == "apt-get" and words[1] == "download":
    pathlib.Path(words[2] + "_1.2_arm64.deb").write_text(words[2])
elif name == "dpkg-deb" and words[0] == "-f":
    print("1.2")
elif name == "dpkg-deb":
    home = packages / pathlib.Path(words[1]).read_text()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for path in sorted(p for p in home.rglob("*") if p.is_file()):
            archive.add(path, "./" + str(path.relative_to(home)))
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of packages that apt finds; the store is empty."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        script = programs / name
        script.write_text(f"#!{sys.executable}\n{PLAYER}", encoding="utf-8")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PACKAGES", str(tmp_path / "packages"))
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path / "guests"))
    return tmp_path / "packages"


def put(packages: Path, package: str, file: str, data: bytes) -> None:
    path = packages / package / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_linux_is_fetched_from_two_packages(packages: Path) -> None:
    for abi in ("9", "10"):
        name = f"linux-image-6.1.0-{abi}-cloud-arm64"
        put(packages, name, f"boot/System.map-6.1.0-{abi}-cloud-arm64", b"map")
        put(packages, name, f"boot/vmlinuz-6.1.0-{abi}-cloud-arm64", f"kernel {abi}".encode())
    put(packages, "busybox-static", "bin/busybox", busybox())
    steps = list(fetch.fetch(catalogue.LINUX))
    assert "downloading linux-image-6.1.0-10-cloud-arm64" in steps
    assert "downloading busybox-static" in steps
    kernel, program = store.files("linux")
    assert (kernel.name, kernel.read_bytes()) == ("vmlinuz-6.1.0-10-cloud-arm64", b"kernel 10")
    assert program.read_bytes() == busybox()
    record = store.record("linux")
    assert record is not None
    assert record.package == "linux-image-6.1.0-10-cloud-arm64"
    assert [part.package for part in record.parts] == ["busybox-static"]
    vm = catalogue.description("linux", cpus=3, memory=64 << 20, then="reboot")
    assert vm.kernel == kernel
    assert vm.vcpus == 3
    assert vm.memory[0].size == 64 << 20
    assert vm.bootargs is not None
    assert vm.bootargs.endswith("aether.then=reboot")
    assert not isinstance(vm.ramdisk, Path | None)
    assert vm.ramdisk.data == initramfs.build(busybox())


def test_a_release_without_that_kernel(packages: Path) -> None:
    put(packages, "linux-image-6.12.0-1-cloud-arm64", "boot/vmlinuz", b"other")
    put(packages, "linux-image-6.1.0-1-arm64", "boot/vmlinuz", b"other")
    with pytest.raises(UserError) as caught:
        list(fetch.fetch(catalogue.LINUX))
    assert str(caught.value).startswith(
        f"package {CLOUD}: no package of that name is in the sources"
    )
    assert caught.value.fix
    assert store.record("linux") is None


def test_nothing_is_stored_when_the_second_package_fails(packages: Path) -> None:
    put(packages, "linux-image-6.1.0-1-cloud-arm64", "boot/vmlinuz-1", b"kernel")
    put(packages, "busybox-static", "usr/share/doc/busybox", b"words")
    with pytest.raises(UserError, match="has no file bin/busybox"):
        list(fetch.fetch(catalogue.LINUX))
    assert store.record("linux") is None


def test_without_apt(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(packages))
    with pytest.raises(UserError, match=r"apt-get is not here.*; run this on Debian"):
        list(fetch.fetch(catalogue.LINUX))


def test_every_file_of_a_guest_is_checked(packages: Path) -> None:
    files = [store.Fetched("p", "1", "a/one", b"1"), store.Fetched("q", "2", "b/two", b"2")]
    made = store.put_all("g", files)
    assert store.record("g") == made
    assert [path.name for path in store.files("g")] == ["one", "two"]
    assert asdict(made)["parts"][0]["version"] == "2"
    (store.folder() / "g" / "two").write_bytes(b"3")
    with pytest.raises(UserError, match="two: is damaged"):
        store.files("g")


@pytest.mark.parametrize(("name", "then"), [("linux", "explode"), ("hello", "poweroff")])
def test_an_end_that_a_guest_does_not_have(packages: Path, name: str, then: str) -> None:
    store.put_all(
        "linux",
        [store.Fetched("p", "1", "vmlinuz", b"k"), store.Fetched("q", "1", "busybox", busybox())],
    )
    with pytest.raises(UserError, match=f"has no end '{then}'"):
        catalogue.description(name, then=then)
