// SPDX-License-Identifier: Apache-2.0
// Says who it is and what it sees, through the hypercall console and through the PL011.
#include "runtime/stub.h"

static void put_line(const char *label, uint64_t value)
{
    put_string("hello: ");
    put_string(label);
    put_string(" = ");
    put_hex(value);
    put_char('\n');
}

void stub_main(void)
{
    const uint32_t version = (uint32_t)hvc(AETHER_VERSION, 0, 0, 0);
    put_string("hello: a small guest at EL1, glad to be here\n");
    put_line("CurrentEL", READ_SYSREG(currentel) >> 2);
    put_line("MIDR_EL1", READ_SYSREG(midr_el1));
    put_line("MPIDR_EL1", READ_SYSREG(mpidr_el1));
    put_line("CNTFRQ_EL0", READ_SYSREG(cntfrq_el0));
    put_line("memory from IPA", memory_base());
    if ((version & 0x80000000U) == 0) {
        put_string("hello: Aether hypervisor interface ");
        put_decimal(version >> 16);
        put_char('.');
        put_decimal(version & 0xffff);
        put_char('\n');
    } else {
        put_string("hello: no Aether hypervisor underneath\n");
    }
    pl011_write("hello: and this line went through the PL011\n");
    put_string("hello: bye\n");
}
