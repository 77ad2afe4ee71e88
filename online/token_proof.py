"""A one-time token as proof, for whichever operation: the one place where it becomes a ``VerifiedToken``.

The order (the numbers return in the code):

1. it is taken apart, once, within limits;
2. what its verification needs from elsewhere is fetched (the keys of an OIDC issuer);
3. it is verified, by the allow-list of ``online.provisioners.registry``;
4. the certificate whose key signed it is not revoked here. step-ca does not look: whoever stole a key could go on
   minting tokens with it after the revocation. It is looked up by its serial number alone, whoever issued it: an
   intermediate of ours that was replaced signs no less than the present one did, and nobody need remember it for the
   refusal. A stranger's certificate with the number of a revoked one of ours is refused, too; numbers are random.

Invariant: nothing is consumed here. The use is recorded with what came of it.
"""

from __future__ import annotations

from datetime import datetime

from online.metrics.attempt import vouched_by
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.store.protocol import Store
from online.tokens import Audiences, VerifiedToken
from shared.errors import Unauthenticated


async def verify_token(
    operation: Operation,
    token: str,
    *,
    registry: Registry,
    audiences: Audiences,
    store: Store,
    now: datetime,
) -> VerifiedToken:
    """Verify a token for an operation.

    Args:
        operation: what the caller asks for.
        token: as it was sent.
        registry: the provisioners.
        audiences: the names of this CA.
        store: knows what is revoked.
        now: aware UTC.

    Raises:
        Unauthenticated: ``token.*``, or ``certificate.revoked``.
        PeerFailed: ``oidc.*`` when the issuer of an ID token cannot be asked for its keys.
        StoreFailed: ``store.*``.
    """
    # 1.
    opened = open_token(token)
    # 2.
    await registry.prepare(opened)
    # 3.
    verified = registry.authorize(operation, opened, audiences=audiences, now=now)
    vouched_by(verified.provisioner.name)
    # 4.
    credential = verified.credential
    if credential is not None and await store.revocation(credential.serial_number) is not None:
        raise Unauthenticated("certificate.revoked", "the certificate that signed the token is revoked")
    return verified
