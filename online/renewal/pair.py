"""One certificate and its key that are to be kept fresh, and everything that was said about how.

Invariant: what stands in a ``Pair`` can be done; half of a setting, or two that contradict each other, never get in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from online.renewal.hooks import Hooks, Renewed
from online.renewal.install import check_output
from online.renewal.outputs import Outputs
from online.renewal.schedule import check_expires_in, parse_expires_in, periodic_moment, renewal_moment, window_of
from shared.errors import RequestRejected, Unsupported
from shared.issue import lifetime
from shared.keys import certificate_key
from shared.keystore import FileUri, is_pkcs11, parse_key_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is renewed, how, and who is told."""

    name: str
    """For people: in log lines and the status."""
    certificate: Path
    key: str
    """A path, or a ``pkcs11:`` URI."""
    password_file: Path | None = None
    """Of the key, or the PIN of its HSM."""
    expires_in: str | None = None
    """When it becomes due, as ``--expires-in`` says it."""
    period: timedelta | None = None
    """Renew this often instead, whatever life is left."""
    mtls: bool = True
    rekey: bool = False
    """Make a new key at each renewal."""
    ca_url: str | None = None
    """Of its CA, where that is another one than the home's."""
    root: Path | None = None
    """The trusted root of that CA."""
    outputs: Outputs = field(default_factory=Outputs)
    hooks: Hooks = field(default_factory=Hooks)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            RequestRejected: ``renew.period``, ``renew.one-file``, ``key-uri.*`` or ``duration.*``.
            Unsupported: ``renew.rekey-hsm``.
        """
        if self.period is not None and self.expires_in is not None:
            raise RequestRejected("renew.period", "a renewal period and a time before the end contradict each other")
        if self.expires_in is not None:
            check_expires_in(self.expires_in)
        if self.period is not None and self.period < timedelta(minutes=1):
            raise RequestRejected("renew.period", "the renewal period is shorter than a minute")
        if self.rekey and is_pkcs11(self.key):
            raise Unsupported(
                "renew.rekey-hsm",
                "a key in an HSM is not replaced here",
                hint="make the new key and a request for it with the tools of the HSM",
            )
        places = [
            each for each in (self.certificate, self.key_file, self.outputs.combined, self.outputs.pkcs12) if each
        ]
        if len({each.absolute() for each in places}) != len(places):
            raise RequestRejected("renew.one-file", "certificate, key and further files must be different files")

    @property
    def key_file(self) -> Path | None:
        """Where the key lies; ``None`` for one in an HSM."""
        place = parse_key_uri(self.key)
        return place.path if isinstance(place, FileUri) else None

    def check_outputs(self) -> None:
        """Refuse places where nothing can be written, before any work is done.

        Raises:
            RequestRejected: as ``check_output``.
        """
        check_output(self.certificate, overwrite=True)
        if self.rekey and self.key_file is not None:
            check_output(self.key_file, overwrite=True)
        self.outputs.check()

    def renewed(self, old: x509.Certificate, new: x509.Certificate, *, place: Path | None = None) -> Renewed:
        """Return what is told of a renewal.

        Args:
            old: what was replaced.
            new: what came.
            place: where it lies, if not where the old one did.
        """
        return Renewed(
            certificate=(place or self.certificate).absolute(),
            key=str(self.key_file.absolute()) if self.key_file is not None else self.key,
            old=old,
            new=new,
            rekeyed=certificate_key(old) != certificate_key(new),
        )

    def due_at(self, certificate: x509.Certificate, *, now: float, chance: float) -> float:
        """Return when a certificate of this pair is to be renewed, in seconds since 1970.

        Args:
            certificate: in use.
            now: when somebody begins to watch it.
            chance: from 0 up to 1, drawn once a certificate.

        Raises:
            RequestRejected: ``renew.expires-in``, ``renew.period`` or ``duration.*`` when what was said does not fit
                the certificate's life.
        """
        begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if self.period is not None:
            if self.period >= lifetime(certificate):
                raise RequestRejected("renew.period", "the renewal period is not shorter than the certificate's life")
            return periodic_moment(begin, period=self.period.total_seconds(), chance=chance)
        asked = parse_expires_in(self.expires_in, certificate) if self.expires_in is not None else None
        window = window_of(certificate, asked).total_seconds()
        return renewal_moment(begin, end, now, window=window, chance=chance)
