"""URLs of object stores: what they name, how they are shown, and what their errors mean."""

from __future__ import annotations

import fnmatch
import glob
import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from usermodel.errors import DataError, MissingError, StorageError, UserModelError

#: Schemes, and the name that Arrow has for each.
_SCHEMES: Final = {
    "s3": "s3",
    "gs": "gs",
    "gcs": "gs",
    "abfs": "abfs",
    "abfss": "abfss",
    "az": "abfs",
    "file": "file",
}
_LOGIN: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
}
#: What a refusal of access looks like in the words of the three stores.
_NO_ACCESS: Final = (
    "access_denied", "access denied", "forbidden", "unauthorized", "unauthenticated", "permission",
    "credential", "invalid_access_key_id", "signature", "authenticat", "invalidaccesskeyid", "expired",
)  # fmt: skip
_NOT_THERE: Final = ("no_such_", "nosuch", "not_found", "not found", "does not exist")
#: How long a store that does not answer is asked again, where that can be set.
_PATIENCE_S: Final = 30
#: What a path in a URL may hold; the rest is escaped, so that names may be written as they are.
_SAFE: Final = "/%:=+,;@&$!'()*~"


class Found(NamedTuple):
    """A file of an object store: its name in messages, its path there, that below the folder named, and its bytes."""

    name: str
    path: str
    inside: str
    size: int


@dataclass(frozen=True, repr=False)
class Url:
    """A URL taken apart.

    Attributes:
        scheme: Before ``://``, in lower case.
        authority: Bucket, container or account, with the credentials, if any stand there.
        path: Behind it, without a slash at either end.
        query: Settings of the store, such as ``region=``, behind ``?``.
    """

    scheme: str
    authority: str
    path: str
    query: str

    @staticmethod
    def parse(text: str) -> Url:
        """Take a URL apart.

        Raises:
            DataError: A scheme that is not read.
        """
        scheme, _, rest = text.partition("://")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        url = Url(scheme.lower(), authority, path.strip("/"), query)
        if url.scheme not in _SCHEMES:
            do = "Copy the files here, or into one of these."
            if url.scheme in {"http", "https", "ftp"}:
                do = "Download it first, for example with: curl -LO URL."
            expected = "a path, or a URL of s3://, gs://, abfs://, az:// or file://"
            raise DataError(url.shown, expected=expected, found=f"{url.scheme}://", do=do)
        return url

    @property
    def _is_azure(self) -> bool:
        return _SCHEMES.get(self.scheme, "").startswith("abfs")

    @property
    def login(self) -> str:
        """What the environment names for this store to let somebody in."""
        return _LOGIN.get("abfs" if self._is_azure else _SCHEMES[self.scheme], "")

    @property
    def shown(self) -> str:
        """The URL for messages and manifests: no credentials, no query."""
        user, at, host = self.authority.rpartition("@")
        # On Azure it is the account or the container that stands before the @, and a key behind a colon.
        user = user.partition(":")[0] if self._is_azure else ""
        host = f"{user}{at}{host}" if user else host
        return f"{self.scheme}://{host}" + (f"/{self.path}" if self.path else "")

    def scrub(self, text: str) -> str:
        """A message of a library, on one line and without what is secret in the URL."""
        user = self.authority.rpartition("@")[0]
        secrets = {
            user.partition(":")[2],
            *(part for part in (user, user.partition(":")[0]) if not self._is_azure),
        }
        secrets |= {self.query, *(word.partition("=")[2] for word in self.query.split("&"))}
        for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
            # A short one may be part of an honest word.
            edge = r"\b" if len(secret) < 8 else ""
            text = re.sub(edge + re.escape(secret) + edge, "***", text)
        return "".join(one if one.isprintable() else " " for one in (text.splitlines() or [""])[0])[:240]

    def find(self) -> tuple[FileSystem, list[Found]]:
        """The file system and the files: one, those in a folder, those of a glob; sorted by name.

        Raises:
            MissingError: No such bucket.
            DataError: A URL that Arrow does not understand.
            StorageError: No answer, or no access.
        """
        try:
            return self._find()
        except (OSError, pa.ArrowException, ValueError) as error:
            raise storage_error(self, error) from None

    def _find(self) -> tuple[FileSystem, list[Found]]:
        system, path = filesystem(self._arrow(self.path))
        info = system.get_file_info(path)
        if info.type == FileType.File:
            return system, [Found(self.shown, path, "", info.size)]
        if info.type == FileType.Directory:
            return system, self._below(system, path, self.shown)
        if glob.has_magic(self.path):
            return system, self._glob()
        return system, []

    def _glob(self) -> list[Found]:
        """As a shell does it: a star stops at a slash and takes no hidden name."""
        parts = self.path.split("/")
        fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
        pattern = [unquote(part) for part in parts[fixed:]]
        base = Url(self.scheme, self.authority, "/".join(parts[:fixed]), self.query)
        system, path = filesystem(self._arrow(base.path))
        found = self._below(system, path, base.shown, recursive=len(pattern) > 1)
        return [one._replace(inside="") for one in found if _matches(one.inside.split("/"), pattern)]

    def _below(self, system: FileSystem, path: str, shown: str, *, recursive: bool = True) -> list[Found]:
        selector = FileSelector(path, recursive=recursive, allow_not_found=True)
        infos: list[FileInfo] = [one for one in system.get_file_info(selector) if one.type == FileType.File]
        inside = [one.path.removeprefix(path.rstrip("/")).lstrip("/") for one in infos]
        found = [
            Found(f"{shown.rstrip('/')}/{name}", one.path, name, one.size)
            for one, name in zip(infos, inside, strict=True)
        ]
        return sorted(found, key=lambda one: one.inside.split("/"))

    def _arrow(self, path: str) -> str:
        given = [self.query] if self.query else []
        if _SCHEMES[self.scheme] == "gs" and "retry_limit_seconds=" not in self.query:
            # The client of Google asks again for a quarter of an hour.
            given.append(f"retry_limit_seconds={_PATIENCE_S}")
        query = f"?{'&'.join(given)}" if given else ""
        return f"{_SCHEMES[self.scheme]}://{self.authority}/{quote(path, safe=_SAFE)}{query}"


