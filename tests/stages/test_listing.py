from __future__ import annotations

import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from stages.errors import Code, RowError, UsageError
from stages.fetch import fetched, local_path
from stages.listing import LISTED, kind_of, listing
from stages.settings import Limits


def rows(*inputs: str | Path, **options) -> list[dict[str, object]]:
    tables = list(listing([str(one) for one in inputs], **options))
    assert all(table.schema == LISTED for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def names(*inputs: str | Path, root: Path, **options) -> list[str]:
    return [str(row["uri"]).removeprefix(f"{root}/") for row in rows(*inputs, **options)]


@pytest.fixture
def corpus(tmp_path) -> Path:
    root = tmp_path / "corpus"
    for name in (
        "b/2.PDF",
        "b/1.png",
        "a.jsonl",
        "c/deep/3.tiff",
        "c/notes.docx",
        "z.wav",
        ".hidden.pdf",
        ".git/x.pdf",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    for name in (".DS_Store", "Thumbs.db", "c/_SUCCESS"):
        (root / name).write_bytes(b"")
    return root


def test_a_folder_by_name_depth_first(corpus):
    assert names(corpus, root=corpus) == ["a.jsonl", "b/1.png", "b/2.PDF", "c/deep/3.tiff", "c/notes.docx", "z.wav"]
    assert [row["kind"] for row in rows(corpus)] == ["table", "image", "pdf", "image", "unsupported", "audio"]
    stat = (corpus / "b/1.png").stat()
    assert rows(corpus)[1]["source"] == f"5-{stat.st_mtime_ns}"
    assert rows(corpus)[1]["size"] == 5
    assert rows(corpus, batch_rows=2) == rows(corpus)
    assert [table.num_rows for table in listing([str(corpus)], batch_rows=4)] == [4, 2]


def test_files_globs_and_uris(corpus, monkeypatch):
    assert names(corpus / ".hidden.pdf", root=corpus) == [".hidden.pdf"]  # named, so meant
    assert names(f"file://{corpus}/z.wav", root=corpus) == ["z.wav"]
    assert names(corpus / "b/*", root=corpus) == ["b/1.png", "b/2.PDF"]
    assert names(corpus / "**/*.tiff", root=corpus) == ["c/deep/3.tiff"]
    assert names(corpus / "[bc]", root=corpus) == ["b/1.png", "b/2.PDF", "c/deep/3.tiff", "c/notes.docx"]
    monkeypatch.chdir(corpus)
    assert names("b", root=corpus) == names(corpus / "b", root=corpus)
    (corpus / "[draft].pdf").write_bytes(b"x")
    assert names("[draft].pdf", root=corpus) == ["[draft].pdf"]


def test_a_file_by_two_inputs_is_listed_once(corpus):
    assert names(corpus / "b/2.PDF", corpus, corpus / "b", root=corpus) == [
        "b/2.PDF", "a.jsonl", "b/1.png", "c/deep/3.tiff", "c/notes.docx", "z.wav",
    ]  # fmt: skip


def test_links_that_loop_or_lead_nowhere(corpus):
    (corpus / "b/up").symlink_to(corpus)
    (corpus / "b/self").symlink_to("self")
    (corpus / "b/gone.pdf").symlink_to(corpus / "nothing.pdf")
    (corpus / "twice").symlink_to(corpus / "c")
    found = rows(corpus)
    uris = [row["uri"] for row in found]
    assert len(uris) == len(set(uris)) == 8
    (gone,) = (row for row in found if row["uri"] == f"{corpus}/b/gone.pdf")
    assert (gone["source"], gone["size"]) == ("missing", 0)
    with pytest.raises(RowError) as error, fetched(gone["uri"], gone["size"], Limits()):
        pass
    assert error.value.code is Code.NOT_FOUND


def test_what_is_no_file_is_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.pdf")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s.pdf"))
    (tmp_path / "a.pdf").write_bytes(b"x")
    assert names(tmp_path, root=tmp_path) == ["a.pdf"]
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        rows(tmp_path / "pipe.pdf")


def test_names_that_are_not_text_are_listed_and_fetched(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9 %41.pdf")  # noqa: PTH118 - bytes
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"abc")
    (row,) = rows(tmp_path)
    assert row["uri"] == f"file://{tmp_path}/caf%E9%20%2541.pdf"
    assert os.fsencode(local_path(row["uri"])) == path
    with fetched(row["uri"], row["size"], Limits()) as found:
        assert found.read_bytes() == b"abc"
    assert rows(row["uri"]) == [row]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nothing.pdf", "the input {root}/nothing.pdf does not exist"),
        ("*.txt", "no file matches the input {root}/*.txt"),
        ("no/[ab]/*.pdf", "no file matches the input"),
    ],
)
def test_an_input_that_is_not_there_is_named(corpus, given, told):
    with pytest.raises(UsageError) as error:
        rows(corpus / given)
    assert told.format(root=corpus) in str(error.value)
    with pytest.raises(UsageError, match="cannot read the input ftp://x: give a local path"):
        rows("ftp://x")


def test_a_folder_that_may_not_be_read_is_named(corpus, monkeypatch):
    real = os.scandir

    def refuse(folder):
        if str(folder).endswith("deep"):
            raise PermissionError(folder)
        return real(folder)

    monkeypatch.setattr("stages.listing.os.scandir", refuse)
    with pytest.raises(UsageError, match=r"no read access to the folder .*c/deep: get it, or leave the folder out"):
        rows(corpus)


def test_the_output_inside_the_input_is_not_listed(corpus):
    (corpus / "out/results").mkdir(parents=True)
    (corpus / "out/results/x.parquet").write_bytes(b"x")
    assert "out/results/x.parquet" not in names(corpus, root=corpus, exclude=[f"{corpus}/out/"])
    assert "out/results/x.parquet" in names(corpus, root=corpus)


