// SPDX-License-Identifier: Apache-2.0
#include <el2/console.h>
#include <el2/memory.h>
#include <el2/uart.h>
#include <el2/vpl011.h>

#define IFLS_RESET 0x12u

// Registers that only keep what is written: where, and which bits.
static const struct {
    uint16_t offset;
    uint16_t mask;
} kept[VPL011_KEPT] = {
    {PL011_ILPR, 0xff}, {PL011_IBRD, 0xffff}, {PL011_FBRD, 0x3f},          {PL011_LCR_H, 0xff},
    {PL011_CR, 0xff87}, {PL011_IFLS, 0x3f},   {PL011_IMSC, PL011_INT_ALL}, {PL011_DMACR, 0x7},
};

// Number of such a register; VPL011_KEPT: none.
static uint32_t find(uint64_t offset)
{
    uint32_t i = 0;
    while (i < VPL011_KEPT && kept[i].offset != offset) {
        i++;
    }
    return i;
}

void vpl011_write(struct vpl011 *uart, uint64_t offset, uint32_t value)
{
    uint32_t i = find(offset);
    if (offset == PL011_DR) {
        console_guest((uint8_t)value);
    } else if (i < VPL011_KEPT) {
        uart->kept[i] = (uint16_t)(value & kept[i].mask);
    } // read-only; PL011_RSR and PL011_ICR clear what is never latched here
}

void vpl011_reset(struct vpl011 *uart)
{
    memset(uart, 0, sizeof(*uart));
    vpl011_write(uart, PL011_CR, PL011_CR_TXE | PL011_CR_RXE);
    vpl011_write(uart, PL011_IFLS, IFLS_RESET);
}

// Transmit interrupt: there is always room. Receive interrupt: the board has a byte.
static uint32_t raw_interrupts(void)
{
    return PL011_INT_TX | (uart_has_input() ? PL011_INT_RX : 0);
}

// The identification registers of revision r1p5, one byte in each word.
static uint32_t identification(uint64_t offset)
{
    static const uint8_t bytes[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    return bytes[(offset - PL011_PERIPH_ID0) / 4];
}

uint32_t vpl011_read(const struct vpl011 *uart, uint64_t offset)
{
    uint32_t i;
    switch (offset) {
    case PL011_DR:
        return uart_has_input() ? uart_get() : 0;
    case PL011_FR:
        return PL011_FR_TXFE | (uart_has_input() ? 0 : PL011_FR_RXFE);
    case PL011_RIS:
        return raw_interrupts();
    case PL011_MIS:
        return raw_interrupts() & uart->kept[find(PL011_IMSC)];
    default: // PL011_RSR: no errors
        if (offset >= PL011_PERIPH_ID0 && offset % 4 == 0 && offset < PL011_PERIPH_ID0 + 32) {
            return identification(offset);
        }
        i = find(offset);
        return i < VPL011_KEPT ? uart->kept[i] : 0;
    }
}
