# SPDX-License-Identifier: Apache-2.0
"""The page-table-entry protocol for several CPUs, over the live trees.

An entry that held something valid and is overwritten is unclean: a TLB or a walk cache of each CPU
that the tree was exposed to may hold the old descriptor. It becomes clean on a CPU by, in this
order: a DSB ISHST (or stronger) of the CPU that wrote; a TLBI that reaches the CPU and covers the
entry; a DSB of the CPU that issued the TLBI. By IPA there are two TLBIs, each with its DSB: stage
2, then stage 1 of the VMID, for what combines both stages. With a table everything below it is
unclean, each entry for itself, and its pages are frozen until all of that is clean.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aether_edgecloud.emulator.monitor.events import Dsb, Extent, Span, Tlbi
from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.emulator.monitor.trees import OA, EntryKind, LivePage, Tree, Trees, entry_kind
from aether_edgecloud.emulator.monitor.violation import Rule
from aether_edgecloud.stage2.decode import LEVEL_SHIFT, PAGE

# What may change in a valid leaf without break-before-make: AP or S2AP, AF, DBM, XN, PXN, and the
# bits for software.
_FREE_BITS = 3 << 6 | 1 << 10 | 1 << 51 | 3 << 53 | 0xF << 55
# What a table descriptor has: the address, the hierarchical attributes, its type.
_TABLE_BITS = OA | 0x1F << 59 | 3
_S2AP, _AF, _XN, _AP2 = 3 << 6, 1 << 10, 3 << 53, 1 << 7

# How far a TLB is: nothing; IPA: stage 2 by IPA issued, completed; all issued; clean. The issuing
# CPU stands above, with whether the TLBI was broadcast.
_NONE, _IPA, _IPA_DONE, _ALL, _CLEAN = range(5)
_STEP, _ISSUER_SHIFT, _SHAREABLE = 7, 3, 1 << 16


@dataclass(frozen=True, slots=True)
class Unclean:
    """An old descriptor that TLBs may hold; `progress` by CPU."""

    root: int
    level: int
    ia: int
    old: int
    is_leaf: bool
    writer: int
    progress: tuple[int, ...]
    dsbed: bool = False
    in_place: bool = False
    """The entry is valid; some right was taken away."""
    group: int = 0
    """PA of the entry of the table that was unlinked with it."""

    @property
    def size(self) -> int:
        """Bytes of input addresses."""
        return 1 << LEVEL_SHIFT[self.level]


@dataclass(frozen=True, slots=True)
class _Group:
    """The pages of an unlinked table, and how many unclean entries keep them frozen."""

    root: int
    pages: tuple[int, ...]
    unclean: int


@dataclass(frozen=True, slots=True)
class _Flush:
    """A TLBI of a whole VMID or regime that waits for its DSB."""

    roots: tuple[int, ...]
    shareable: bool


class Entries:
    """The protocol. Steps raise Violation."""

    def __init__(
        self, trees: Trees, journal: Journal, cpus: int, in_use: Callable[[int], int]
    ) -> None:
        self._trees = trees
        self._cpus = cpus
        self._in_use = in_use  # of the PA of a root: a bit for each CPU whose registers lead there
        self.unclean: Table[int, Unclean] = Table(journal)
        """By PA of the entry."""
        self._groups: Table[int, _Group] = Table(journal)
        self.unpublished: Table[int, int] = Table(journal)
        """By CPU: PA of an entry it made valid after its last DSB."""
        self.flushes: Table[int, tuple[_Flush, ...]] = Table(journal)
        """By CPU that issued them."""

    def store(self, cpu: int, entry: int, old: int, new: int) -> None:
        """`cpu` has written a word of a live table."""
        page = self._trees.pages.get(entry & -PAGE)
        if page is None or old == new:
            return
        tree = self._trees.trees[page.root]
        ia = page.ia + (entry % PAGE // 8 << LEVEL_SHIFT[page.level])
        where = {
            "vmid": tree.vmid,
            "entry_pa": entry,
            "level": page.level,
            "ia": ia,
            "old": old,
            "new": new,
        }
        if page.frozen:
            self._trees.breach(Rule.FROZEN, cpu, **where)
            return
        was, now = entry_kind(old, page.level), entry_kind(new, page.level)
        if now != EntryKind.INVALID:
            self.unpublished.put(cpu, entry)
        if was == EntryKind.INVALID:
            if now != EntryKind.INVALID:
                self._make(cpu, tree, page, entry, new, ia, where)
            return
        if now == EntryKind.INVALID:
            self._break(cpu, tree, page, entry, old, ia)
            return
        if (old ^ new) & (_TABLE_BITS if was == now == EntryKind.TABLE else ~_FREE_BITS):
            self._trees.breach(Rule.VALID_TO_VALID, cpu, **where)
            self._break(cpu, tree, page, entry, old, ia)
            self.unclean.drop(entry)
            self._make(cpu, tree, page, entry, new, ia, where)
        elif now == EntryKind.LEAF and _takes_away(old, new, is_stage2=tree.vmid is not None):
            self._spoil(cpu, tree, page.level, entry, old, ia, in_place=True)

    def follow(self, cpu: int, entry: int, old: int, new: int) -> None:
        """A word of a live table was written from below EL2, by a host that EL2 trusts with it.
        What it does for the TLBs is not seen, and not judged."""
        page = self._trees.pages.get(entry & -PAGE)
        if page is None or page.frozen or old == new:
            return
        tree = replace(self._trees.trees[page.root], exposed=0)
        ia = page.ia + (entry % PAGE // 8 << LEVEL_SHIFT[page.level])
        if entry_kind(old, page.level) != EntryKind.INVALID:
            self._break(cpu, tree, page, entry, old, ia)
        self.unclean.drop(entry)
        self._lead(cpu, tree, page, entry, new, ia)

    def _lead(self, cpu: int, tree: Tree, page: LivePage, entry: int, new: int, ia: int) -> None:
        """What an entry leads to becomes live."""
        kind = entry_kind(new, page.level)
        if kind == EntryKind.TABLE:
            self._trees.link(cpu, tree, new & OA, page.level + 1, ia)
        elif kind == EntryKind.LEAF:
            self._trees.add_leaf(cpu, tree, entry, new, page.level, ia)

    def _make(
        self,
        cpu: int,
        tree: Tree,
        page: LivePage,
        entry: int,
        new: int,
        ia: int,
        where: dict[str, int | None],
    ) -> None:
        """Invalid to valid."""
        end = ia + (1 << LEVEL_SHIFT[page.level])
        for unclean in self.unclean.values():
            overlap = unclean.ia < end and ia < unclean.ia + unclean.size
            if overlap and unclean.root == tree.root and not unclean.in_place:
                self._trees.breach(Rule.MAKE_BEFORE_CLEAN, cpu, **where)
                break
        self._lead(cpu, tree, page, entry, new, ia)

    def _break(self, cpu: int, tree: Tree, page: LivePage, entry: int, old: int, ia: int) -> None:
        """Valid to invalid."""
        if entry_kind(old, page.level) == EntryKind.LEAF:
            self._trees.remove_leaf(tree, old, page.level)
            self._spoil(cpu, tree, page.level, entry, old, ia)
            return
        pages = []
        self._spoil(cpu, tree, page.level, entry, old, ia, group=entry)
        unclean = 1
        top = old & OA
        found = list(self._trees.below(top)) if top in self._trees.pages else []
        for pa, level, first, words in found:
            pages.append(pa)
            self._trees.pages.put(pa, replace(self._trees.pages[pa], frozen=True))
            for index, descriptor in enumerate(words):
                kind = entry_kind(descriptor, level)
                if kind == EntryKind.INVALID:
                    continue
                if kind == EntryKind.LEAF:
                    self._trees.remove_leaf(tree, descriptor, level)
                at = first + (index << LEVEL_SHIFT[level])
                self._spoil(cpu, tree, level, pa + index * 8, descriptor, at, group=entry)
                unclean += 1
        self._groups.put(entry, _Group(tree.root, tuple(pages), unclean if tree.exposed else 0))
        self._thaw(entry, 0)

    def _spoil(
        self,
        cpu: int,
        tree: Tree,
        level: int,
        entry: int,
        old: int,
        ia: int,
        *,
        group: int = 0,
        in_place: bool = False,
    ) -> None:
        """TLBs may hold what is not there any more."""
        progress = tuple(
            _NONE if tree.exposed >> other & 1 else _CLEAN for other in range(self._cpus)
        )
        if not tree.exposed:
            return
        is_leaf = entry_kind(old, level) == EntryKind.LEAF
        self.unclean.put(
            entry,
            Unclean(
                tree.root,
                level,
                ia,
                old,
                is_leaf,
                cpu,
                progress,
                in_place=in_place,
                group=group,
            ),
        )

    def _thaw(self, group: int, cleaned: int) -> None:
        """So many entries of an unlinked table have become clean."""
        found = self._groups.get(group)
        if found is None:
            return
        left = found.unclean - cleaned
        if left > 0:
            self._groups.put(group, replace(found, unclean=left))
            return
        for pa in found.pages:
            self._trees.pages.drop(pa)
        self._groups.drop(group)

    def dsb(self, cpu: int, dsb: Dsb) -> None:
        """`cpu` has executed a DSB."""
        if dsb.stores and (dsb.shareable or self._cpus == 1):
            self.unpublished.drop(cpu)
        for entry, unclean in list(self.unclean.items()):
            if not unclean.dsbed:
                alone = self._trees.trees[unclean.root].exposed == 1 << cpu
                if unclean.writer == cpu and dsb.stores and (dsb.shareable or alone):
                    self.unclean.put(entry, replace(unclean, dsbed=True))
            elif dsb.all_accesses:
                self._complete(cpu, dsb, entry, unclean)
        if dsb.all_accesses:
            self._complete_flushes(cpu, dsb)

    def _complete(self, cpu: int, dsb: Dsb, entry: int, unclean: Unclean) -> None:
        """TLBIs of this CPU are done."""
        progress = list(unclean.progress)
        for other, state in enumerate(progress):
            step = state & _STEP
            if step not in (_IPA, _ALL) or (state & ~_SHAREABLE) >> _ISSUER_SHIFT != cpu:
                continue
            if dsb.shareable or not state & _SHAREABLE:
                progress[other] = step + 1
        if tuple(progress) == unclean.progress:
            return
        if all(state == _CLEAN for state in progress):
            self.unclean.drop(entry)
            if unclean.group:
                self._thaw(unclean.group, 1)
        else:
            self.unclean.put(entry, replace(unclean, progress=tuple(progress)))

    def tlbi(self, cpu: int, tlbi: Tlbi, span: Span, vmid: int) -> None:
        """`cpu` has executed a TLBI, with this VMID in VTTBR_EL2."""
        targets = range(self._cpus) if tlbi.shareable else (cpu,)
        pending = cpu << _ISSUER_SHIFT | (_SHAREABLE if tlbi.shareable else 0)
        for entry, unclean in list(self.unclean.items()):
            if not unclean.dsbed or not self._covers(tlbi, span, vmid, unclean):
                continue
            progress = list(unclean.progress)
            is_stage2 = self._trees.trees[unclean.root].vmid is not None
            for other in targets:
                step = progress[other] & _STEP
                if is_stage2 and not tlbi.stage1:
                    follows = _IPA if step == _NONE else step
                elif is_stage2 and not tlbi.stage2:
                    follows = _ALL if step == _IPA_DONE else step
                else:
                    follows = _ALL
                if follows > step and step != _CLEAN:
                    progress[other] = follows | pending
            if tuple(progress) != unclean.progress:
                self.unclean.put(entry, replace(unclean, progress=tuple(progress)))
        if tlbi.extent in (Extent.ALL, Extent.VMID) and (tlbi.stage2 or tlbi.el2):
            self._note_flush(cpu, tlbi, vmid)

    def _covers(self, tlbi: Tlbi, span: Span, vmid: int, unclean: Unclean) -> bool:
        tree = self._trees.trees[unclean.root]
        if tlbi.el2 != (tree.vmid is None):
            return False
        if not tlbi.el2 and tlbi.extent is not Extent.ALL and tree.vmid != vmid:
            return False
        if tlbi.extent in (Extent.ALL, Extent.VMID):
            return True
        if tlbi.extent is Extent.ASID or (tlbi.last_level and not unclean.is_leaf):
            return False
        if not tlbi.el2 and not tlbi.stage2:
            return False  # by VA below EL2: which IPA that is cannot be known
        if span.level is not None and span.level != unclean.level:
            return False
        return span.first < unclean.ia + unclean.size and unclean.ia < span.first + span.size

    def _note_flush(self, cpu: int, tlbi: Tlbi, vmid: int) -> None:
        """Trees that no register leads to will be gone from the TLBs."""
        roots = tuple(
            root
            for root, tree in self._trees.trees.items()
            if (tree.vmid is None) == tlbi.el2 and (tlbi.extent is Extent.ALL or tree.vmid == vmid)
        )
        if roots:
            self.flushes.put(cpu, (*self.flushes.get(cpu, ()), _Flush(roots, tlbi.shareable)))

    def _complete_flushes(self, cpu: int, dsb: Dsb) -> None:
        left = []
        for flush in self.flushes.get(cpu, ()):
            if flush.shareable and not dsb.shareable:
                left.append(flush)
                continue
            reached = (1 << self._cpus) - 1 if flush.shareable else 1 << cpu
            for root in flush.roots:
                self.hide(root, reached & ~self._in_use(root))
        if left:
            self.flushes.put(cpu, tuple(left))
        else:
            self.flushes.drop(cpu)

    def hide(self, root: int, cpus: int) -> None:
        """The TLBs of these CPUs hold nothing of a tree any more."""
        tree = self._trees.trees.get(root)
        if tree is None or not tree.exposed & cpus:
            return
        exposed = tree.exposed & ~cpus
        if exposed:
            self._trees.trees.put(root, replace(tree, exposed=exposed))
            return
        for entry in [entry for entry, u in self.unclean.items() if u.root == root]:
            self.unclean.drop(entry)
        for entry in [entry for entry, group in self._groups.items() if group.root == root]:
            self._groups.drop(entry)
        self._trees.remove(root)

    def has_pending(self, cpu: int) -> bool:
        """Whether a TLBI of stage 2 that `cpu` issued waits for its DSB."""
        return any(
            state & _STEP in (_IPA, _ALL) and (state & ~_SHAREABLE) >> _ISSUER_SHIFT == cpu
            for unclean in self.unclean.values()
            if self._trees.trees[unclean.root].vmid is not None
            for state in unclean.progress
        )

    def leave(self, cpu: int) -> None:
        """`cpu` leaves EL2: what it has begun is to be complete."""
        for entry in sorted(self.unclean):
            unclean = self.unclean[entry]
            if unclean.writer == cpu:
                self._trees.breach(
                    Rule.NOT_FLUSHED,
                    cpu,
                    vmid=self._trees.trees[unclean.root].vmid,
                    entry_pa=entry,
                    level=unclean.level,
                    ia=unclean.ia,
                    old=unclean.old,
                )
        entry_pa = self.unpublished.get(cpu)
        if entry_pa is not None:
            page = self._trees.pages.get(entry_pa & -PAGE)
            level = None if page is None else page.level
            vmid = None if page is None else self._trees.trees[page.root].vmid
            self._trees.breach(Rule.NOT_PUBLISHED, cpu, vmid=vmid, entry_pa=entry_pa, level=level)


def _takes_away(old: int, new: int, *, is_stage2: bool) -> bool:
    """Whether a change of the bits that may change leaves a right less."""
    if new & _XN & ~old or old & _AF & ~new:
        return True
    return bool(old & _S2AP & ~new) if is_stage2 else bool(new & _AP2 & ~old)
