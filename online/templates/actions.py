"""The few actions (``{{ … }}``) of step-ca's template texts that stand for a whole JSON value.

step-ca runs a text template over what a client sent and reads the result as JSON; quotes and braces in a name have
changed the structure of certificates that way (its issue 435). Here nothing is ever put into text: the text is the
operator's alone, is turned into JSON when the configuration is read, and a placeholder in it is a value of its own.

Accepted are

* ``{{ toJson .Subject }}``, ``{{ toJson .SANs }}``, ``{{ toJson .Subject.CommonName }}`` and ``{{ toJson .Name }}`` for
  a ``Name`` of ``templateData``, as a JSON value, bare or as a whole JSON text, with or without ``toJson``;
* ``{{ if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }} … {{ else }} … {{ end }}``, as step-ca's default templates
  have it: such a template is read twice, once for RSA keys and once for all others.

Invariant: everything else is refused by name, with what to do instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from shared.errors import RequestRejected, Unsupported
from shared.names import printable

_PLACEHOLDER = re.compile(
    r"\{\{-?\s*(?:toJson\s+)?\.(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.CommonName)?)\s*-?\}\}", re.ASCII
)
_BARE = re.compile(r"(?:toJson\s+)?\.(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.CommonName)?)", re.ASCII)
_IF_RSA = re.compile(r'if\s+typeIs\s+"\*rsa\.PublicKey"\s+\.Insecure\.CR\.PublicKey', re.ASCII)
_SHOWN = 60

# The first word or path that fits decides about the advice.
_ADVICE = (
    (".Insecure.CR", "what the request says never decides; write the value itself, or {{ toJson .SANs }}"),
    (".Insecure.User", "what the client says never decides; write the value itself, or put it into templateData"),
    (".Insecure", "what nobody verified never decides; write the value itself, or put it into templateData"),
    (".Token", "a leaf takes only subject and SANs from its token; put other values into templateData"),
    (".AuthorizationCrt", "put the value into templateData"),
    (".AuthorizationChain", "put the value into templateData"),
    (".Webhooks", "the node calls no webhooks; put the value into templateData"),
    ("fail", "forbid names by a policy beside the provisioner's claims"),
    ("if", "write one provisioner with one template for each case"),
    ("range", "write the list itself, or {{ toJson .SANs }}"),
    ("with", "write one provisioner with one template for each case"),
)
_OTHERWISE = "write the value itself, {{ toJson .Subject }}, {{ toJson .SANs }}, or {{ toJson .NAME }} of templateData"


class _Branch(Enum):
    """For which keys a piece of a template is."""

    ALL = auto()
    RSA = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    branch: _Branch
    text: str


def placeholder(text: str) -> str | None:
    """Return the name in a JSON text that is a placeholder as a whole; ``None`` when it is none.

    Args:
        text: the value of a JSON text, for example ``{{ toJson .Subject.CommonName }}``.
    """
    match = _PLACEHOLDER.fullmatch(text)
    return match["name"] if match is not None else None


def refuse_action(action: str, *, path: str) -> Unsupported:
    """Make the error for an action that is not supported.

    Args:
        action: with or without its braces.
        path: dotted path of the template, or of the value in it.
    """
    inner = action.strip().removeprefix("{{").removesuffix("}}").strip("- \t\r\n")
    words = inner.split()
    for word, advice in _ADVICE:
        if any(each == word or each.strip("()").startswith(f"{word}.") for each in words) or (
            word.startswith(".") and word in inner
        ):
            return _unsupported(inner, path, advice)
    return _unsupported(inner, path, _OTHERWISE)


def to_json_texts(template: str, *, path: str) -> tuple[str, str]:
    """Turn a template text into two JSON texts in which every placeholder is a JSON text as a whole.

    Args:
        template: as the operator wrote it.
        path: its dotted path.

    Returns:
        The text for RSA keys, and the text for all others.

    Raises:
        RequestRejected: ``config.malformed`` for braces or branches that do not match up.
        Unsupported: ``config.unsupported-template``.
    """
    pieces = list(_pieces(template, path))
    return (
        "".join(each.text for each in pieces if each.branch is not _Branch.OTHER),
        "".join(each.text for each in pieces if each.branch is not _Branch.RSA),
    )


def _pieces(template: str, path: str) -> Iterator[_Piece]:
    branch, position = _Branch.ALL, 0
    for start, end in _actions(template, path):
        yield _Piece(branch=branch, text=template[position:start])
        position = end
        inner = template[start + 2 : end - 2].removeprefix("-").removesuffix("-").strip()
        bare = _BARE.fullmatch(inner)
        if bare is not None:
            yield _Piece(branch=branch, text=f'"{{{{ toJson .{bare["name"]} }}}}"')
        elif branch is _Branch.ALL and _IF_RSA.fullmatch(inner):
            branch = _Branch.RSA
        elif branch is _Branch.RSA and inner == "else":
            branch = _Branch.OTHER
        elif branch is not _Branch.ALL and inner == "end":
            branch = _Branch.ALL
        elif inner in {"else", "end"}:
            raise RequestRejected("config.malformed", f"{path}: {{{{ {inner} }}}} has no {{{{ if }}}} before it")
        else:
            raise refuse_action(inner, path=path)
    if branch is not _Branch.ALL:
        raise RequestRejected("config.malformed", f"{path}: {{{{ if }}}} has no {{{{ end }}}}")
    yield _Piece(branch=branch, text=template[position:])


def _actions(template: str, path: str) -> Iterator[tuple[int, int]]:
    """Find the actions that stand outside of JSON texts: begin and end, braces included."""
    position = 0
    while position < len(template):
        if template[position] == '"':
            position = _after_json_text(template, position)
        elif template.startswith("{{", position):
            end = _after_action(template, position, path)
            yield position, end
            position = end
        else:
            position += 1


def _after_json_text(template: str, start: int) -> int:
    position = start + 1
    while position < len(template) and template[position] != '"':
        position += 2 if template[position] == "\\" else 1
    # An unterminated text runs to the end; the JSON parser says where it began.
    return min(position + 1, len(template))


def _after_action(template: str, start: int, path: str) -> int:
    position = start + 2
    while position < len(template):
        if template[position] == '"':
            position = _after_json_text(template, position)
        elif template.startswith("}}", position):
            return position + 2
        else:
            position += 1
    line = template.count("\n", 0, start) + 1
    raise RequestRejected("config.malformed", f"{path}: the {{{{ in line {line} has no }}}}")


def _unsupported(inner: str, path: str, advice: str) -> Unsupported:
    return Unsupported(
        "config.unsupported-template",
        f"{path}: the template action {{{{ {printable(inner, limit=_SHOWN)} }}}} is not supported",
        hint=advice,
    )
