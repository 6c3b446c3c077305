"""The TLS context of the separate server, from paths or as given."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

__all__ = ["server_context"]

_HOW = "write ssl={'cert': 'path', 'key': 'path'}, and 'client_ca' for client certificates"


def server_context(given: Mapping[str, str] | ssl.SSLContext) -> ssl.SSLContext:
    """Return a server's context.

    Raises ValueError for paths that are missing or unknown, for a client's context, and for files
    without certificates; raises OSError with the file's name if a file cannot be read.
    """
    if isinstance(given, ssl.SSLContext):
        if given.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "ssl is a context for clients: make one with "
                "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
            )
        return given
    if missing := {"cert", "key"}.difference(given):
        raise ValueError(f"ssl lacks {sorted(missing)}: {_HOW}")
    if unknown := set(given).difference({"cert", "key", "client_ca"}):
        raise ValueError(f"ssl has no key {sorted(unknown)}: {_HOW}")
    for name, path in given.items():
        _check_readable(name, path)
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=given.get("client_ca"))
        context.load_cert_chain(given["cert"], given["key"])
    except ssl.SSLError as error:
        raise ValueError(
            f"ssl: cannot read a PEM certificate and the key that belongs to it from "
            f"{dict(given)}: {error}"
        ) from error
    if "client_ca" in given:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(name: str, path: str) -> None:
    """Raise an OSError that names the file: OpenSSL's does not."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"ssl[{name!r}]: {error.strerror}", path) from None
