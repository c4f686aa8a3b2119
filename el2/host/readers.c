// SPDX-License-Identifier: Apache-2.0
// The readers of board.c, bundle.c, manifest.c and fdt.c, and the UART driver, as a program for the
// host, where sanitizers watch them. From stdin: records of a kind, 'd' (a board's device tree, on
// which the bundles that follow are to run), 'b' (a bundle) or 'u' (a UART's registers: all that it
// answers), a little-endian 32-bit length, and that many bytes. To stdout: one line for each,
// `error
// ...` or `ok key=value ...` with all that was read.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <el2/board.h>
#include <el2/bundle.h>
#include <el2/manifest.h>
#include <el2/uart.h>

static struct board board;

static void print_ranges(const char *key, const struct range *ranges, uint32_t count)
{
    printf(" %s=", key);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%llx+%llx", i == 0 ? "" : ",", (unsigned long long)ranges[i].base,
               (unsigned long long)ranges[i].size);
    }
}

// Each node by all ways there are to reach one.
static uint32_t visit(const struct fdt *fdt, struct fdt_node node)
{
    struct fdt_node child;
    struct fdt_node parent;
    struct range range;
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
    struct boot_error error;
    const char *damage = fdt_open(&fdt, bytes, size);
    memset(&board, 0, sizeof(board));
    if (damage != NULL) {
        printf("error board device tree: %s; none", damage);
        return;
    }
    uint32_t nodes = visit(&fdt, fdt_root());
    if (!board_read(&fdt, &board, &error)) {
        printf("error %s: %s; %s", error.where, error.what, error.fix);
        return;
    }
    printf("ok nodes=%x smc=%d", nodes, board.psci_smc);
    print_ranges("uart", &board.uart, 1);
    printf(" intid=%x", board.uart_intid);
    print_ranges("gicd", &board.gic.distributor, 1);
    print_ranges("gicc", &board.gic.cpu_interface, 1);
    print_ranges("gich", &board.gic.hypervisor, 1);
    print_ranges("gicv", &board.gic.virtual_cpu, 1);
    print_ranges("banks", board.banks, board.bank_count);
    print_ranges("reserved", board.reserved, board.reserved_count);
    print_ranges("bundle", &board.bundle, 1);
    printf(" cpus=");
    for (uint32_t i = 0; i < board.cpu_count; i++) {
        printf("%s%llx+%x+%llx", i == 0 ? "" : ",", (unsigned long long)board.cpus[i].mpidr,
               board.cpus[i].enable, (unsigned long long)pa_value(board.cpus[i].release));
    }
}

static void print_vm(const struct bundle *bundle, const struct vm_config *vm, uint32_t n)
{
    printf(" manual%u=%x ffa%u=%x peers%u=%x manages%u=%x uuid%u=", n, vm->manual, n, vm->ffa, n,
           vm->peers, n, vm->manages, n);
    for (uint32_t i = 0; i < VM_UUID_SIZE; i++) {
        printf("%02x", vm->uuid[i]);
    }
    printf(" name%u=%s entry%u=%llx dtb%u=%llx restart%u=%x vcpus%u=", n, vm->name, n,
           (unsigned long long)ipa_value(vm->entry), n,
           (unsigned long long)ipa_value(vm->dtb_address), n, vm->restart, n);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        printf("%s%x", i == 0 ? "" : ",", vm->vcpu_cpu[i]);
    }
    printf(" memory%u=", n);
    for (uint32_t i = 0; i < vm->memory_count; i++) {
        printf("%s%llx+%llx", i == 0 ? "" : ",", (unsigned long long)vm->memory[i].ipa.base,
               (unsigned long long)vm->memory[i].ipa.size);
        if (vm->memory[i].pinned) {
            printf("+%llx", (unsigned long long)pa_value(vm->memory[i].host_address));
        }
    }
    printf(" images%u=", n);
    for (uint32_t i = 0; i < vm->image_count; i++) {
        printf("%s%llx+%llx+%x", i == 0 ? "" : ",",
               (unsigned long long)ipa_value(vm->images[i].load_address),
               (unsigned long long)bundle->blobs[vm->images[i].blob].size, vm->images[i].blob);
    }
    printf(" devices%u=", n);
    for (uint32_t i = 0; i < vm->device_count; i++) {
        const struct vm_device_config *device = &vm->devices[i];
        printf("%s%llx+%llx+%x+%llx+%llx+%llx", i == 0 ? "" : ",",
               (unsigned long long)device->ipa.base, (unsigned long long)device->ipa.size,
               device->kind, (unsigned long long)device->gicc.base,
               (unsigned long long)device->gicc.size,
               (unsigned long long)pa_value(device->host_address));
        for (uint32_t j = 0; j < device->interrupt_count; j++) {
            printf("+%x", device->interrupts[j]);
        }
    }
}

static void read_bundle(const void *bytes, uint32_t size)
{
    static struct manifest manifest;
    struct bundle bundle;
    struct boot_error error;
    if (!bundle_open(&bundle, bytes, size, &error) ||
        !manifest_read(&bundle, &board, &manifest, &error)) {
        printf("error %s: %s; %s", error.where, error.what, error.fix);
        return;
    }
    printf("ok frame=%x window=%x", manifest.schedule.frame_us, manifest.schedule.window_us);
    for (uint32_t cpu = 0; cpu < CPU_MAX; cpu++) {
        printf(" slots%u=", cpu);
        for (uint32_t i = 0; i < manifest.schedule.slot_count[cpu]; i++) {
            const struct slot_config *slot = &manifest.schedule.slots[cpu][i];
            printf("%s%x+%x+%x+%x", i == 0 ? "" : ",", slot->vm, slot->vcpu, slot->offset_us,
                   slot->length_us);
        }
    }
    for (uint32_t i = 0; i < manifest.vm_count; i++) {
        print_vm(&bundle, &manifest.vms[i], i);
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
