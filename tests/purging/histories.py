"""Histories: three processes and a log, driven at random through everything that may happen to them.

Each step is small: a sync is sent, carried out, heard; an origin reads its data; a fill ends. Between any two,
anything else may happen. A history uses one to three of the processes and paths and one kind of fault, so that what
collides, collides often; whole sequences that people worry about are steps, too.

The judge (I1) knows nothing of the protocol. Events are numbered; a response remembers when its origin read the data.
Whoever arrives after a purge was acknowledged must not be given data that was read before the purge was committed.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from edgecache.purging.log import Order
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from tests.purging.model import RESPONSES, SELECTORS, TAGS, TIMING, Flaw, Flaws, ModelLog, NodeLike, Unreachable
from tests.purging.processes import Copy, Fill, Process, Running

WEIGHTS: Final = {
    "advance": 6, "send_sync": 6, "carry_out_sync": 6, "hear_sync": 6, "sync_now": 14, "all_sync": 5,
    "request": 8, "receive": 6, "origin_reads": 8, "finish_fill": 8, "land": 4, "fill_now": 14, "probe": 22,
    "purge": 5, "poll": 8, "purge_and_poll": 5, "wait_and_poll": 3, "fault": 4, "slow_sync": 1, "cut_off": 2,
    "flood": 1, "lose_registry": 2,
}  # fmt: skip
STEPS: Final = 120
FAULTS: Final = (
    ("part", "heal"),
    ("restart", "save"),
    ("flush",),
    ("kill",),
    ("down", "up"),
    ("part", "heal", "restart", "save", "flush", "kill", "down", "up"),
    ("save",),
)


class Violation(AssertionError):
    """A promise was broken."""


class History:
    """One run. ``make`` makes the process that is put to the test."""

    weights = WEIGHTS

    def __init__(
        self, seed: int, make: Callable[[str], NodeLike], flaws: Flaws = frozenset(), page: int = 1000
    ) -> None:
        self.random = random.Random(seed)
        self.log = ModelLog(flaws, page=page)
        self.counts: Counter[str] = Counter()
        self._flaws, self._make, self._names = flaws, make, itertools.count(1)
        self._now, self._event = 0.0, 0
        self._acknowledged: list[tuple[int, int, Selector]] = []
        self._last: dict[bytes, int] = {}
        rates = [self.random.choice((1 - TIMING.clock_error, 1, 1 + TIMING.clock_error)) for _ in range(3)]
        self.processes = [Process(number, rate, self._make(self._name())) for number, rate in enumerate(rates)]
        self.all_sync()

    def _name(self) -> str:
        return f"w{next(self._names)}"

    def run(self) -> None:
        """Take ``STEPS`` random steps, then let everything recover (I12)."""
        choice = self.random.choice
        mine = self.random.sample(self.processes, choice((1, 2, 2, 3)))
        paths = self.random.sample(sorted(RESPONSES), choice((1, 1, 2, 3)))
        pool = TAGS if self._flaws else SELECTORS
        selectors = [selector for selector, meant in pool.items() if meant & set(paths)]
        faults = choice(FAULTS)
        for step in self.random.choices(list(self.weights), list(self.weights.values()), k=STEPS):
            self.take(step, faults, choice(mine), choice(mine), choice(paths), choice(selectors))
        self.recover()

    def take(
        self, step: str, faults: tuple[str, ...], one: Process, other: Process, path: str, selector: Selector
    ) -> None:
        """Take one step, whatever of it is there to be taken."""
        match step:
            case "advance":
                self.advance(self.random.choice((1, 10, 30, 50, 95, 101, 104, 107)))
            case "all_sync":
                self.all_sync()
            case "request" | "fill_now" | "probe":
                getattr(self, step)(one, path)
            case "purge":
                self.purge(one, selector)
            case "lose_registry":
                if "flush" in faults:
                    self.lose_registry(one, other, path, selector)
            case "purge_and_poll" | "cut_off" | "flood" | "slow_sync":
                getattr(self, step)(one, other, path, selector)
            case "fault":
                self.fault(one, self.random.choice(faults))
            case _:
                getattr(self, step)(one)

    # Time, and the judge.

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def clock(self, process: Process) -> float:
        return self._now * process.rate

    def _tick(self) -> int:
        self._event += 1
        return self._event

    def _judge(self, copy: Copy, arrived: int) -> None:
        self.counts["hits"] += 1
        for committed, acknowledged, selector in self._acknowledged:
            if acknowledged < arrived and copy.path in SELECTORS[selector] and copy.read_at <= committed:
                raise Violation(f"I1: {copy} served to {arrived}; {selector} was acknowledged at {acknowledged}")

    def _expect(self, true: bool, promise: str) -> None:
        # Broken on purpose, a process may break every promise; what counts is what a client sees.
        if not true and not self._flaws:
            raise Violation(promise)

    # Syncing.

    def send_sync(self, process: Process) -> None:
        if process.running is None:
            process.running = Running(process.node.begin(self.clock(process), census=True))

    def carry_out_sync(self, process: Process) -> None:
        if process.running is None or process.running.reply is not None:
            return
        try:
            if process.parted:
                raise Unreachable
            process.running.reply = self.log.sync(process.running.sync)
        except Unreachable:
            process.running = None

    def hear_sync(self, process: Process) -> bool:
        """Return whether everything is known and declared."""
        running, node = process.running, process.node
        if running is None or running.reply is None:
            return False
        process.running, lease = None, node.lease_until
        done = node.take(running.sync, running.reply, self.clock(process))
        prolonged = node.lease_until > lease
        self._expect(not prolonged or node.lease_until <= running.sync.sent_at + TIMING.lease, "I7: a longer lease")
        self._expect(not prolonged or node.applied == running.reply.sequence, "I7: a lease on a part")
        if Flaw.DELETION in self._flaws:
            gone = {path for purge in running.reply.purges for one in purge.selectors for path in SELECTORS[one]}
            process.stored = {path: copy for path, copy in process.stored.items() if path not in gone}
        return done

    def sync_now(self, process: Process) -> bool:
        self.send_sync(process)
        self.carry_out_sync(process)
        return self.hear_sync(process)

    def all_sync(self) -> None:
        for process in self.processes:
            self.sync_now(process)

    # Requests.

    def _may_serve(self, process: Process, copy: Copy) -> bool:
        verdict = process.node.verdict(copy.birth, f"http://h{copy.path}", RESPONSES[copy.path])
        return process.node.leased(self.clock(process)) and verdict is Verdict.VALID

    def _fill(self, process: Process, path: str, waiting: list[int]) -> None:
        birth = process.node.birth()
        self._expect(birth.sequence <= self._last.get(birth.epoch, birth.sequence), "I5: a birth in the future")
        process.fills.append(Fill(path, birth, waiting=waiting))

    def request(self, process: Process, path: str) -> None:
        arrived, copy = self._tick(), process.stored.get(path)
        if copy is not None and self._may_serve(process, copy):
            self._judge(copy, arrived)
            return
        for fill in process.fills:
            if fill.path == path:
                fill.waiting.append(arrived)
                return
        copy = self.log.responses.get(path)  # type: ignore[assignment]
        reachable = self.log.up and not process.parted and process.node.leased(self.clock(process))
        if copy is not None and reachable and len(process.gets) < 3:
            process.gets.append((path, copy, arrived))
        else:
            self._fill(process, path, [])

    def receive(self, process: Process) -> None:
        """A response comes from the shared store, as it was when it was asked for."""
        if process.gets:
            path, copy, arrived = process.gets.pop(0)
            if self._may_serve(process, copy):
                process.stored[path] = copy
                self._judge(copy, arrived)
            else:
                self._fill(process, path, [])

    def origin_reads(self, process: Process) -> None:
        for fill in process.fills:
            if fill.read_at is None:
                fill.read_at = self._tick()
                return

    def finish_fill(self, process: Process) -> None:
        fill = next((fill for fill in process.fills if fill.read_at is not None), None)
        if fill is None or fill.read_at is None:
            return
        process.fills.remove(fill)
        birth = process.node.birth() if Flaw.LATE_TOKEN in self._flaws else fill.birth
        copy = Copy(fill.path, birth, fill.read_at)
        process.stored[copy.path] = copy
        process.puts.append(copy)
        served = Flaw.LATE_JOIN in self._flaws or self._may_serve(process, copy)
        for arrived in fill.waiting if served else ():
            self._judge(copy, arrived)
        if fill.waiting and not served:
            self._fill(process, copy.path, [])

    def land(self, process: Process) -> None:
        """A response reaches the shared store."""
        if process.puts:
            copy = process.puts.pop(0)
            if self.log.up and not process.parted:
                self.log.responses[copy.path] = copy

    # Purges.

    def purge(self, process: Process, selector: Selector) -> None:
        if process.parted or len(process.purges) > 2:
            return
        try:
            node = process.node
            reply = self.log.purge(Order((selector,), node.epoch, node.applied, known=node.release))
        except Unreachable:
            return
        self._expect(reply.sequence > self._last.get(reply.epoch, 0), "I2: a sequence twice")
        self._expect(len(set(self.log.epochs)) == len(self.log.epochs), "I2: an epoch twice")
        held = [purge.sequence for purge in self.log.purges]
        self._expect(
            held == list(range(self.log.floor + 1, self.log.sequence + 1)), "I3: the log is not (floor, sequence]"
        )
        self._last[reply.epoch] = reply.sequence
        if Flaw.DELETION in self._flaws:
            for path in SELECTORS[selector]:
                self.log.responses.pop(path, None)
        commitment = process.node.commit(reply, self.clock(process))
        process.purges.append((commitment, selector, self._tick()))
        if Flaw.ACK_AT_ONCE in self._flaws:
            self._acknowledge(process)

    def _age(self, epoch: bytes) -> int:
        return self.log.epochs.index(epoch) if epoch else -1

    def poll(self, process: Process) -> None:
        now = self.clock(process)
        while any(process.node.acknowledged(commitment, now) for commitment, _, _ in process.purges):
            self._acknowledge(process)

    def _acknowledge(self, process: Process) -> None:
        now = self.clock(process)
        index = next((n for n, one in enumerate(process.purges) if process.node.acknowledged(one[0], now)), -1)
        commitment, selector, committed = process.purges.pop(index)
        mark = (self._age(commitment.epoch), commitment.sequence)
        for other in self.processes:
            behind = (self._age(other.node.epoch), other.node.applied) < mark
            leased = other.node.leased(self.clock(other))
            self._expect(not (behind and leased), f"I9: acknowledged, but {other.number} may serve without it")
        self._acknowledged.append((committed, self._tick(), selector))
        self.counts["acknowledged"] += 1

    # Faults.

    def fault(self, process: Process, kind: str) -> None:
        match kind:
            case "part" | "heal":
                process.parted = kind == "part"
            case "down" | "up":
                self.log.up = kind == "up"
            case "kill":  # its memory is gone, what it stored is found again
                fresh = Process(process.number, process.rate, self._make(self._name()), process.parted, process.stored)
                self.processes = [fresh if one is process else one for one in self.processes]
                process.__dict__.update(fresh.__dict__)
                self.processes[process.number] = process
            case _:
                getattr(self.log, kind)()

    def recover(self) -> None:
        """I12: when faults stop, every purge is acknowledged within the term, and the cache serves everything again."""
        self.log.up = True
        for process in self.processes:
            process.parted = False
        for _ in range(20):
            self.advance(TIMING.term() / 10)
            self.all_sync()
        for process in self.processes:
            self.poll(process)
            self._expect(not process.purges, "I12: a purge is never acknowledged")
        for process, path in itertools.product(self.processes, RESPONSES):
            for _ in range(8):
                self.fill_now(process, path)
                self.receive(process)
        hits = self.counts["hits"]
        self.all_sync()
        for process, path in itertools.product(self.processes, RESPONSES):
            self.request(process, path)
        self._expect(self.counts["hits"] == hits + 9, "I12: something is not served from cache again")

    # Sequences that people worry about.

    def fill_now(self, process: Process, path: str) -> None:
        self.request(process, path)
        self.origin_reads(process)
        self.finish_fill(process)
        self.land(process)

    def probe(self, process: Process, path: str) -> None:
        self.request(process, path)
        self.receive(process)

    def purge_and_poll(self, process: Process, other: Process, _: str, selector: Selector) -> None:
        self.purge(process, selector)
        for one in (process, other, other, process):
            self.sync_now(one)
        self.poll(process)

    def wait_and_poll(self, process: Process) -> None:
        self.advance(107)
        self.poll(process)

    def slow_sync(self, process: Process, other: Process, path: str, selector: Selector) -> None:
        """A reply that is long under way, and a purge meanwhile."""
        self.fill_now(other, path)
        self.send_sync(other)
        self.carry_out_sync(other)
        self.purge(process, selector)
        self.advance(self.random.choice((10, 50, 90)))
        self.hear_sync(other)
        self.advance(self.random.choice((10, 50, 90)))
        self.poll(process)
        self.request(other, path)

    def cut_off(self, process: Process, other: Process, path: str, selector: Selector) -> None:
        """A process that hears no more, and a purge that it should have heard of."""
        self.fill_now(other, path)
        self.sync_now(other)
        parted, other.parted = other.parted, True
        self.purge(process, selector)
        self.advance(self.random.choice((50, 96, 100, 104, 112)))
        self.poll(process)
        self.request(other, path)
        other.parted = parted

    def lose_registry(self, process: Process, other: Process, path: str, selector: Selector) -> None:
        """The log is lost, and who has not come back yet is not in the new registry."""
        self.fill_now(other, path)
        self.sync_now(other)
        self.log.flush()
        self.sync_now(process)
        self.purge_and_poll(process, process, path, selector)
        self.request(other, path)

    def flood(self, process: Process, other: Process, path: str, selector: Selector) -> None:
        """More purges than the log holds, before the next sync."""
        self.fill_now(other, path)
        self.purge_and_poll(process, process, path, selector)
        for _ in range(5):
            self.wait_and_poll(process)
            self.purge(process, Selector.of("tag", "a"))
        self.wait_and_poll(process)
        self.sync_now(other)
        self.request(other, path)
