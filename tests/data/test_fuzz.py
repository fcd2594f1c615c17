"""Bytes that nobody meant: every reader returns data or one sentence, whatever it is given."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, read_or_refuse

from gancli.errors import GancliError

# tests/faults/fuzz.py is the long run, guided by coverage.
EXAMPLES = int(os.environ.get("GANCLI_FUZZ_EXAMPLES", "40"))


edits = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=edits, cut=st.floats(0.2, 1))
def test_damaged_files_are_read_or_refused(tmp_path, kind, edits, cut):
    reader = READERS[kind]
    content = reader.good()
    for where, new, removed in edits:  # overwrite, insert or remove a few bytes
        position = int(where * len(content))
        content = content[:position] + new + content[position + removed :]
    read_or_refuse(reader, tmp_path / reader.name, content if cut > 0.8 else content[: int(cut * len(content))])


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), keep=st.integers(0, 16))
def test_arbitrary_bytes_are_refused(tmp_path, kind, content, keep):
    reader = READERS[kind]
    read_or_refuse(reader, tmp_path / reader.name, reader.good()[:keep] + content)


@pytest.mark.parametrize("kind", READERS)
def test_the_undamaged_file_is_what_the_reader_expects(tmp_path, kind):
    """Else the fuzzing above would only ever see the first check."""
    reader = READERS[kind]
    (tmp_path / reader.name).write_bytes(reader.good())
    if reader.refused:
        with pytest.raises(GancliError, match=r"expected 30,730,000 bytes|no images marked"):
            reader.read(tmp_path / reader.name)
    else:
        assert reader.read(tmp_path / reader.name) is not None


@settings(max_examples=EXAMPLES * 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pickled=st.binary(max_size=60))
def test_arbitrary_pickles_in_an_archive_are_refused_or_plain(tmp_path, pickled):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("a/version", b"3\n")
    read_or_refuse(READERS["pt"], tmp_path / "a.pt", buffer.getvalue())
