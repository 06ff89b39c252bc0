"""``manta view`` without a browser: what is no output, outputs on S3, pages kept elsewhere, the report's size."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.report.images import PictureLimits
from jobs.view import view
from stages.errors import UsageError
from tests.jobs import outputs


def test_the_report_keeps_its_size(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = []
    for i in range(4):
        row = outputs.page(str(tmp_path / f"{i}.pdf"), 1, ["Total"])
        row["doc_id"] = outputs.write_pdf(tmp_path / f"{i}.pdf", str(i))
        rows.append(row)
    outputs.write_pages(out, rows)
    view(str(out))
    whole = len(re.findall("data:image/webp", (out / "report" / "index.html").read_text()))
    path = view(str(out), limit_pages=3, limits=PictureLimits(width=200, megabytes=0.0001))
    html = Path(path).read_text()
    assert whole == 4
    assert len(re.findall("data:image/webp", html)) == 0
    assert html.count("to keep the report small") == 3


# ---- what is no output


def test_what_is_no_output_is_told_in_one_line(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        with pytest.raises(UsageError) as caught:
            view(str(path))
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message
        return message

    assert "does not exist" in told(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    assert "is a file" in told(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "holds nothing that manta run wrote" in told(tmp_path / "empty")
    torn = outputs.token_output(tmp_path / "torn")
    part = torn / "results" / "0.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert "results/0.parquet cannot be read" in told(torn)
    foreign = outputs.token_output(tmp_path / "foreign")
    pq.write_table(pa.table({"a": [1]}), foreign / "results" / "0.parquet")
    assert "no column uri" in told(foreign)
    for content in ("{", "[]", '{"run_id": 1}'):
        broken = outputs.token_output(tmp_path / "broken")
        (broken / "runs" / "r2.json").write_text(content)
        assert "r2.json is not a run record" in told(broken)
    with pytest.raises(UsageError, match="--limit-pages must be 0 or more"):
        view(str(torn), limit_pages=-1)


def test_other_files_in_an_output_do_not_matter(tmp_path: Path) -> None:
    outputs.token_output(tmp_path)
    (tmp_path / "results" / "README.txt").write_text("mine")
    (tmp_path / "results" / ".half.parquet.tmp").write_bytes(b"half")
    (tmp_path / "runs" / "notes.md").write_text("mine")
    assert Path(view(str(tmp_path))).read_text().startswith("<!doctype html>")


def test_pages_kept_elsewhere_are_found(tmp_path: Path) -> None:
    outputs.text_output(tmp_path / "shared")
    (tmp_path / "out").mkdir()
    outputs.write_run(tmp_path / "out", outputs.record(pages_uri=str(tmp_path / "shared")))
    assert "Hello world" in Path(view(str(tmp_path / "out"))).read_text()


def test_an_output_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    from jobs.errors import errors
    from stages.storage_s3 import file_system

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**keys, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    file_system.cache_clear()
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="manta-report")
        for path in outputs.token_output(tmp_path).rglob("*.*"):
            client.upload_file(str(path), "manta-report", f"out/{path.relative_to(tmp_path)}")
        assert view("s3://manta-report/out") == "s3://manta-report/out/report/index.html"
        html = client.get_object(Bucket="manta-report", Key="out/report/index.html")["Body"].read().decode()
        assert html.replace("s3://manta-report/out", str(tmp_path)) == Path(view(str(tmp_path))).read_text()
        assert "2 error rows in s3://manta-report/out" in errors("s3://manta-report/out/", as_json=False)
        with pytest.raises(UsageError, match="holds nothing"):
            view("s3://manta-report/other")
    finally:
        file_system.cache_clear()
        server.stop()
