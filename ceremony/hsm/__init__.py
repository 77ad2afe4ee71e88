"""The ceremony's HSM: settings, a token initialised under derived PINs, the root key proven inside it."""

from ceremony.hsm.cryptoki import PinLimits
from ceremony.hsm.pins import Pins, PinsFound, finish_replacing, replace_pins, take_back, try_pins
from ceremony.hsm.root_key import check_attributes, generate_root_key, key_attributes
from ceremony.hsm.settings import HsmSettings, load_hsm_settings
from ceremony.hsm.tokens import (
    check_blank,
    habits_of,
    hsm_random,
    initialise_token,
    initialise_with,
    open_token,
)
from shared.keystore import CaHsmKey, Token, TokenInfo, TokenObject

__all__ = [
    "CaHsmKey",
    "HsmSettings",
    "PinLimits",
    "Pins",
    "PinsFound",
    "Token",
    "TokenInfo",
    "TokenObject",
    "check_attributes",
    "check_blank",
    "finish_replacing",
    "generate_root_key",
    "habits_of",
    "hsm_random",
    "initialise_token",
    "initialise_with",
    "key_attributes",
    "load_hsm_settings",
    "open_token",
    "replace_pins",
    "take_back",
    "try_pins",
]
