"""Compiled loops are kept for as long as nothing changes that they depend on."""

from __future__ import annotations

import pytest

from ml import compiled


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four files, of which a imports b, and b one of the package c."""
    folder = tmp_path / "ml"
    (folder / "c").mkdir(parents=True)
    (folder / "a.py").write_text("from ml.b import B\n")
    (folder / "b.py").write_text("from ml.c import C\nB = C\n")
    (folder / "c" / "__init__.py").write_text("from ml.c.inner import C\n")
    (folder / "c" / "inner.py").write_text("C = 1\n")
    (folder / "d.py").write_text("from ml.a import B\n")
    monkeypatch.setattr(compiled, "_PACKAGE", folder)
    return folder


def digest(file):
    """Return the digest of a file as a new process would."""
    compiled._imports_of.cache_clear()
    compiled._source_digest.cache_clear()
    return compiled._source_digest(file)


@pytest.mark.parametrize("changed", ["a.py", "b.py", "c/__init__.py", "c/inner.py"])
def test_a_change_in_whatever_a_loop_imports_compiles_it_anew(package, changed):
    """A constant that is three imports away is part of a compiled loop, too."""
    before = digest(package / "a.py")
    with (package / changed).open("a") as file:
        file.write("# other\n")
    assert digest(package / "a.py") != before


def test_a_change_elsewhere_leaves_a_loop_as_it_is(package):
    """Who edits a report does not wait for the radio to be compiled."""
    before = digest(package / "a.py")
    (package / "d.py").write_text("D = 2\n")
    assert digest(package / "a.py") == before
