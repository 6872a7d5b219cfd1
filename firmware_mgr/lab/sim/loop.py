"""An event loop in virtual time: the clock moves only when nothing is left to do now.

Work for threads runs to its end, or to where it waits for the network, while the loop stands still: for one
seed everything happens in one order. Knows processes (`process`); refuses to know the network.
"""

from __future__ import annotations

import asyncio
import heapq
import queue
import random
import threading
from asyncio import events
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any

from firmware_mgr.lab.sim.process import PROCESS, ProcessKilled, SimProcess, belongs_to

#: Longest time that work for a thread takes; shorter ones are drawn, so that nothing relies on an order.
WORK_SECONDS = 0.002
#: The time of day at the beginning, unless told otherwise.
UNIX_START = 1_790_000_000.0


class Deadlock(AssertionError):
    """Something is awaited, and nothing will ever happen any more."""


class _Handle(events.Handle):
    __slots__ = ()

    def _run(self) -> None:
        process = belongs_to(self._context)  # type: ignore[attr-defined]
        if process is None or not process.dead:
            super()._run()


class _TimerHandle(events.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        process = belongs_to(self._context)  # type: ignore[attr-defined]
        if process is None or not process.dead:
            super()._run()


class _Selector:
    """Stands where a real loop waits for its files: lets the time pass instead."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock(f"nothing will happen any more, at {self._loop.time():.3f} s")
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []


class _Job:
    """Work for a thread. Only one of loop and jobs runs at any moment."""

    def __init__(self, work: Callable[[], Any], context: Context, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.context = context
        self.process = belongs_to(context)
        self.future = future
        self.go = threading.Semaphore(0)
        self.paused = threading.Semaphore(0)
        self.finished = False
        self.killed = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.request: Callable[[], Any] | None = None
        self.awaited: asyncio.Future[Any] | None = None
        self.worker: _Worker | None = None


_here = threading.local()


class SimLoop(asyncio.BaseEventLoop):
    """`seed` decides what chance would. `unix_start` is the time of day at virtual second 0."""

    def __init__(self, seed: int = 0, unix_start: float = UNIX_START) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.unix_start = unix_start
        self.mute = False
        self.network: Any = None
        self.readers: dict[int, tuple[Callable[..., object], tuple[Any, ...], Context]] = {}
        self.dead: list[SimProcess] = []
        self._now = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
        self._timers = 0
        self._idle: list[_Worker] = []
        self._waiting_jobs: set[_Job] = set()
        self.set_task_factory(own_task)

    # Time.

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def unix(self) -> float:
        """The time of day, in seconds since 1970."""
        return self.unix_start + self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    # Whatever is to be called is called only while its process lives.

    def _call_soon(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        if not self.mute:
            self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        # The running number keeps timers of one moment in their order: a heap alone would not.
        timer = _TimerHandle(when, callback, args, self, context)
        if not self.mute:
            self._timers += 1
            timer._when = when + self._timers * 1e-12  # type: ignore[attr-defined]
            heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
            timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    # Work for threads.

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        job = _Job(lambda: func(*args), copy_context(), future)
        if executor is None:
            self._waiting_jobs.add(job)
            (self._idle.pop() if self._idle else _Worker()).take(job)
            self._paused(job)
            return future
        # An executor with a thread of its own, such as the catalogue's: nothing else happens meanwhile.
        try:
            job.result = executor.submit(func, *args).result()
        except Exception as e:
            job.error = e
        self._settle_later(job)
        return future

    def _settle_later(self, job: _Job) -> None:
        self.call_later(self.rng.random() * WORK_SECONDS, self._settle, job, context=job.context)

    def _settle(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)

    def _paused(self, job: _Job) -> None:
        """Let the job go on until it ends or waits for something."""
        assert job.worker is not None
        job.go.release()
        job.paused.acquire()
        if job.finished:
            self._waiting_jobs.discard(job)
            self._idle.append(job.worker)
            if not job.killed:
                self._settle_later(job)
            return
        request = job.request
        assert request is not None
        job.awaited = job.context.copy().run(lambda: asyncio.ensure_future(request(), loop=self))
        job.awaited.add_done_callback(lambda _: self._paused(job), context=job.context)

    def end_jobs(self, process: SimProcess) -> None:
        """The process was killed: what its threads wait for never comes."""
        for job in [job for job in self._waiting_jobs if job.process is process]:
            job.killed = True
            self._paused(job)

    # Files are not watched; the twin's own sockets say when they are ready.

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        self.readers[_number(fd)] = (callback, args, copy_context())

    def remove_reader(self, fd: Any) -> bool:
        return self.readers.pop(_number(fd), None) is not None

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        raise AssertionError("the twin's sockets always have room")

    def remove_writer(self, fd: Any) -> bool:
        return False

    def readable(self, fd: int) -> None:
        """A socket of the twin has something to read."""
        reader = self.readers.get(fd)
        if reader is not None:
            callback, args, context = reader
            self.call_soon(callback, *args, context=context)

    # The network is put in by whoever has one.

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.create_connection(*args, **kwargs)

    def create_server(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.create_server(*args, **kwargs)

    def sock_accept(self, sock: Any) -> Any:
        return sock.accept_next()

    def connect_accepted_socket(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.connect_accepted(*args, **kwargs)

    def close(self) -> None:
        """End everything that still waits. Nobody hears of it any more."""
        if self.is_closed():
            return
        self.mute = True
        for job in list(self._waiting_jobs):
            job.killed = True
            self._paused(job)
        for process in self.dead:
            process.bury()
        for worker in self._idle:
            worker.end()
        super().close()


class _Worker:
    """A thread that does one job after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="sim job")
        self._thread.start()

    def take(self, job: _Job) -> None:
        job.worker = self
        self._jobs.put(job)

    def end(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.go.acquire()
            _here.job = job
            try:
                job.result = job.work()
            except ProcessKilled:
                pass
            except BaseException as e:
                job.error = e
            finally:
                _here.job = None
                job.finished = True
                job.paused.release()


def wait_for(request: Callable[[], Any]) -> Any:
    """In work for a thread: have the loop await `request()`, and give its result or raise its error."""
    job: _Job | None = getattr(_here, "job", None)
    assert job is not None, "only work that the loop runs in a thread may wait"
    if job.killed:
        raise ProcessKilled
    job.request = request
    job.paused.release()
    job.go.acquire()
    if job.killed:
        raise ProcessKilled
    assert job.awaited is not None
    return job.awaited.result()


def pause(seconds: float) -> None:
    """time.sleep, in virtual time."""
    wait_for(lambda: asyncio.sleep(seconds))


def own_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    context = options.get("context")
    process = PROCESS.get() if context is None else belongs_to(context)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())
