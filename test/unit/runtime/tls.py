"""Certificates on disk and handshakes with a server on loopback."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

from rbgctl.runtime.testing.certificates import Authority

AUTHORITY = Authority("test")


def issue(authority: Authority = AUTHORITY, *more: bytes) -> tuple[bytes, bytes]:
    """Chain and key of a new server certificate; `more` certificates are appended to the chain."""
    certificate, key = authority.server(["127.0.0.1", "localhost"])
    return certificate + b"".join(more), key


def write(folder: Path, pair: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """As tls.crt and tls.key, each replaced as a whole."""
    folder.mkdir(exist_ok=True, parents=True)
    paths = folder / "tls.crt", folder / "tls.key"
    for path, data in zip(paths, pair, strict=True):
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.rename(path)
    return paths


def replace_projected(folder: Path, pair: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """As the kubelet does for a Secret volume: tls.crt -> ..data/tls.crt, and ..data is a symlink that is swapped."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{len(list(folder.iterdir()))}"
    write(version, pair)
    (folder / "..data_tmp").symlink_to(version.name)
    os.replace(folder / "..data_tmp", folder / "..data")
    paths = folder / "tls.crt", folder / "tls.key"
    for path in paths:
        if not path.is_symlink():
            path.symlink_to(Path("..data") / path.name)
    return paths


def der(pem: bytes) -> bytes:
    """The first certificate of a chain."""
    text = pem.decode()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END CERTIFICATE-----") + 25])


def client_context(pair: tuple[Path, Path] | None = None, authority: Authority = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


async def connect(port: int, context: ssl.SSLContext | None = None) -> tuple[Any, Any]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=context or client_context())


async def served_chain(port: int) -> list[bytes]:
    """The certificates that a new handshake gets, DER."""
    _, writer = await connect(port)
    chain = writer.get_extra_info("ssl_object")._sslobj.get_unverified_chain()
    writer.close()
    return [certificate.public_bytes(2) for certificate in chain]


async def served(port: int) -> bytes:
    """The leaf certificate that a new handshake gets, DER."""
    return (await served_chain(port))[0]
