# SPDX-License-Identifier: Apache-2.0
"""The machine: a CPU on Unicorn, and models in Python of all that surrounds it.

It runs any EL2 binary and knows no hypervisor: what it checks, it checks from architectural
events (instructions, system registers, table writes, TLBI, DSB, ERET).
"""
