"""Where the processor time of one answer goes, beside what the machine can do at best."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fakes.hierarchy import make_world
from programs import Failed
from report import table
from works import EMBEDDED, OURS, Outcome, Work

from online.config import TlsSettings
from online.engine.bundled import BundledContext
from shared.clock import SystemClock
from shared.keys import KeyKind, generate
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

_CORE = Path(__file__).with_name("core.py")
_TOTALS = re.compile(r"^\| \*\*all\*\* \|(.+)\|$", re.MULTILINE)
_HANDSHAKES, _FLUSHES = 200, 300
_PATIENCE = 300.0


@dataclass(frozen=True, kw_only=True)
class Core:
    """What deciding and signing takes, without HTTP, TLS and database."""

    text: str
    """The table of its steps."""
    totals: dict[str, float]
    """Microseconds by kind of request, median."""


def core() -> Core:
    """Measure the steps of the core, in a process of its own: it puts clocks around the product's functions.

    Raises:
        Failed: it did not end well.
    """
    done = subprocess.run([sys.executable, "-I", _CORE], capture_output=True, text=True, check=False, timeout=_PATIENCE)
    found = _TOTALS.search(done.stdout)
    if done.returncode or found is None:
        raise Failed(f"the steps of the core were not measured:\n{done.stderr.strip()}")
    medians = [float(cell.partition("/")[2]) for cell in found[1].split("|")]
    return Core(text=done.stdout.strip(), totals=dict(zip(("sign", "renew", "rekey"), medians, strict=True)))


def limits(directory: Path) -> str:
    """Return what a handshake and a flush take by themselves.

    Args:
        directory: on the disk that the databases use.
    """
    plain, mutual = (asyncio.run(_handshake(directory, mutual=mutual)) for mutual in (False, True))
    return (
        f"One TLS 1.3 handshake, the server's side alone, in memory: {plain:.0f} µs; with a client's certificate: "
        f"{mutual:.0f} µs. One `fdatasync` of 4 KiB on this disk: {_flush(directory):.0f} µs of waiting, which all "
        "answers of a batch share."
    )


def shares(outcome: Outcome, parts: Core) -> str:
    """Return a table of what an answer of ours takes: measured as a whole, and the parts that were measured alone."""

    def whole(kind: str) -> float | None:
        work = next((each for product, each in outcome.readings if product == OURS and _like(each, kind)), None)
        cost = outcome.middle(OURS, work, lambda each: each.cost) if work is not None else None
        return None if cost is None else cost * 1000

    kept, fresh = whole("health"), whole("health-new")
    lines = []
    for title, kind, inside in (
        ("sign, connection kept", "sign", "sign"),
        ("sign, new connection", "sign-new", "sign"),
        ("renew (mTLS, new connection)", "renew", "renew"),
    ):
        total = whole(kind)
        if total is None or kept is None or fresh is None:
            continue
        connection = 0.0 if kind == "sign" else fresh - kept
        decided = parts.totals[inside]
        rest = total - decided - kept - connection
        lines.append([title, *(f"{each:.0f}" for each in (total, decided, kept, connection, rest))])
    columns = ["at C=8, µs of processor time", "all", "core", "HTTP and records, as of health",
               "handshake without client, as of health", "rest"]  # fmt: skip
    return table(columns, lines)


def _like(work: Work, kind: str) -> bool:
    return work.database == EMBEDDED and work.connections == 8 and work.kind == kind  # noqa: PLR2004


def _flush(directory: Path) -> float:
    path = directory / "flushed"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:

        def flush() -> None:
            os.pwrite(descriptor, os.urandom(4096), 0)
            os.fdatasync(descriptor)

        return _median(flush, _FLUSHES)
    finally:
        os.close(descriptor)


def _median(function: Callable[[], None], times: int) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter_ns()
        function()
        took.append(time.perf_counter_ns() - begun)
    return statistics.median(took) / 1000


async def _handshake(directory: Path, *, mutual: bool) -> float:
    """Return the median of the node's microseconds in handshakes with Python's own TLS client, all in memory."""
    world = make_world(now=datetime.now(UTC), clock=SystemClock())
    key = generate(KeyKind.EC_P256)
    chain = await world.authority.own_leaf(key.public_key())
    trusted = (world.pki.intermediate, world.pki.root)
    context = BundledContext(key=key, chain=chain, trusted=trusted, settings=TlsSettings())
    root = directory / "root.pem"
    root.write_bytes(certificate_pem(world.pki.root))
    client = ssl.create_default_context(cafile=str(root))
    if mutual:
        (leaf, *above), own = await world.leaf()
        pair = directory / "client.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(certificate_pem(leaf, *above) + private_key_pem(own, None))
        client.load_cert_chain(pair)
    took = [_shake(context, client) for _ in range(_HANDSHAKES)]
    return statistics.median(took) / 1000


def _shake(context: BundledContext, client: ssl.SSLContext) -> int:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    begun = time.perf_counter_ns()
    server = context.machine()
    took, done = time.perf_counter_ns() - begun, False
    while not done:
        with suppress(ssl.SSLWantReadError):
            caller.do_handshake()
        begun = time.perf_counter_ns()
        server.receive(outgoing.read())
        done = server.shake()
        answer = server.take()
        took += time.perf_counter_ns() - begun
        incoming.write(answer)
    return took
