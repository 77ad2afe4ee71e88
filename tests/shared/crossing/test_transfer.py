"""Carrying a bundle: the file and the images give the same bytes, and nothing half-written or half-read passes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from fakes.ur_vectors import published_message
from PIL import Image

from shared import durable
from shared.crossing import qr, transfer
from shared.crossing.bundle import Bundle, Purpose, digest
from shared.errors import Fatal, RequestRejected

REQUEST = Bundle(
    purpose=Purpose.INTERMEDIATE_REQUEST, identifier="0f" * 16, members={"request.csr": published_message(277)}
)
REPLY = Bundle(
    purpose=Purpose.INTERMEDIATE_REPLY,
    identifier="f0" * 16,
    in_reply_to=digest(REQUEST.encode()).hex(),
    members={"intermediate.crt": published_message(633), "root.crt": published_message(590)[::-1]},
)


def write(directory: Path, stem: str, bundle: Bundle) -> list[Path]:
    """Write a bundle as the programs do."""
    with durable.Staging() as staging:
        return transfer.stage_bundle(staging, directory, stem, bundle.encode())


def refused(paths: list[Path], purpose: Purpose = Purpose.INTERMEDIATE_REPLY) -> RequestRejected:
    """Return the error with which files are refused."""
    with pytest.raises(RequestRejected) as caught:
        transfer.read_bundle(paths, purpose=purpose)
    return caught.value


@pytest.fixture
def reply(tmp_path: Path) -> list[Path]:
    """Write the reply; returns the bundle file and its four images."""
    paths = write(tmp_path, "reply", REPLY)
    assert [path.name for path in paths] == ["reply.bundle", *(f"reply-{number}.png" for number in range(1, 5))]
    return paths


def test_file_and_images_give_the_same_bytes(reply: list[Path]) -> None:
    """Whoever carries the stick and whoever carries the sheets must end up with one digest."""
    from_file = transfer.read_bundle(reply[:1], purpose=Purpose.INTERMEDIATE_REPLY)
    from_images = transfer.read_bundle(reply[:0:-1], purpose=Purpose.INTERMEDIATE_REPLY)
    from_both = transfer.read_bundle(reply, purpose=Purpose.INTERMEDIATE_REPLY)
    assert from_file == from_images == from_both == (REPLY, REPLY.encode())


def test_written_files_are_the_same_on_every_run(tmp_path: Path, reply: list[Path]) -> None:
    """Sheets printed twice are compared by eye; files by their digest."""
    again = tmp_path / "again"
    again.mkdir()
    for first, second in zip(reply, write(again, "reply", REPLY), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_content_decides_not_the_name(tmp_path: Path, reply: list[Path]) -> None:
    """Cameras and mail programs rename files."""
    renamed = [path.rename(tmp_path / f"DSC{number}.dat") for number, path in enumerate(reply)]
    for paths in (renamed[:1], renamed[1:]):
        assert transfer.read_bundle(paths, purpose=Purpose.INTERMEDIATE_REPLY)[1] == REPLY.encode()


def test_a_mixed_frame_stands_in_for_a_lost_one(tmp_path: Path, reply: list[Path]) -> None:
    """A running screen shows frames beyond the printed ones; a photograph of one of them replaces a lost sheet."""
    encoder = qr.frame_encoder(REPLY.encode())
    photographs = []
    for number in range(5, 25):
        path = tmp_path / f"screen-{number}.png"
        path.write_bytes(qr.draw_frame(encoder.frame(number)))
        photographs.append(path)
    paths = [reply[1], reply[4], *photographs]
    assert transfer.read_bundle(paths, purpose=Purpose.INTERMEDIATE_REPLY)[1] == REPLY.encode()


def test_file_and_images_of_different_bundles_are_refused(tmp_path: Path, reply: list[Path]) -> None:
    """Taking either of the two would be a guess about what the people compared."""
    other = Bundle(purpose=REPLY.purpose, identifier="aa" * 16, in_reply_to=REPLY.in_reply_to, members=REPLY.members)
    second = write(tmp_path, "other", other)
    for paths in ([second[0], *reply[1:]], [reply[0], second[0]]):
        error = refused(paths)
        assert error.code == "bundle.differ"
    assert refused([*reply[1:], second[2]]).code == "frame.foreign"


def test_missing_frame_is_named_even_beside_the_file(reply: list[Path]) -> None:
    """A sheet that was forgotten must be noticed, not covered up by the stick."""
    assert refused(reply[1:3] + reply[4:]).message == "frame 3 of 4 is missing"
    error = refused(reply[:3] + reply[4:])
    assert error.code == "frame.missing"
    assert error.message == f"the images beside {reply[0]} are incomplete: frame 3 of 4 is missing"
    assert error.hint == "give all of its images, or only the bundle file"


def test_wrong_purpose_is_refused_both_ways(tmp_path: Path, reply: list[Path]) -> None:
    """The request carried back as the answer, or the answer as a request."""
    request = write(tmp_path, "request", REQUEST)
    for paths in (request[:1], request[1:]):
        assert refused(paths).code == "bundle.wrong-purpose"
    for paths in (reply[:1], reply[1:]):
        assert refused(paths, Purpose.INTERMEDIATE_REQUEST).code == "bundle.wrong-purpose"


def test_damaged_file_is_named(reply: list[Path]) -> None:
    """With several files on the command line the person must know which one."""
    text = reply[0].read_bytes()
    reply[0].write_bytes(text.replace(b"f0f0", b"f0f1", 1))
    error = refused(reply[:1])
    assert error.code == "bundle.damaged"
    assert error.message == f"{reply[0]}: the bundle's checksum does not fit its content"


def test_payload_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """Frames can carry anything; only a bundle is taken from them."""
    path = tmp_path / "hello.png"
    path.write_bytes(qr.encode_pngs(b"hello")[0])
    assert refused([path]).code == "bundle.malformed"


def test_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    """A wild card that matched nothing, or the whole stick."""
    assert refused([]).code == "bundle.no-file"
    assert refused([tmp_path / "x"] * (qr.MOST_IMAGES + 1)).code == "bundle.too-many-files"


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """Missing, a directory, a FIFO, a dangling link, a loop, a device without end: one line each, and no hanging."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, code in (
        ("missing", "file.missing"),
        (".", "image.none"),
        ("fifo", "file.not-regular"),
        ("dangling", "file.missing"),
        ("loop", "file.unreadable"),
    ):
        assert refused([tmp_path / name]).code == code
    assert refused([Path("/dev/zero")]).code == "file.not-regular"


