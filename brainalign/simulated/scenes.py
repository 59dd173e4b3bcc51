"""Rendered scenes of OpenMoji figures, with captions as different people might write them."""

from __future__ import annotations

import functools
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from brainalign import assets
from brainalign.datasets.types import Stimuli
from brainalign.simulated.backdrops import CANVAS, INDOORS, backdrop

__all__ = ["Scene", "compose", "describe", "draw", "render_scenes"]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUPERCATEGORIES = ("person", "animal", "food", "place", "vehicle")
"""Columns of the categories that sum up others; a place is a drawn surrounding, a building or a plant outdoors."""

PLACE_WEIGHTS = {
    "field": 13, "beach": 8, "sea": 7, "street": 11, "snow": 6, "desert": 5, "forest": 6, "sky": 5,
    "kitchen": 9, "living room": 8, "bedroom": 4, "table": 6, "plain": 34,
}  # fmt: skip
KIND_WEIGHTS = {
    "person": 1.2, "face": 1.4, "animal": 1.1, "food": 1.2, "vehicle": 1.0, "building": 0.8, "plant": 0.2, "object": 0.2
}  # fmt: skip
RELATIONS = {
    "beside": (("next to", "beside", "near", "close to"), ("next to", "beside", "near", "close to")),
    "left": (("to the left of", "on the left side of", "next to"), ("to the right of", "next to", "near")),
    "front": (("in front of",), ("behind",)),
    "above": (("above", "over", "high above"), ("below", "under", "beneath")),
    "on": (("on", "on top of"), ("under", "beneath", "below")),
}
"""How people say that the subject lies so to the other things, and that the other things lie so to the subject."""


class Figure(NamedTuple):
    """A thing as drawn: centre `x`, `bottom` and `size` (its longer side) in canvas widths, and whether mirrored."""

    thing: str
    x: float
    bottom: float
    size: float
    mirrored: bool


class Group(NamedTuple):
    """So many of a thing."""

    thing: str
    count: int = 1  # type: ignore[assignment]  # hides a method of tuple


@dataclass(frozen=True)
class Scene:
    """What is in a picture.

    Parameters
    ----------
    place, light : str
        A key of the lexicon's places; "day", "sunset" or "night".
    subject : Group
        What the picture is about.
    verb : str
        What it does, a key of the lexicon's verbs.
    target : str or None
        The thing that people handle.
    other, relation : Group and str, or None
        What else there is, and how the subject lies to it, a key of `RELATIONS`.
    figures : tuple of Figure
        From the farthest to the nearest.
    backdrop : int
        Seed of the background's details.
    """

    place: str
    light: str
    subject: Group
    verb: str
    target: str | None
    other: Group | None
    relation: str | None
    figures: tuple[Figure, ...]
    backdrop: int

    @property
    def labels(self) -> set[str]:
        """Categories of all that is drawn, supercategories among them."""
        found = set()
        for thing in {figure.thing for figure in self.figures}:
            entry = lexicon()["things"][thing]
            found |= set(entry["label"].split()) if entry["kind"] == "person" else {entry["label"]}
            kind = {"face": "person", "building": "place", "plant": "place"}.get(entry["kind"], entry["kind"])
            found |= {kind} & set(SUPERCATEGORIES)
        # what a rider or a rower has is part of the figure
        found |= {
            above for part, above in (("bicycle", "vehicle"), ("boat", "vehicle"), ("horse", "animal")) if part in found
        }
        return found | ({self.place, "place"} if lexicon()["places"][self.place]["category"] else set())


@functools.cache
def lexicon() -> dict[str, dict]:
    """Places, things and verbs (scenes.toml), alternatives split into lists."""
    tables = tomllib.loads((Path(__file__).parents[1] / "data" / "scenes.toml").read_text(encoding="utf-8"))
    for name, thing in tables["things"].items():
        thing["label"] = thing.get("label", name)
        thing["places"] = [place.replace("_", " ") for place in thing["places"].split()]
        thing["does"] = thing.get("does", "").split()
        thing["size"] = thing.get("size", 1.0)
    for table, fields in (("places", ("names", "where")), ("things", ("names", "adjectives"))):
        for entry in tables[table].values():
            for field in fields:
                entry[field] = [text for text in entry.get(field, "").split("|") if text]
    tables["verbs"] = {name: list(map(_verb, text.split("|"))) for name, text in tables["verbs"].items()}
    return tables


