# SPDX-License-Identifier: Apache-2.0
"""How it is drawn: no decisions are made here."""
