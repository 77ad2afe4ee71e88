"""A share from an image of its sheet's QR code: a scan or a photograph.

The image holds the secret. Whoever made it should have made it on this machine, and removes it afterwards; the
program says so, and removes nothing that it did not write.
"""

from __future__ import annotations

from pathlib import Path

from ceremony.share_words import EnteredShare, is_envelope, parse_share
from shared.crossing.qr import read_codes, shown
from shared.errors import RequestRejected


def scan_share(path: Path) -> EnteredShare:
    """Read the one share that an image shows.

    Args:
        path: a PNG or JPEG file.

    Raises:
        RequestRejected: ``file.*``, ``image.*``; ``share.not-a-share`` when its code is another one;
            ``share.several`` when it shows more than one sheet; or as ``parse_share``.
    """
    codes = {text for text in read_codes(path) if is_envelope(text)}
    if not codes:
        raise RequestRejected("share.not-a-share", f"{shown(path)}: the code is not that of a share sheet")
    if len(codes) > 1:
        raise RequestRejected(
            "share.several", f"{shown(path)} shows {len(codes)} share sheets", hint="take one image of each sheet"
        )
    try:
        return parse_share(codes.pop())
    except RequestRejected as error:
        raise RequestRejected(error.code, f"{shown(path)}: {error.message}", hint=error.hint) from None
