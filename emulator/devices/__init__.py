# SPDX-License-Identifier: Apache-2.0
"""Device models: pure, stepped, saveable classes, each a rendering of its specification."""
