"""TLS for the node: one transport for asyncio, over either of two TLS libraries.

``Acceptor`` is what a server needs; ``make_context`` makes what it accepts with; ``peer_certificate`` says who came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryptography import x509

from online.config import TlsEngine, TlsSettings
from online.engine.acceptor import Acceptor, Refused
from online.engine.machine import Context
from online.engine.peer import peer_certificate
from online.engine.refusals import Refusal
from online.engine.transport import Limits
from shared.keys import PrivateKey

if TYPE_CHECKING:
    from online.engine.bundled import BundledContext
    from online.engine.system import SystemContext

__all__ = ["Acceptor", "Context", "Limits", "Refusal", "Refused", "context_class", "make_context", "peer_certificate"]


def make_context(
    *,
    key: PrivateKey,
    chain: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    settings: TlsSettings,
) -> Context:
    """Make the context of the engine that the settings name.

    Args:
        key: of the node's leaf.
        chain: the leaf and what is above it.
        trusted: whose leaves may identify clients.
        settings: engine, versions and suites.

    Raises:
        Fatal: ``tls.context`` when the engine refuses what was checked before.
    """
    return context_class(settings.engine)(key=key, chain=chain, trusted=trusted, settings=settings)


def context_class(engine: TlsEngine) -> type[BundledContext | SystemContext]:
    """Load an engine, and return what makes its contexts.

    Args:
        engine: which one.
    """
    # Each brings a TLS library into memory; the other one is not wanted there.
    if engine is TlsEngine.SYSTEM:
        from online.engine.system import SystemContext  # noqa: PLC0415

        return SystemContext
    from online.engine.bundled import BundledContext  # noqa: PLC0415

    return BundledContext
