"""Reading a template: step-ca's ``options.x509.template`` and ``templateData``, as typed JSON.

A template is a JSON object; each value is fixed by the operator, or is a placeholder as a whole (see
``online.templates.actions``). What may stand where follows from the field: a placeholder for a list of names is no
common name.

Invariants: whatever a leaf must not have (the powers of a CA, validity, serial number, extensions in raw DER) is
refused by name; nothing of a template is ignored in silence.
"""

from __future__ import annotations

import base64
import binascii

from online.strict_json import Fields, Json, JsonObject, parse_object, wrong_type
from online.templates import extensions
from online.templates.actions import placeholder, refuse_action, to_json_texts
from online.templates.fill import join_sans, typed_san
from online.templates.shape import LeafShape, LeafTemplate, SanKind, SansShape, Slot
from online.templates.subject import COMMON_NAME, SUBJECT_KEYS, SubjectShape, check_attribute
from shared.errors import RequestRejected, Unsupported
from shared.names import SanSet, printable

LARGEST_TEMPLATE = 64 << 10
_RESERVED = frozenset(
    {"Subject", "SANs", "Token", "AuthorizationCrt", "AuthorizationChain", "Webhooks", "Insecure", "CR", "User"}
)
# Plain text, as it stands among the other JSON values of a template.
_SLOTS = {"Subject": Slot.SUBJECT.value, "SANs": Slot.SANS.value, "Subject.CommonName": Slot.COMMON_NAME.value}
_SAN_FIELDS = {
    "dnsNames": SanKind.DNS,
    "emailAddresses": SanKind.EMAIL,
    "ipAddresses": SanKind.IP,
    "uris": SanKind.URI,
}
_KNOWN = frozenset({"subject", "sans", *_SAN_FIELDS, *extensions.FIELDS})
_BY_CLAIMS = "remove it: claims and the request decide about validity"
_BY_ISSUER = "remove it: it follows from the issuer"
_UNSUPPORTED = {
    "version": "remove it: certificates are version 3",
    "issuer": _BY_ISSUER,
    "authorityKeyId": _BY_ISSUER,
    "signatureAlgorithm": _BY_ISSUER,
    "subjectKeyId": "remove it: it follows from the key",
    "serialNumber": "remove it: serial numbers are drawn at random",
    "rawSubject": "write the attributes into subject",
    "notBefore": _BY_CLAIMS,
    "notAfter": _BY_CLAIMS,
    "extensions": "remove it: raw extensions cannot be checked; use the typed fields",
    "nameConstraints": "remove it: only CAs have name constraints",
    "unknownExtKeyUsage": "name the usages in extKeyUsage",
}
_SUBJECT_UNSUPPORTED = {"extraNames": "remove it: use the attributes that have names"}

# step-ca's default leaf template says the same.
DEFAULT_TEMPLATE = LeafTemplate(
    rsa=LeafShape(subject=SubjectShape(), sans=SansShape(from_token=True)),
    other=LeafShape(subject=SubjectShape(), sans=SansShape(from_token=True)),
)


def parse_template(template: Json, *, path: str, data: Json = None, data_path: str = "templateData") -> LeafTemplate:
    """Read a template.

    Args:
        template: an object, or its JSON text, in Base64 or not.
        path: its dotted path.
        data: the object ``templateData``, if there is one.
        data_path: its dotted path.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    values = _data(data, data_path)
    if isinstance(template, dict):
        shape = _shape(_resolve(template, path, values), path)
        return LeafTemplate(rsa=shape, other=shape)
    if not isinstance(template, str):
        raise wrong_type(path, "an object or its JSON text", template)
    if len(template) > LARGEST_TEMPLATE:
        raise RequestRejected("config.malformed", f"{path} is longer than {LARGEST_TEMPLATE} characters")
    rsa, other = (
        _shape(_resolve(_document(text, path), path, values), path)
        for text in to_json_texts(_decoded(template, path), path=path)
    )
    return LeafTemplate(rsa=rsa, other=other)


def _decoded(template: str, path: str) -> str:
    if template.lstrip().startswith("{"):
        return template
    try:
        return base64.b64decode("".join(template.split()), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise RequestRejected(
            "config.malformed", f"{path} is not a JSON object, nor one in Base64", hint="begin it with a brace"
        ) from None


def _document(text: str, path: str) -> JsonObject:
    return parse_object(text.encode("utf-8", "surrogatepass"), what=f"template at {path}", room="config")


def _data(data: Json, path: str) -> JsonObject:
    """Check ``templateData``: values only, and none in the name of something that is verified."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise wrong_type(path, "an object", data)
    for key, value in data.items():
        if key in _RESERVED:
            raise RequestRejected(
                "config.malformed", f"{path}.{printable(key)} has a name that stands for something else in templates"
            )
        _refuse_actions(value, f"{path}.{printable(key)}")
    return data


