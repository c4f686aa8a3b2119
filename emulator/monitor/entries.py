# SPDX-License-Identifier: Apache-2.0
"""The page-table-entry protocol for several CPUs, over the live trees.

An entry that held something valid and is overwritten is unclean: a TLB or a walk cache of each CPU
that the tree was exposed to may hold the old descriptor. It becomes clean on a CPU by, in this
order: a DSB ISHST (or stronger) of any CPU, which is cumulative; a TLBI that reaches the CPU and
covers the entry; a DSB of the CPU that issued the TLBI. An entry that is written again before that
has several old values, each for itself. By IPA there are two TLBIs, each with its DSB: stage 2,
then stage 1 of the VMID, for what combines both stages. With a table everything below it is
unclean, each entry for itself, and its pages are frozen until all of that is clean.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from aether_edgecloud.emulator.monitor.events import Dsb, Extent, Span, Tlbi
from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.emulator.monitor.trees import (
    OA,
    EntryKind,
    LivePage,
    Tree,
    Trees,
    entry_kind,
    leaf_pa,
)
from aether_edgecloud.emulator.monitor.unclean import (
    AFTER_IPA,
    ALL,
    CLEAN,
    IPA,
    IPA_DONE,
    ISSUER_SHIFT,
    NONE,
    SHAREABLE,
    STEP,
    Unclean,
    UncleanTable,
    is_pending,
    issuer,
)
from aether_edgecloud.emulator.monitor.violation import Rule
from aether_edgecloud.stage2.decode import LEVEL_SHIFT, PAGE

# What may change in a valid leaf without break-before-make: AP or S2AP, AF, DBM, XN, PXN, and the
# bits for software.
_FREE_BITS = 3 << 6 | 1 << 10 | 1 << 51 | 3 << 53 | 0xF << 55
# What a table descriptor has: the address, the hierarchical attributes, its type.
_TABLE_BITS = OA | 0x1F << 59 | 3
_S2AP, _AF, _XN, _AP2 = 3 << 6, 1 << 10, 3 << 53, 1 << 7


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
        self.unclean = UncleanTable(journal)
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
        if needs_break(old, new, page.level):
            if tree.exposed:
                self._trees.breach(Rule.VALID_TO_VALID, cpu, **where)
            self._break(cpu, tree, page, entry, old, ia)
            self._lead(cpu, tree, page, entry, new, ia)
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
        for unclean in self.unclean.of_entry(entry):
            self._clean(unclean)
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
        stale = self.unclean.overlapping(tree.root, ia, 1 << LEVEL_SHIFT[page.level])
        if any(not unclean.in_place for unclean in stale):
            self._trees.breach(Rule.MAKE_BEFORE_CLEAN, cpu, **where)
        linked = [unclean for unclean in stale if unclean.group == entry]
        if linked:
            self._relink(tree, entry, new & OA, linked)
        self._lead(cpu, tree, page, entry, new, ia)

    def _relink(self, tree: Tree, entry: int, top: int, linked: list[Unclean]) -> None:
        """A table may be back. If nothing contradicts what the TLBs may hold of it, it is as if it
        had stayed: what has gone below it meanwhile is unclean, each entry for itself."""
        back = []
        for unclean in linked:
            now = self._now(unclean)
            if now is None or not _agrees(unclean, now):
                return
            if _is_back(unclean.old, now, unclean.level, is_stage2=tree.vmid is not None):
                back.append(unclean)
        if top in self._trees.pages and (group := self._groups.get(entry)) is not None:
            reached = {pa for pa, *_ in self._trees.below(top)}.intersection(group.pages)
            for pa in sorted(reached):
                self._trees.pages.drop(pa)
            left = tuple(pa for pa in group.pages if pa not in reached)
            self._groups.put(entry, replace(group, pages=left))
        for unclean in back:
            self._clean(unclean)

    def agrees(self, unclean: Unclean) -> bool:
        """Whether the tables have, where an old descriptor was, none, or one that may replace it
        without break-before-make: then a TLB that holds it holds nothing that another entry
        contradicts."""
        now = self._now(unclean)
        return now is not None and _agrees(unclean, now)

    def allows_below(self, root: int, level: int, ia: int, old: int, new: int) -> bool:
        """Whether a descriptor in an unlinked table of the tree `root`, which walkers may still
        reach, may be replaced all the same: it goes, or comes where they hold no other."""
        now = entry_kind(new, level)
        if now == EntryKind.INVALID:
            return True
        if entry_kind(old, level) != EntryKind.INVALID:
            return not needs_break(old, new, level)
        stale = self.unclean.overlapping(root, ia, 1 << LEVEL_SHIFT[level])
        return not any(
            now == EntryKind.LEAF if unclean.level > level else needs_break(unclean.old, new, level)
            for unclean in stale
            if unclean.level >= level
        )

    def _now(self, unclean: Unclean) -> int | None:
        """What is there now: see `descriptor`."""
        return self._trees.descriptor(self._trees.trees[unclean.root], unclean.ia, unclean.level)

    def _break(self, cpu: int, tree: Tree, page: LivePage, entry: int, old: int, ia: int) -> None:
        """Valid to invalid."""
        if entry_kind(old, page.level) == EntryKind.LEAF:
            self._trees.remove_leaf(tree, old, page.level)
            self._spoil(cpu, tree, page.level, entry, old, ia)
            return
        pages = []
        unclean = int(self._spoil(cpu, tree, page.level, entry, old, ia, group=entry))
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
                unclean += self._spoil(
                    cpu, tree, level, pa + index * 8, descriptor, at, group=entry
                )
        earlier = self._groups.get(entry)
        if earlier is not None:
            pages += earlier.pages
            unclean += earlier.unclean
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
    ) -> bool:
        """TLBs may hold what is not there any more, if they could hold it at all."""
        progress = tuple(
            NONE if tree.exposed >> other & 1 else CLEAN for other in range(self._cpus)
        )
        if not tree.exposed or not may_be_held(old, level, tree.geometry.pa_bits):
            return False
        is_leaf = entry_kind(old, level) == EntryKind.LEAF
        unclean = Unclean(
            entry,
            tree.root,
            level,
            ia,
            old,
            is_leaf,
            cpu,
            progress,
            in_place=in_place,
            group=group,
        )
        same = self.unclean.get(unclean.key)
        if same is not None:
            self._clean(same)
        self.unclean.put(unclean)
        return True

    def _clean(self, unclean: Unclean) -> None:
        """No TLB holds it."""
        self.unclean.drop(unclean)
        if unclean.group:
            self._thaw(unclean.group, 1)

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
            for writer in range(self._cpus):
                self.unpublished.drop(writer)
        if dsb.all_accesses:
            for unclean in self.unclean.pending(cpu):
                self._complete(cpu, dsb, unclean)
        if dsb.stores:
            # Of all CPUs: memory is other-multi-copy atomic.
            for writer in range(self._cpus):
                for unclean in self.unclean.unpublished(writer):
                    alone = self._trees.trees[unclean.root].exposed == 1 << cpu
                    if dsb.shareable or alone:
                        self.unclean.put(replace(unclean, dsbed=True))
        if dsb.all_accesses:
            self._complete_flushes(cpu, dsb)

    def _complete(self, cpu: int, dsb: Dsb, unclean: Unclean) -> None:
        """TLBIs of this CPU are done."""
        progress = list(unclean.progress)
        for other, state in enumerate(progress):
            is_due = is_pending(state) and issuer(state) == cpu
            if is_due and (dsb.shareable or not state & SHAREABLE):
                progress[other] = (state & STEP) + 1
        self._advance(unclean, tuple(progress))

    def _advance(self, unclean: Unclean, progress: tuple[int, ...]) -> None:
        """TLBs are further."""
        if progress == unclean.progress:
            return
        if all(state == CLEAN for state in progress):
            self._clean(unclean)
        else:
            self.unclean.put(replace(unclean, progress=progress))

    def tlbi(self, cpu: int, tlbi: Tlbi, span: Span, vmid: int) -> None:
        """`cpu` has executed a TLBI, with this VMID in VTTBR_EL2."""
        targets = range(self._cpus) if tlbi.shareable else (cpu,)
        pending = cpu << ISSUER_SHIFT | (SHAREABLE if tlbi.shareable else 0)
        for unclean in self._covered(tlbi, span, vmid):
            progress = list(unclean.progress)
            is_stage2 = self._trees.trees[unclean.root].vmid is not None
            for other in targets:
                step = progress[other] & STEP
                if is_stage2 and not tlbi.stage1:
                    follows = IPA if step == NONE else step
                elif is_stage2 and not tlbi.stage2:
                    follows = ALL if step == IPA_DONE else step
                else:
                    follows = ALL
                if follows > step and step != CLEAN:
                    after = AFTER_IPA if step == IPA_DONE else 0
                    progress[other] = follows | pending | after
            self._advance(unclean, tuple(progress))
        if tlbi.extent in (Extent.ALL, Extent.VMID) and (tlbi.stage2 or tlbi.el2):
            self._note_flush(cpu, tlbi, vmid)

    def _covered(self, tlbi: Tlbi, span: Span, vmid: int) -> Iterator[Unclean]:
        """What a TLBI names, of what a DSB has made visible before."""
        if tlbi.extent is Extent.ASID:
            return
        is_named = tlbi.extent is Extent.ADDRESS
        if is_named and not tlbi.el2 and not tlbi.stage2:
            return  # by VA below EL2: which IPA that is cannot be known
        for root, tree in self._trees.trees.items():
            if tlbi.el2 != (tree.vmid is None):
                continue
            if not tlbi.el2 and tlbi.extent is not Extent.ALL and tree.vmid != vmid:
                continue
            found = self.unclean
            for unclean in (
                found.overlapping(root, span.first, span.size) if is_named else found.of_root(root)
            ):
                is_level = span.level in (None, unclean.level)
                if unclean.dsbed and (
                    not is_named or (is_level and (unclean.is_leaf or not tlbi.last_level))
                ):
                    yield unclean

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
        if exposed or self._in_use(root):
            self._trees.trees.put(root, replace(tree, exposed=exposed))
            for unclean in self.unclean.of_root(root):
                states = enumerate(unclean.progress)
                self._advance(
                    unclean, tuple(CLEAN if cpus >> n & 1 else state for n, state in states)
                )
        else:
            self.drop(root)

    def drop(self, root: int) -> None:
        """A tree is not live any more."""
        for unclean in self.unclean.of_root(root):
            self.unclean.drop(unclean)
        for entry in [entry for entry, group in self._groups.items() if group.root == root]:
            self._groups.drop(entry)
        self._trees.remove(root)

    def has_pending(self, cpu: int) -> bool:
        """Whether a TLBI of stage 2 that `cpu` issued waits for its DSB."""
        return any(
            self._trees.trees[unclean.root].vmid is not None
            for unclean in self.unclean.pending(cpu)
        )

    def leave(self, cpu: int) -> None:
        """`cpu` leaves EL2: what it has begun is to be complete."""
        for unclean in self.unclean.of_writer(cpu):
            self._trees.breach(
                Rule.NOT_FLUSHED,
                cpu,
                vmid=self._trees.trees[unclean.root].vmid,
                entry_pa=unclean.entry,
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


def needs_break(old: int, new: int, level: int) -> bool:
    """Whether a valid descriptor may become another only by break-before-make (Arm ARM D8)."""
    is_table = entry_kind(old, level) == entry_kind(new, level) == EntryKind.TABLE
    return bool((old ^ new) & (_TABLE_BITS if is_table else ~_FREE_BITS))


def _agrees(unclean: Unclean, now: int) -> bool:
    is_invalid = entry_kind(now, unclean.level) == EntryKind.INVALID
    return is_invalid or not needs_break(unclean.old, now, unclean.level)


def _is_back(old: int, now: int, level: int, *, is_stage2: bool) -> bool:
    """Whether memory has a descriptor again, but for what does not matter, and has taken no right
    away."""
    if needs_break(old, now, level):
        return False
    is_leaf = entry_kind(old, level) == EntryKind.LEAF
    return not (is_leaf and _takes_away(old, now, is_stage2=is_stage2))


def may_be_held(descriptor: int, level: int, pa_bits: int) -> bool:
    """Whether a TLB may hold a valid descriptor: not one that faults by itself, without AF or
    with an address beyond the output size (Arm ARM D8)."""
    if entry_kind(descriptor, level) == EntryKind.LEAF:
        return bool(descriptor & _AF) and not leaf_pa(descriptor, level) >> pa_bits
    return not (descriptor & OA) >> pa_bits


def takes_nothing_but_af(old: int, now: int, level: int, *, is_stage2: bool) -> bool:
    """Whether a TLB that holds the leaf `old`, where memory has `now`, allows no more than memory
    does: the same, or one whose access flag alone is less."""
    if entry_kind(now, level) != EntryKind.LEAF or (old ^ now) & ~_FREE_BITS:
        return False
    return not _takes_away(old, now | _AF, is_stage2=is_stage2)


def _takes_away(old: int, new: int, *, is_stage2: bool) -> bool:
    """Whether a change of the bits that may change leaves a right less."""
    if new & _XN & ~old or old & _AF & ~new:
        return True
    return bool(old & _S2AP & ~new) if is_stage2 else bool(new & _AP2 & ~old)
