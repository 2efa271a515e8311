"""Where migrated functions are used: found in the source, and seen at run time.

Found are calls, and places where a function is imported, passed on or given another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import libcst as cst
from libcst.helpers import get_absolute_module_from_package_for_import
from libcst.metadata import CodeRange, FullyQualifiedNameProvider, PositionProvider

from migration.model import Entrance
from migration.store import SeenCaller
from shim.removal.sources import SourceFile, SourceTree

MAX_ROUNDS = 10
"""How often the tree is searched again because a function turned out to have a further name."""


class UseKind(StrEnum):
    """What is done with the function."""

    CALL = "call"
    AWAITED = "awaited"  # `.aio(...)`, or the asynchronous twin
    REFERENCE = "reference"  # passed on, given another name, kept
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One place in the source.

    Attributes:
        target: the migrated function (`pkg.mod:func`).
        file: from the root of the tree.
        line, last_line: in it.
        function: qualified name of the function around it; `<module>` outside of any.
        kind: what is done there.
        inside_async: whether a function that blocks stands directly in an asynchronous one, inside a running loop.
        certain: whether it is known to be this function; a method of an object whose class cannot be told is not.
    """

    target: str
    file: str
    line: int
    last_line: int
    function: str
    kind: UseKind
    inside_async: bool
    certain: bool

    @property
    def blocks(self) -> bool:
        """Whether it holds up an event loop."""
        return self.kind is UseKind.CALL and self.inside_async


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One place that uses a migrated function.

    Attributes:
        found: where it stands in the source; None if it was only seen at run time.
        seen: how it was called at run time, once for each way; empty if it never was.
    """

    found: Use | None
    seen: tuple[SeenCaller, ...] = ()

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        """In which ways it was called."""
        return tuple(each.entrance for each in self.seen)

    @property
    def blocks(self) -> bool:
        """Whether it holds up an event loop, as far as the source or a run shows."""
        certain = self.found is not None and self.found.blocks and self.found.certain
        return certain or Entrance.BLOCKING in self.entrances

    @property
    def awaits_unfound(self) -> bool:
        """Whether it awaits the function at a place that the source does not show, which no patch can change."""
        return self.found is None and Entrance.AWAITED in self.entrances

    @property
    def last_at(self) -> float | None:
        """When it was last seen, in seconds since the epoch; None if never."""
        return max((each.last_at for each in self.seen), default=None)


def matched(found: Sequence[Use], seen: Sequence[SeenCaller], root: Path) -> list[Caller]:
    """Every call site once, those of the source first.

    A call was seen at a place of the source if it is the same file, and a line of the same expression. A file that
    runs somewhere else than below `root` is the same if its path ends alike.

    Args:
        found: what the source shows; imports are left out, for nothing is called there.
        seen: what the ledger has of it.
        root: the folder of the sources.
    """
    left = list(seen)
    callers: list[Caller] = []
    for use in found:
        if use.kind is not UseKind.IMPORT:
            here = tuple(each for each in left if _is_at(each, use, root))
            left = [each for each in left if each not in here]
            callers.append(Caller(found=use, seen=here))
    by_place: dict[tuple[str, int, str], list[SeenCaller]] = {}
    for each in left:
        by_place.setdefault((each.file, each.line, each.function), []).append(each)
    return callers + [Caller(found=None, seen=tuple(each)) for each in by_place.values()]


def _is_at(seen: SeenCaller, use: Use, root: Path) -> bool:
    if seen.function != use.target or not use.line <= seen.line <= use.last_line:
        return False
    return Path(seen.file) == root / use.file or seen.file.endswith(f"/{use.file}")


def find_uses(tree: SourceTree, targets: Iterable[str]) -> list[Use]:
    """Every use of these functions, by file and line.

    Raises:
        SourceError: a file cannot be read or parsed.
    """
    found: list[Use] = []
    for target in targets:
        names, uses = _FunctionNames(target), list[Use]()
        for _ in range(MAX_ROUNDS):
            before = names.count
            uses = [use for file in tree.mentioning(names.words) for use in _uses_in(file, names)]
            if names.count == before:
                break
        found += uses
    return sorted(set(found), key=lambda use: (use.file, use.line, use.target, use.kind))


def _uses_in(file: SourceFile, names: _FunctionNames) -> list[Use]:
    finder = _Finder(file, names)
    file.parsed.visit(finder)
    return finder.uses


class _FunctionNames:
    """The qualified names (`pkg.mod.func`) of a function, its asynchronous twin, its class, and objects of that."""

    def __init__(self, target: str) -> None:
        module, _, path = target.partition(":")
        owner, _, last = path.rpartition(".")
        self.target = target
        self.method = last if owner else None
        self.method_twin = f"{last}_async" if owner else None
        self.class_word = owner.rpartition(".")[2]
        self.classes = {f"{module}.{owner}"} if owner else set()
        self.objects: set[str] = set()
        self.functions = {f"{module}.{path}"}
        self.twins = {f"{module}.{path}_async"}
        self.assigned_at: dict[str, int] = {}  # the line of the assignment that gave a name
        self.is_coroutine = False  # whether its definition says so, once that is found

    @property
    def count(self) -> int:
        return self.is_coroutine + sum(map(len, (self.classes, self.objects, self.functions, self.twins)))

    @property
    def words(self) -> frozenset[str]:
        """One of them stands in the text of every file that uses the function."""
        named = self.functions | self.twins | self.classes
        shared = (name.rpartition(".")[2] for name in named if "<locals>" not in name)
        return frozenset(shared) - {self.method, self.method_twin}

    def learn(self, known: str, bound: str, *, line: int | None = None) -> bool:
        """Whether `known` is the function, its twin or its class, which is also called `bound` then."""
        for names in (self.functions, self.twins, self.classes):
            if known in names:
                names.add(bound)
                if line is not None:
                    self.assigned_at[bound] = line
                return True
        return False

    def any_function(self, names: Iterable[str]) -> bool:
        return any(name in self.functions or self._is_member(name, self.method) for name in names)

    def any_twin(self, names: Iterable[str]) -> bool:
        return any(name in self.twins or self._is_member(name, self.method_twin) for name in names)

    def _is_member(self, name: str, member: str | None) -> bool:
        owner, _, last = name.rpartition(".")
        return member is not None and last == member and (owner in self.classes or owner in self.objects)


class _Finder(cst.CSTVisitor):
    """Walks one module."""

    METADATA_DEPENDENCIES = (FullyQualifiedNameProvider, PositionProvider)

    def __init__(self, file: SourceFile, names: _FunctionNames) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._file = file
        self._names = names
        self._around: list[tuple[str, bool]] = []  # name of each function or class around, whether it is asynchronous
        self._classes: list[str] = []
        self._called: set[cst.CSTNode] = set()

    # Where we are

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        """Enter a function: its annotated parameters may be objects of the class."""
        self._around.append((node.name.value, node.asynchronous is not None))
        if node.asynchronous is not None and ".".join([self._file.module, *self._path()]) in self._names.functions:
            self._names.is_coroutine = True
        own = ".".join([self._file.module, *self._path(), "<locals>"])
        parameters = node.params
        for each in (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params):
            if each.annotation is not None and self._is_class(each.annotation.annotation):
                self._names.objects.add(f"{own}.{each.name.value}")
        if self._classes and self._classes[-1] in self._names.classes and parameters.params:
            self._names.objects.add(f"{own}.{parameters.params[0].name.value}")

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:  # noqa: ARG002  # libcst's own name
        self._around.pop()

    def visit_Lambda(self, node: cst.Lambda) -> None:  # noqa: ARG002  # libcst's own name
        self._around.append(("<lambda>", False))

    def leave_Lambda(self, original_node: cst.Lambda) -> None:  # noqa: ARG002  # libcst's own name
        self._around.pop()

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        """Enter a class; one derived from the function's own has the function as well, unless it defines its own."""
        name = ".".join([self._file.module, *self._path(), node.name.value])
        self._around.append((node.name.value, False))
        self._classes.append(name)
        defined = {each.name.value for each in node.body.body if isinstance(each, cst.FunctionDef)}
        if any(self._is_class(base.value) for base in node.bases) and self._names.method not in defined:
            self._names.classes.add(name)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:  # noqa: ARG002  # libcst's own name
        self._around.pop()
        self._classes.pop()

    # What is done there

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        """Note an import of the function, or of its class or of another name of either."""
        origin = get_absolute_module_from_package_for_import(self._file.package or None, node)
        if isinstance(node.names, cst.ImportStar) or origin is None:
            return False
        for alias in node.names:
            name, bound = f"{origin}.{alias.evaluated_name}", alias.evaluated_alias or alias.evaluated_name
            if self._names.learn(name, f"{self._file.module}.{bound}"):
                self._add(alias, UseKind.IMPORT)
        return False

    def visit_Import(self, node: cst.Import) -> bool:  # noqa: ARG002  # libcst's own name
        return False  # a module is no function

    def visit_Assign(self, node: cst.Assign) -> None:
        """Note another name of the function, or of an object of its class."""
        for each in node.targets:
            self._named(each.target, node.value)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self._named(node.target, node.value)
        if self._is_class(node.annotation.annotation):
            self._names.objects.update(self._qualified(node.target))

    def visit_Call(self, node: cst.Call) -> None:
        kind = self._kind_of_call(node.func)
        if kind is not None:
            self._called.add(node.func)
            self._add(node, kind, certain=self._is_certain(node.func))

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        """Note that the function is passed on; what is within has been looked at then."""
        return self._looked_at(node)

    def visit_Name(self, node: cst.Name) -> bool:
        return self._looked_at(node)

    def _looked_at(self, node: cst.Attribute | cst.Name) -> bool:
        if node in self._called:  # a call within, as in `Class(...).method`, is still to be looked at
            return isinstance(node, cst.Name) or not isinstance(node.value, cst.Name | cst.Attribute)
        kind = self._kind_of_call(node)
        if kind is not None and not self._is_definition(node) and self._is_certain(node):
            self._add(node, UseKind.AWAITED if kind is UseKind.AWAITED else UseKind.REFERENCE)
            return False
        return True

    def _kind_of_call(self, node: cst.BaseExpression) -> UseKind | None:
        names = set(self._qualified(node))
        method = self._method_of(node)
        if self._names.any_function(names) or (method and method == self._names.method):
            return UseKind.CALL
        if self._names.any_twin(names) or (method and method == self._names.method_twin):
            return UseKind.AWAITED
        if isinstance(node, cst.Attribute) and node.attr.value == "aio":
            return UseKind.AWAITED if self._kind_of_call(node.value) is UseKind.CALL else None
        return None

    def _method_of(self, node: cst.BaseExpression) -> str | None:
        """The method's name, if it is one of an object of the class, or may be."""
        if self._names.method is None or not isinstance(node, cst.Attribute):
            return None
        return node.attr.value if self._is_object(node.value) is not False else None

    def _is_object(self, node: cst.BaseExpression) -> bool | None:
        """Whether it is an object of the class; None if that cannot be told."""
        if isinstance(node, cst.Call):
            return True if self._is_class(node.func) else None
        if any(name in self._names.objects for name in self._qualified(node)):
            return True
        return None if self._names.class_word in self._file.text and _first_word(node) != "self" else False

    def _is_certain(self, node: cst.BaseExpression) -> bool:
        if isinstance(node, cst.Attribute) and node.attr.value == "aio":
            return self._is_certain(node.value)
        names = set(self._qualified(node))
        if self._names.any_function(names) or self._names.any_twin(names):
            return True
        return isinstance(node, cst.Attribute) and self._is_object(node.value) is True

    def _is_class(self, node: cst.BaseExpression) -> bool:
        return any(name in self._names.classes for name in self._qualified(node))

    def _is_definition(self, node: cst.Attribute | cst.Name) -> bool:
        """Whether it is what is being defined or assigned, and not a use."""
        if isinstance(node, cst.Attribute):
            return False
        line = self._place(node).start.line
        assigned = any(self._names.assigned_at.get(name) == line for name in self._qualified(node))
        return assigned or bool(self._around and self._around[-1][0] == node.value)

    def _named(self, target: cst.BaseExpression, value: cst.BaseExpression) -> None:
        for bound in self._qualified(target):
            line = self._place(target).start.line
            for name in self._qualified(value):
                self._names.learn(name, bound, line=line)
            if isinstance(value, cst.Call) and self._is_class(value.func):
                self._names.objects.add(bound)

    def _qualified(self, node: cst.BaseExpression) -> Iterator[str]:
        if isinstance(node, cst.Name | cst.Attribute):
            for each in self.get_metadata(FullyQualifiedNameProvider, node, set()) or ():
                yield each.name

    def _place(self, node: cst.CSTNode) -> CodeRange:
        place = self.get_metadata(PositionProvider, node)
        assert isinstance(place, CodeRange)  # noqa: S101  # every node has one
        return place

    def _path(self) -> Iterator[str]:
        """The names around, as in `__qualname__`."""
        classes = {each.rpartition(".")[2] for each in self._classes}
        for number, (name, _) in enumerate(self._around):
            if number and self._around[number - 1][0] not in classes:
                yield "<locals>"
            yield name

    def _add(self, node: cst.CSTNode, kind: UseKind, *, certain: bool = True) -> None:
        place = self._place(node)
        self.uses.append(
            Use(
                target=self._names.target,
                file=self._file.relative,
                line=place.start.line,
                last_line=place.end.line,
                function=".".join(name for name in self._path() if name != "<locals>") or "<module>",
                kind=kind,
                inside_async=bool(self._around) and self._around[-1][1] and not self._names.is_coroutine,
                certain=certain,
            )
        )


def _first_word(node: cst.BaseExpression) -> str:
    while isinstance(node, cst.Attribute | cst.Call):
        node = node.value if isinstance(node, cst.Attribute) else node.func
    return node.value if isinstance(node, cst.Name) else ""
