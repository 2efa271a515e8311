"""The memory into which files are read."""

from __future__ import annotations

from pathlib import Path

from tests.processes.conftest import Program


def test_two_children_read_into_memory_of_their_own(program: Program, tmp_path: Path) -> None:
    """A parent that has read a file forks, and its children read at the same time: each finds its own file's hash."""
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(name.encode() * 500_000)
    codes = program(
        """
        import hashlib
        from tools.transport.reading import measure
        paths = [Path(argument) for argument in sys.argv[1:]]
        truth = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        measure(paths[0])
        def read(path):
            assert all(measure(path).sha256 == truth[path] for _ in range(30))
        print(json.dumps(ended([forked(lambda path=path: read(path)) for path in paths])))
        """,
        tmp_path / "first",
        tmp_path / "second",
    )
    assert codes == [0, 0]
