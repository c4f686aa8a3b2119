# SPDX-License-Identifier: Apache-2.0
"""The host's side of the console: keys, screen, files, pseudo-terminals."""