def render_scenes(n_images: int, *, size: int = 128, n_captions: int = 5, seed: int = 0) -> Stimuli:
    """Scenes of people, animals, food, vehicles and buildings in different places, with captions and categories.

    A scene has a subject (one to four of a thing), what it does, often a thing that it handles or another group that
    it stands in a relation to, a place and a time of day. Captions choose words, the order of things and what to leave
    out at random; at least one caption of a scene leaves out nothing that is labelled.

    Parameters
    ----------
    n_images : int
    size : int
        Height and width (px).
    n_captions : int
        Captions a scene.
    seed : int
        Scene i depends on it and on i alone, whatever `n_images` is.

    Returns
    -------
    Stimuli
        Images are named 0 to ``n_images - 1``. The categories are `SUPERCATEGORIES` and the labels of the lexicon.

    Raises
    ------
    ValueError
        For sizes that leave nothing to draw.
    """
    if n_images < 1 or n_captions < 1 or not 16 <= size <= CANVAS:
        raise ValueError(
            f"n_images, n_captions, size: expected at least 1, 1 and from 16 to {CANVAS} px, got {n_images}, "
            f"{n_captions} and {size}."
        )
    images = np.empty((n_images, size, size, 3), dtype=np.uint8)
    texts, labels = [], []
    for index in range(n_images):
        rng = np.random.default_rng([seed, index])
        scene = compose(rng)
        images[index] = draw(scene, size)
        texts += describe(scene, n_captions, rng)
        labels.append(scene.labels)
    names = pd.Index(range(n_images), name="image")
    captions = pd.DataFrame(
        {"image": names.repeat(n_captions), "caption": texts, "caption_id": range(n_images * n_captions)}
    )
    table = {label: [label in found for found in labels] for label in all_labels()}
    return Stimuli(images, captions, pd.DataFrame(table, index=names))


@functools.cache
def all_labels() -> tuple[str, ...]:
    """Supercategories, then all other labels that a scene can have, in the lexicon's order."""
    things = lexicon()["things"].values()
    named = [label for t in things for label in (t["label"].split() if t["kind"] == "person" else [t["label"]])]
    places = [name for name, place in lexicon()["places"].items() if place["category"]]
    return tuple(dict.fromkeys([*SUPERCATEGORIES, *named, *places]))


# What is in a scene --------------------------------------------------------------------------------------------------


def compose(rng: np.random.Generator) -> Scene:
    """Draw a scene at random."""
    things = lexicon()["things"]
    place = _choose(PLACE_WEIGHTS, rng)
    light = "day" if place in INDOORS else str(rng.choice(["day", "sunset", "night"], p=[0.7, 0.15, 0.15]))
    here = [name for name, thing in things.items() if place in thing["places"]]
    kinds = {kind: weight for kind, weight in KIND_WEIGHTS.items() if any(things[t]["kind"] == kind for t in here)}
    kind = _choose(kinds, rng)
    thing = str(rng.choice([name for name in here if things[name]["kind"] == kind]))
    few = kind in ("face", "building", "plant")
    subject = Group(thing, 1 + int(rng.choice(4, p=[0.75, 0.25, 0, 0] if few else [0.5, 0.25, 0.15, 0.1])))
    target = _target(place, here, rng) if kind == "face" else None
    other = relation = None
    if rng.random() < (0.2 if target else 0.6):
        other, relation = _other(subject, place, here, target, rng)
    if target:
        verb = things[target]["use"]
    elif things[thing]["does"]:
        verb = str(rng.choice(things[thing]["does"]))
    else:
        verb = {"face": "smile", "object": "put"}.get(kind, "serve" if place in ("table", "kitchen") else "rest")
    figures = _arrange(subject, target, other, relation, place, rng)
    return Scene(place, light, subject, verb, target, other, relation, figures, int(rng.integers(2**31)))


