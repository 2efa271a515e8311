"""Walks through all that the product's modules hold, and says what of it a forked child would share with its parent.

A program of its own: it holds every lock it finds while it forks, and prints what is wrong in the child as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import mmap
import os
import pkgutil
import selectors
import socket
import sqlite3
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import cached_property, partial
from queue import Queue, SimpleQueue
from types import FunctionType, MethodType, ModuleType
from typing import Any

import aiohttp
import httpx
import requests

PACKAGES = ("migration", "flags", "observability", "shim", "tools")

LOCKS = (type(threading.Lock()), type(threading.RLock()))
CONDITIONS = (threading.Condition, threading.Semaphore)
RESOURCES = (
    threading.Thread,
    Executor,
    Queue,
    SimpleQueue,
    socket.socket,
    selectors.BaseSelector,
    sqlite3.Connection,
    io.IOBase,
    asyncio.AbstractEventLoop,
    aiohttp.ClientSession,
    requests.Session,
    httpx.Client,
    httpx.AsyncClient,
)
"""What only one process may use."""

EXEMPT = {
    "migration.forking:_Forks._changed": "the fork itself holds it, and releases it in both processes",
    "flags.router:UnleashRouter._abandoned": "the parent's source, which the child never uses",
    "tools.journal.supabase:_inherited": "the parent's loop and connections, which the child never uses",
    "migration.threads:BackgroundThread._work": "a child runs only what it starts itself",
    "shim.removal.sources:cached_property.lock": "of a command of one thread",
    "observability.handle:TelemetryHandle._plan": "what is built again is described by it; its stream is the host's",
}
"""Where the walk does not go, and why a child may have what is there."""


def modules() -> list[ModuleType]:
    """Every module of the product."""
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        names = [each.name for each in pkgutil.walk_packages(root.__path__, f"{package}.")]
        found += [root, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]
    return found


def is_own(kind: type) -> bool:
    """Whether a class is the product's."""
    return str(kind.__module__).partition(".")[0] in PACKAGES


def walk() -> Iterator[tuple[str, Any]]:
    """Everything that is reachable from the modules through the product's own objects, by where it is held."""
    seen: set[int] = set()
    todo: deque[tuple[str, Any]] = deque()
    for module in modules():
        todo += [(f"{module.__name__}:{name}", value) for name, value in vars(module).items()]
    while todo:
        place, value = todo.popleft()
        if place in EXEMPT or id(value) in seen:
            continue
        seen.add(id(value))
        yield place, value
        todo += parts(place, value)


def parts(place: str, value: Any) -> list[tuple[str, Any]]:
    """What `value` holds."""
    held: list[Any] = []
    match value:
        case list() | tuple() | set() | frozenset() | deque() | weakref.WeakSet():
            held = list(value)
        case Mapping() | weakref.WeakKeyDictionary() | weakref.WeakValueDictionary():
            held = [each for item in list(value.items()) for each in item]
        case partial():
            held = [value.func, *value.args, *value.keywords.values()]
        case MethodType():
            held = [value.__self__]
        case FunctionType():
            held = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        case cached_property():
            return [(f"{place.partition(':')[0]}:cached_property.lock", getattr(value, "lock", None))]
        case type() if is_own(value):
            return [(f"{value.__module__}:{value.__name__}.{name}", each) for name, each in vars(value).items()]
        case _ if is_own(type(value)):
            return list(attributes(value))
    return [(place, each) for each in held]


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """The attributes of an instance, its slots included."""
    kind = type(value)
    names = {name for each in kind.__mro__ for name in getattr(each, "__slots__", ())}
    names |= set(getattr(value, "__dict__", ()))
    for name in names - {"__weakref__", "__dict__"}:
        try:
            yield f"{kind.__module__}:{kind.__name__}.{name}", object.__getattribute__(value, name)
        except AttributeError:
            continue


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def found() -> tuple[dict[str, Any], dict[str, Any], dict[str, mmap.mmap]]:
    """The locks, the other resources, and the mappings."""
    locks, resources, mappings = {}, {}, {}
    standard = {id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}
    for number, (place, value) in enumerate(walk()):
        where = f"{place} ({number})"
        if isinstance(value, LOCKS):
            locks[where] = value
        elif isinstance(value, CONDITIONS):
            locks[where] = value._lock  # type: ignore[union-attr]  # the standard library's
        elif isinstance(value, mmap.mmap):
            mappings[where] = value
        elif isinstance(value, RESOURCES) and id(value) not in standard:
            resources[where] = value
    return locks, resources, mappings


def wrong_in_child() -> list[str]:
    """Fork while another thread holds every lock, and say what the child has of its parent."""
    locks, resources, mappings = found()
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        taken = [lock for lock in locks.values() if lock.acquire(timeout=5)]
        held.set()
        release.wait()
        for lock in taken:
            lock.release()

    before = {place: each[0] for place, each in mappings.items()}
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, json.dumps(look(resources)).encode())
        os._exit(0)
    os.close(writing)
    release.set()
    holder.join()
    with os.fdopen(reading) as said:
        wrong: list[str] = json.load(said)
    os.waitpid(child, 0)
    changed = [place for place, each in mappings.items() if each[0] != before[place]]
    return [*wrong, *(f"{place}: a mapping that both write to" for place in changed)]


def look(inherited: dict[str, Any]) -> list[str]:
    """In the child: what it still has of its parent's. Every mapping is written to."""
    locks, resources, mappings = found()
    parents = {id(each) for each in inherited.values()}
    for each in mappings.values():
        each[0] = (each[0] + 1) % 256
    return [
        *(f"{place}: a lock that nothing frees" for place, lock in locks.items() if not lock.acquire(blocking=False)),
        *(f"{place}: {type(each).__name__} of the parent" for place, each in resources.items() if id(each) in parents),
    ]


def main(use: Callable[[], object]) -> None:
    """Import every module, have the product used, and print what is wrong."""
    modules()
    use()
    locks, resources, mappings = found()
    said = {"wrong": wrong_in_child(), "found": [len(locks), len(resources), len(mappings)]}
    print(json.dumps(said))  # noqa: T201  # a program whose output is read
