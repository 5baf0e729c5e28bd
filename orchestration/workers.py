"""Processes of their own: for a refresh with a backlog, in it for organisations that are taken in side by side, and for a refit.

Great Expectations, dbt, Dagster and lifelines take many seconds to load. A server process loads them once, and may do so
while the command that asks for it still does something else; the refresh is forked from it, and its workers from the
refresh.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext, ForkServerContext
from typing import ParamSpec, TypeVar

from orchestration.trouble import Mendable

PRELOADED = ["orchestration.definitions", "orchestration.loaded"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class WorkerDied(Mendable):
    """A process that a refresh needs was ended from outside."""


class _Forks:
    """The pool of forks that this process has now, and of how many."""

    pool: ProcessPoolExecutor | None = None
    count = 0


def load_early() -> None:
    """Start the server from which `apart` forks; it loads the libraries while the caller goes on."""
    loaded()
    forkserver.ensure_running()


def loaded() -> ForkServerContext:
    """Whose processes are forks of one in which the libraries are loaded, and that has nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def apart(function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
    """Call a function in a process of its own, the libraries loaded. Raises what it raises, and WorkerDied."""
    with _pool(1, loaded()) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def forked(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of forks of this process, which `at_hand` gives too while it lasts. Raises WorkerDied.

    To be called before this process opens a database or starts a thread: a fork must not share a connection, or a lock that is held.
    """
    with _pool(count, multiprocessing.get_context("fork")) as pool:
        pool.submit(os.getpid).result()  # all are forked at the first task, so now
        _Forks.pool, _Forks.count = pool, count
        try:
            yield pool
        finally:
            _Forks.pool, _Forks.count = None, 0


@contextmanager
def at_hand(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of at least so many processes, whatever this one has open by now and whichever threads it has. Raises WorkerDied.

    The forks that were made in time, which have the libraries loaded; else processes that begin with nothing of this one.
    """
    if _Forks.pool is None or _Forks.count < count:
        with _pool(count, multiprocessing.get_context("spawn")) as pool:
            yield pool
        return
    with _mendable():
        yield _Forks.pool


@contextmanager
def _pool(count: int, context: BaseContext) -> Iterator[ProcessPoolExecutor]:
    initial = gc.get_threshold()
    with _mendable(), ProcessPoolExecutor(count, context, initializer=_begin, initargs=initial) as pool:
        yield pool


@contextmanager
def _mendable() -> Iterator[None]:
    """A pool whose process was ended from outside, as WorkerDied."""
    try:
        yield
    except BrokenProcessPool:
        raise WorkerDied(
            "a process of the refresh was ended from outside (by a person, or for want of memory); what it had not "
            "finished still waits in the inbox: run `delictvrij refresh` again"
        ) from None


def _begin(*thresholds: int) -> None:
    """Whatever happens to the process that asked for this one: this one ends with it."""
    gc.set_threshold(*thresholds)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a process of a pool has one

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
