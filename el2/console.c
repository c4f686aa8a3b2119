// SPDX-License-Identifier: Apache-2.0
// With several VMs a ring has one writer, the VM under its lock, and one reader, pCPU 0 in its
// windows, which takes no lock: no VM can hold up another, or the window. Which VM's turn it is and
// how much it may write depends on nothing that VMs do.
#include <stddef.h>

#include <el2/console.h>
#include <el2/cpu.h>
#include <el2/uart.h>
#include <el2/vm.h>

#define EARLY_SIZE 512u
#define OWN 0x100u            // with a character in a ring: of a line of the hypervisor's
#define LONG_LINE 128u        // so much is shown before its end has come
#define TICKS_A_CHARACTER 16u // what one takes, on any board
#define TICKS_FOR_REST 1400u  // of a window
#define MAX_BUDGET 152u       // a line of 128 characters, with its name
#define MIN_BUDGET 32u
#define CTRL_T 0x14u
#define SHOWN_MAX (VM_NAME_SIZE + 8u) // a character and all that can stand before it
#define STAGED_SIZE (MAX_BUDGET + 2 * SHOWN_MAX)
#define AETHER VM_MAX // as an author of a line, beside VMs by their index

static struct console consoles[VM_MAX];
static bool shared; // by several VMs: rings are used

// Found by its symbol when a board has no console to speak of.
char console_early[EARLY_SIZE];
static uint32_t early_used;
static bool ready;

// What the last character shown was part of.
static uint32_t author;
static bool mid_line;
static bool unfinished[VM_MAX + 1]; // by author: a line has begun, and perhaps been interrupted

// pCPU 0's only:
static uint32_t attached; // VM that gets the input
static bool escaped;      // after Ctrl-T
static uint32_t turn;
static uint32_t budget; // of a VM in a window
static uint32_t staged_at, staged_size;

static char staged[STAGED_SIZE];

static void put(char c)
{
    if (ready) {
        uart_put((uint8_t)c);
    } else if (early_used < EARLY_SIZE) {
        console_early[early_used++] = c;
    }
}

static uint32_t copy(char *to, uint32_t used, const char *text)
{
    while (*text != '\0') {
        to[used++] = *text++;
    }
    return used;
}

// What must stand before a character of this author: the end of another's line, and who says it.
static uint32_t begin(char *to, uint32_t used, uint32_t by)
{
    used = copy(to, used, mid_line ? "\r\n[" : "[");
    used = copy(to, used, by == AETHER ? "aether" : vms[by].config.name);
    author = by;
    return copy(to, used, unfinished[by] ? "+] " : "] ");
}

static void put_own(char c)
{
    char before[SHOWN_MAX];
    uint32_t used = author == AETHER && mid_line ? 0 : begin(before, 0, AETHER);
    for (uint32_t i = 0; i < used; i++) {
        put(before[i]);
    }
    put(c);
    mid_line = unfinished[AETHER] = c != '\n';
}

void line_text(struct line *line, const char *text)
{
    while (*text != '\0' && line->used < LINE_SIZE) {
        line->text[line->used++] = *text++;
    }
}

void line_number(struct line *line, uint64_t value)
{
    char digits[21] = {0};
    uint32_t at = 20;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    line_text(line, digits + at);
}

void line_named(struct line *line, const char *name, uint64_t value)
{
    char digits[17] = {0};
    line_text(line, name);
    line_text(line, "0x");
    for (uint32_t i = 16; i != 0; value >>= 4) {
        digits[--i] = "0123456789abcdef"[value & 15];
    }
    line_text(line, digits);
}

void line_registers(struct line *line, const uint64_t x[31], unsigned first)
{
    line_text(line, " ");
    for (unsigned i = first; i < 31 && i < first + 4; i++) {
        line_text(line, " x");
        line_number(line, i);
        line_named(line, " ", x[i]);
    }
}

void log_show(const struct line *line)
{
    for (uint32_t i = 0; i < line->used; i++) {
        put_own(line->text[i]);
    }
    put_own('\r');
    put_own('\n');
    author = 0; // of what comes without an author: from a single VM
}

