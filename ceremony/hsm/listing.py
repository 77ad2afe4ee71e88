"""The tokens of an HSM, for people who look before they begin: no login, nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from ceremony.hsm import cryptoki
from ceremony.hsm.settings import HsmSettings


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
                chosen=named and token.initialised,
            )
        )
    return tuple(found)
