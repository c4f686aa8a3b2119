// SPDX-License-Identifier: Apache-2.0
// Power State Coordination Interface 1.1 (Arm DEN0022), as a guest meets it.
#ifndef EL2_PSCI_H
#define EL2_PSCI_H

#include <stdint.h>

#include <el2/vm.h>

#define PSCI_VERSION 0x84000000u
#define PSCI_CPU_SUSPEND_32 0x84000001u
#define PSCI_CPU_SUSPEND_64 0xc4000001u
#define PSCI_CPU_OFF 0x84000002u
#define PSCI_CPU_ON_32 0x84000003u
#define PSCI_CPU_ON_64 0xc4000003u
#define PSCI_AFFINITY_INFO_32 0x84000004u
#define PSCI_AFFINITY_INFO_64 0xc4000004u
#define PSCI_MIGRATE_INFO_TYPE 0x84000006u
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define PSCI_FEATURES 0x8400000au

// Carries out a call of the standard secure service range and leaves its result in X0.
void psci_call(struct vcpu *vcpu, uint32_t function);

#endif
