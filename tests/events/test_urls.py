"""Logs on object stores: what is found there, how it is named, and every way in which a store says no."""

import gzip
import io

import object_store
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import fs

from usermodel.errors import DataError, MissingError, StorageError
from usermodel.events import sources, text_blocks, urls
from usermodel.events.preview import preview
from usermodel.events.readers import read_events
from usermodel.events.urls import Url
from usermodel.store.build import build_store

T0 = 1_700_000_000
HEADER = "user_id,item_id,timestamp\n"
TABLE = pl.DataFrame({"user_id": ["u"] * 40_000, "item_id": range(40_000), "timestamp": [T0] * 40_000}).cast(
    {"item_id": pl.String}
)


@pytest.fixture(scope="module")
def server():
    with object_store.serve() as found:
        yield found


@pytest.fixture
def bucket(server):
    server.__init__()
    return server


def one(user):
    return f"{HEADER}{user},x,{T0}\n".encode()


def users(source, **options):
    return read_events(source, **options).frame.collect()["user_id"].to_list()


def refusal(kind, source, **options):
    with pytest.raises(kind) as caught:
        read_events(source, **options)
    return str(caught.value)


def parquet():
    data = io.BytesIO()
    TABLE.write_parquet(data, compression="uncompressed", row_group_size=10_000)
    return data.getvalue()


def arrow():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, TABLE.to_arrow().schema) as out:
        out.write_table(TABLE.to_arrow(), max_chunksize=10_000)
    return sink.getvalue().to_pybytes()


# -------------------------------------------------------------------------------------------------------- what is found


def test_a_prefix_is_read_like_a_folder(bucket):
    bucket.objects |= {
        "day/b.csv": one("second"), "day/a/z.csv": one("first"), "day/_SUCCESS": b"", "day/.part.csv": b"",
        "day/manifest.json": b"{}", "dayly.csv": one("no"), "day/c d #1.csv": one("third"),
    }  # fmt: skip
    for url in ("s3://logs/day", "s3://logs/day/"):
        log = read_events(url)
        assert log.frame.collect()["user_id"].to_list() == ["first", "second", "third"]
        assert log.sources == ("s3://logs/day/a/z.csv", "s3://logs/day/b.csv", "s3://logs/day/c d #1.csv")
    assert users("s3://logs/day/c d #1.csv") == users("s3://logs/day/c%20d%20%231.csv") == ["third"]


def test_globs_stop_at_slashes_and_take_no_hidden_names(bucket):
    bucket.objects |= {
        "a1.csv": one("a1"), "a2.csv": one("a2"), "b1.csv": one("b1"), ".a3.csv": b"", "x/a4.csv": one("a4"),
        "y/a4.csv": one("a5"), "log[1].csv": one("a name and no pattern"), "log1.csv": one("no"),
    }  # fmt: skip
    assert users("s3://logs/a*.csv") == ["a1", "a2"]
    assert users("s3://logs/[ab]1.csv") == ["a1", "b1"]
    assert users("s3://logs/*/a4.csv") == ["a4", "a5"]
    assert users(["s3://logs/b1.csv", "s3://logs/y/*"]) == ["b1", "a5"]
    assert users("s3://logs/log[1].csv") == ["a name and no pattern"]


def test_local_files_and_remote_ones_together(bucket, tmp_path):
    bucket.objects["a.csv"] = one("far")
    (tmp_path / "a.csv").write_bytes(one("near"))
    assert users(["s3://logs/a.csv", tmp_path / "a.csv"]) == ["far", "near"]
    twice = refusal(DataError, ["s3://logs/a.csv", "s3://logs/*.csv"])
    assert twice == "s3://logs/a.csv: expected each file once; found it twice. Name it once."
    assert "expected each file once" in refusal(
        DataError, [tmp_path / "a.csv", f"file://{tmp_path / 'a.csv'}"]
    )


def test_a_store_says_the_same_wherever_the_log_lay(bucket, tmp_path):
    (tmp_path / "log.csv").write_bytes(one("u"))
    bucket.objects["log.csv"] = one("u")
    near = build_store(read_events(tmp_path / "log.csv"), tmp_path / "near")
    far = build_store(read_events("s3://logs/log.csv"), tmp_path / "far")
    assert far.meta == near.meta
    assert far.meta["sources"] == ["log.csv"]


def test_a_preview_of_a_url(bucket):
    bucket.objects["log.csv"] = one("u")
    assert preview("s3://logs/log.csv").files == [("s3://logs/log.csv", "csv", len(one("u")))]


