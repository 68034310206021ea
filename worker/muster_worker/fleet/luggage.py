"""What a container takes along to reach the database; its secrets in files, nowhere else."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from sqlalchemy import URL

from muster.errors import UserError

FOLDER: Final = PurePosixPath("/run/muster")
# A join token, or a URL with its password.
JOIN: Final = "join"
# PyMySQL's arguments that name files of this machine.
FILES: Final = ("ssl_ca", "ssl_cert", "ssl_key")
# The image's own user.
OWNER: Final = 10001


@dataclass(frozen=True)
class Luggage:
    """environment: variables without a secret, which anybody who asks the engine sees.

    files: by their name in FOLDER, readable by the worker alone.
    """

    environment: Mapping[str, str]
    files: Mapping[str, bytes] = field(repr=False)

    def packed(self) -> bytes:
        """The files as a tar archive to be unpacked at the root."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            folder = tarfile.TarInfo(str(FOLDER.relative_to("/")))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o700
            folder.uid = folder.gid = OWNER
            archive.addfile(folder)
            for name, content in self.files.items():
                entry = tarfile.TarInfo(f"{folder.name}/{name}")
                entry.size, entry.mode = len(content), 0o400
                entry.uid = entry.gid = OWNER
                archive.addfile(entry, io.BytesIO(content))
        return packed.getvalue()


def pack(url: URL, *, token: str | None = None) -> Luggage:
    """What it takes to reach the database at this URL, or to join by this token.

    Certificates that the URL names travel as files too. Raises UserError for a database that is
    a file of this machine, and for a certificate that cannot be read.
    """
    if url.get_backend_name() == "sqlite":
        raise UserError(
            f"{url.database}: a file on this machine, which no container elsewhere reaches; "
            "a fleet needs a database server (db/README.md)"
        )
    files = {}
    if token is None:
        for name in FILES:
            if isinstance(path := url.query.get(name), str):
                files[name] = _read(path, name)
                url = url.update_query_dict({name: str(FOLDER / name)})
        token = url.render_as_string(hide_password=False)
    files[JOIN] = token.encode()
    return Luggage({"MUSTER_JOIN": str(FOLDER / JOIN)}, files)


def _read(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {name} in the URL names it") from error
