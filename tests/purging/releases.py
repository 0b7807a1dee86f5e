"""Histories in which releases are activated, too.

The judge (R1) knows nothing of the protocol. Activations are numbered in the order in which the log carried them out.
Once one was acknowledged, no process with a lease may look up under a release that was only activated before it.

One thing no protocol can do: know what nobody who is there has ever heard of. When the log was lost, a process may use
an older release if, when it got its lease, nobody who knows the newer one had come back, and either a whole term had
gone by without them or it knows of no release at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecache.purging.log import Activation
from edgecache.purging.node import Commitment
from edgecache.purging.receipt import State
from edgecache.purging.release import Release
from edgecache.purging.selector import Selector
from tests.purging.histories import History, Violation
from tests.purging.model import Flaw, Flaws, NodeLike, Unreachable
from tests.purging.processes import Copy, Process

__all__ = ["ReleaseHistory"]

WEIGHTS: Final = {
    "advance": 8, "send_sync": 6, "carry_out_sync": 6, "hear_sync": 6, "sync_now": 14, "all_sync": 5,
    "fill_now": 6, "probe": 6, "purge": 2, "flood": 1, "poll": 8, "wait_and_poll": 4, "fault": 5,
    "activate": 6, "activate_and_poll": 6, "slow_switch": 2, "switch_unheard": 3, "return_first": 3,
    "start_first": 2, "lose_at_once": 2,
}  # fmt: skip


class ReleaseHistory(History):
    """One run."""

    weights = WEIGHTS

    def __init__(
        self, seed: int, make: Callable[[str], NodeLike], flaws: Flaws = frozenset(), page: int = 1000
    ) -> None:
        self._ordered = 0
        self._confirmed = 0
        self._numbers: dict[tuple[str, int], int] = {}
        self._latest: dict[str, int] = {"": 0}
        self._brought: dict[bytes, int] = {}
        super().__init__(seed, make, flaws, page)

    def take(
        self, step: str, faults: tuple[str, ...], one: Process, other: Process, path: str, selector: Selector
    ) -> None:
        """Take one step, and look at everybody."""
        match step:
            case "activate":
                self.activate(one)
            case "activate_and_poll" | "slow_switch" | "switch_unheard":
                getattr(self, step)(one, other)
            case "return_first" | "start_first" | "lose_at_once":
                losses = [fault for fault in ("flush", "restart") if fault in faults]
                if losses and one is not other:
                    getattr(self, step)(one, other, self.random.choice(losses))
            case _:
                super().take(step, faults, one, other, path, selector)
        self.look()

    # The judge.

    def look(self) -> None:
        """Whoever has a lease may be asked for something now."""
        for process in self.processes:
            node, told = process.node, process.told
            if not node.leased(self.clock(process)):
                continue
            self.counts["looks"] += 1
            used = self._latest[node.release.name]
            if used >= self._confirmed:
                continue
            unheard = told is not None and told.brought < self._confirmed
            if unheard and told is not None and told.reply is not None and (told.reply.settled or not used):
                self.counts["excused"] += 1
                continue
            what = f"{process.number} uses {node.release} ({used}), but {self._confirmed} was acknowledged"
            raise Violation(f"R1: {what}")

    def _judge(self, copy: Copy, arrived: int) -> None:
        if not self._flaws:  # broken on purpose it is R1 that has to find it
            super()._judge(copy, arrived)

    def _bring(self, epoch: bytes, release: Release) -> None:
        number = self._numbers.get((release.name, release.sequence), 0)
        self._brought[epoch] = max(self._brought.get(epoch, 0), number)

    # Syncing: who knows what.

    def carry_out_sync(self, process: Process) -> None:
        running = process.running
        if running is None or running.reply is not None:
            return
        super().carry_out_sync(process)
        if running.reply is not None:
            self._bring(running.reply.epoch, running.sync.known)
            running.brought = self._brought[running.reply.epoch]

    def hear_sync(self, process: Process) -> bool:
        running, lease = process.running, process.node.lease_until
        done = super().hear_sync(process)
        if process.node.lease_until > lease:
            process.told = running
        return done

    # Activations.

    def activate(self, process: Process) -> None:
        """Another release, or the same again."""
        node = process.node
        if process.parted or len(process.activations) > 2:
            return
        again = self.random.random() < 0.2 and node.release.name
        name, held = again or f"r{self._ordered + 1}", self.random.random() < 0.3
        try:
            reply = self.log.activate(Activation(name, held, node.epoch, node.applied, node.release))
        except Unreachable:
            return
        self._ordered += 1
        release = reply.release
        self._expect((release.name, release.held) == (name, held), "R2: another release than was ordered")
        self._expect(release.previous != name, "R2: a release before itself")
        self._expect(all(release.sequence > before for _, before in self._numbers), "R3: a later activation is older")
        self._last[reply.epoch] = reply.sequence
        self._numbers[name, release.sequence] = self._latest[name] = self._ordered
        self._bring(reply.epoch, release)
        process.activations.append((node.activated(reply, self.clock(process)), self._ordered))
        if Flaw.ACK_AT_ONCE in self._flaws:
            self._confirm(*process.activations.pop())

    def poll(self, process: Process) -> None:
        super().poll(process)
        states = [process.node.acknowledged(one, self.clock(process)) for one, _ in process.activations]
        for (commitment, number), state in zip(process.activations, states, strict=True):
            if state is State.CONFIRMED:
                self._confirm(commitment, number)
        process.activations = [one for one, state in zip(process.activations, states, strict=True) if state is None]
        self.counts["partial"] += states.count(State.PARTIAL)

    def _confirm(self, _: Commitment, number: int) -> None:
        self._confirmed = max(self._confirmed, number)
        self.counts["confirmed"] += 1

    def recover(self) -> None:
        """When faults stop every activation is acknowledged within the term, and all use one release."""
        super().recover()
        self.look()
        for process in self.processes:
            self._expect(not process.activations, "I12: an activation is never acknowledged")
            self._expect(process.node.release == self.log.release, "R1: different releases for ever")

    # Sequences that people worry about.

    def wait_and_poll(self, process: Process) -> None:
        """A term goes by, and the log may have something to say to that."""
        self.advance(107)
        if self.random.random() < 0.7:
            self.sync_now(process)
        self.poll(process)

    def activate_and_poll(self, process: Process, other: Process) -> None:
        self.activate(process)
        for one in (process, other, other, process):
            self.sync_now(one)
        self.poll(process)

    def slow_switch(self, process: Process, other: Process) -> None:
        """A reply that is long under way, and an activation meanwhile."""
        self.send_sync(other)
        self.carry_out_sync(other)
        self.activate(process)
        self.advance(self.random.choice((10, 50, 90)))
        self.hear_sync(other)
        self.advance(self.random.choice((10, 50, 90)))
        self.poll(process)

    def switch_unheard(self, process: Process, other: Process) -> None:
        """A process that hears no more, and an activation that it should have heard of."""
        self.sync_now(other)
        parted, other.parted = other.parted, True
        self.activate(process)
        self.advance(self.random.choice((50, 96, 100, 104, 112)))
        self.poll(process)
        other.parted = parted

    def return_first(self, process: Process, other: Process, loss: str) -> None:
        """Who missed an activation is the first to come back when the log is lost."""
        self.switch_unheard(process, other)
        self.wait_and_poll(process)
        if self.random.random() < 0.5:
            self.sync_now(process)
        getattr(self.log, loss)()
        for one in self.random.choice(((other, process), (other, other, process, other), (other, process, process))):
            self.sync_now(one)
            self.look()
        self.poll(process)

    def lose_at_once(self, process: Process, other: Process, loss: str) -> None:
        """The log is lost with an activation that only one has heard of, and another comes first."""
        self.sync_now(other)
        self.activate(process)
        self.advance(self.random.choice((1, 50, 90)))
        getattr(self.log, loss)()
        self.sync_now(other)
        self.advance(self.random.choice((1, 20, 90)))
        self.wait_and_poll(process)

    def start_first(self, process: Process, other: Process, loss: str) -> None:
        """Who has just started is the first to meet a log that was lost, and may be told another release."""
        self.activate_and_poll(process, other)
        self.wait_and_poll(process)
        getattr(self.log, loss)()
        self.fault(other, "kill")
        self.sync_now(other)
        if self.random.random() < 0.5:
            self.activate_and_poll(other, other)
            self.wait_and_poll(other)
        for one in (process, other):
            self.sync_now(one)
            self.look()