def test_text_is_streamed(bucket, monkeypatch):
    """Never more of an object than a few blocks at a time, and only once."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(sources, "_REMOTE_BYTES", 4_000)
    bucket.objects["log.csv"] = (HEADER + f"u,x,{T0}\n" * 5_000).encode()
    size = len(bucket.objects["log.csv"])
    file = sources.expand("s3://logs/log.csv")[0]
    chunks = file.chunks(1_000)
    next(chunks)
    assert sum(last - first + 1 for _, first, last in bucket.gets) <= 8_000
    assert file.bytes_read <= 8_000
    chunks.close()
    bucket.gets.clear()
    assert read_events("s3://logs/log.csv").n_events() == 5_000
    assert sum(last - first + 1 for _, first, last in bucket.gets) == size
    assert len(bucket.gets) >= size // 8_000


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("url", "do"),
    [
        ("hdfs://node/log.csv", "Copy the files here, or into one of these."),
        ("https://example.org/log.csv", "Download it first, for example with: curl -LO URL."),
    ],
)
def test_schemes_that_are_not_read(url, do):
    expected = "a path, or a URL of s3://, gs://, abfs://, az:// or file://"
    assert refusal(DataError, url) == f"{url}: expected {expected}; found {url.partition('//')[0]}//. {do}"


def test_objects_that_are_not_there(bucket, tmp_path):
    bucket.objects["full/_SUCCESS"] = b""
    check = "Check the URL and the spelling."
    for url in (
        "s3://logs/lgo.csv",
        "s3://logs/*.csv",
        "s3://elsewhere/log.csv",
        f"file://{tmp_path}/lgo.csv",
    ):
        assert refusal(MissingError, url) == f"{url}: expected a log file; found no such object. {check}"
    empty = refusal(MissingError, "s3://logs/full")
    assert empty == f"s3://logs/full: expected a log file; found a folder without files. {check}"


def test_no_access(bucket):
    bucket.objects["log.csv"] = one("u")
    bucket.locked.add("log.csv")
    message = refusal(StorageError, "s3://logs/log.csv")
    assert message.startswith("s3://logs/log.csv: expected access to read; found ")
    assert message.endswith(
        "Name credentials in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
    )


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAIOSFODNN7:topsecret@logs/log.csv?region=us-east-1&endpoint_override=127.0.0.1:1",
        "s3://AKIAIOSFODNN7:topsecret@logs/log.csv?topsecret=topsecret",
        "s3://AKIAIOSFODNN7:top%73ecret@lo gs/log.csv",
        "https://me:topsecret@example.org/log.csv?sig=topsecret",
        "abfs://account:topsecret@/x/log.csv",
        "gs://me:topsecret@/log.csv?topsecret",
    ],
)
def test_credentials_stay_out_of_messages(url, monkeypatch):
    def from_uri(uri):
        found = fs.FileSystem.from_uri(uri.partition("?")[0] if "endpoint" in uri else uri)
        raise OSError(f"{uri} {found[1]} of AKIAIOSFODNN7 with topsecret does not answer")

    monkeypatch.setattr(urls, "filesystem", from_uri)
    with pytest.raises((DataError, StorageError)) as caught:
        read_events(url)
    assert "secret" not in str(caught.value)
    assert "us-east-1" not in str(caught.value)
    assert "AKIA" not in url or "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:secret@bucket/a/b.csv?region=x", "s3://bucket/a/b.csv"),
        ("gs://anonymous@bucket/a", "gs://bucket/a"),
        ("S3://bucket/", "s3://bucket"),
        ("az://account@container/a", "az://account@container/a"),
        ("abfs://account:key@container/a", "abfs://account@container/a"),
        ("abfss://c@account.dfs.core.windows.net/a?x=1", "abfss://c@account.dfs.core.windows.net/a"),
    ],
)
def test_how_urls_are_shown(url, shown):
    assert Url.parse(url).shown == shown


def test_urls_that_make_no_sense(bucket):
    for url in ("s3:///log.csv", "abfs://container/log.csv", "file://host/log.csv", "s3://logs/a?colour=red"):
        message = refusal(DataError, url)
        assert message.startswith(f"{url.partition('?')[0]}: expected a URL that Arrow reads; found ")


@pytest.mark.parametrize("scheme", ["gs", "az", "abfss"])
def test_the_other_stores_go_by_the_same_road(scheme, monkeypatch, tmp_path):
    """With a local file system in the place of theirs."""
    (tmp_path / "log.csv").write_bytes(one("u"))
    seen = []

    def here(uri):
        seen.append(uri)
        return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), uri.rpartition("/")[2].partition(
            "?"
        )[0]

    monkeypatch.setattr(urls, "filesystem", here)
    log = read_events(f"{scheme}://box/log.csv")
    assert (log.n_events(), log.sources) == (1, (f"{scheme}://box/log.csv",))
    # The client of Google would otherwise ask again for a quarter of an hour.
    more = "?retry_limit_seconds=30" if scheme == "gs" else ""
    assert seen == [f"{'abfs' if scheme == 'az' else scheme}://box/log.csv{more}"]


@pytest.mark.parametrize(
    ("scheme", "name"), [("gs", "GOOGLE_"), ("az", "AZURE_"), ("abfs", "AZURE_"), ("s3", "AWS_")]
)
def test_every_store_names_its_credentials(scheme, name, monkeypatch):
    def locked(uri):
        raise OSError("google::cloud::Status(UNAUTHENTICATED: no)\nand so on")

    monkeypatch.setattr(urls, "filesystem", locked)
    message = refusal(StorageError, f"{scheme}://box/log.csv")
    assert f"Name credentials in the environment: {name}" in message
    assert "and so on" not in message


# ---------------------------------------------------------------------------------------------- stores that fail halfway

HALFWAY = {
    "log.csv": (lambda: TABLE.write_csv().encode(), 300_000),
    "log.csv.gz": (lambda: gzip.compress(TABLE.write_csv().encode(), mtime=0), 60_000),
    "log.jsonl": (lambda: TABLE.write_ndjson().encode(), 300_000),
    "log.parquet": (parquet, 5_000),
    "log.arrow": (arrow, 100_000),
}


@pytest.fixture
def impatient(monkeypatch):
    """A client that asks once, and for little at a time: those of Arrow ask again for six seconds."""

    def from_uri(uri):
        host = object_store.address()
        once = fs.AwsStandardS3RetryStrategy(max_attempts=1)
        system = fs.S3FileSystem(
            endpoint_override=host, scheme="http", region="us-east-1", retry_strategy=once
        )
        return system, uri.removeprefix("s3://")

    monkeypatch.setattr(urls, "filesystem", from_uri)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(sources, "_REMOTE_BYTES", 20_000)


@pytest.mark.parametrize("name", HALFWAY)
def test_a_connection_that_breaks_is_not_a_damaged_file(bucket, impatient, tmp_path, name):
    make, at = HALFWAY[name]
    bucket.objects[name] = make()
    assert read_events(f"s3://logs/{name}").n_events() == 40_000
    bucket.broken[name] = at
    message = refusal(StorageError, f"s3://logs/{name}", bad_rows="quarantine")
    assert message.startswith(
        f"s3://logs/{name}: expected a store that answers; found AWS Error NETWORK_CONNECTION"
    )
    assert message.endswith("Check network, endpoint and region, then try again: nothing was written.")
    assert any(first < at for _, first, _ in bucket.gets)


@pytest.mark.parametrize("name", HALFWAY)
def test_access_that_ends_halfway(bucket, impatient, name):
    make, at = HALFWAY[name]
    bucket.objects[name] = make()
    bucket.expired[name] = at
    message = refusal(StorageError, f"s3://logs/{name}")
    assert message.startswith(f"s3://logs/{name}: expected access to read; found ")


@pytest.mark.parametrize("name", HALFWAY)
def test_an_object_that_is_cut_off_is_a_damaged_file(bucket, name):
    data = HALFWAY[name][0]()
    bucket.objects[name] = data[: len(data) - 30]
    if name.endswith((".gz", ".parquet", ".arrow")):
        assert refusal(DataError, f"s3://logs/{name}").startswith(f"D002 s3://logs/{name}: expected a whole ")
    else:
        assert f"s3://logs/{name}:" in refusal(DataError, f"s3://logs/{name}")


def test_an_object_that_is_gone_when_it_is_opened(bucket, impatient):
    bucket.objects["log.csv"] = one("u")
    file = sources.expand("s3://logs/log.csv")[0]
    bucket.objects.clear()
    with pytest.raises(MissingError, match=r"^s3://logs/log\.csv: expected a log file; found "):
        next(file.chunks(10))
