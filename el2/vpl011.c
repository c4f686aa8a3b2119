// SPDX-License-Identifier: Apache-2.0
#include <el2/console.h>
#include <el2/memory.h>
#include <el2/uart.h>
#include <el2/vm.h>

#define IFLS_RESET 0x12u
#define ENOUGH_ROOM 2048u // for a transmit interrupt: far more than a FIFO's worth

// Registers that only keep what is written: where, and which bits.
static const struct {
    uint16_t offset;
    uint16_t mask;
} kept[VPL011_KEPT] = {
    {PL011_IMSC, PL011_INT_ALL}, {PL011_ILPR, 0xff}, {PL011_IBRD, 0xffff}, {PL011_FBRD, 0x3f},
    {PL011_LCR_H, 0xff},         {PL011_CR, 0xff87}, {PL011_IFLS, 0x3f},   {PL011_DMACR, 0x7},
};

#define KEPT_IMSC 0 // in kept[]
#define KEPT_CR 5
#define KEPT_IFLS 6

// Number of such a register; VPL011_KEPT: none.
static uint32_t find(uint64_t offset)
{
    uint32_t i = 0;
    while (i < VPL011_KEPT && kept[i].offset != offset) {
        i++;
    }
    return i;
}

void vpl011_reset(struct vm *vm, struct vpl011 *uart, uint32_t intid)
{
    memset(uart, 0, sizeof(*uart));
    uart->kept[KEPT_CR] = PL011_CR_TXE | PL011_CR_RXE;
    uart->kept[KEPT_IFLS] = IFLS_RESET;
    uart->intid = intid;
    uart->console = console_of(vm);
}

static void raise(struct vpl011 *uart, uint32_t interrupts, bool on)
{
    uint32_t others = uart->raised & ~interrupts;
    uart->raised = (uint16_t)(on ? others | interrupts : others);
}

// The output, whenever one of its inputs may have changed.
static void update(struct vm *vm, struct vpl011 *uart)
{
    bool level = (uart->raised & uart->kept[KEPT_IMSC]) != 0;
    if (level != uart->level) {
        uart->level = level;
        if (uart->intid != 0) {
            vgic_set_level(vm, uart->intid, level);
        }
    }
}

void vpl011_slot(struct vm *vm)
{
    struct console *console = console_of(vm);
    spin_lock(&console->lock);
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        struct vpl011 *uart = &vm->uarts[i];
        if (vm->config.devices[i].kind != VM_DEVICE_VPL011) {
            continue;
        }
        if (console_has_input(console)) {
            raise(uart, PL011_INT_RX | PL011_INT_RT, true);
        }
        if (uart->full && console_room(console) >= ENOUGH_ROOM) {
            uart->full = false;
            raise(uart, PL011_INT_TX, true);
        }
        update(vm, uart);
    }
    spin_unlock(&console->lock);
}

void vpl011_write(struct vm *vm, struct vpl011 *uart, uint64_t offset, uint32_t value)
{
    struct console *console = uart->console;
    bool changes = true;
    spin_lock(&console->lock);
    if (offset == PL011_DR) { // without room lost, as a PL011 does: the guest did not look at FR
        bool full = console_put(console, (uint8_t)value) < ENOUGH_ROOM;
        changes = full || (uart->raised & PL011_INT_TX) == 0;
        if (changes) {
            uart->full = full;
            raise(uart, PL011_INT_TX, !full);
        }
    } else if (offset == PL011_ICR) {
        raise(uart, value, false);
    } else {
        uint32_t i = find(offset);
        if (i < VPL011_KEPT) {
            uart->kept[i] = (uint16_t)(value & kept[i].mask);
        } // read-only; PL011_RSR clears errors that there never are
    }
    if (changes) {
        update(vm, uart);
    }
    spin_unlock(&console->lock);
}

// The identification registers of revision r1p5, one byte in each word.
static uint32_t identification(uint64_t offset)
{
    static const uint8_t bytes[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    return bytes[(offset - PL011_PERIPH_ID0) / 4];
}

static uint32_t receive(struct console *console, struct vpl011 *uart)
{
    uint32_t byte = console_has_input(console) ? console_get(console) : 0;
    raise(uart, PL011_INT_RX | PL011_INT_RT, console_has_input(console));
    return byte;
}

static uint32_t read(struct console *console, struct vpl011 *uart, uint64_t offset)
{
    uint32_t i;
    switch (offset) {
    case PL011_DR:
        return receive(console, uart);
    case PL011_FR:
        return (console_has_input(console) ? 0 : PL011_FR_RXFE) |
               (console_room(console) == 0 ? PL011_FR_TXFF : PL011_FR_TXFE);
    case PL011_RIS:
        return uart->raised;
    case PL011_MIS:
        return uart->raised & uart->kept[KEPT_IMSC];
    default: // PL011_RSR: no errors
        if (offset >= PL011_PERIPH_ID0 && offset % 4 == 0 && offset < PL011_PERIPH_ID0 + 32) {
            return identification(offset);
        }
        i = find(offset);
        return i < VPL011_KEPT ? uart->kept[i] : 0;
    }
}

uint32_t vpl011_read(struct vm *vm, struct vpl011 *uart, uint64_t offset)
{
    struct console *console = uart->console;
    spin_lock(&console->lock);
    uint32_t value = read(console, uart, offset);
    update(vm, uart);
    spin_unlock(&console->lock);
    return value;
}
