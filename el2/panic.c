// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>
#include <stddef.h>

#include <el2/console.h>
#include <el2/image.h>
#include <el2/panic.h>
#include <el2/power.h>
#include <el2/sysregs.h>
#include <el2/uart.h>

#define MAX_FRAMES 16u

struct panic_record panic_record;  // of the first
struct panic_record panic_scratch; // of the last

static unsigned panics;

static const struct {
    uint8_t ec;
    char name[39]; // no pointer: the image is not relocated
} class_names[] = {
    {EC_UNKNOWN, "unknown reason"},
    {EC_WFX, "trapped WFI or WFE"},
    {EC_FP, "trapped FP/SIMD"},
    {EC_ILLEGAL_STATE, "illegal execution state"},
    {EC_SVC64, "SVC"},
    {EC_HVC64, "HVC"},
    {EC_SMC64, "SMC"},
    {EC_SYSREG, "trapped MSR, MRS or system instruction"},
    {EC_IABT_LOWER, "instruction abort, lower EL"},
    {EC_IABT_SAME, "instruction abort, same EL"},
    {EC_PC_ALIGN, "PC alignment fault"},
    {EC_DABT_LOWER, "data abort, lower EL"},
    {EC_DABT_SAME, "data abort, same EL"},
    {EC_SP_ALIGN, "SP alignment fault"},
    {EC_SERROR, "SError"},
    {EC_BRK64, "BRK"},
};

const char *exception_class_name(uint64_t ec)
{
    for (uint32_t i = 0; i < sizeof(class_names) / sizeof(class_names[0]); i++) {
        if (class_names[i].ec == ec) {
            return class_names[i].name;
        }
    }
    return "other";
}

static bool on_stack(uint64_t address, const char *start, const char *end)
{
    return address >= image_address(start) && address + 16 <= image_address(end);
}

// Image addresses as in the ELF, which is linked at 0.
static void log_code_address(uint64_t pc)
{
    log_hex(pc);
    log_text(" (image+");
    log_hex(pc - image_address(image_start));
    log_text(")");
}

// Along the frame records (x29, x30) while they go up on one of the stacks.
static void backtrace(uint64_t frame)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < MAX_FRAMES; i++) {
        if (frame % 16 != 0 || frame <= below ||
            !(on_stack(frame, stack_start, stack_end) ||
              on_stack(frame, panic_stack_start, panic_stack_end))) {
            return;
        }
        const uint64_t *record = (const uint64_t *)(uintptr_t)frame;
        log_begin();
        log_text("  called from ");
        log_code_address(record[1]);
        log_end();
        below = frame;
        frame = record[0];
    }
}

static void begin_panic(const char *what)
{
    panics++;
    if (panics == 2) { // one on the way to the end of another: say no more
        uart_drop();   // perhaps the very reason
        power_end("panic");
    }
    while (panics > 2) { // not even that works
        __asm__ volatile("wfi");
    }
    log_begin();
    log_text("panic: ");
    log_text(what);
    log_end();
}

_Noreturn void panic(const char *what)
{
    begin_panic(what);
    backtrace((uint64_t)(uintptr_t)__builtin_frame_address(0));
    power_end("panic");
}

_Noreturn void panic_exception(struct panic_record *record, uint64_t vector)
{
    static const char kinds[4][24] = {"synchronous exception", "IRQ", "FIQ", "SError"};
    uint64_t esr = READ_SYSREG(esr_el2);
    uint64_t far = READ_SYSREG(far_el2);
    uint64_t pc = READ_SYSREG(elr_el2);
    if (panics == 0) { // an exception on the way to the end of it is not what matters
        panic_record = *record;
        record = &panic_record;
    }
    begin_panic(kinds[vector & 3]);
    log_begin();
    log_text("  pc ");
    log_code_address(pc);
    log_named(" spsr ", READ_SYSREG(spsr_el2));
    log_end();
    log_begin();
    log_named("  esr ", esr);
    log_text(" (");
    log_text(exception_class_name(esr >> ESR_EC_SHIFT & ESR_EC_MASK));
    log_named(") far ", far);
    log_named(" sp ", record->sp);
    log_end();
    if (far >= image_address(data_end) && far < image_address(stack_start)) {
        log_line("  EL2's stack has overflowed");
    }
    log_registers(record->x);
    log_begin();
    log_text("  in ");
    log_code_address(record->x[30]);
    log_text(" (x30)");
    log_end();
    backtrace(record->x[29]);
    power_end("panic");
}
