"""Private keys, in files and in HSMs, behind one door: ``open_key`` by URI."""

from shared.keystore.hsm_keys import CaHsmKey, HsmEcKey, HsmEd25519Key, HsmKey, HsmMlDsaKey, HsmRsaKey
from shared.keystore.module import Module, TokenInfo, load_module
from shared.keystore.objects import TokenObject
from shared.keystore.opening import create_key, open_key
from shared.keystore.pkcs11 import Token, require_mechanism
from shared.keystore.quirks import Quirks, quirks_named
from shared.keystore.software import KeyCipher, load_private_key, private_key_pem, read_private_key
from shared.keystore.uri import FileUri, KeyUri, Pkcs11Uri, find_module, is_pkcs11, parse_key_uri
from shared.keystore.wrapping import Unwrapped, WrapMechanism, WrappedKey
from shared.terminal import SecretCallback

__all__ = [
    "CaHsmKey",
    "FileUri",
    "HsmEcKey",
    "HsmEd25519Key",
    "HsmKey",
    "HsmMlDsaKey",
    "HsmRsaKey",
    "KeyCipher",
    "KeyUri",
    "Module",
    "Pkcs11Uri",
    "Quirks",
    "SecretCallback",
    "Token",
    "TokenInfo",
    "TokenObject",
    "Unwrapped",
    "WrapMechanism",
    "WrappedKey",
    "create_key",
    "find_module",
    "is_pkcs11",
    "load_module",
    "load_private_key",
    "open_key",
    "parse_key_uri",
    "private_key_pem",
    "quirks_named",
    "read_private_key",
    "require_mechanism",
]
