# SPDX-License-Identifier: Apache-2.0
"""Bugs put into the hypervisor on purpose, one at a time, to measure what the properties notice.

`bugs/*.toml` are seeded bugs, written by hand after known ones; `general.py` and `assembly.py`
make mechanical ones. Each is a change of one source file, made in a copy of the sources: nothing in
el2/ or stage2/ knows of it. `runner.py` judges.
"""
