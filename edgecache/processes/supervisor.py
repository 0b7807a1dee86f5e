"""The supervisor: one process that owns what has to last, and sees to it that workers are there.

Theory
    It binds the sockets, forks a worker for each slot, and waits. It has one thread and no event loop, never touches a
    connection, and so has no reason to end. What it does is a sequence of waits for what its workers say; whatever
    happens meanwhile (a death, a signal) is dealt with in ``_turn``, at any point of the sequence.

    A reload starts a whole new generation of workers beside the serving one, because only to start is to know that
    a configuration works. If one of them cannot, all of them go, and nothing has happened. Else:

        new generation   everything ready, nobody accepted ........................ | OPEN: accepts everybody
        old generation   serves ......... | RETIRE: accepts nobody, serves nothing stored | QUIET  finishes, ends

    Connections that come between wait in the sockets for some milliseconds. The order is what keeps purges true when
    each process has a ledger of its own: no process answers from its store once another one acknowledges purges.

Invariants
    * A socket is closed here before its last worker is told to leave, so that nobody comes after that one has looked.
    * A slot whose workers die young is refilled ever more slowly (``crew.Slot``): never a busy loop.
    * The machine's token, the status file, the scoreboard and the embedded server belong to this process.

Called by the commands. What a worker does is in ``worker``, what the two say to one another in ``inheritance``.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edgecache.edges.supervision import Supervision
from edgecache.edges.token_file import LocalToken
from edgecache.errors import EdgecacheError
from edgecache.processes.child import Worker
from edgecache.processes.crew import LONGEST_PAUSE, Crew, Generation
from edgecache.processes.events import Events, has_terminal
from edgecache.processes.inheritance import Order
from edgecache.processes.scoreboard import Board
from edgecache.processes.shared_server import SharedServer
from edgecache.processes.sockets import ADMIN_BACKLOG, listen
from edgecache.processes.status_file import Report, StatusFile
from edgecache.shared import preload

if TYPE_CHECKING:
    from edgecache.edges.config import Config

__all__ = ["supervise"]

_logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

_START_SECONDS: Final = 60.0
"""In which a new generation has to be ready."""
_QUIET_SECONDS: Final = 10.0
"""In which an old one has to stop serving; whose event loop does not turn for so long serves nobody anyway."""
_MARGIN_SECONDS: Final = 10.0
"""In which a worker has to end after it has cut off what still ran, or was told to."""
_NEVER: Final = 1 << 30


def supervise(
    config: Config,
    *,
    load: Callable[[], Config],
    announce: Callable[[str], None] = lambda public: None,
    describe: Callable[[EdgecacheError], str] = str,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run an edge until it is told to stop; return the exit code: 0, or 1 when responses were cut off.

    Args:
        config: what to run.
        load: called to reload; returns the new configuration or raises ``ConfigError``.
        announce: called with the public URL (or ``unix:PATH``) once connections are accepted.
        describe: what people are told of an error.
        environ: environment variables.

    Raises ``ConfigError`` when the edge cannot start.
    """
    logging.basicConfig(
        level=config.log.level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    supervisor = _Supervisor(load, describe, environ)
    try:
        return supervisor.run(config, announce)
    finally:
        supervisor.close()


class _Supervisor:
    def __init__(
        self, load: Callable[[], Config], describe: Callable[[EdgecacheError], str], environ: Mapping[str, str]
    ) -> None:
        self._load: Final = load
        self._describe: Final = describe
        self._events: Final = Events(_SIGNALS)
        self._board: Final = Board()
        self._run_dir: Final = Path(tempfile.mkdtemp(prefix="edgecache-"))
        self._server: Final = SharedServer(self._run_dir / "redis")
        self._token: Final = LocalToken(environ)
        self._status: Final = StatusFile(environ)
        self._crew: Final = Crew(self._events, self._board, self._run_dir, self._token, self._status)
        self._serving: Generation | None = None
        self._candidate: Generation | None = None
        self._made = 0  # generations so far
        self._stops = 0  # how often it was told to
        self._reload_wanted = False
        self._has_terminal: Final = has_terminal()
        self._cut_off = False
        self._facts = Supervision()
        self._report = Report(os.getpid(), 0)

    def run(self, config: Config, announce: Callable[[str], None]) -> int:
        """As ``supervise``."""
        first = self._prepare(config)
        if self._start(first):
            self._put_into_service(first)
            announce(first.url)
        while not self._stops:
            self._turn()
            if self._reload_wanted:
                self._reload()
        return self._stop()

    def close(self) -> None:
        """Leave nothing behind."""
        self._stops += 1
        self._discard()
        self._end_now(self._crew.workers)
        for generation in filter(None, (self._serving, self._candidate)):
            generation.close()
        self._token.remove()
        self._status.remove()
        self._server.stop()
        shutil.rmtree(self._run_dir, ignore_errors=True)
        self._board.close()
        self._events.close()

    # Waiting: one turn of it, wherever in a sequence.

    def _turn(self, seconds: float | None = None) -> None:
        self._events.wait(min((one for one in (seconds, self._until_due()) if one is not None), default=None))
        for number in self._events.signals():
            self._take(number)
        ended = self._crew.bury()
        for worker in ended:
            self._mourn(worker)
        if ended:
            self._tell()
        if not self._stops:
            self._revive()
            self._server.look()

    def _wait(self, holds: Callable[[], bool], seconds: float, *, stops: int = _NEVER) -> bool:
        """Wait until something holds; False when that takes too long, or it was told to stop so often."""
        deadline = time.monotonic() + seconds
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0 or self._stops >= stops:
                return False
            self._turn(left)
        return True

    def _take(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._stops += 1
            case signal.SIGHUP if self._has_terminal and not has_terminal():
                self._stops += 1  # it was closed; nobody is there any more to stop us
            case signal.SIGHUP:
                self._reload_wanted = True
            case signal.SIGUSR1:
                self._crew.tell(self._crew.workers, Order.REOPEN)

    def _until_due(self) -> float | None:
        """Return seconds until there is something to do although nothing happens; None when there is not."""
        if self._stops:
            return None
        due = [slot.again_at for slot in self._crew.vacant(self._serving).values()]
        due += [] if self._server.due is None else [self._server.due]
        return min(due) - time.monotonic() if due else None

    # The workers of the generation that serves.

    def _hear(self, worker: Worker) -> None:
        if worker.is_ready and self._serving and self._serving.is_open and worker in self._crew.of(self._serving):
            self._open([worker])

    def _open(self, workers: Iterable[Worker]) -> None:
        self._crew.tell([worker for worker in workers if worker.is_ready and not worker.is_open], Order.OPEN)
        self._tell()

    def _mourn(self, worker: Worker) -> None:
        if self._stops:
            self._cut_off = self._cut_off or worker.exit_code != 0
        elif self._serving and worker.generation == self._serving.number:
            now = time.monotonic()
            pause = self._serving.slots[worker.slot].mourn(now - worker.began, now)
            why = f": {self._describe(worker.refusal)}" if worker.refusal else ""
            _logger.error("worker %d %s%s; the next one starts in %.1f s", worker.pid, worker.ending, why, pause)
        elif worker.exit_code and worker.is_open:
            _logger.warning("worker %d %s before it had finished its responses", worker.pid, worker.ending)

    def _revive(self) -> None:
        for number, slot in self._crew.vacant(self._serving).items():
            if self._serving and time.monotonic() >= slot.again_at:
                try:
                    self._fork(self._serving, number)
                except (OSError, EdgecacheError) as error:
                    slot.again_at = time.monotonic() + LONGEST_PAUSE
                    _logger.error("a worker cannot be started: %s", error)
                else:
                    self._tell(restarts=self._facts.restarts + 1)

    def _fork(self, generation: Generation, slot: int) -> Worker:
        return self._crew.start(generation, slot, (self._serving, self._candidate), self._hear)

    def _end_now(self, workers: Iterable[Worker]) -> None:
        ending = list(workers)
        for worker in ending:
            worker.kill()
        self._wait(lambda: all(worker.exit_code is not None for worker in ending), _MARGIN_SECONDS)

    # From one generation to the next.

    def _prepare(self, config: Config) -> Generation:
        """Return a generation with its sockets open; raise ``ConfigError``."""
        held, config = self._serving, self._server.completed(config)
        preload(config)
        public = listen(
            config.server.listen,
            slots=config.server.workers,
            backlog=config.server.backlog,
            held=held.public if held else None,
        )
        try:
            admin = listen(config.admin.listen, shared=False, backlog=ADMIN_BACKLOG, held=held.admin if held else None)
        except EdgecacheError:
            public.close(held.public if held else None)
            raise
        self._made += 1
        return Generation(self._made, config, public, admin)

    def _start(self, generation: Generation) -> bool:
        """Wait until its workers are ready; False when told to stop before. Raises why one of them cannot start."""
        self._candidate = generation
        workers = [self._fork(generation, slot) for slot in range(len(generation.slots))]
        ended: list[Worker] = []

        def decided() -> bool:
            ended[:] = [worker for worker in workers if worker.exit_code is not None]
            return bool(ended) or all(worker.is_ready for worker in workers)

        if self._wait(decided, _START_SECONDS, stops=1) and not ended:
            return True
        if self._stops:
            return False
        for worker in ended:
            raise worker.refusal or EdgecacheError(f"a worker {worker.ending} before it was ready")
        raise EdgecacheError(f"the workers were not ready within {_START_SECONDS:.0f} s")

    def _put_into_service(self, generation: Generation) -> None:
        old, self._serving, self._candidate = self._serving, generation, None
        moved = old is None or old.admin.names != generation.admin.names
        if old is not None:
            self._retire(old, generation)
        generation.is_open = True
        self._open(self._crew.of(generation))
        if moved:
            self._token.remove()
            self._token.write(generation.admin.names)
        report = self._report
        self._report = msgspec.structs.replace(report, generation=generation.number, finished=report.begun, error="")
        self._status.stand_at(generation.admin.names, self._report)

    def _retire(self, old: Generation, successor: Generation) -> None:
        """Have the old workers go; return when none of them serves what is stored any more."""
        retiring = self._crew.of(old)
        surplus = set(old.public.surplus(successor.public))
        leaving = [worker for worker in retiring if surplus & {*old.public.of_slot(worker.slot)}]
        old.close(successor)
        self._crew.tell(leaving, Order.LEAVE)
        self._crew.tell([worker for worker in retiring if worker not in leaving], Order.RETIRE)
        if not self._wait(lambda: all(worker.is_quiet for worker in retiring), _QUIET_SECONDS):
            deaf = [worker for worker in retiring if not worker.is_quiet]
            _logger.error("killed, because they did not stop serving: %s", ", ".join(str(one.pid) for one in deaf))
            self._end_now(deaf)

    def _reload(self) -> None:
        self._reload_wanted = False
        self._say(begun=self._report.begun + 1)
        try:
            config = self._load()
            generation = self._prepare(config)
            if not self._start(generation):
                return
        except Exception as error:  # whatever it is, what serves goes on serving
            self._discard()
            self._refuse(error)
            return
        logging.getLogger().setLevel(config.log.level.upper())
        self._put_into_service(generation)
        self._tell(reloads=self._facts.reloads + 1, last_reload_ok=True, last_reload_error="")
        _logger.info("configuration %d is in service", generation.number)

    def _discard(self) -> None:
        """Have a generation that was never in service go."""
        candidate = self._candidate
        if candidate is None:
            return
        workers = self._crew.of(candidate)
        self._crew.tell(workers, Order.STOP)
        if not self._wait(lambda: all(worker.exit_code is not None for worker in workers), _MARGIN_SECONDS):
            self._end_now(workers)
        self._candidate = None
        candidate.close(self._serving)

    def _refuse(self, error: Exception) -> None:
        known = isinstance(error, EdgecacheError)
        described = self._describe(error) if isinstance(error, EdgecacheError) else repr(error)
        _logger.error("not reloaded, nothing has changed: %s", described, exc_info=None if known else error)
        self._tell(reloads_refused=self._facts.reloads_refused + 1, last_reload_ok=False, last_reload_error=described)
        self._say(finished=self._report.begun, error=described)

    # The end.

    def _stop(self) -> int:
        for generation in filter(None, (self._serving, self._candidate)):
            generation.public.close()
        self._crew.tell(self._crew.workers, Order.STOP)
        patience = _MARGIN_SECONDS + max((worker.drain_timeout for worker in self._crew.workers), default=0.0)
        if not self._wait(lambda: not self._crew.workers, patience, stops=2):
            self._crew.tell(self._crew.workers, Order.FORCE)
            if not self._wait(lambda: not self._crew.workers, _MARGIN_SECONDS):
                self._end_now(self._crew.workers)
        return 1 if self._cut_off else 0

    # What others are told.

    def _tell(self, **changes: Any) -> None:
        """Let metrics know what has changed, and how many workers there are."""
        serving = self._serving
        serve = [worker for worker in self._crew.of(serving) if worker.is_open]
        rest = [worker for worker in self._crew.workers if worker not in self._crew.of(serving)]
        self._facts = replace(
            self._facts,
            generation=serving.number if serving else 0,
            workers=len(serve),
            workers_wanted=len(serving.slots) if serving else 0,
            workers_draining=sum(worker not in self._crew.of(self._candidate) for worker in rest),
            **changes,
        )
        self._board.tell(self._facts)

    def _say(self, **changes: Any) -> None:
        """Let commands know what has changed."""
        self._report = msgspec.structs.replace(self._report, **changes)
        self._status.write(self._report)