void log_line(const char *text)
{
    struct line line;
    line.used = 0;
    line_text(&line, text);
    log_show(&line);
}

struct console *console_of(const struct vm *vm)
{
    return &consoles[vm - vms];
}

uint32_t console_room(const struct console *console)
{
    // Acquire: pCPU 0 has read what is to be overwritten.
    uint32_t tail = __atomic_load_n(&console->out_tail, __ATOMIC_ACQUIRE);
    return CONSOLE_OUT - (console->out_head - tail);
}

static void push(struct console *console, uint32_t c)
{
    uint32_t head = console->out_head;
    console->out[head % CONSOLE_OUT] = (uint16_t)c;
    if ((c & 0xff) == '\n') {
        __atomic_store_n(&console->out_lines, head + 1, __ATOMIC_RELAXED);
    }
    // Release: pCPU 0 finds the character, and the end of a line, behind the new head.
    __atomic_store_n(&console->out_head, head + 1, __ATOMIC_RELEASE);
}

uint32_t console_put(struct console *console, uint8_t byte)
{
    if (!shared) {
        uart_put(byte);
        mid_line = byte != '\n';
        return CONSOLE_OUT;
    }
    uint32_t room = console_room(console);
    if (room != 0) {
        push(console, byte);
    }
    return room;
}

bool vm_log(struct vm *vm, const struct line *line)
{
    struct console *console = console_of(vm);
    spin_lock(&console->lock);
    bool room = console_room(console) >= line->used + 2;
    if (!shared) {
        log_show(line);
    } else if (room) {
        for (uint32_t i = 0; i < line->used; i++) {
            push(console, (uint8_t)line->text[i] | OWN);
        }
        push(console, '\r' | OWN);
        push(console, '\n' | OWN);
    }
    spin_unlock(&console->lock);
    return room;
}

bool console_has_input(const struct console *console)
{
    // Acquire: the byte is there when it is counted.
    return shared ? __atomic_load_n(&console->in_head, __ATOMIC_ACQUIRE) != console->in_tail
                  : uart_has_input();
}

uint8_t console_get(struct console *console)
{
    if (!shared) {
        return (uint8_t)uart_get();
    }
    uint8_t byte = console->in[console->in_tail % CONSOLE_IN];
    // Release: the byte has been read before its place is free.
    __atomic_store_n(&console->in_tail, console->in_tail + 1, __ATOMIC_RELEASE);
    return byte;
}

void console_init(pa_t uart)
{
    uart_init(uart);
    ready = true;
    for (uint32_t i = 0; i < early_used; i++) {
        uart_put((uint8_t)console_early[i]);
    }
}

void console_start(void)
{
    struct line line;
    uint64_t ticks = telemetry_page.hypervisor.window;
    uint64_t characters = ticks < TICKS_FOR_REST ? 0 : (ticks - TICKS_FOR_REST) / TICKS_A_CHARACTER;
    budget = characters < MIN_BUDGET   ? MIN_BUDGET
             : characters > MAX_BUDGET ? MAX_BUDGET
                                       : (uint32_t)characters;
    shared = vm_count > 1;
    line.used = 0;
    line_text(&line, "console: input to ");
    line_text(&line, vms[0].config.name);
    line_text(&line, "; Ctrl-T 1..");
    line_number(&line, vm_count);
    line_text(&line, " switches");
    if (shared) {
        log_show(&line);
    }
}

static bool has_room_for_input(void)
{
    const struct console *console = &consoles[attached];
    // Acquire: the VM has read the byte that is to be overwritten.
    return console->in_head - __atomic_load_n(&console->in_tail, __ATOMIC_ACQUIRE) < CONSOLE_IN;
}

// A VM that is down reads nothing any more: its input goes away, so that Ctrl-T is found behind it.
static bool takes_input(void)
{
    enum vm_state state = __atomic_load_n(&vms[attached].state, __ATOMIC_RELAXED);
    return has_room_for_input() || state == VM_DOWN || state == VM_ABSENT;
}

