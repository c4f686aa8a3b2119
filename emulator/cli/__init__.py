# SPDX-License-Identifier: Apache-2.0
"""The command `aether`: one module per command, each importing what it needs when it runs."""

from aether_edgecloud.emulator.cli.app import main

__all__ = ["main"]
