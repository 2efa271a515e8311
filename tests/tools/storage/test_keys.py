from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.storage.placement import candidate_paths, check_path, decode_key, encode_key
from tools.storage.port import BadKeyError

ALLOWED = re.compile(r"[A-Za-z0-9_/!.*'() &$@=;:+,?-]*")
SHA256 = "0123456789abcdef" * 4

any_text = st.text(st.characters(codec=None, exclude_categories=()))
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=255).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 255
)


@given(any_text)
def test_a_key_gives_its_path_back(path: str) -> None:
    """Whatever the path was, odd bytes of names that are no UTF-8 included, its key tells it."""
    assert decode_key(encode_key(path)) == path


@given(any_text)
def test_a_key_has_allowed_characters_only(path: str) -> None:
    """Supabase Storage accepts every key."""
    assert ALLOWED.fullmatch(encode_key(path))


@given(any_text, any_text)
def test_different_paths_have_different_keys(one: str, other: str) -> None:
    """No two paths share a key."""
    assert (encode_key(one) == encode_key(other)) == (one == other)


def test_ordinary_names_stay_as_they_are() -> None:
    """A name within the alphabet is its own key."""
    assert encode_key("kimi-gateway/Report (final), v2.pdf") == "kimi-gateway/Report (final), v2.pdf"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a=b.txt", "a=3Db.txt"),
        ('say "hi".txt', "say =22hi=22.txt"),
        ("ü.txt", "=C3=BC.txt"),
        ("two\nlines", "two=0Alines"),
        ("100%41", "100=2541"),
    ],
)
def test_other_characters_are_escaped(name: str, key: str) -> None:
    """A byte outside the alphabet, and the mark of an escape itself, becomes `=XX`."""
    assert encode_key(name) == key


@given(names)
def test_alternatives_are_names_that_fit(name: str) -> None:
    """Every alternative is another name in the same folder, short enough for a file system."""
    paths = candidate_paths(f"kimi-gateway/{name}", SHA256)
    assert len(set(paths)) == 3
    for path in paths:
        check_path(path)
        folder, _, alternative = path.partition("/")
        assert folder == "kimi-gateway"
        assert len(alternative.encode()) <= 255


def test_an_alternative_keeps_the_extension() -> None:
    """Opening the copy still shows what it is."""
    assert candidate_paths("glm-gateway/a.tar.gz", SHA256)[1] == "glm-gateway/a.tar-01234567.gz"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a//b", "a/../b", "a/.", "a/", "a\0b"])
def test_a_path_that_leaves_the_storage_is_refused(path: str) -> None:
    """Nothing is stored outside, or under no name."""
    with pytest.raises(BadKeyError):
        check_path(path)