def test_an_existing_file_stops_all(tmp_path: Path) -> None:
    """Half a set of new images among old ones is the way to a mixed message."""
    (tmp_path / "reply-3.png").write_bytes(b"old")
    with pytest.raises(RequestRejected, match=r"reply-3\.png already exists"):
        write(tmp_path, "reply", REPLY)
    assert [path.name for path in tmp_path.iterdir()] == ["reply-3.png"]


def test_only_a_bundle_is_written(tmp_path: Path) -> None:
    """A file that the reader refuses must not leave in the first place."""
    with durable.Staging() as staging, pytest.raises(RequestRejected):
        transfer.stage_bundle(staging, tmp_path, "junk", b"junk")
    assert not list(tmp_path.iterdir())


def test_images_that_do_not_read_back_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawing library gone wrong must be found on this side of the gap."""
    blank = io.BytesIO()
    Image.new("1", (100, 100), 1).save(blank, format="PNG")
    for images in ((blank.getvalue(),), qr.encode_pngs(b"something else")):
        monkeypatch.setattr(qr, "encode_pngs", lambda _, images=images: images)
        with durable.Staging() as staging, pytest.raises(Fatal) as caught:
            transfer.stage_bundle(staging, tmp_path, "reply", REPLY.encode())
        assert caught.value.code == "frame.unreadable"
    assert not list(tmp_path.iterdir())
