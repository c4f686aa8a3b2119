// SPDX-License-Identifier: Apache-2.0
// Does what a program in its memory says, one step after the other, each on the vCPU that it names;
// prints what the steps have seen. Interrupts stay masked in PSTATE: a step asks for them.
#include "script.h"
#include "smp.h"
#include "runtime/gicv2.h"
#include "runtime/stub.h"

#define PSCI_AFFINITY_INFO_64 0xC4000004UL
#define AFFINITY_OFF 1
#define ISR_I (UINT64_C(1) << 7)
#define SETTLE_AFTER_END 200
#define RESULTS_A_LINE 8

// MMU and caches are off: every access goes to memory, in order.
static volatile uint64_t turn; // the step that is done now
static volatile uint64_t contexts[SCRIPT_VCPUS];
static volatile uint64_t starts[SCRIPT_VCPUS];
static uint64_t results[SCRIPT_RESULTS];
static uint64_t result_count;

static const struct script *program(void)
{
    return (const struct script *)(memory_base() + SCRIPT_OFFSET);
}

static void result(uint64_t value)
{
    if (result_count < SCRIPT_RESULTS) {
        results[result_count++] = value;
    }
}

static void next_turn(void)
{
    __asm__ volatile("dmb sy" : : : "memory"); // the step is done before the next one is begun
    turn = turn + 1;
    __asm__ volatile("dsb sy\n sev" : : : "memory"); // written before the others look
}

static void settle(uint64_t iterations)
{
    for (; iterations != 0; iterations--) {
        __asm__ volatile("" : : : "memory");
    }
}

static uint64_t load(uint64_t address, uint64_t size)
{
    switch (size) {
    case 1:
        return mmio_read8(address);
    case 2:
        return mmio_read16(address);
    case 4:
        return mmio_read32(address);
    default:
        return mmio_read64(address);
    }
}

static void store(uint64_t address, uint64_t size, uint64_t value)
{
    switch (size) {
    case 1:
        mmio_write8(address, (uint8_t)value);
        break;
    case 2:
        mmio_write16(address, (uint16_t)value);
        break;
    case 4:
        mmio_write32(address, (uint32_t)value);
        break;
    default:
        mmio_write64(address, value);
    }
}

static void call(const uint64_t argument[], uint64_t x[8])
{
    const uint64_t entry = (argument[0] & SCRIPT_ENTRY) != 0 ? smp_entry_address() : 0;
    register uint64_t x0 __asm__("x0") = argument[1];
    register uint64_t x1 __asm__("x1") = argument[2];
    register uint64_t x2 __asm__("x2") = argument[3] + entry;
    register uint64_t x3 __asm__("x3") = argument[4];
    register uint64_t x4 __asm__("x4") = argument[5];
    register uint64_t x5 __asm__("x5") = argument[6];
    register uint64_t x6 __asm__("x6") = argument[7];
    register uint64_t x7 __asm__("x7") = argument[8];
#define CALL(instruction)                                                                          \
    __asm__ volatile(instruction                                                                   \
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6),       \
                       "+r"(x7)                                                                    \
                     :                                                                             \
                     : "memory")
    if ((argument[0] & SCRIPT_SMC) == 0) {
        CALL("hvc #0");
    } else {
        CALL("smc #0");
    }
    x[0] = x0;
    x[1] = x1;
    x[2] = x2;
    x[3] = x3;
    x[4] = x4;
    x[5] = x5;
    x[6] = x6;
    x[7] = x7;
}

static void call_and_return(const uint64_t argument[], int count)
{
    uint64_t x[8];
    call(argument, x);
    for (int i = 0; i < count; i++) {
        result(x[i]);
    }
}

static void poll(const uint64_t argument[])
{
    uint64_t arguments[9] = {0};
    for (int i = 0; i < 8; i++) {
        arguments[1 + i] = argument[3 + i];
    }
    const bool wanted = (argument[0] & SCRIPT_UNTIL_NOT) == 0;
    uint64_t x[8];
    uint64_t tries = 0;
    do {
        call(arguments, x);
    } while ((x[argument[0] % SCRIPT_UNTIL_NOT] == argument[1]) != wanted && tries++ < argument[2]);
    for (int i = 0; i < 8; i++) {
        result(x[i]);
    }
}