def filesystem(uri: str) -> tuple[FileSystem, str]:
    """File system and path by a URI. Endpoint, region and credentials come from the environment, as Arrow documents."""
    system, path = FileSystem.from_uri(uri)
    return system, str(path)


def _matches(names: list[str], pattern: list[str]) -> bool:
    return len(names) == len(pattern) and all(
        fnmatch.fnmatchcase(name, one) and (one.startswith(".") or not name.startswith("."))
        for name, one in zip(names, pattern, strict=True)
    )


def storage_error(url: Url, error: BaseException, name: str | None = None) -> UserModelError:
    """What a store said, as an error of ours: nothing there, no access, a URL of no sense, or a store that fails.

    Args:
        url: Where it was asked for.
        error: What Arrow raised.
        name: The file, when it was one of many.
    """
    where, said = name or url.shown, url.scrub(str(error)) or type(error).__name__
    lower = said.lower()
    if isinstance(error, ValueError | pa.ArrowNotImplementedError):
        do = "Check the URL; on Azure it names the account: abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH."
        return DataError(where, expected="a URL that Arrow reads", found=said, do=do)
    if any(word in lower for word in _NO_ACCESS):
        do = (
            f"Name credentials in the environment: {url.login}." if url.login else "Ask for leave to read it."
        )
        return StorageError(where, expected="access to read", found=said, do=do)
    if isinstance(error, FileNotFoundError) or any(word in lower for word in _NOT_THERE):
        return MissingError(where, expected="a log file", found=said, do="Check the URL and the spelling.")
    do = "Check network, endpoint and region, then try again: nothing was written."
    return StorageError(where, expected="a store that answers", found=said, do=do)
