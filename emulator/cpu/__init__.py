# SPDX-License-Identifier: Apache-2.0
"""One physical CPU: the Unicorn engine with its work-arounds, and the architecture around it.

`engine.py` is the only module that knows Unicorn; `hooks.c` holds its hot paths; `cpu.py` applies
the pure models of `emulator/arch` to the engine.
"""
