// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>
#include <stddef.h>

#include <el2/console.h>
#include <el2/cpu.h>
#include <el2/image.h>
#include <el2/panic.h>
#include <el2/power.h>
#include <el2/sysregs.h>
#include <el2/uart.h>

#define MAX_FRAMES 16u

struct panic_record panic_record;

static uint32_t panicked; // index + 1 of the CPU that came first
static unsigned panics;   // its

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

// A frame record on one of the stacks that lie `step` bytes apart from `start` on.
static bool on_stack(uint64_t address, const char *start, const char *end, uint64_t step,
                     uint64_t size)
{
    return address >= image_address(start) && address < image_address(end) &&
           (address - image_address(start)) % step + 16 <= size;
}

// Image addresses as in the ELF, which is linked at 0.
static void code_address(struct line *line, const char *what, uint64_t pc)
{
    line_named(line, what, pc);
    line_named(line, " (image+", pc - image_address(image_start));
    line_text(line, ")");
}

// Along the frame records (x29, x30) while they go up on one of the stacks.
static void backtrace(uint64_t frame)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < MAX_FRAMES; i++) {
        if (frame % 16 != 0 || frame <= below ||
            !(on_stack(frame, stack_start, stack_end, STACK_STEP, STACK_SIZE) ||
              on_stack(frame, panic_stack_start, panic_stack_end, PANIC_STACK_STEP,
                       PANIC_STACK_SIZE))) {
            return;
        }
        const uint64_t *record = (const uint64_t *)(uintptr_t)frame;
        struct line line;
        line.used = 0;
        code_address(&line, "  called from ", record[1]);
        log_show(&line);
        below = frame;
        frame = record[0];
    }
}

static void begin_panic(const char *what)
{
    uint32_t cpu = this_cpu()->index + 1;
    struct line line;
    if (panicked == 0) {
        panicked = cpu;
    }
    if (panicked == cpu && ++panics == 2) { // one on the way to the end of another: say no more
        uart_drop();                        // perhaps the very reason
        power_end("panic");
    }
    while (panics != 1 || panicked != cpu) { // not even that works, or another CPU is at it
        __asm__ volatile("wfi");
    }
    line.used = 0;
    line_text(&line, "panic: ");
    line_text(&line, what);
    log_show(&line);
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
    struct line line;
    if (panics == 0) { // an exception on the way to the end of it is not what matters
        panic_record = *record;
        record = &panic_record;
    }
    begin_panic(kinds[vector & 3]);
    line.used = 0;
    code_address(&line, "  pc ", pc);
    line_named(&line, " spsr ", READ_SYSREG(spsr_el2));
    log_show(&line);
    line.used = 0;
    line_named(&line, "  esr ", esr);
    line_text(&line, " (");
    line_text(&line, exception_class_name(esr >> ESR_EC_SHIFT & ESR_EC_MASK));
    line_named(&line, ") far ", far);
    line_named(&line, " sp ", record->sp);
    log_show(&line);
    if (far >= image_address(data_end) && far < image_address(stack_end) &&
        (far - image_address(data_end)) % STACK_STEP < PAGE_SIZE) { // a guard page
        log_line("  EL2's stack has overflowed");
    }
    for (unsigned i = 0; i < 31; i += 4) {
        line.used = 0;
        line_registers(&line, record->x, i);
        log_show(&line);
    }
    line.used = 0;
    code_address(&line, "  in ", record->x[30]);
    line_text(&line, " (x30)");
    log_show(&line);
    backtrace(record->x[29]);
    power_end("panic");
}
