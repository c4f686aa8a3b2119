# SPDX-License-Identifier: Apache-2.0
"""What a run is started from: the binary, the bundle, the board, found to be sound together."""
