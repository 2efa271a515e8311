"""Forks and open databases."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from migration.forking import new_lock, unforked


def _forked(in_child: int) -> int:
    """Fork, and return what the child ends with."""
    child = os.fork()
    if child == 0:
        os._exit(in_child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_waits_for_an_open_database() -> None:
    """It happens when the block has ended, not before."""
    opened, close = threading.Event(), threading.Event()
    order: list[str] = []

    def hold() -> None:
        with unforked():
            opened.set()
            close.wait()
            order.append("closed")

    holder = threading.Thread(target=hold)
    holder.start()
    opened.wait()
    threading.Timer(0.2, close.set).start()
    assert _forked(7) == 7
    order.append("forked")
    holder.join()
    assert order == ["closed", "forked"]


def test_a_fork_is_not_kept_waiting_by_busy_threads() -> None:
    """Threads that open one database after the other let a fork go first."""
    stop = threading.Event()

    def be_busy() -> None:
        while not stop.is_set():
            with unforked():
                stop.wait(0.01)

    threads = [threading.Thread(target=be_busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    assert [_forked(0) for _ in range(5)] == [0] * 5
    assert time.monotonic() - began < 5
    stop.set()
    for thread in threads:
        thread.join()


def test_a_block_that_waits_for_another_one_does_not_keep_a_fork_for_long() -> None:
    """A fork waits for the first, and the first for a thread that must begin a block itself."""
    first, second = threading.Event(), threading.Event()

    def inner() -> None:
        with unforked():
            second.set()

    def outer() -> None:
        with unforked():
            first.set()
            time.sleep(0.1)
            threading.Thread(target=inner).start()
            second.wait()

    thread = threading.Thread(target=outer)
    thread.start()
    first.wait()
    began = time.monotonic()
    assert _forked(0) == 0
    assert time.monotonic() - began < 5
    thread.join()


def test_a_lock_is_free_in_a_child() -> None:
    """Whichever thread of the parent held it, which still holds it there."""
    lock = new_lock()
    holder = threading.Thread(target=lock.acquire)
    holder.start()
    holder.join()
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not lock.acquire(blocking=False)


def test_a_child_opens_databases_of_its_own(tmp_path: Path) -> None:
    """Parent and children write to one file at the same time, and no row is lost."""
    path = tmp_path / "rows.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE rows (writer INTEGER)")
    stop = threading.Event()
    written = 0

    def write(rows: int) -> None:
        for _ in range(rows):
            with unforked(), closing(sqlite3.connect(path, timeout=20)) as database, database:
                database.execute("INSERT INTO rows VALUES (?)", (os.getpid(),))

    def keep_writing() -> None:
        nonlocal written
        while not stop.is_set():
            write(1)
            written += 1
            stop.wait(0.01)  # SQLite's locks are not fair

    writer = threading.Thread(target=keep_writing)
    writer.start()
    children = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            try:
                write(20)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    stop.set()
    writer.join()
    assert ended == [0] * 5
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM rows").fetchone() == (5 * 20 + written,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