def _refuse_actions(value: Json, path: str) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _refuse_actions(key, path)
            _refuse_actions(each, f"{path}.{printable(key)}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _refuse_actions(each, f"{path}[{index}]")
    elif isinstance(value, str) and ("{{" in value or "}}" in value):
        raise RequestRejected("config.malformed", f"{path} has braces of a template, and is none")


def _resolve(value: Json, path: str, data: JsonObject) -> Json:
    """Bring placeholders into the one form that ``Slot`` has, and put in the values of ``templateData``."""
    if isinstance(value, dict):
        for key in value:
            _refuse_actions(key, f"{path}: a key")
        return {key: _resolve(each, f"{path}.{printable(key)}", data) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each, f"{path}[{index}]", data) for index, each in enumerate(value)]
    if not isinstance(value, str) or ("{{" not in value and "}}" not in value):
        return value
    name = placeholder(value)
    if name is None and value.strip().startswith("{{") and value.strip().endswith("}}"):
        raise refuse_action(value, path=path)
    if name is None:
        raise Unsupported(
            "config.unsupported-template",
            f"{path} mixes text with template actions",
            hint="a placeholder is a value as a whole; write the whole value, or put it into templateData",
        )
    if name in _SLOTS:
        return _SLOTS[name]
    if name in data:
        return data[name]
    raise refuse_action(f".{name}", path=path)


def _shape(document: Json, path: str) -> LeafShape:
    found = Fields(document, path=path, known=_KNOWN, unsupported=_UNSUPPORTED)
    return LeafShape(
        subject=_subject(found),
        sans=_sans(found),
        purposes=extensions.purposes(found),
        extended_key_usage=extensions.extended_key_usage(found),
        extensions=extensions.further(found),
    )


def _subject(found: Fields) -> SubjectShape:
    value, path = found.raw("subject"), found.at("subject")
    if value is None:
        return SubjectShape(from_token=False)
    if isinstance(value, str):
        # A text in place of the object is the common name, in step-ca too.
        if value == Slot.SUBJECT:
            return SubjectShape()
        value = {COMMON_NAME: value}
    block = Fields(value, path=path, known=SUBJECT_KEYS, unsupported=_SUBJECT_UNSUPPORTED)
    common = block.raw(COMMON_NAME)
    from_token = common == Slot.COMMON_NAME
    fixed = {
        key: tuple(
            check_attribute(key, text, path=where)
            for where, text in extensions.fixed_texts(block, key, single=key in {COMMON_NAME, "serialNumber"})
        )
        for key in sorted(SUBJECT_KEYS)
        if key in block and not (key == COMMON_NAME and from_token)
    }
    own = fixed.pop(COMMON_NAME, ())
    return SubjectShape(
        from_token=from_token,
        common_name=own[0] if own else None,
        attributes=tuple((key, texts) for key, texts in fixed.items() if texts),
    )


def _sans(found: Fields) -> SansShape:
    from_token, fixed, subject_as = False, SanSet(), set[SanKind]()
    for path, kind, text in _named(found):
        if text == Slot.SANS:
            from_token = True
        elif text == Slot.COMMON_NAME:
            subject_as.add(kind)
        elif text == Slot.SUBJECT:
            raise extensions.misplaced(path)
        else:
            fixed = join_sans(fixed, _fixed_san(kind, text, path))
    if not (from_token or fixed or subject_as):
        raise RequestRejected(
            "config.malformed",
            f"{found.at('sans')} is missing: a leaf needs alternative names",
            hint='write "sans": {{ toJson .SANs }}',
        )
    return SansShape(from_token=from_token, fixed=fixed, subject_as=frozenset(subject_as))


def _named(found: Fields) -> list[tuple[str, SanKind, str]]:
    """List every alternative name of a template: dotted path, kind, and text or slot."""
    named: list[tuple[str, SanKind, str]] = []
    if found.raw("sans") == Slot.SANS:
        named.append((found.at("sans"), SanKind.AUTO, Slot.SANS))
    else:
        for path, value in found.items("sans"):
            entry = Fields(value, path=path, known={"type", "value"}, unsupported={"asn1Value": "use type and value"})
            named.append((path, _san_kind(entry), entry.text("value")))
    for key, kind in _SAN_FIELDS.items():
        for path, text in extensions.texts(found, key):
            if text == Slot.SANS:
                raise extensions.misplaced(path)
            named.append((path, kind, text))
    return named


def _san_kind(entry: Fields) -> SanKind:
    kind = entry.text("type", default=SanKind.AUTO).lower()
    try:
        return SanKind(kind)
    except ValueError:
        raise Unsupported(
            "config.unsupported-template",
            f"{entry.at('type')}: alternative names of the type {printable(kind)} are not supported",
            hint=f"types are {', '.join(SanKind)}",
        ) from None


def _fixed_san(kind: SanKind, text: str, path: str) -> SanSet:
    try:
        return typed_san(kind, text)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{path}: {error.message}") from None
