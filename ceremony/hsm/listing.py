"""The tokens of an HSM, for people who look before they begin: no login, nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from ceremony.hsm import cryptoki
from ceremony.hsm.settings import HsmSettings
from shared.errors import PeerFailed, Unsupported
from shared.keys import CA_KINDS
from shared.keystore import Module, require_mechanism
from shared.keystore.module import FoundToken


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToken:
    """What a token says of itself."""

    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: str
    initialised: bool
    shortest_pin: int
    """In bytes."""
    longest_pin: int
    profile: str
    """What it is known to do otherwise than the standard says, by the name of ``shared.keystore.quirks``."""
    makes: tuple[str, ...] | None
    """The kinds of key that it has a mechanism for; ``None`` when it does not say before it is initialised."""
    chosen: bool
    """Whether it is the one that ``hsm.toml`` names."""


def list_tokens(settings: HsmSettings) -> tuple[ListedToken, ...]:
    """List all tokens, blank ones too.

    Raises:
        NotFound: ``hsm.module-missing`` or ``hsm.token-directory-missing``.
        PeerFailed: ``hsm.*``.
    """
    module = settings.activate()
    found = []
    for token in module.tokens():
        limits, info = cryptoki.pin_limits(module, token), token.info
        named = info.serial == settings.token_serial if settings.token_serial else info.label == settings.token_label
        found.append(
            ListedToken(
                label=info.label,
                serial=info.serial,
                manufacturer=info.manufacturer,
                model=info.model,
                firmware=info.firmware,
                initialised=token.initialised,
                shortest_pin=limits.shortest,
                longest_pin=limits.longest,
                profile=module.quirks(token).name,
                makes=_makes(module, token),
                chosen=named and token.initialised,
            )
        )
    return tuple(found)


def _makes(module: Module, token: FoundToken) -> tuple[str, ...] | None:
    found = []
    for kind in sorted(CA_KINDS):
        try:
            require_mechanism(module, token, kind)
        except Unsupported:
            continue
        except PeerFailed:
            return None
        found.append(kind.value)
    return tuple(found)
