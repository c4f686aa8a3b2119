// SPDX-License-Identifier: Apache-2.0
#ifndef EL2_VERSION_H
#define EL2_VERSION_H

#define AETHER_VERSION_MAJOR 0u
#define AETHER_VERSION_MINOR 1u
#define AETHER_VERSION_TEXT "0.1.0"

#endif
