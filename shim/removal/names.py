"""By which names a migrated function is known in the source."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """The qualified names (`pkg.mod.func`) of a function, its asynchronous twin, its class, and objects of that.

    Args:
        target: the function (`pkg.mod:func`, `pkg.mod:Class.method`).
    """

    def __init__(self, target: str) -> None:
        module, _, path = target.partition(":")
        owner, _, last = path.rpartition(".")
        self.target = target
        self.method: str | None = last if owner else None
        self.class_word = owner.rpartition(".")[2]
        self._classes = {f"{module}.{owner}"} if owner else set()
        self._objects: set[str] = set()
        self._functions = {f"{module}.{path}"}
        self._twins = {f"{module}.{path}_async"}
        self._lines: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many names are known."""
        return sum(map(len, (self._classes, self._objects, self._functions, self._twins)))

    @property
    def words(self) -> frozenset[str]:
        """One of them stands in the text of every file that uses the function."""
        named = self._functions | self._twins | self._classes
        shared = (name.rpartition(".")[2] for name in named if "<locals>" not in name)
        return frozenset(shared) - {self.method, self.method_twin}

    @property
    def method_twin(self) -> str | None:
        """Name of the asynchronous twin of a method."""
        return f"{self.method}_async" if self.method else None

    def learn(self, known: str, bound: str, *, line: int | None = None) -> bool:
        """Whether `known` is the function, its twin or its class, which is also called `bound` then."""
        for names in (self._functions, self._twins, self._classes):
            if known in names:
                names.add(bound)
                if line is not None:
                    self._lines[bound] = line
                return True
        return False

    def add_class(self, name: str) -> None:
        """A derived class has the function as well."""
        self._classes.add(name)

    def add_object(self, name: str) -> None:
        """A variable holds an object of the class."""
        self._objects.add(name)

    def is_class(self, name: str) -> bool:
        """Whether this is the class, or a derived one."""
        return name in self._classes

    def any_function(self, names: Iterable[str]) -> bool:
        """Whether one of these is the function."""
        return any(name in self._functions or self._is_member(name, self.method) for name in names)

    def any_twin(self, names: Iterable[str]) -> bool:
        """Whether one of these is its asynchronous twin."""
        return any(
            name in self._twins or (self.method is not None and self._is_member(name, f"{self.method}_async"))
            for name in names
        )

    def any_object(self, names: Iterable[str]) -> bool:
        """Whether one of these is an object of the class."""
        return any(name in self._objects for name in names)

    def is_new(self, name: str) -> bool:
        """Whether this is a name that an assignment has given."""
        return name in self._lines

    def defined_at(self, name: str) -> int | None:
        """The line of that assignment."""
        return self._lines.get(name)

    def _is_member(self, name: str, member: str | None) -> bool:
        owner, _, last = name.rpartition(".")
        return member is not None and last == member and (owner in self._classes or owner in self._objects)
