from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import storage as storage_module
from stages.errors import Code, MantaError, RowError, UsageError
from stages.fetch import fetched
from stages.settings import Limits
from stages.storage import LocalStorage, open_storage
from tests.stages.simulated import MemoryStorage


@pytest.fixture(params=["local", "s3", "memory"])
def store(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")
        return open_storage("s3://corpus/out/")
    return MemoryStorage() if request.param == "memory" else open_storage(str(tmp_path / "out"))


def test_contract_of_a_storage(store):
    assert list(store.list("results/")) == []
    first = store.put("results/b.parquet", b"one")
    store.put("results/a.parquet", b"two")
    store.put("errors/c.parquet", b"three")
    entries = list(store.list("results/"))
    assert [(one.name, one.size) for one in entries] == [("results/a.parquet", 3), ("results/b.parquet", 3)]
    assert entries[1].version == first
    assert store.read("results/b.parquet") == b"one"

    second = store.put("results/b.parquet", b"uno")
    assert second != first
    assert store.replace("results/b.parquet", b"late", first) is None
    third = store.replace("results/b.parquet", b"eins", second)
    assert store.read("results/b.parquet") == b"eins"
    assert [one.version for one in store.list("results/")][1] == third
    assert store.replace("results/b.parquet", None, second) is None
    assert store.replace("results/b.parquet", None, third) == ""
    assert store.replace("results/b.parquet", b"again", third) is None
    assert store.replace("results/b.parquet", None, third) is None

    assert store.put_if_absent("x/lease.json", b"mine")
    assert not store.put_if_absent("x/lease.json", b"yours")
    assert store.read("x/lease.json") == b"mine"
    store.delete("x/lease.json")
    store.delete("x/lease.json")
    with pytest.raises(FileNotFoundError):
        store.read("x/lease.json")
    with pytest.raises(FileNotFoundError), store.open_input("x/lease.json"):
        pass


def test_columns_of_a_part_are_read(store):
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.put("results/p.parquet", sink.getvalue().to_pybytes())
    for size in (None, len(sink.getvalue())):
        with store.open_input("results/p.parquet", size) as file:
            assert pq.read_table(file, columns=["b"]).to_pydict() == {"b": ["x", "y"]}


def test_one_of_many_gets_what_is_absent(store):
    won = []

    def take(name: str) -> None:
        if store.put_if_absent("lease/1.json", name.encode()):
            won.append(name)

    threads = [threading.Thread(target=take, args=(f"driver {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("lease/1.json") == won[0].encode()


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    store = LocalStorage(tmp_path)
    store.put("results/a.parquet", b"before")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage_module.os, "fsync", full)
    with pytest.raises(MantaError, match=r"no space left for .*results/a.parquet: free some") as error:
        store.put("results/a.parquet", b"after")
    assert "\n" not in str(error.value)
    assert store.read("results/a.parquet") == b"before"
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["a.parquet"]


def test_a_small_disk_that_is_really_full(tmp_path):
    """A file size limit stands in for the disk's end: the kernel itself refuses to write on."""
    script = """
import resource, signal, sys
from pathlib import Path
from stages.storage import LocalStorage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = LocalStorage(Path(sys.argv[1]))
try:
    store.put("results/a.parquet", bytes(5000))
except OSError as error:
    print(error.errno, sorted(p.name for p in Path(sys.argv[1], "results").iterdir()))
"""
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"{errno.EFBIG} []"


def test_what_a_dead_writer_left_is_invisible_and_swept(tmp_path):
    script = """
import os, sys
from pathlib import Path
from stages import storage
storage.os.fsync = lambda handle: os._exit(9)
storage.LocalStorage(Path(sys.argv[1])).put("results/a.parquet", b"half")
"""
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert died.returncode == 9
    store = LocalStorage(tmp_path)
    store.put("results/b.parquet", b"whole")
    (left,) = (tmp_path / "results").glob(".*.tmp")
    assert [one.name for one in store.list("results/")] == ["results/b.parquet"]
    mine = left.with_name(left.name.replace(left.name.split(".")[-4], str(os.getpid())))
    mine.write_bytes(b"a living writer's")
    assert store.sweep() == 1
    assert not left.exists()
    assert mine.exists()
    assert store.read("results/b.parquet") == b"whole"


def test_no_write_access_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MantaError, match=r"a file stands where a folder is needed; choose another --output"):
        open_storage(str(tmp_path / "file")).put("results/a.parquet", b"")


def test_kinds_of_uri(tmp_path):
    assert open_storage(f"file://{tmp_path}/a%20b").uri == f"{tmp_path}/a b"
    assert Path(open_storage("out").uri).is_absolute()
    with pytest.raises(UsageError, match=r"cannot store at gs://x: give a local folder or an s3:// prefix"):
        open_storage("gs://x")
    with pytest.raises(UsageError, match="names no bucket"):
        open_storage("s3://")


def test_a_missing_bucket_is_named(s3):
    store = open_storage("s3://nowhere/out")
    with pytest.raises(UsageError, match="there is no bucket nowhere"):
        store.put("results/a.parquet", b"x")
    with pytest.raises(UsageError, match="there is no bucket nowhere"):
        list(store.list("results/"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "no credentials for s3://corpus: set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, r"s3://corpus cannot be reached: .*127.0.0.1:9.*AWS_ENDPOINT_URL"),
    ],
)
def test_what_a_person_must_mend_on_s3_is_one_line(s3, monkeypatch, changes, told):
    from stages import storage_s3

    monkeypatch.setattr(storage_s3, "file_system", storage_s3.file_system.__wrapped__)
    monkeypatch.setattr(storage_s3, "_CONFIG", {"retries": {"max_attempts": 1}, "connect_timeout": 2})
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    store = open_storage("s3://corpus/out")
    for act in (lambda: store.put("a", b""), lambda: list(store.list("a/")), lambda: store.read("a")):
        with pytest.raises(MantaError, match=told) as error:
            act()
        assert "\n" not in str(error.value)
    with pytest.raises(RowError) as failed, fetched("s3://corpus/a.pdf", 1, Limits()):
        pass
    assert failed.value.code is Code.INTERNAL


def test_s3_writes_survive_500s_lost_answers_and_delays(s3):
    store = open_storage("s3://corpus/out")
    s3.refuses, s3.loses, s3.slow, s3.delay_s = 0.1, 0.1, 0.1, 0.02
    for i in range(40):
        name = f"results/{i:02d}.parquet"
        assert store.put_if_absent(name, str(i).encode())  # done once, however often its answer is lost
        version = store.put(name, f"new {i}".encode())
        assert store.replace(name, f"newest {i}".encode(), version)
    assert s3.injected > 10
    assert [one.name for one in store.list("results/")] == [f"results/{i:02d}.parquet" for i in range(40)]
    assert all(store.read(f"results/{i:02d}.parquet") == f"newest {i}".encode() for i in range(40))
