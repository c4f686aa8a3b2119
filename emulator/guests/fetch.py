# SPDX-License-Identifier: Apache-2.0
"""Fetching a guest from a Debian package into the store."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.guests import store
from aether_edgecloud.emulator.guests.apt import Apt
from aether_edgecloud.emulator.guests.catalogue import PackagedGuest

ARCHITECTURE = "arm64"


def fetch(guest: PackagedGuest) -> Iterator[str]:
    """Fetches `guest`, yielding what is being done before each step that takes time.

    Raises UserError. Nothing is in the store before the last step, and nothing else stays when it
    fails or is left early.
    """
    store.check_place()
    with tempfile.TemporaryDirectory(prefix="aether-apt-") as scratch:
        apt = Apt(Path(scratch), ARCHITECTURE)
        yield "reading Debian's package lists"
        apt.update()
        fetched: list[store.Fetched] = []
        for part in guest.parts:
            name = apt.newest(part.package)
            yield f"downloading {name}"
            package = apt.download(name)
            yield f"unpacking {package.file.name}"
            path, data = apt.extract(package, part.file)
            fetched.append(store.Fetched(name, package.version, path, data))
        store.put_all(guest.name, fetched)
