// SPDX-License-Identifier: Apache-2.0
// The readers of board.c, bundle.c, manifest.c and fdt.c, and the UART driver, as a program for the
// host, where sanitizers watch them. From stdin: records of a kind, 'd' (a board's device tree),
// 'b' (a bundle) or 'u' (a UART's registers: all that it answers), a little-endian 32-bit length,
// and that many bytes. To stdout: one line for each, `error
// ...` or `ok key=value ...` with all that was read.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <el2/board.h>
#include <el2/bundle.h>
#include <el2/manifest.h>
#include <el2/uart.h>

static void print_ranges(const char *key, const struct board_range *ranges, uint32_t count)
{
    printf(" %s=", key);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%llx+%llx", i == 0 ? "" : ",", (unsigned long long)pa_value(ranges[i].base),
               (unsigned long long)ranges[i].size);
    }
}

// Each node by all ways there are to reach one.
static uint32_t visit(const struct fdt *fdt, struct fdt_node node)
{
    struct fdt_node child;
    struct fdt_node parent;
    struct fdt_range range;
    struct fdt_value value;
    uint64_t number;
    uint32_t nodes = 1;
    (void)fdt_property(fdt, node, "reg", &value);
    (void)fdt_number(fdt, node, "#address-cells", &number);
    for (uint32_t i = 0; i < 4 && fdt_reg(fdt, node, i, &range) == FDT_ENTRY; i++) {
    }
    for (bool more = fdt_first_child(fdt, node, &child); more;
         more = fdt_next_sibling(fdt, child, &child)) {
        if (!fdt_parent(fdt, child, &parent) || parent.offset != node.offset) {
            abort();
        }
        nodes += visit(fdt, child);
    }
    return nodes;
}

static void read_board(const void *bytes, uint32_t size)
{
    struct fdt fdt;
    struct board board;
    struct boot_error error;
    pa_t uart = {0};
    const char *damage = fdt_open(&fdt, bytes, size);
    if (damage != NULL) {
        printf("error board device tree: %s; none", damage);
        return;
    }
    uint32_t nodes = visit(&fdt, fdt_root());
    (void)board_find_uart(&fdt, &uart);
    if (!board_read(&fdt, &board, &error)) {
        printf("error %s: %s; %s", error.where, error.what, error.fix);
        return;
    }
    pa_t gic[2] = {{0}, {0}};
    (void)board_find_gic(&fdt, &gic[0], &gic[1]);
    printf("ok nodes=%x uart=%llx smc=%d gic=%llx+%llx", nodes, (unsigned long long)pa_value(uart),
           board.psci_smc, (unsigned long long)pa_value(gic[0]),
           (unsigned long long)pa_value(gic[1]));
    print_ranges("banks", board.banks, board.bank_count);
    print_ranges("reserved", board.reserved, board.reserved_count);
    print_ranges("bundle", &board.bundle, 1);
}

static void read_bundle(const void *bytes, uint32_t size)
{
    struct bundle bundle;
    struct vm_config vm;
    struct boot_error error;
    if (!bundle_open(&bundle, bytes, size, &error) || !manifest_read(&bundle, &vm, &error)) {
        printf("error %s: %s; %s", error.where, error.what, error.fix);
        return;
    }
    printf("ok name=%s entry=%llx dtb=%llx memory=", vm.name,
           (unsigned long long)ipa_value(vm.entry), (unsigned long long)ipa_value(vm.dtb_address));
    for (uint32_t i = 0; i < vm.memory_count; i++) {
        printf("%s%llx+%llx", i == 0 ? "" : ",", (unsigned long long)ipa_value(vm.memory[i].ipa),
               (unsigned long long)vm.memory[i].size);
        if (vm.memory[i].pinned) {
            printf("+%llx", (unsigned long long)pa_value(vm.memory[i].host_address));
        }
    }
    printf(" images=");
    for (uint32_t i = 0; i < vm.image_count; i++) {
        printf("%s%llx+%llx+%x", i == 0 ? "" : ",",
               (unsigned long long)ipa_value(vm.images[i].load_address),
               (unsigned long long)bundle.blobs[vm.images[i].blob].size, vm.images[i].blob);
    }
    printf(" devices=");
    for (uint32_t i = 0; i < vm.device_count; i++) {
        printf("%s%llx+%llx", i == 0 ? "" : ",", (unsigned long long)ipa_value(vm.devices[i].ipa),
               (unsigned long long)vm.devices[i].size);
    }
}

// A byte, and another when the UART would answer as one that is ready.
static void drive_uart(uint8_t *registers)
{
    uart_init(pa_of((uintptr_t)registers));
    uart_put('a');
    memset(registers + PL011_FR, 0, 4);
    uart_put('b');
    printf("ok data=%x control=%x input=%d", registers[PL011_DR], registers[PL011_CR],
           uart_has_input());
    uart_drain();
    uart_drop();
}

int main(void)
{
    uint8_t head[5];
    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        uint32_t size =
            (uint32_t)head[4] << 24 | (uint32_t)head[3] << 16 | (uint32_t)head[2] << 8 | head[1];
        uint8_t *bytes = malloc(size); // of the very size, so that a byte too far is seen
        if ((bytes == NULL && size != 0) || fread(bytes, 1, size, stdin) != size) {
            return 2;
        }
        if (head[0] == 'd') {
            read_board(bytes, size);
        } else if (head[0] == 'b') {
            read_bundle(bytes, size);
        } else {
            drive_uart(bytes);
        }
        free(bytes);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
