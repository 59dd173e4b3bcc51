"""Backgrounds of the rendered scenes, indoors and outdoors, by day, at sunset and at night."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageOps

CANVAS = 256  #: Scenes are drawn at this width and height (px) and then made smaller, which smooths edges.
INDOORS = ("kitchen", "living room", "bedroom", "table", "plain")
SKIES = {
    "day": ((150, 205, 245), (225, 242, 252)),
    "sunset": ((245, 150, 110), (253, 225, 150)),
    "night": ((22, 28, 66), (60, 74, 130)),
}


def backdrop(place: str, light: str, rng: np.random.Generator) -> Image.Image:
    """The surroundings of a scene, RGB and `CANVAS` px wide and high, their details at random."""
    if place == "plain":
        tone = rng.integers(185, 245, 3).tolist()
        return _fade(tuple(tone), tuple(part - 30 for part in tone))
    picture = _fade(*SKIES[light])
    pen = ImageDraw.Draw(picture)
    if place in INDOORS:
        _INDOOR[place](pen, rng)
        return picture
    if light == "night":
        for x, y in rng.uniform(0, (256, 110), (18, 2)):
            pen.ellipse((x, y, x + 2, y + 2), fill=(255, 255, 220))
    x, y = rng.uniform((20, 18), (236, 50))
    sun = {"day": (255, 220, 80), "sunset": (255, 240, 170), "night": (240, 240, 225)}[light]
    pen.ellipse((x - 13, y - 13, x + 13, y + 13), fill=sun)
    if light != "night" or place == "sky":
        for _ in range(rng.integers(5, 8) if place == "sky" else rng.integers(0, 3)):
            x, y, r = rng.uniform(0, 256), rng.uniform(20, 235 if place == "sky" else 75), rng.uniform(12, 24)
            for shift, size in ((-1.1, 0.75), (0, 1.0), (1.1, 0.7)):
                left, right, h = x + (shift - size) * r, x + (shift + size) * r, size * r * 0.7
                pen.ellipse((left, y - h, right, y + h), fill=(250, 250, 252))
    dim = {"day": 1.0, "sunset": 0.85, "night": 0.5}[light]
    _OUTDOOR[place](pen, rng, lambda *colour: tuple(int(dim * part) for part in colour))
    return picture


def _fade(above: tuple, below: tuple) -> Image.Image:
    """One colour above that turns into another below."""
    return ImageOps.colorize(Image.linear_gradient("L").resize((CANVAS, CANVAS)), above, below)


def _hills(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: tuple, top: float, n: int = 3) -> None:
    for x in np.linspace(0, 256, n) + rng.uniform(-30, 30, n):
        r, h = rng.uniform(70, 120), rng.uniform(15, 45)
        pen.ellipse((x - r, top - h, x + r, top + h), fill=colour)


def _field(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    _hills(pen, rng, shade(130, 180, 95), 145)
    pen.rectangle((0, 140, 256, 256), fill=shade(165, 205, 105))
    for x, y in rng.uniform((0, 150), (256, 256), (40, 2)):
        pen.line((x, y, x + 2, y - 6), fill=shade(105, 155, 70), width=2)
    for x, y in rng.uniform((0, 150), (256, 256), (rng.integers(0, 14), 2)):
        pen.ellipse((x, y, x + 4, y + 4), fill=shade(250, 240, 245))


def _beach(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    top = rng.uniform(100, 125)
    pen.rectangle((0, top, 256, 256), fill=shade(80, 165, 205))
    waves = rng.uniform(150, 166) + 5 * np.sin(np.arange(9) + rng.uniform(0, 6))
    shore = np.column_stack([np.linspace(0, 256, 9), waves])
    for edge, colour in ((shore - (0, 5), (240, 248, 250)), (shore, (242, 222, 165))):
        pen.polygon([*map(tuple, edge), (256, 256), (0, 256)], fill=shade(*colour))
    for x, y in rng.uniform((0, 175), (256, 256), (30, 2)):
        pen.point((x, y), fill=shade(190, 165, 110))


def _sea(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    top = rng.uniform(85, 115)
    pen.rectangle((0, top, 256, 256), fill=shade(70, 150, 205))
    for x, y in rng.uniform((0, top + 8), (240, 250), (26, 2)):
        pen.arc((x, y, x + 18, y + 8), 200, 340, fill=shade(200, 230, 245), width=2)


def _street(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    x = -5.0
    while x < 256:
        w, h = rng.uniform(30, 58), rng.uniform(55, 125)
        tone = shade(*rng.integers(140, 215, 3))
        pen.rectangle((x, 165 - h, x + w, 165), fill=tone, outline=shade(95, 95, 105))
        lit = (255, 235, 140) if shade(255)[0] < 150 else (225, 240, 250)
        for column in np.arange(x + 6, x + w - 9, 12).tolist():
            for row in np.arange(172 - h, 152, 17).tolist():
                pen.rectangle((column, row, column + 6, row + 9), fill=lit)
        x += w
    pen.rectangle((0, 165, 256, 180), fill=shade(200, 196, 190))
    pen.rectangle((0, 180, 256, 256), fill=shade(115, 117, 125))
    for x in np.arange(rng.uniform(-40, 0), 256, 44).tolist():
        pen.rectangle((x, 216, x + 24, 220), fill=shade(240, 240, 235))


def _snow(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    for x in np.linspace(20, 236, 4) + rng.uniform(-25, 25, 4):
        h, w = rng.uniform(50, 95), rng.uniform(45, 75)
        pen.polygon([(x - w, 150), (x, 150 - h), (x + w, 150)], fill=shade(140, 152, 172))
        cap = [(x - w * 0.3, 150 - h * 0.7), (x, 150 - h), (x + w * 0.3, 150 - h * 0.7)]
        pen.polygon(cap, fill=shade(245, 248, 252))
    _hills(pen, rng, shade(225, 234, 244), 155)
    pen.rectangle((0, 152, 256, 256), fill=shade(240, 245, 250))
    for x, y in rng.uniform(0, 256, (rng.integers(0, 45), 2)):
        pen.ellipse((x, y, x + 3, y + 3), fill=(255, 255, 255))


def _desert(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    for top, colour in ((135, (232, 190, 120)), (160, (225, 175, 100)), (190, (214, 160, 88))):
        _hills(pen, rng, shade(*colour), top, 2)
        pen.rectangle((0, top, 256, 256), fill=shade(*colour))


def _forest(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    for y, tone in ((150, (70, 120, 80)), (165, (50, 98, 62))):
        for x in np.linspace(-10, 266, 9) + rng.uniform(-12, 12, 9):
            h, w = rng.uniform(70, 125), rng.uniform(16, 26)
            pen.rectangle((x - 3, y - 12, x + 3, y + 8), fill=shade(95, 70, 50))
            pen.polygon([(x - w, y - 10), (x, y - h), (x + w, y - 10)], fill=shade(*tone))
    pen.rectangle((0, 165, 256, 256), fill=shade(110, 135, 75))
    for x, y in rng.uniform((0, 168), (256, 256), (40, 2)):
        pen.ellipse((x, y, x + 5, y + 3), fill=shade(150, 110, 60))


def _sky(pen: ImageDraw.ImageDraw, rng: np.random.Generator, shade: Callable) -> None:
    pen.rectangle((0, 236, 256, 256), fill=shade(140, 180, 115))


def _kitchen(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, 256, 256), fill=_one(rng, (250, 240, 215), (225, 238, 230), (238, 230, 240)))
    for x in range(0, 256, 16):
        pen.line((x, 95, x, 165), fill=(215, 215, 210))
    for y in range(95, 166, 14):
        pen.line((0, y, 256, y), fill=(215, 215, 210))
    tone = _one(rng, (170, 120, 80), (130, 155, 165), (200, 160, 110))
    for x in (4, 70, 190):
        pen.rectangle((x, 6, x + 60, 62), fill=tone, outline=(90, 70, 55), width=2)
        pen.ellipse((x + 48, 40, x + 54, 46), fill=(240, 235, 225))
    _window(pen, 138, 12, 46, 60, (190, 222, 245))
    pen.rectangle((0, 165, 256, 178), fill=(225, 220, 212), outline=(140, 130, 120))
    pen.rectangle((0, 178, 256, 256), fill=tone)
    for x in (0, 64, 128, 192):
        pen.rectangle((x + 4, 184, x + 60, 254), outline=(90, 70, 55), width=2)


def _window(pen: ImageDraw.ImageDraw, x: float, y: float, w: float, h: float, pane: tuple) -> None:
    pen.rectangle((x, y, x + w, y + h), fill=pane, outline=(120, 90, 65), width=4)
    pen.line((x + w / 2, y, x + w / 2, y + h), fill=(120, 90, 65), width=3)
    pen.line((x, y + h / 2, x + w, y + h / 2), fill=(120, 90, 65), width=3)


def _room(pen: ImageDraw.ImageDraw, wall: tuple, floor: tuple, boards: tuple = ()) -> None:
    pen.rectangle((0, 0, 256, 185), fill=wall)
    pen.rectangle((0, 185, 256, 256), fill=floor)
    for y in boards:
        pen.line((0, y, 256, y), fill=(150, 105, 65))
    pen.rectangle((0, 180, 256, 186), fill=(245, 240, 232))


def _living_room(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _room(pen, _one(rng, (235, 205, 180), (200, 215, 200), (240, 225, 190)), (186, 138, 92), (202, 220, 240))
    _window(pen, rng.uniform(10, 70), 30, 70, 80, (185, 220, 245))
    x = rng.uniform(120, 190)
    pen.rectangle((x, 40, x + 52, 82), fill=(250, 248, 240), outline=(110, 75, 45), width=4)
    pen.polygon([(x + 6, 76), (x + 22, 54), (x + 46, 76)], fill=(110, 150, 110))
    pen.ellipse((30, 205, 226, 252), fill=_one(rng, (170, 70, 70), (80, 100, 150), (120, 140, 90)))


def _bedroom(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _room(pen, _one(rng, (205, 200, 230), (190, 210, 230), (235, 205, 215)), (205, 190, 175))
    x = rng.uniform(90, 150)
    _window(pen, x, 28, 64, 78, (60, 75, 125))
    for side in (x - 16, x + 56):
        pen.rectangle((side, 22, side + 24, 120), fill=(225, 150, 140))
    x = 12 if x > 120 else 218
    pen.rectangle((x + 8, 130, x + 13, 185), fill=(120, 95, 75))
    pen.polygon([(x - 4, 130), (x + 4, 100), (x + 17, 100), (x + 25, 130)], fill=(250, 225, 150))


def _table(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    wall = _one(rng, (225, 230, 225), (240, 225, 205), (205, 220, 232), (235, 215, 220))
    pen.rectangle((0, 0, 256, 256), fill=wall)
    wood = _one(rng, (176, 122, 76), (205, 160, 110), (140, 95, 62))
    pen.rectangle((0, 135, 256, 256), fill=wood)
    for y in (142, 165, 192, 224):
        pen.line((0, y, 256, y), fill=tuple(part - 22 for part in wood), width=2)


def _one(rng: np.random.Generator, *colours: tuple) -> tuple:
    return tuple(rng.choice(colours).tolist())


_INDOOR: dict[str, Callable] = {
    "kitchen": _kitchen, "living room": _living_room, "bedroom": _bedroom, "table": _table
}  # fmt: skip
_OUTDOOR: dict[str, Callable] = {
    "field": _field, "beach": _beach, "sea": _sea, "street": _street, "snow": _snow, "desert": _desert,
    "forest": _forest, "sky": _sky,
}  # fmt: skip