def _target(place: str, here: list[str], rng: np.random.Generator) -> str | None:
    """Something to handle: what is at hand there, or food, which people bring anywhere."""
    things = lexicon()["things"]
    wanted = _choose({"food": 0.4, "object": 0.25, "animal": 0.15, None: 0.2}, rng)
    usable = [t for t, entry in things.items() if "use" in entry and entry["kind"] == wanted]
    usable = usable if wanted == "food" else [t for t in usable if t in here]
    return str(rng.choice(usable)) if usable else None


def _other(subject: Group, place: str, here: list[str], target: str | None, rng: np.random.Generator) -> tuple:
    """Another group and the relation of the subject to it; (None, None) where nothing else fits."""
    things = lexicon()["things"]
    one = things[subject.thing]
    low = [t for t, entry in things.items() if entry["kind"] in ("building", "plant") and "field" in entry["places"]]
    candidates = here + (low if place == "sky" else [])
    taken = {one["label"], things[target]["label"] if target else None}
    candidates = [
        t
        for t in candidates
        if things[t]["label"] not in taken
        and things[t]["kind"] != "face"
        or (things[t]["kind"] == "face" and one["kind"] == "face" and t != subject.thing and not target)
    ]
    if one["kind"] in ("building", "plant"):
        candidates = [t for t in candidates if things[t]["kind"] in ("building", "plant", "vehicle")]
    if not candidates:
        return None, None
    other = str(rng.choice(candidates))
    two = things[other]
    if place == "sky":
        relation = "above" if other in low else "beside"
    elif two.get("rest") and one["kind"] == "animal" and one["size"] <= 0.8 and subject.count <= 2:
        relation = "on"
    elif two["size"] >= 1.3 and one["size"] < two["size"] and one["kind"] != "face" and place != "sea":
        relation = "front"
    else:
        # beside something that is handled there is no telling which side is meant
        relation = "beside" if target else str(rng.choice(["beside", "beside", "left"]))
    count = (
        1 if relation in ("on", "front", "above") or two["kind"] in ("face", "building") else int(rng.integers(1, 3))
    )
    return Group(other, count), relation