static void take_input(uint8_t byte)
{
    struct console *console = &consoles[attached];
    uint32_t number = (uint32_t)byte - '1';
    if (byte == CTRL_T && !escaped) {
        escaped = true;
    } else if (byte != CTRL_T && escaped) {
        escaped = false;
        attached = number < vm_count ? number : attached;
    } else {
        escaped = false;
        if (has_room_for_input()) {
            console->in[console->in_head % CONSOLE_IN] = byte;
            // Release: the byte is there before it is counted.
            __atomic_store_n(&console->in_head, console->in_head + 1, __ATOMIC_RELEASE);
        }
    }
}

// Makes what a VM may say in one window ready to be written: whole lines where they fit. What a
// character costs depends on what the VM itself has written alone: its start of a line is charged
// for the longest prefix.
static void stage(uint32_t who)
{
    struct console *console = &consoles[who];
    // Acquire: the characters, and the end of a line, are there when they are counted.
    uint32_t head = __atomic_load_n(&console->out_head, __ATOMIC_ACQUIRE);
    uint32_t end = __atomic_load_n(&console->out_lines, __ATOMIC_RELAXED);
    uint32_t at = console->out_tail;
    uint32_t whole = at; // lines up to here are staged, and this long
    uint32_t whole_size = 0;
    bool open = false; // there, the VM's own line goes on behind a line of the hypervisor's
    uint32_t cost = 0;
    if (end - at > head - at) { // that line's end has been shown already
        end = at;
    }
    if (who == attached || (at == end && (unfinished[who] || head - at > LONG_LINE))) {
        end = head;
    }
    staged_at = 0;
    staged_size = 0;
    while (at != end) {
        const uint16_t *from = &console->out[at % CONSOLE_OUT];
        uint32_t own = *from & OWN;
        uint32_t by = own != 0 ? AETHER : who;
        cost += unfinished[by] ? 0 : SHOWN_MAX;
        if (cost >= budget) {
            break;
        }
        if (by != author || !mid_line) {
            staged_size = begin(staged, staged_size, by);
        }
        char *to = &staged[staged_size];
        uint32_t most = CONSOLE_OUT - at % CONSOLE_OUT; // up to where the ring starts anew
        most = most < end - at ? most : end - at;
        most = most < budget - cost ? most : budget - cost;
        uint32_t count = 0;
        do { // on with the line
            to[count] = (char)from[count];
        } while (to[count++] != '\n' && count < most && (from[count] & OWN) == own);
        at += count;
        cost += count;
        staged_size += count;
        mid_line = to[count - 1] != '\n';
        unfinished[by] = mid_line;
        if (!mid_line) {
            whole = at;
            whole_size = staged_size;
            open = unfinished[who];
        }
    }
    if (at != end && whole_size != 0) {
        at = whole;
        staged_size = whole_size;
        mid_line = unfinished[AETHER] = false;
        unfinished[who] = open;
    }
    // Release: the characters have been read before their places are free.
    __atomic_store_n(&console->out_tail, at, __ATOMIC_RELEASE);
}

// False: time is up, or the UART has no room, before all is written.
static bool write_staged(uint64_t until)
{
    while (staged_at != staged_size) {
        uint32_t room = counter() < until ? uart_room() : 0;
        uint32_t count = staged_size - staged_at;
        if (room == 0) {
            return false;
        }
        count = count < room ? count : room;
        uart_send(staged + staged_at, count);
        staged_at += count;
    }
    return true;
}

void console_window(uint64_t until)
{
    if (!shared) {
        return;
    }
    turn = turn + 1 < vm_count ? turn + 1 : 0;
    if (write_staged(until) && counter() < until) {
        stage(turn);
        (void)write_staged(until);
    }
    while (counter() < until && uart_has_input() && takes_input()) {
        take_input((uint8_t)uart_get());
    }
}

void console_flush_all(void)
{
    (void)write_staged(UINT64_MAX);
    for (attached = 0; shared && attached < vm_count; attached++) { // not only whole lines
        do {
            stage(attached);
            while (!write_staged(UINT64_MAX)) {
                uart_wait();
            }
        } while (staged_size != 0);
    }
}
