"""The certificates as files for the server (CERT-7): never the key of the authority."""

import os
from pathlib import Path
from typing import Final

from rbgctl.webhooks.certificates.rotation import Bundle
from rbgctl.webhooks.certificates.secret import AUTHORITY_CERTIFICATE, CERTIFICATES, KEYS

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o600


def write_files(directory: Path, bundle: Bundle) -> None:
    """Replace the five files, each at once. Raises OSError.

    Keys come before the certificates that belong to them. Who reads between two files gets a pair that does not fit,
    and a `CertWatcher` then keeps the old one until its next look.
    """
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    files = dict.fromkeys(KEYS, bundle.leaf.key)
    files |= dict.fromkeys(CERTIFICATES, bundle.leaf.certificate)
    files[AUTHORITY_CERTIFICATE] = bundle.authority.certificate
    for name, data in files.items():
        _replace(directory / name, data)


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