def _arrange(
    subject: Group, target: Any, other: Any, relation: str | None, place: str, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """Places for all figures, such that each can be seen."""
    ground = {"sky": 0.75, "sea": 0.88, "table": 0.86}.get(place, 0.93) + rng.uniform(-0.03, 0.03)
    face = lexicon()["things"][subject.thing]["kind"] == "face"
    if target:
        ground = 1.0
    left = bool(rng.random() < 0.5) or relation == "left"
    middle = 0.5 if face or not other else np.clip(subject.count / (subject.count + other.count), 0.4, 0.65)
    halves = ((0.03, middle), (middle, 0.97)) if left else ((1 - middle, 0.97), (0.03, 1 - middle))
    row = functools.partial(_row, rng=rng)
    if relation is None and target is None:
        shift = rng.uniform(-0.08, 0.08)
        return row(subject, (0.06 + shift, 0.94 + shift), 1.0 if face else ground, 0.7 if face else 0.52)
    if relation is None:
        hand = row(Group(target), (0.56, 0.98) if left else (0.02, 0.44), rng.uniform(0.86, 0.97), 0.42)
        return row(subject, (0.0, 0.66) if left else (0.34, 1.0), 1.0, 0.68) + hand
    if target:
        outer, inner, hand = ((0.0, 0.3), (0.3, 0.72), (0.68, 1.0)) if left else ((0.7, 1.0), (0.28, 0.7), (0.0, 0.32))
        return (
            *row(other, outer, 0.95, 0.36), *row(subject, inner, 1.0, 0.56),
            *row(Group(target), hand, rng.uniform(0.84, 0.95), 0.3),
        )  # fmt: skip
    if relation == "front":
        behind = row(other, (0.12, 0.88), ground - 0.16, 0.48)
        return behind + row(subject, (0.02, 0.55) if left else (0.45, 0.98), min(ground + 0.04, 0.98), 0.36)
    if relation == "above":
        return row(other, (0.2, 0.8), 0.98, 0.36) + row(subject, (0.1, 0.9), 0.42, 0.34)
    if relation == "on":
        (below,) = row(other, (0.15, 0.85), ground, 0.48)
        top = below.bottom - below.size * _aspect(other.thing)[1]
        # what stands on something overlaps its upper edge a little
        return (below, *row(subject, (below.x - 0.2, below.x + 0.2), top + 0.06, 0.3))
    base = 1.0 if face else ground
    return row(other, halves[1], ground, 0.46) + row(subject, halves[0], base, 0.56 if face else 0.46)


def _row(
    group: Group, span: tuple[float, float], bottom: float, size: float, *, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """A group side by side between two horizontal positions, the nearer (lower) ones last."""
    slot = (span[1] - span[0]) / group.count
    wanted = size * lexicon()["things"][group.thing]["size"] * rng.uniform(0.85, 1.1) * (0.85 if group.count > 1 else 1)
    width, height = _aspect(group.thing)
    size = min(wanted, 1.05 * slot / width, 0.95 * bottom / height)
    mirrored = bool(rng.random() < 0.5)
    steps = rng.uniform(-0.04, 0.0, group.count) if bottom < 1 and group.count > 1 else np.zeros(group.count)
    centres = span[0] + (np.arange(group.count) + 0.5 + rng.uniform(-0.06, 0.06, group.count)) * slot
    figures = [
        Figure(group.thing, float(x), float(bottom + s), float(size), mirrored)
        for x, s in zip(centres, steps, strict=True)
    ]
    return tuple(sorted(figures, key=lambda figure: figure.bottom))


# Captions ------------------------------------------------------------------------------------------------------------


TIMES = {
    "sunset": ("at sunset", "in the evening", "at dusk"),
    "night": ("at night", "in the dark", "under the moon"),
}
COUNTS = {
    2: ("two", "two", "a couple of", "a pair of", ""),
    3: ("three", "three", "a group of", "several", ""),
    4: ("four", "four", "several", "a group of", "some"),
}
IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "gentleman": "gentlemen",
    "policeman": "policemen", "swordsman": "swordsmen", "sheep": "sheep", "fish": "fish", "deer": "deer",
    "loaf": "loaves", "cactus": "cacti", "half": "halves",
}  # fmt: skip


class Verb(NamedTuple):
    """Third person, base, -ing and past participle ("" where there is no passive), and an object that goes with it."""

    third: str
    base: str
    ing: str
    participle: str
    object: str


class Phrase(NamedTuple):
    """A noun phrase, and whether the verb that follows is in the plural."""

    text: str
    plural: bool

    @property
    def be(self) -> str:
        """The form of "to be" that goes with it."""
        return "are" if self.plural else "is"


PATTERNS = (
    ("{A} {doing}{near}{where}{when}", 5, True),
    ("{A} {is_doing}{near}{where}{when}", 3, True),
    ("{A} {does}{near}{where}{when}", 2, True),
    ("there {is} {A} {doing}{near}{where}{when}", 2, True),
    ("{there}, {A} {is_doing}{near}{when}", 1.5, True),
    ("{O} {O_is} being {participle} by {A}{near}{where}{when}", 2.5, True),
    ("{B}{far} {A} {doing}{where}{when}", 1.5, True),
    ("{place} with {A} {doing}{near}{when}", 1, True),
    ("{A} can be seen {doing}{near}{where}{when}", 1, True),
    ("{A} {who} {is_doing}{where} {is}{near_B}", 0.8, True),
    ("{picture} of {A} {doing}{near}{where}{when}", 1, True),
    ("{A}{near}{where}{when}", 2, False),
    ("{A} {is}{near_B}{where}{when}", 1, False),
    ("{A} and {B}{where}{when}", 1.5, False),
    ("{A} with {T}{where}{when}", 1.5, False),
    ("{place} with {A} and {B}{when}", 0.7, False),
    ("{place} with {A}{when}", 0.7, False),
    ("there {is} {A}{near}{where}{when}", 1, False),
)
"""Sentence patterns, how often each is used where it fits, and whether it leaves nothing out: A the subject, B the
other group, O what A's verb takes, T the thing handled. `near`, `where` and `when` may be empty."""


def describe(scene: Scene, n_captions: int, rng: np.random.Generator) -> list[str]:
    """Captions of a scene, no two alike if that can be had; one of them names all that is labelled."""
    complete = rng.integers(n_captions)
    captions: list[str] = []
    for number in range(n_captions):
        for _ in range(10):
            caption = _caption(scene, rng, complete=number == complete)
            if caption not in captions and len(caption.split()) > 3:
                break
        captions.append(caption)
    return captions


def _caption(scene: Scene, rng: np.random.Generator, *, complete: bool) -> str:
    said = _phrases(scene, rng, complete=complete)
    fitting = {
        pattern: weight
        for pattern, weight, says_all in PATTERNS
        if (says_all or not complete) and all(said[field] for field in _fields(pattern) - {"near", "where", "when"})
    }
    text = _choose(fitting, rng).format_map(said)
    return text[0].upper() + text[1:] + "."


@functools.cache
def _fields(pattern: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(pattern) if field}


def _phrases(scene: Scene, rng: np.random.Generator, *, complete: bool) -> dict[str, str]:
    """What the fields of `PATTERNS` stand for in one caption; "" where there is nothing to say."""
    place = lexicon()["places"][scene.place]
    personal = lexicon()["things"][scene.subject.thing]["kind"] in ("person", "face")
    subject = noun_phrase(scene.subject, rng)
    verb = _pick(lexicon()["verbs"][scene.verb], rng)
    if scene.target:
        taken = noun_phrase(Group(scene.target), rng)
    elif verb.object.startswith("~"):
        taken = Phrase(verb.object[1:], True)
    elif verb.object:
        several = scene.subject.count > 1
        taken = Phrase(plural(verb.object) if several else with_article(verb.object), several)
    else:
        taken = Phrase("", False)
    here, there = RELATIONS[scene.relation] if scene.relation else ((), ())
    other = noun_phrase(scene.other, rng).text if scene.other else ""
    near = f" {_pick(here, rng)} {other}" if other else ""
    where = f" {_pick(place['where'], rng)}" if place["where"] else ""
    doing = f"{verb.ing} {taken.text}".strip()
    does = f"{verb.base if subject.plural else verb.third} {taken.text}".strip()
    return {
        "A": subject.text,
        "is": subject.be,
        "who": "who" if personal else "that",
        "doing": doing,
        "does": does,
        # "is parked" is in the present tense already
        "is_doing": does if verb.third.startswith("is ") else f"{subject.be} {doing}",
        "O": taken.text,
        "O_is": taken.be,
        "participle": verb.participle,
        "T": taken.text if scene.target else "",
        "B": other,
        "near_B": near,
        "far": f" {_pick(there, rng)}" if other else "",
        "near": near if complete or rng.random() < 0.65 else "",
        "where": where if complete or rng.random() < 0.65 else "",
        "there": where.strip(),
        "when": f" {_pick(TIMES[scene.light], rng)}" if scene.light != "day" and rng.random() < 0.7 else "",
        "place": with_article(_pick(place["names"], rng)),
        "picture": _pick(
            ("a picture", "a view", "an image", "a close-up" if scene.place == "plain" else "a scene"), rng
        ),
    }


def noun_phrase(group: Group, rng: np.random.Generator) -> Phrase:
    """ "a brown dog", "two puppies", "a group of dogs"; the group is in the singular, a couple in the plural."""
    entry = lexicon()["things"][group.thing]
    noun = _pick(entry["names"], rng)
    if entry["adjectives"] and rng.random() < 0.35:
        adjective = _pick(entry["adjectives"], rng)
        noun = noun if set(adjective.split()) & set(noun.split()) else f"{adjective} {noun}"
    if group.count == 1:
        return Phrase(with_article(noun), False)
    # nobody says "a group of slices of pizza"
    quantities = [text for text in COUNTS[group.count] if " of " not in noun or not text.endswith("of")]
    quantity = _pick(quantities, rng)
    return Phrase(f"{quantity} {plural(noun)}".strip(), quantity not in ("a pair of", "a group of"))


def plural(noun: str) -> str:
    """The plural of a noun with what comes before and after its head ("slice of pizza", "brown dog")."""
    for link in (" of ", " with "):
        head, found, rest = noun.partition(link)
        if found:
            return plural(head) + link + rest
    before, space, head = noun.rpartition(" ")
    if head in IRREGULAR:
        head = IRREGULAR[head]
    elif head.endswith(("s", "x", "ch", "sh")) or head in ("tomato", "potato"):
        head += "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "s"
    return before + space + head


def with_article(noun: str) -> str:
    """The noun with its indefinite article; no noun of the lexicon has a silent h or begins like "unit"."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def _verb(text: str) -> Verb:
    """Read an entry of the lexicon: "rides/ride/riding/ridden + bicycle"."""
    forms, _, object_ = text.partition(" + ")
    third, base, ing, *participle = forms.split("/")
    return Verb(third, base, ing, participle[0] if participle else "", object_)


def _pick(choices: Any, rng: np.random.Generator) -> Any:
    return choices[rng.integers(len(choices))]


def _choose(weights: dict, rng: np.random.Generator) -> Any:
    share = np.array(list(weights.values()), dtype=float)
    return list(weights)[rng.choice(len(weights), p=share / share.sum())]


# Pictures ------------------------------------------------------------------------------------------------------------


def draw(scene: Scene, size: int = 128) -> np.ndarray:
    """The picture of a scene, shape (size, size, 3), uint8."""
    picture = backdrop(scene.place, scene.light, np.random.default_rng(scene.backdrop))
    for figure in scene.figures:
        glyph = _glyph(lexicon()["things"][figure.thing]["glyph"], max(4 * round(figure.size * CANVAS / 4), 8))
        glyph = ImageOps.mirror(glyph) if figure.mirrored else glyph
        left = round(figure.x * CANVAS - glyph.width / 2)
        picture.paste(glyph, (left, round(figure.bottom * CANVAS - glyph.height)), glyph)
    return np.asarray(
        picture.resize((size, size), Image.Resampling.BOX if CANVAS % size == 0 else Image.Resampling.LANCZOS)
    )


@functools.lru_cache(maxsize=4096)
def _glyph(character: str, size: int) -> Image.Image:
    """A figure with a transparent background, its longer side `size` px."""
    master = _master(character)
    scale = size / max(master.size)
    return master.resize(
        (max(round(master.width * scale), 1), max(round(master.height * scale), 1)), Image.Resampling.LANCZOS
    )


@functools.cache
def _master(character: str) -> Image.Image:
    """A figure drawn large, cut to what is not transparent."""
    # the basic layout needs no library beside Pillow, and each figure is a single character
    font = ImageFont.truetype(str(assets.fetch("openmoji")), 2 * CANVAS, layout_engine=ImageFont.Layout.BASIC)
    picture = Image.new("RGBA", (3 * CANVAS, 3 * CANVAS))
    ImageDraw.Draw(picture).text((CANVAS * 3 // 2,) * 2, character, font=font, embedded_color=True, anchor="mm")
    return picture.crop(picture.getbbox()).reduce(2)


@functools.cache
def _aspect(thing: str) -> tuple[float, float]:
    """Width and height of a figure over its longer side."""
    width, height = _master(lexicon()["things"][thing]["glyph"]).size
    return width / max(width, height), height / max(width, height)