def test_memory_does_not_grow_with_the_listing(tmp_path):
    for folder in range(40):
        (tmp_path / f"{folder:02d}").mkdir()
        for i in range(100):
            (tmp_path / f"{folder:02d}" / f"{i}.pdf").touch()
    tracemalloc.start()
    count = sum(table.num_rows for table in listing([str(tmp_path)], batch_rows=200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert peak < 1_000_000  # the names alone take more


def test_s3_objects_prefixes_and_globs(s3):
    from stages.storage_s3 import file_system

    keys = ("in/b.pdf", "in/a/1.png", "in/a/2.txt", "in/.hidden/x.pdf", "in/a/.x.pdf", "in/folder/", "index.pdf")
    for key in keys:
        file_system().call_s3("put_object", Bucket="corpus", Key=key, Body=key.encode())
    found = rows("s3://corpus/in")
    assert [row["uri"] for row in found] == ["s3://corpus/in/a/1.png", "s3://corpus/in/a/2.txt", "s3://corpus/in/b.pdf"]
    assert [row["kind"] for row in found] == ["image", "unsupported", "pdf"]
    assert [row["size"] for row in found] == [10, 10, 8]
    assert len({row["source"] for row in found}) == 3
    assert '"' not in str(found[0]["source"])
    assert rows("s3://corpus/in/") == found
    assert rows("s3://corpus/in/b.pdf") == found[2:]
    assert rows("s3://corpus/in/**/*.p*") == [found[0], found[2]]
    assert rows("s3://corpus/in/[a]") == found[:2]
    assert [row["uri"] for row in rows("s3://corpus", exclude=["s3://corpus/in"])] == ["s3://corpus/index.pdf"]
    for given in ("s3://corpus/i", "s3://corpus/x*"):
        with pytest.raises(UsageError, match="does not exist: no object has that name, prefix or pattern"):
            rows(given)
    with pytest.raises(UsageError, match="there is no bucket nowhere"):
        rows("s3://nowhere/in")


def test_s3_listing_of_many_pages_with_faults(s3):
    from stages.storage_s3 import file_system

    for i in range(30):
        file_system().call_s3("put_object", Bucket="corpus", Key=f"in/{i:02d}.pdf", Body=b"x")
    s3.refuses = 0.3
    for _ in range(5):
        assert len(rows("s3://corpus/in")) == 30


def test_fetching_from_s3_downloads_once_and_checks(s3):
    from stages.storage_s3 import file_system

    for name, body in (("a.pdf", b"a" * 3000), ("empty.pdf", b"")):
        file_system().call_s3("put_object", Bucket="corpus", Key=name, Body=body)
    before = s3.requests
    for _ in range(20):
        with fetched("s3://corpus/a.pdf", 3000, Limits()) as path:
            assert path.read_bytes() == b"a" * 3000
            assert path.suffix == ".pdf"
    assert s3.requests - before <= 3
    cases = [
        ("s3://corpus/gone.pdf", 5, Limits(), Code.NOT_FOUND),
        ("s3://corpus/empty.pdf", 0, Limits(), Code.EMPTY),
        ("s3://corpus/a.pdf", 3000, Limits(file_mb=0.002), Code.TOO_LARGE),
        ("s3://corpus/a.pdf", 1, Limits(file_mb=0.002), Code.TOO_LARGE),  # it grew since it was listed
    ]
    for uri, size, limits, code in cases:
        with pytest.raises(RowError) as error, fetched(uri, size, limits):
            pass
        assert error.value.code is code
        assert uri in error.value.message


def test_downloads_are_kept_few(s3):
    from stages.fetch import _KEEP_FILES
    from stages.storage_s3 import file_system

    paths = []
    for i in range(_KEEP_FILES + 3):
        file_system().call_s3("put_object", Bucket="corpus", Key=f"few/{i}.pdf", Body=b"x")
        with fetched(f"s3://corpus/few/{i}.pdf", 1, Limits()) as path:
            paths.append(path)
    assert [path.exists() for path in paths] == [False] * 3 + [True] * _KEEP_FILES


def test_fetching_a_local_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"abc")
    with fetched(str(path), 3, Limits()) as found:
        assert found == path
    cases = [(tmp_path / "b.pdf", Code.NOT_FOUND), (tmp_path, Code.UNSUPPORTED_TYPE)]
    path.with_name("empty.pdf").touch()
    cases.append((path.with_name("empty.pdf"), Code.EMPTY))
    for one, code in cases:
        with pytest.raises(RowError) as error, fetched(str(one), 3, Limits()):
            pass
        assert error.value.code is code
    with pytest.raises(RowError) as error, fetched(str(path), 3, Limits(file_mb=1e-6)):
        pass
    assert error.value.code is Code.TOO_LARGE

    def refuse(*args, **kwargs):
        raise PermissionError(13, "refused")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RowError) as error, fetched(str(path), 3, Limits()):
        pass
    assert error.value.code is Code.PERMISSION


def test_a_scratch_folder_of_a_killed_process_goes(tmp_path, monkeypatch):
    from stages import fetch

    monkeypatch.setattr(fetch.tempfile, "gettempdir", lambda: str(tmp_path))
    dead, alive = tmp_path / "manta-fetch-999999999-x", tmp_path / f"manta-fetch-{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    fetch._remove_left_behind()
    assert not dead.exists()
    assert alive.exists()


def test_kinds():
    assert [kind_of(name) for name in ("a.PDF", "b.jpeg", "c.mp4", "d", "e.txt", "f.parquet")] == [
        "pdf", "image", "video", "unsupported", "unsupported", "table",
    ]  # fmt: skip
