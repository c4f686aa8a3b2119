# SPDX-License-Identifier: Apache-2.0
"""Guests that can be run by name: the embedded stubs, and real ones from Debian's packages."""
