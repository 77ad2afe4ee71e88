"""Names of keys: paths, file: and pkcs11: URIs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ColdrootError, NotFound, RequestRejected, Unsupported
from shared.keystore import FileUri, Pkcs11Uri, find_module, is_pkcs11, parse_key_uri

MODULE = "?module-path=/opt/m.so"


def pkcs11(text: str) -> Pkcs11Uri:
    parsed = parse_key_uri(text)
    assert isinstance(parsed, Pkcs11Uri)
    return parsed


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("secrets/key", "/home/ca/secrets/key"),
        ("/abs/key", "/abs/key"),
        ("file:secrets/key", "/home/ca/secrets/key"),
        ("file:/abs/key", "/abs/key"),
        ("file:///abs/a%20key", "/abs/a key"),
        ("file://localhost/abs/key", "/abs/key"),
        ("./awskms:key", "/home/ca/awskms:key"),
    ],
)
def test_file_forms(text: str, path: str) -> None:
    """An existing step-ca configuration names its key by a path; a wrong base would open another file."""
    assert parse_key_uri(text, base=Path("/home/ca")) == FileUri(path=Path(path))


def test_all_attributes_are_read() -> None:
    """A selector that were dropped could select another key."""
    parsed = parse_key_uri(
        "pkcs11:token=my%20token;serial=0a1b;manufacturer=M;model=X;object=root%3Bkey;id=%01%02%FF;type=private"
        "?module-path=/opt/m.so&module-name=m&pin-source=file:/run/pin",
        base=Path("/home"),
    )
    assert parsed == Pkcs11Uri(
        module_path=Path("/opt/m.so"),
        module_name="m",
        token="my token",
        serial="0a1b",
        manufacturer="M",
        model="X",
        label="root;key",
        key_id=b"\x01\x02\xff",
        pin_file=Path("/run/pin"),
    )


def test_step_writes_the_module_before_the_question_mark() -> None:
    """Operators bring their URIs from step-ca, whose documentation puts module-path among the selectors."""
    assert pkcs11("pkcs11:module-path=/opt/m.so;token=t;object=k").module_path == Path("/opt/m.so")


def test_relative_pin_source() -> None:
    """A PIN file beside ca.json must be found whatever the working directory is."""
    parsed = parse_key_uri("pkcs11:object=k?module-name=m&pin-source=pin.txt", base=Path("/home/ca"))
    assert isinstance(parsed, Pkcs11Uri)
    assert parsed.pin_file == Path("/home/ca/pin.txt")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "key-uri.malformed"),
        ("a\nb", "key-uri.malformed"),
        ("x" * 5000, "key-uri.malformed"),
        ("file:", "key-uri.file"),
        ("file://host/key", "key-uri.file"),
        ("file:%0a", "key-uri.malformed"),
        ("pkcs11:", "key-uri.no-key"),
        ("pkcs11:token=t" + MODULE, "key-uri.no-key"),
        ("pkcs11:object=k", "key-uri.no-module"),
        ("pkcs11:object=k?module-path=relative.so", "key-uri.module-path"),
        ("pkcs11:object=k;object=l" + MODULE, "key-uri.malformed"),
        ("pkcs11:object" + MODULE, "key-uri.malformed"),
        ("pkcs11:object=" + MODULE, "key-uri.malformed"),
        ("pkcs11:object=%f" + MODULE, "key-uri.malformed"),
        ("pkcs11:object=%ff" + MODULE, "key-uri.malformed"),
        ("pkcs11:object=%00" + MODULE, "key-uri.malformed"),
        ("pkcs11:object=k;type=cert" + MODULE, "key-uri.type"),
        ("pkcs11:object=k?token=t&module-path=/m", "key-uri.attribute"),
        ("pkcs11:object=k;slot-id=0" + MODULE, "key-uri.attribute"),
        ("pkcs11:object=k" + MODULE + "&pin-source=|/bin/sh", "key-uri.pin-source"),
        ("pkcs11:object=k" + MODULE + "&pin-source=https://x/", "key-uri.pin-source"),
        ("awskms:key-id=1", "key-uri.scheme"),
        ("yubikey:slot-id=9c", "key-uri.scheme"),
    ],
)
def test_refused(text: str, code: str) -> None:
    """What is not understood must be an error that names its kind, or another key would be used."""
    with pytest.raises(RequestRejected) as caught:
        parse_key_uri(text)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["pkcs11:object=k;pin-value=8642", "pkcs11:object=k?pin-value=8642&module-name=m"])
def test_a_pin_in_the_uri_is_refused_and_not_repeated(text: str) -> None:
    """URIs stand in configurations and process lists; an error that quotes one would leak the PIN into logs."""
    with pytest.raises(RequestRejected) as caught:
        parse_key_uri(text)
    assert caught.value.code == "key-uri.pin-value"
    assert "8642" not in str(caught.value) + str(caught.value.hint)


def test_a_mistyped_pin_value_is_not_repeated() -> None:
    """The value behind a mistyped attribute name may be the PIN."""
    with pytest.raises(Unsupported) as caught:
        parse_key_uri("pkcs11:object=k?pin-valu=8642&module-name=m")
    assert "8642" not in str(caught.value) + str(caught.value.hint)


def test_is_pkcs11() -> None:
    """A node must know early whether its key is in an HSM: it then opens it after the fork."""
    assert is_pkcs11("pkcs11:object=k")
    assert is_pkcs11("PKCS11:object=k")
    assert not is_pkcs11("secrets/pkcs11")
    assert not is_pkcs11("./pkcs11:x")


def test_a_module_that_is_not_there() -> None:
    """A missing package must be named with the way to get it, not end in a loader's message."""
    with pytest.raises(NotFound) as caught:
        find_module("no-such-module")
    assert caught.value.code == "hsm.module-missing"
    with pytest.raises(RequestRejected):
        find_module("../evil")


@settings(max_examples=150)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A parser that crashes on strange input shows a traceback instead of one line."""
    for each in (text, "pkcs11:" + text, "file:" + text):
        try:
            parse_key_uri(each)
        except ColdrootError:
            continue


_LABELS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)


@settings(max_examples=100)
@given(_LABELS, _LABELS, st.binary(min_size=1, max_size=20))
def test_escaped_values_come_back(token: str, label: str, key_id: bytes) -> None:
    """A label with a reserved character must select exactly the key that bears it."""
    uri = f"pkcs11:token={quote(token, safe='')};object={quote(label, safe='')};id={quote(key_id, safe='')}"
    parsed = pkcs11(uri + MODULE)
    assert (parsed.token, parsed.label, parsed.key_id) == (token, label, key_id)
