"""What an intermediate's name constraints would let through, shown on names before it is signed (RFC 5280 §4.2.1.10).

Constraints are easy to get wrong and stand for years: people read "only example.com" and sign something that lets
``example.com.evil.test`` through, or that keeps ``www.example.com`` out. So the program shows what becomes of some
names: those that people bring, and some that it makes around each constraint.

Invariant: a name is permitted when no excluded subtree of its kind covers it, and a permitted one does, or there is
none of its kind.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509

from shared.ca_extensions import CaExtensions, describe_subtree
from shared.names import parse_sans

_ELSEWHERE = "elsewhere.invalid"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What becomes of one name."""

    name: str
    permitted: bool
    why: str
    """The subtree that decides, or that there is none."""

    def __str__(self) -> str:
        return f"{'permitted' if self.permitted else 'REFUSED':9}  {self.name}  ({self.why})"


def preview(extensions: CaExtensions, samples: Sequence[str] = ()) -> tuple[Judged, ...]:
    """Judge names by the constraints of a planned intermediate.

    Args:
        extensions: as planned.
        samples: names that people brought: DNS names, addresses, e-mail addresses, URIs; some are made when there
            are none.

    Raises:
        RequestRejected: ``name.*`` for a sample that is no name.
    """
    names = parse_sans(samples or made_samples(extensions)).general_names()
    return tuple(_judge(name, extensions) for name in names)


def made_samples(extensions: CaExtensions) -> tuple[str, ...]:
    """Return names at, below and beside each constraint."""
    found: dict[str, None] = {}
    for subtree in (*extensions.permitted, *extensions.excluded):
        for sample in _around(subtree):
            found.setdefault(sample)
    return tuple(found)


def _judge(name: x509.GeneralName, extensions: CaExtensions) -> Judged:
    for subtree in _of_kind(name, extensions.excluded):
        if _covers(subtree, name):
            return Judged(name=str(name.value), permitted=False, why=f"excluded by {describe_subtree(subtree)}")
    permitted = list(_of_kind(name, extensions.permitted))
    for subtree in permitted:
        if _covers(subtree, name):
            return Judged(name=str(name.value), permitted=True, why=f"permitted by {describe_subtree(subtree)}")
    if permitted:
        return Judged(name=str(name.value), permitted=False, why="no permitted subtree covers it")
    return Judged(name=str(name.value), permitted=True, why="names of this kind are not limited")


def _of_kind(name: x509.GeneralName, subtrees: Iterable[x509.GeneralName]) -> Iterator[x509.GeneralName]:
    return (subtree for subtree in subtrees if type(subtree) is type(name))


def _covers(subtree: x509.GeneralName, name: x509.GeneralName) -> bool:
    if isinstance(subtree, x509.IPAddress):
        network, address = subtree.value, name.value
        assert isinstance(network, _Network)
        return address.version == network.version and address in network
    limit, value = str(subtree.value), str(name.value)
    if isinstance(subtree, x509.DNSName):
        return _below(value, limit) or (not limit.startswith(".") and value.lower() == limit.lower())
    if isinstance(subtree, x509.RFC822Name):
        if "@" in limit:
            return value == limit
        return _host_matches(value.rpartition("@")[2], limit)
    return _host_matches(urlsplit(value).hostname or "", limit)


def _host_matches(host: str, limit: str) -> bool:
    """Tell whether an e-mail's or URI's host is the one of the subtree, or below one that begins with a dot."""
    return _below(host, limit) if limit.startswith(".") else host.lower() == limit.lower()


def _below(host: str, limit: str) -> bool:
    return host.lower().endswith("." + limit.lower().removeprefix("."))


def _around(subtree: x509.GeneralName) -> Iterator[str]:
    if isinstance(subtree, x509.IPAddress):
        network = subtree.value
        assert isinstance(network, _Network)
        yield str(network.network_address)
        yield str(network.broadcast_address)
        beyond = int(network.broadcast_address) + 1
        if beyond < 1 << network.max_prefixlen:
            yield str(type(network.network_address)(beyond))
        return
    limit = str(subtree.value)
    host = limit.rpartition("@")[2].removeprefix(".")
    hosts = (host, f"www.{host}", f"not{host}", f"{host}.{_ELSEWHERE}")
    if isinstance(subtree, x509.DNSName):
        yield from hosts
    elif isinstance(subtree, x509.RFC822Name):
        yield from (f"{limit.rpartition('@')[0] or 'someone'}@{each}" for each in hosts)
        if "@" in limit:
            yield f"other@{host}"
    else:
        yield from (f"https://{each}/" for each in hosts)
