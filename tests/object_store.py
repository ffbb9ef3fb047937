"""A tiny object store for tests: enough of S3 to look, list and read, in this process, and able to fail on purpose."""

import contextlib
import http.server
import os
import threading
import urllib.parse
from unittest import mock
from xml.sax.saxutils import escape

_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key-of-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket:
    """Objects of the bucket ``logs``.

    Attributes:
        objects: Key -> bytes.
        broken: Keys whose connection breaks, each with the first byte that does not come.
        expired: Keys that may be read up to a byte, from which on access is denied.
        locked: Keys nobody may read.
        gets: Ranges asked for, in order.
    """

    def __init__(self):
        self.objects, self.broken, self.expired, self.locked, self.gets = {}, {}, {}, set(), []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body leave at once, or each answer waits 40 ms for the other side.
    disable_nagle_algorithm = True
    bucket: Bucket

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if bucket != "logs":
            self._send(404, b"<Error><Code>NoSuchBucket</Code><Message>no bucket</Message></Error>")
        elif not key and "list-type" in query:
            self._send(200, self._listing(query))
        elif not key:
            self._send(200, b"")
        elif key in self.bucket.locked:
            self._send(403, _DENIED)
        elif key not in self.bucket.objects:
            self._send(404, b"<Error><Code>NoSuchKey</Code><Message>no key</Message></Error>")
        else:
            self._object(key)

    def _object(self, key):
        data = self.bucket.objects[key]
        span = self.headers.get("Range")
        if span is None:
            self._send(200, data)
            return
        first, last = (int(end) for end in span.removeprefix("bytes=").split("-"))
        last = min(last, len(data) - 1)
        self.bucket.gets.append((key, first, last))
        if last >= self.bucket.expired.get(key, len(data)):
            # Without a body: the client reads it into a buffer of the size that it asked for.
            self._send(403, b"")
            return
        more = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._send(206, data[first : last + 1], more, self.bucket.broken.get(key, len(data)) - first)

    def _send(self, status, body, more=(), stop=None):
        self.send_response(status)
        headers = {
            "Content-Length": len(body), "Content-Type": "application/octet-stream", "ETag": '"tag"',
            "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", **dict(more),
        }  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = stop is None or stop >= len(body)
        self.wfile.write(body if whole else body[: max(stop, 0)])
        if not whole:
            self.close_connection = True

    def _listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for key in sorted(self.bucket.objects):
            if key.startswith(prefix):
                head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                if found:
                    folders.add(prefix + head + delimiter)
                else:
                    keys.append(key)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;tag&quot;</ETag><Size>{len(self.bucket.objects[key])}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
        ]
        rows += [
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)
        ]
        count = f"<KeyCount>{len(keys) + len(folders)}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
        head = f"<Name>logs</Name><Prefix>{escape(prefix)}</Prefix>{count}"
        return f"<ListBucketResult>{head}{''.join(rows)}</ListBucketResult>".encode()


@contextlib.contextmanager
def serve():
    """Yields a `Bucket`; the environment points at its server meanwhile."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with mock.patch.dict("os.environ", {**ENVIRONMENT, "AWS_ENDPOINT_URL": url}):
            yield bucket
    finally:
        server.shutdown()
        server.server_close()


def address():
    """Host and port of the server of this process."""
    return os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