static void wait_off(uint64_t vcpu, uint64_t tries)
{
    uint64_t affinity;
    do {
        affinity = hvc(PSCI_AFFINITY_INFO_64, vcpu, 0, 0);
    } while (affinity != AFFINITY_OFF && tries-- != 0);
    result(affinity);
}

static uint64_t sleep(bool wfi)
{
    uint64_t slept = 0;
    while ((READ_SYSREG(isr_el1) & ISR_I) == 0) {
        slept++;
        if (wfi) {
            __asm__ volatile("dsb sy\n wfi" : : : "memory"); // all stores done before the sleep
        }
    }
    return slept;
}

// The virtual timer is armed, waited for, and ended; with SCRIPT_TWICE its first interrupt is ended
// while the timer still holds its line.
static void cycle(uint64_t ticks, uint64_t how)
{
    __asm__ volatile("isb" : : : "memory"); // the counter is not read early
    uint64_t due = READ_SYSREG(cntvct_el0) + ticks;
    WRITE_SYSREG(cntv_cval_el0, due);
    WRITE_SYSREG(cntv_ctl_el0, 1);
    uint64_t slept = sleep(how != SCRIPT_SPIN);
    uint64_t now = READ_SYSREG(cntvct_el0);
    uint32_t iar = gic_read(GICC_IAR);
    if (how == SCRIPT_TWICE) {
        gic_write(GICC_EOIR, iar);
        (void)sleep(true);
        iar = gic_read(GICC_IAR);
    }
    WRITE_SYSREG(cntv_ctl_el0, 0);
    gic_write(GICC_EOIR, iar);
    settle(SETTLE_AFTER_END);
    result(due);
    result(now);
    result(iar);
    result(gic_read(GICC_IAR));
    result(slept);
}

static void print(void)
{
    for (uint64_t i = 0; i < result_count; i++) {
        put_string(i % RESULTS_A_LINE == 0 ? "script: " : " ");
        put_hex(results[i]);
        if (i % RESULTS_A_LINE == RESULTS_A_LINE - 1 || i == result_count - 1) {
            put_char('\n');
        }
    }
    put_string("script: printed\n");
}

static void do_step(const struct script_step *step, uint64_t self)
{
    const uint64_t *const argument = step->argument;
    uint64_t x[8];
    switch (step->operation) {
    case SCRIPT_READ:
        result(load(argument[0], argument[1]));
        break;
    case SCRIPT_WRITE:
        store(argument[0], argument[1], argument[2]);
        break;
    case SCRIPT_SETTLE:
        settle(argument[0]);
        break;
    case SCRIPT_CALL:
        call_and_return(argument, 4);
        break;
    case SCRIPT_CALL_8:
        call_and_return(argument, 8);
        break;
    case SCRIPT_POLL:
        poll(argument);
        break;
    case SCRIPT_LEAVE:
        next_turn();
        call(argument, x);
        put_string("script: a call came back\n");
        return;
    case SCRIPT_CONTEXT:
        result(contexts[self]);
        result(starts[self]);
        result(READ_SYSREG(mpidr_el1));
        break;
    case SCRIPT_OFF:
        wait_off(argument[0], argument[1]);
        break;
    case SCRIPT_SLEEP:
        next_turn();
        (void)sleep(true);
        return;
    case SCRIPT_PENDING:
        result(READ_SYSREG(isr_el1));
        break;
    case SCRIPT_CYCLE:
        cycle(argument[0], argument[1]);
        break;
    case SCRIPT_PRINT:
        print();
        break;
    default:
        put_string("script: unknown operation\n");
        power_off();
    }
    next_turn();
}

static void run(uint64_t self)
{
    const struct script *const script = program();
    for (;;) {
        const uint64_t now = turn;
        if (now < script->count && script->steps[now].vcpu == self) {
            do_step(&script->steps[now], self);
        } else {
            __asm__ volatile("wfe" : : : "memory");
        }
    }
}

void smp_secondary(uint64_t argument)
{
    const uint64_t self = READ_SYSREG(mpidr_el1) & 0xff;
    contexts[self] = argument;
    starts[self] = starts[self] + 1;
    run(self);
}

void stub_main(void)
{
    if (program()->magic != SCRIPT_MAGIC) {
        put_string("script: there is no program\n");
        return;
    }
    run(0);
}
