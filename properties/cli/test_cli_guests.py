# SPDX-License-Identifier: Apache-2.0
"""The store of guests, and fetching from packages with programs that play apt's part."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue, store

from .command_line import COMMAND, LIMIT_S, aether
from .fake_programs import install

# Plays apt-get: records its configuration and downloads a "package".
APT_GET = """
import os, shutil, sys
from pathlib import Path
config = Path(os.environ["APT_CONFIG"]).read_text()
log = Path(os.environ["FAKE_LOG"])
log.write_text((log.read_text() if log.exists() else "") + " ".join(sys.argv[1:]) + "\\n" + config)
if os.environ.get("FAKE_HANG"):
    import time
    time.sleep(3600)
if sys.argv[2] == "download":
    if os.environ.get("FAKE_FAIL") == "download":
        sys.exit("W: a warning\\nE: Unable to locate package u-boot-qemu\\nE: another")
    Path("u-boot-qemu_1.2_all.deb").write_bytes(b"package")
"""
# Plays dpkg-deb: its package holds one file.
DPKG_DEB = """
import io, os, sys, tarfile
if sys.argv[1] == "-f":
    print("1.2-test")
else:
    name = os.environ.get("FAKE_MEMBER", "./usr/lib/u-boot/qemu_arm64/u-boot.bin")
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for path, data in (("./usr/share/doc", b"words"), (name, b"code" * 1000)):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
"""


@pytest.fixture
def world(tmp_path: Path) -> dict[str, str]:
    """An environment with the players and an empty store."""
    found = install(tmp_path / "bin", {"apt-get": APT_GET, "dpkg-deb": DPKG_DEB})
    return found | {
        "AETHER_GUESTS": str(tmp_path / "guests"),
        "FAKE_LOG": str(tmp_path / "log"),
        "TMPDIR": str(tmp_path),
    }


def test_a_guest_is_fetched_and_listed(world: dict[str, str], tmp_path: Path) -> None:
    done = aether("guests", "fetch", "u-boot", environment=world)
    assert done.status == 0, done
    assert b"u-boot-qemu 1.2-test, 4000 bytes" in done.out
    record = json.loads((tmp_path / "guests/u-boot/guest.json").read_text())
    assert record["version"] == "1.2-test"
    assert (tmp_path / "guests/u-boot/u-boot.bin").read_bytes() == b"code" * 1000
    assert b"1.2-test" in aether("guests", environment=world).out
    shown = aether("bundle", "u-boot", "--show", environment=world)
    assert b"u-boot.bin" in shown.out
    assert not list(tmp_path.glob("aether-apt-*")), "the private state is gone"


def test_apt_gets_a_state_of_its_own(world: dict[str, str], tmp_path: Path) -> None:
    aether("guests", "fetch", "u-boot", environment=world)
    log = (tmp_path / "log").read_text()
    assert "-q update" in log
    assert "-q download u-boot-qemu" in log
    for setting in ("Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache"):
        assert f'{setting} "{tmp_path}/aether-apt-' in log, setting
    assert 'APT::Architecture "arm64"' in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_folder(
    world: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "guests", "fetch", "u-boot"],
        env=os.environ | world | {"FAKE_HANG": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Who started the tests may ignore it, as nohup does.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    with process:
        while not (tmp_path / "log").exists():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(LIMIT_S) == (130 if number is signal.SIGINT else 128 + number)
    assert not list(tmp_path.glob("aether-apt-*"))
    assert not (tmp_path / "guests").exists()


def test_apts_own_words_are_passed_on(world: dict[str, str], tmp_path: Path) -> None:
    failed = aether("guests", "fetch", "u-boot", environment=world | {"FAKE_FAIL": "download"})
    assert failed.status == 2
    last = failed.err.splitlines()[-1]
    assert last.startswith("aether: package u-boot-qemu: apt cannot download it (Unable to locate")
    assert not (tmp_path / "guests").exists()


def test_a_package_without_the_file(world: dict[str, str], tmp_path: Path) -> None:
    failed = aether("guests", "fetch", "u-boot", environment=world | {"FAKE_MEMBER": "./other"})
    assert failed.status == 2
    assert "has no file usr/lib/u-boot/qemu_arm64/u-boot.bin" in failed.err
    assert not (tmp_path / "guests").exists()


def test_a_failed_fetch_leaves_the_guest_that_was_there(
    world: dict[str, str], tmp_path: Path
) -> None:
    aether("guests", "fetch", "u-boot", environment=world)
    before = (tmp_path / "guests/u-boot/guest.json").read_bytes()
    aether("guests", "fetch", "u-boot", environment=world | {"FAKE_FAIL": "download"})
    assert (tmp_path / "guests/u-boot/guest.json").read_bytes() == before


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path / "guests"))
    return tmp_path / "guests"


def test_put_replaces(folder: Path) -> None:
    store.put("g", "pkg", "1", "a/old.bin", b"old")
    store.put("g", "pkg", "2", "a/new.bin", b"new")
    found = store.record("g")
    assert found is not None
    assert found.version == "2"
    assert store.image("g").read_bytes() == b"new"
    assert sorted(p.name for p in folder.iterdir()) == ["g"]
    assert sorted(p.name for p in (folder / "g").iterdir()) == ["guest.json", "new.bin"]


@given(st.binary(max_size=80))
def test_a_record_of_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AETHER_GUESTS", folder)
        store.put("g", "pkg", "1", "image", b"content")
        Path(folder, "g", "guest.json").write_bytes(data)
        assert store.record("g") is None
        with pytest.raises(UserError, match="is not here yet"):
            store.image("g")


def test_a_damaged_image_is_noticed(folder: Path) -> None:
    store.put("g", "pkg", "1", "image", b"content")
    (folder / "g" / "image").write_bytes(b"Content")
    with pytest.raises(UserError, match="damaged"):
        store.image("g")
    (folder / "g" / "image").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        store.image("g")


def test_a_record_cannot_point_outside(folder: Path) -> None:
    store.put("g", "pkg", "1", "image", b"content")
    record = folder / "g" / "guest.json"
    (folder.parent / "outside").write_bytes(b"content")
    fields = json.loads(record.read_text()) | {"image": "../../outside"}
    record.write_text(json.dumps(fields))
    with pytest.raises(UserError):
        store.image("g")


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path / "file" / "guests"))
    with pytest.raises(UserError, match="set AETHER_GUESTS"):
        store.put("g", "pkg", "1", "image", b"content")


def test_a_store_that_cannot_be_written_is_told_before_anything_is_fetched(
    world: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    world["AETHER_GUESTS"] = str(tmp_path / "file" / "guests")
    done = aether("guests", "fetch", "u-boot", environment=world)
    assert done.status == 2
    assert "cannot be written (Not a directory); set AETHER_GUESTS to a folder" in done.err
    assert not (tmp_path / "log").exists(), "apt was not started"
    # What is not there yet can be made.
    world["AETHER_GUESTS"] = str(tmp_path / "new" / "guests")
    assert aether("guests", "fetch", "u-boot", environment=world).status == 0


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AETHER_GUESTS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert store.folder() == Path("/data/aether-edgecloud/guests")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.folder() == tmp_path / ".local/share/aether-edgecloud/guests"


@pytest.mark.parametrize("name", catalogue.stub_names())
def test_every_stub_makes_a_bundle(name: str) -> None:
    vm = catalogue.description(name)
    assert vm.name == name.replace("_", "-")[:15]


# Files written whole or not at all.


def test_a_new_file_and_a_replaced_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    atomic_file.write(path, b"one")
    path.chmod(0o640)
    atomic_file.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"one")
    (tmp_path / "link").symlink_to("real")
    atomic_file.write(tmp_path / "link", b"two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"two"


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        atomic_file.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_written_to() -> None:
    atomic_file.write(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()
