# SPDX-License-Identifier: Apache-2.0
"""`python -m aether_edgecloud.emulator.cli` is `aether`."""

import sys

from aether_edgecloud.emulator.cli.app import main

sys.exit(main())
