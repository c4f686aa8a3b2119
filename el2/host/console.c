// SPDX-License-Identifier: Apache-2.0
// The console and the vPL011s of console.c and vpl011.c as a program for the host, where sanitizers
// watch them, between a UART and a vGIC of its own. From stdin: commands, one a line, with
// hexadecimal arguments; to stdout: a line of answer for each.
//
//   start N             N VMs; once, first            slot V           vpl011_slot()
//   write V OFFSET X    to the VM's vPL011            window T         a window of T ticks
//   read V OFFSET       answers with the value        log V TEXT       vm_log(): answers 0 or 1
//   room N              the UART takes N more         own TEXT         log_line()
//   type BYTES          the UART receives             flush            console_flush_all()
//   state V S           the VM's state                out              what the UART has sent
//   levels              of INTID 33 of each VM        send V BYTES     as a polling driver: how
//   many
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <el2/console.h>
#include <el2/cpu.h>
#include <el2/uart.h>
#include <el2/vm.h>

#define INTID 33u
#define BUFFER 0x100000u

struct vm vms[VM_MAX];
uint32_t vm_count;
union telemetry_page telemetry_page;
volatile uint32_t *uart_registers;

static uint64_t ticks;
static uint32_t room = UINT32_MAX; // UINT32_MAX: without end
static uint8_t sent[BUFFER];
static uint32_t sent_size;
static uint8_t received[BUFFER];
static uint32_t received_size, received_at;
static bool levels[VM_MAX];

uint64_t counter(void)
{
    return ticks++;
}

void vgic_set_level(struct vm *vm, uint32_t intid, bool level)
{
    if (intid != INTID || levels[vm - vms] == level) {
        abort(); // told twice, or of another's
    }
    levels[vm - vms] = level;
}

uint32_t uart_room(void)
{
    return room < 16 ? room != 0 : 16;
}

void uart_send(const char *bytes, uint32_t count)
{
    if (room < count || count > BUFFER - sent_size) {
        abort();
    }
    room -= room != UINT32_MAX ? count : 0;
    memcpy(sent + sent_size, bytes, count);
    sent_size += count;
}

void uart_wait(void)
{
    room = room == 0 ? 16 : room;
}

void uart_put(uint8_t byte)
{
    char c = (char)byte;
    uart_wait();
    uart_send(&c, 1);
}

void uart_init(pa_t base)
{
    (void)base;
}

bool uart_has_input(void)
{
    return received_at != received_size;
}

uint32_t uart_get(void)
{
    return received[received_at++];
}

static void start(uint32_t count)
{
    vm_count = count;
    telemetry_page.hypervisor.window = 4000;
    for (uint32_t i = 0; i < count; i++) {
        struct vm *vm = &vms[i];
        (void)snprintf(vm->config.name, VM_NAME_SIZE, "vm%u", i);
        vm->config.devices[0].kind = VM_DEVICE_TELEMETRY;
        vm->config.devices[1].kind = VM_DEVICE_VPL011;
        vm->config.device_count = 2;
        vm->state = VM_RUNNING;
        vpl011_reset(vm, &vm->uarts[1], INTID);
    }
    console_init(pa_of(0));
    console_start();
}

// How much there was room for.
static uint32_t send(struct vm *vm, const char *digits)
{
    uint32_t count = 0;
    unsigned byte;
    for (; sscanf(digits, "%2x", &byte) == 1; digits += 2, count++) {
        if ((vpl011_read(vm, &vm->uarts[1], PL011_FR) & PL011_FR_TXFF) != 0) {
            break;
        }
        vpl011_write(vm, &vm->uarts[1], PL011_DR, byte);
    }
    return count;
}

static void type(const char *digits)
{
    unsigned byte;
    for (; sscanf(digits, "%2x", &byte) == 1; digits += 2) {
        received[received_size++ % BUFFER] = (uint8_t)byte;
    }
}

static void print_sent(void)
{
    for (uint32_t i = 0; i < sent_size; i++) {
        printf("%02x", sent[i]);
    }
    sent_size = 0;
}

static void run(const char *command, unsigned a, unsigned b, unsigned c, const char *rest)
{
    struct vm *vm = &vms[a % VM_MAX];
    if (strcmp(command, "start") == 0) {
        start(a);
    } else if (strcmp(command, "write") == 0) {
        vpl011_write(vm, &vm->uarts[1], b, c);
    } else if (strcmp(command, "read") == 0) {
        printf("%x", vpl011_read(vm, &vm->uarts[1], b));
    } else if (strcmp(command, "slot") == 0) {
        vpl011_slot(vm);
    } else if (strcmp(command, "window") == 0) {
        console_window(ticks + a);
    } else if (strcmp(command, "log") == 0) {
        struct line line = {0};
        line_text(&line, rest);
        printf("%d", vm_log(vm, &line));
    } else if (strcmp(command, "own") == 0) {
        log_line(rest);
    } else if (strcmp(command, "room") == 0) {
        room = a;
    } else if (strcmp(command, "send") == 0) {
        printf("%x", send(vm, rest));
    } else if (strcmp(command, "type") == 0) {
        type(rest);
    } else if (strcmp(command, "state") == 0) {
        vm->state = (enum vm_state)b;
    } else if (strcmp(command, "flush") == 0) {
        console_flush_all();
    } else if (strcmp(command, "out") == 0) {
        print_sent();
    } else if (strcmp(command, "levels") == 0) {
        for (uint32_t i = 0; i < vm_count; i++) {
            printf("%d", levels[i]);
        }
    } else {
        abort();
    }
}

int main(void)
{
    static char text[BUFFER];
    while (fgets(text, sizeof(text), stdin) != NULL) {
        char command[16] = "";
        unsigned a = 0;
        unsigned b = 0;
        unsigned c = 0;
        text[strcspn(text, "\n")] = '\0';
        (void)sscanf(text, "%15s %x %x %x", command, &a, &b, &c);
        const char *rest = strchr(text, ' ');
        rest = rest == NULL ? "" : rest + 1;
        if (strcmp(command, "log") == 0 || strcmp(command, "send") == 0) {
            rest = strchr(rest, ' ') + 1;
        }
        run(command, a, b, c, rest);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
