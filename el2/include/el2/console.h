// SPDX-License-Identifier: Apache-2.0
// The console: the board's UART, shared by the hypervisor's lines, `[aether] ...\r\n`, and VMs.
// One VM: its bytes pass straight through, unchanged. Several: each has a ring, which pCPU 0
// empties in its windows, and lines carry the name of their VM.
#ifndef EL2_CONSOLE_H
#define EL2_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/spinlock.h>
#include <stage2/addr.h>

struct vm;

// A line of the hypervisor as it is put together; start with used = 0. What is too long is cut.
#define LINE_SIZE 232u
struct line {
    uint32_t used;
    char text[LINE_SIZE];
};

void line_text(struct line *line, const char *text);
void line_number(struct line *line, uint64_t value);
void line_named(struct line *line, const char *name, uint64_t value); // name, 0x and 16 digits
void line_registers(struct line *line, const uint64_t x[31], unsigned first); // up to four

// At once on the UART: at boot, at a panic and at the end, when no VM runs. Before console_init()
// it waits in memory (symbol console_early).
void log_show(const struct line *line);
void log_line(const char *text);

// Of what becomes of a VM while others run: behind what the VM itself has written. From one CPU at
// a time for a VM. False: no room yet, nothing done.
bool vm_log(struct vm *vm, const struct line *line);

// What has waited is shown now.
void console_init(pa_t uart);

// Once all VMs are there, before any runs; says how to switch between them.
void console_start(void);

// pCPU 0, in each of its windows: output of one VM, in turn, and input, until CNTPCT is `until` at
// the latest.
void console_window(uint64_t until);

// pCPU 0, when no VM runs any more: all output, however long it takes.
void console_flush_all(void);

// A VM's end of the console, index as in vms. All below is done under its lock, for one CPU of the
// VM at a time.
#define CONSOLE_OUT 4096u // characters
#define CONSOLE_IN 256u
struct console {
    struct spinlock lock;
    uint32_t out_head, out_lines; // next to write; behind the last end of a line
    uint32_t out_tail;
    uint32_t in_head, in_tail;
    uint16_t out[CONSOLE_OUT];
    uint8_t in[CONSOLE_IN];
};
struct console *console_of(const struct vm *vm);
uint32_t console_room(const struct console *console); // bytes that console_put() takes now

// Returns what console_room() was; at 0 the byte is lost.
uint32_t console_put(struct console *console, uint8_t byte);
bool console_has_input(const struct console *console);
uint8_t console_get(struct console *console); // only after console_has_input()

#endif
