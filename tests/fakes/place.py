"""A folder with certificates, a key and a password, beside the CA that issued them: what the tools are tried on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner, Result
from fakes.step_ca import FakeCa, serving
from fakes.tokens import SIGNER

from online.cli import cli
from online.provisioners.protocol import Operation
from online.tokens import audience, mint_sign_token
from shared import keys
from shared.keys import KeyKind, PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a root, a pair and a password, and the CA behind them, which serves."""

    directory: Path
    ca: FakeCa
    key: PrivateKey

    def path(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return str(self.directory / name)

    def run(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run an online command."""
        home = self.path("home")
        return CliRunner(env={"COLDROOT_HOME": home}).invoke(cli, [*arguments], input=stdin)

    def leaf(self, name: str, *sans: str, life: timedelta = DAY, begin: datetime | None = None) -> str:
        """Write a leaf with its intermediate to a file."""
        chain = self.ca.leaf(self.key.public_key(), *(sans or ("foo.local",)), life=life, begin=begin)
        (self.directory / name).write_bytes(certificate_pem(*chain))
        return self.path(name)

    def token(self, subject: str) -> str:
        """Mint a one-time token."""
        return mint_sign_token(
            SIGNER,
            issuer="admin",
            audience=audience(self.ca.url, Operation.SIGN),
            subject=subject,
            sans=[],
            root_fingerprint=self.ca.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )


@contextmanager
def serving_place(directory: Path) -> Iterator[Place]:
    """Fill a folder, and let its CA serve meanwhile."""
    with serving(FakeCa(), directory) as ca:
        place = Place(directory=directory, ca=ca, key=keys.generate(KeyKind.EC_P256))
        place.leaf("foo.crt", "foo.local", "10.0.0.7")
        (directory / "root.crt").write_bytes(certificate_pem(ca.root))
        (directory / "other.crt").write_bytes(certificate_pem(FakeCa().root))
        for name, content in (("foo.key", private_key_pem(place.key, None)), ("password", b"correct horse\n")):
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o600)
        yield place
