"""Photographs of codes as tired people take them: crooked, blurred, dark, folded. The same pixels on every run.

``CONDITIONS`` are nineteen ways in which a picture suffers; each takes a clean code and what decides the noise.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Mapping

from PIL import Image, ImageChops, ImageFilter

Condition = Callable[[Image.Image, random.Random], Image.Image]

WHITE = 255
# The standard deviation of bytes that are equally likely.
_UNIFORM = 73.9


def photograph(png: bytes, condition: str, *, seed: int) -> bytes:
    """Take a picture of a drawn code under a condition.

    Args:
        png: the code, sharp.
        condition: one of ``CONDITIONS``.
        seed: decides the noise.
    """
    chance = random.Random(seed)  # noqa: S311 (the same picture on every run)
    sharp = Image.open(io.BytesIO(png)).convert("L")
    # On a table: something around the sheet is in every picture.
    margin = sharp.width // 8
    table = Image.new("L", (sharp.width + 2 * margin, sharp.height + 2 * margin), WHITE)
    table.paste(sharp, (margin, margin))
    taken = CONDITIONS[condition](table, chance)
    file = io.BytesIO()
    taken.save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _turned(degrees: float) -> Condition:
    return lambda image, _: image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE)


def _blurred(radius: float) -> Condition:
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(radius))


def _noisy(deviation: float) -> Condition:
    def take(image: Image.Image, chance: random.Random) -> Image.Image:
        grain = Image.frombytes("L", image.size, chance.randbytes(image.width * image.height))
        table = [round(128 + (value - 127.5) * deviation / _UNIFORM) for value in range(256)]
        return ImageChops.add(image, grain.point([min(255, max(0, each)) for each in table]), 1, -128)

    return take


def _tilted(amount: float) -> Condition:
    """One side is further away: the picture is a trapezium."""

    def take(image: Image.Image, _: random.Random) -> Image.Image:
        width, height = image.size
        data = (
            1 + amount, 0, 0,
            height * amount / (2 * width), 1 + amount, -height * amount / 2,
            amount / width, 0,
        )  # fmt: skip
        return image.transform(image.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BICUBIC, fillcolor=WHITE)

    return take


def _scaled(factor: float) -> Condition:
    return lambda image, _: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR
    )


def _lit_from_one_side(darkest: float) -> Condition:
    def take(image: Image.Image, _: random.Random) -> Image.Image:
        light = Image.linear_gradient("L").rotate(90).resize(image.size)
        return ImageChops.multiply(image, light.point([round(255 * darkest + v * (1 - darkest)) for v in range(256)]))

    return take


def _in_shadow(brightness: float) -> Condition:
    """A hand's shadow lies over half of it, with a hard edge."""

    def take(image: Image.Image, _: random.Random) -> Image.Image:
        mask = Image.new("L", image.size, round(255 * brightness))
        mask.paste(WHITE, (0, 0, image.width // 2, image.height))
        return ImageChops.multiply(image, mask.rotate(20, fillcolor=WHITE))

    return take


def _curved(height: float) -> Condition:
    """The page of an open book: straight lines are bent."""

    def take(image: Image.Image, _: random.Random) -> Image.Image:
        strips = 24
        mesh = []
        for number in range(strips):
            left, right = (image.width * each // strips for each in (number, number + 1))
            up, down = (round(height * image.height * math.sin(math.pi * x / image.width)) for x in (left, right))
            quad = (left, up, left, image.height + up, right, image.height + down, right, down)
            mesh.append(((left, 0, right, image.height), quad))
        return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR, fillcolor=WHITE)

    return take


def _compressed(quality: int) -> Condition:
    def take(image: Image.Image, _: random.Random) -> Image.Image:
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue())).convert("L")

    return take


def _together(*conditions: Condition) -> Condition:
    def take(image: Image.Image, chance: random.Random) -> Image.Image:
        for condition in conditions:
            image = condition(image, chance)
        return image

    return take


CONDITIONS: Mapping[str, Condition] = {
    "clean": lambda image, _: image,
    "turned by 10 degrees": _turned(10),
    "turned by 37 degrees": _turned(37),
    "turned by 171 degrees": _turned(171),
    "blurred": _blurred(2),
    "much blurred": _blurred(4),
    "noisy": _noisy(25),
    "very noisy": _noisy(60),
    "tilted": _tilted(0.16),
    "much tilted": _tilted(0.32),
    "half the size": _scaled(0.5),
    "a third of the size": _scaled(1 / 3),
    "lit from one side": _lit_from_one_side(0.2),
    "half in shadow": _in_shadow(0.35),
    "on a curved page": _curved(0.05),
    "much compressed": _compressed(20),
    "a good photograph": _together(_turned(4), _tilted(0.06), _blurred(1), _noisy(8), _compressed(80)),
    "a fair photograph": _together(
        _turned(8), _tilted(0.1), _lit_from_one_side(0.4), _blurred(1.6), _noisy(15), _compressed(60)
    ),
    "a bad photograph": _together(
        _curved(0.03), _turned(12), _tilted(0.12), _scaled(0.7), _blurred(2.2), _noisy(15), _compressed(50)
    ),
}
