"""The patch that ends a migration: the candidate takes the legacy function's place, and the shim goes."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from migration import Migration
from shim.removal.declarations import Declared, legacy_of, undeclare
from shim.removal.imports import with_imports, without_unused
from shim.removal.replacing import Replacement, awaiting, find_function, names_in, needed_by, replaced
from shim.removal.sources import RemovalError, SourceError, SourceFile, SourceTree, bound_names, imports_back, origins
from shim.removal.uses import Use, UseKind, find_uses


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What becomes of one file."""

    file: SourceFile
    after: str

    def diff(self) -> str:
        """The change as a unified diff, as `git apply` and `patch -p1` take it."""
        lines = difflib.unified_diff(
            self.file.text.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{self.file.relative}",
            f"b/{self.file.relative}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What ends one migration.

    Attributes:
        name: of the migration.
        changes: what becomes of the files.
        by_hand: what is left to be done by hand, in sentences.
    """

    name: str
    changes: tuple[FileChange, ...]
    by_hand: tuple[str, ...]

    @property
    def patch(self) -> str:
        """All changes as one unified diff."""
        return "".join(change.diff() for change in self.changes)

    def apply(self) -> None:
        """Write the files.

        Raises:
            SourceError: a file cannot be written; those before it are.
        """
        for change in self.changes:
            try:
                change.file.path.write_text(change.after, encoding="utf-8")
            except OSError as error:
                raise SourceError(change.file.relative, str(error)) from error


def removal(tree: SourceTree, migration: Declared) -> Removal:
    """Work the patch out; nothing is written.

    Raises:
        RemovalError: it cannot be worked out: a function, its candidate or its declaration is not found.
    """
    uses = find_uses(tree, migration.targets)
    changed = {file: awaiting(file, its) for file, its in _awaiting_files(tree, uses)}
    awaited = {use.target for use in uses if use.kind is UseKind.AWAITED}
    for file, targets in _by_file(tree, migration.targets).items():
        changed[file] = _with_candidate(tree, file, targets, changed.get(file, file.parsed.module), awaited)
    taken_out = undeclare(tree, migration, changed)
    if not taken_out.removed:
        raise RemovalError(f"the declaration of {migration.name} cannot be taken out; see docs/migration-path.md")
    changes = [FileChange(file=file, after=_tidy(tree, file, module)) for file, module in changed.items()]
    return Removal(
        name=migration.name,
        changes=tuple(sorted(_real(changes), key=lambda change: change.file.relative)),
        by_hand=(*taken_out.mixed, *_by_hand(migration.name, uses)),
    )


def _awaiting_files(tree: SourceTree, uses: Iterable[Use]) -> list[tuple[SourceFile, list[Use]]]:
    by_name = {file.relative: file for file in tree.files}
    found: defaultdict[str, list[Use]] = defaultdict(list)
    for use in uses:
        if use.kind is UseKind.AWAITED:
            found[use.file].append(use)
    return [(by_name[name], its) for name, its in found.items()]


def _by_file(tree: SourceTree, targets: Mapping[str, Migration]) -> dict[SourceFile, dict[str, Migration]]:
    found: defaultdict[SourceFile, dict[str, Migration]] = defaultdict(dict)
    for target, migration in targets.items():
        found[tree.module(target.partition(":")[0])][target] = migration
    return found


def _with_candidate(
    tree: SourceTree, file: SourceFile, targets: dict[str, Migration], module: cst.Module, awaited: Collection[str]
) -> cst.Module:
    replacements = [
        _replacement(tree, file, target, migration, awaited=target in awaited) for target, migration in targets.items()
    ]
    wanted = needed_by(replacements)
    known = bound_names(file)
    for target, replacement in zip(targets, replacements, strict=True):
        source = tree.module(legacy_of(target).__module__)
        if source is not file:
            missing = names_in(replacement.signature) - known
            wanted += origins(source, missing).values()
    return with_imports(replaced(module, replacements), wanted)


def _replacement(
    tree: SourceTree, file: SourceFile, target: str, migration: Migration, *, awaited: bool
) -> Replacement:
    if not isinstance(migration.candidate, str):
        raise RemovalError(f"the candidate of {target} is an object; name it as 'pkg.mod:func', to be imported")
    module, _, name = migration.candidate.partition(":")
    if "." in name:
        raise RemovalError(f"the candidate of {target} is {name!r} of a class; name a function of a module")
    legacy = legacy_of(target)
    source = tree.module(legacy.__module__)
    signature = find_function(source.parsed.module.body, legacy.__qualname__)
    if signature is None:
        raise SourceError(source.relative, f"{legacy.__qualname__} is not defined there as a plain function")
    path = target.partition(":")[2]
    twin = find_function(file.parsed.module.body, f"{path}_async")
    return Replacement(
        path=path,
        signature=signature,
        candidate_module=module,
        candidate_name=name,
        has_twin=twin is not None or (signature.asynchronous is not None and not awaited),
        local_import=imports_back(tree, module, file.module),
        candidate_blocks=_blocks(tree, module, name),
        alias=_alias(file, module, name),
    )


def _alias(file: SourceFile, module: str, name: str) -> str | None:
    """What the candidate is to be called in a file that has something else of its name."""
    if name not in bound_names(file) or origins(file, [name]).get(name) == (module, name, None):
        return None
    return f"new_{name}"


def _blocks(tree: SourceTree, module: str, name: str) -> bool:
    """Whether the candidate is defined as a function that blocks."""
    found = find_function(tree.module(module).parsed.module.body, name)
    return found is not None and found.asynchronous is None


def _tidy(tree: SourceTree, file: SourceFile, module: cst.Module) -> str:
    def used_elsewhere(name: str) -> bool:
        short = file.module.rpartition(".")[2]
        taken = re.compile(rf"\b{short}\.{name}\b|from {re.escape(file.module)} import [^\n]*\b{name}\b")
        return any(taken.search(other.text) for other in tree.mentioning(frozenset({name})) if other is not file)

    text = without_unused(file.parsed.module, module, used_elsewhere=used_elsewhere).code
    compile(text, file.relative, "exec")  # what cannot be compiled must not be offered
    return text


def _real(changes: Sequence[FileChange]) -> list[FileChange]:
    return [change for change in changes if change.after != change.file.text]


def _by_hand(name: str, uses: Sequence[Use]) -> list[str]:
    perhaps = [f"{use.file}:{use.line}" for use in uses if not use.certain and use.kind is UseKind.AWAITED]
    sentences = [f"perhaps these await {name}, look at them: {', '.join(perhaps)}"] if perhaps else []
    return [*sentences, f"archive the flags {name} and {name}.shadow in Unleash once this is deployed"]
