"""Rendered scenes of OpenMoji figures, with captions as different people might write them."""

from __future__ import annotations

import functools
import string
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from brainalign import assets
from brainalign._checks import whole
from brainalign.datasets.types import Stimuli
from brainalign.simulated.backdrops import CANVAS, INDOORS, backdrop

__all__ = ["render_scenes"]

SIZE, N_CAPTIONS = 128, 5
#: Categories that sum up others; a place is a drawn surrounding, a building or a plant outdoors.
SUPERCATEGORIES = ("person", "animal", "food", "place", "vehicle")

Figure = namedtuple("Figure", "thing x bottom size mirrored")  # centre, foot and longer side in canvas widths
Group = namedtuple("Group", "thing count", defaults=[1])
Verb = namedtuple("Verb", "third base ing participle object")  # no participle: no passive; the object goes with it
Phrase = namedtuple("Phrase", "text plural")


@dataclass(frozen=True)
class Scene:
    """What is in a picture: its words are keys of the lexicon, its figures go from the farthest to the nearest."""

    place: str
    light: str
    subject: Group  # what the picture is about
    verb: str
    target: str | None  # the thing that people handle
    other: Group | None  # what else there is
    relation: str | None  # how the subject lies to it
    figures: tuple[Figure, ...]
    backdrop: int  # seed of the background's details

    @property
    def labels(self) -> set[str]:
        """Categories of all that is drawn, supercategories among them."""
        found = set()
        for thing in {figure.thing for figure in self.figures}:
            entry = lexicon()["things"][thing]
            kind = {"face": "person", "building": "place", "plant": "place"}.get(entry["kind"], entry["kind"])
            found |= {*entry["labels"]} | ({kind} & set(SUPERCATEGORIES))
        # what a rider or a rower has is part of the figure
        parts = (("bicycle", "vehicle"), ("boat", "vehicle"), ("horse", "animal"))
        found |= {above for part, above in parts if part in found}
        return found | ({self.place, "place"} if lexicon()["places"][self.place]["category"] else set())


@functools.cache
def lexicon() -> dict[str, Any]:
    """What scenes are made of and how people speak of it (scenes.toml), alternatives split into lists."""
    tables = assets.read_toml(Path(__file__).parents[1] / "data" / "scenes.toml")
    for name, thing in tables["things"].items():
        label = thing.setdefault("label", name)
        thing["labels"] = label.split() if thing["kind"] == "person" else [label]
        thing["places"] = [place.replace("_", " ") for place in thing["places"].split()]
        thing["does"] = thing.get("does", "").split()
        thing.setdefault("size", 1.0)
    split = {"places": ("names", "where"), "things": ("names", "adjectives"), "relations": ("here", "there")}
    for table, fields in split.items():
        for entry in tables[table].values():
            entry |= {field: [text for text in entry.get(field, "").split("|") if text] for field in fields}
    for table in ("verbs", "times", "counts"):
        tables[table] = {name: text.split("|") for name, text in tables[table].items()}
    for name, texts in tables["verbs"].items():
        parts = (text.partition(" + ") for text in texts)
        tables["verbs"][name] = [Verb._make([*f"{forms}/".split("/")[:4], taken]) for forms, _, taken in parts]
    for pattern in tables["patterns"]:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern[0]) if field}
        pattern.append(fields - {"near", "where", "when"})
    return tables


def render_scenes(n_images: int, *, seed: int = 0) -> Stimuli:
    """Scenes of people, animals, food, vehicles and buildings in different places, with captions and categories.

    A scene has a subject (one to four of a thing), what it does, often a thing that it handles or another group that
    it stands in a relation to, a place and a time of day. Captions choose words, the order of things and what to leave
    out at random; at least one of a scene's five leaves out nothing that is labelled. Images are 128 px wide and high
    and named from 0; the categories are `SUPERCATEGORIES` and the labels of the lexicon. Scene i depends on `seed` and
    on i alone, whatever `n_images` is.
    """
    images = np.empty((whole("n_images", n_images), SIZE, SIZE, 3), dtype=np.uint8)
    texts, found = [], []
    for index in range(n_images):
        rng = np.random.default_rng([seed, index])
        scene = compose(rng)
        images[index] = draw(scene)
        texts += describe(scene, rng)
        found.append(scene.labels)
    names = pd.Index(range(n_images), name="image")
    captions = pd.DataFrame({"image": names.repeat(N_CAPTIONS), "caption": texts, "caption_id": range(len(texts))})
    # supercategories, then all other labels that a scene can have, in the lexicon's order
    things, places = lexicon()["things"].values(), lexicon()["places"].items()
    labels = [label for thing in things for label in thing["labels"]]
    labels = dict.fromkeys([*SUPERCATEGORIES, *labels, *(name for name, place in places if place["category"])])
    table = {label: [label in here for here in found] for label in labels}
    return Stimuli(images, captions, pd.DataFrame(table, index=names))


def compose(rng: np.random.Generator) -> Scene:
    """Draw a scene at random."""
    things = lexicon()["things"]
    place = _choose({name: entry["weight"] for name, entry in lexicon()["places"].items()}, rng)
    light = "day" if place in INDOORS else str(rng.choice(["day", "sunset", "night"], p=[0.7, 0.15, 0.15]))
    here = [name for name, thing in things.items() if place in thing["places"]]
    present = {things[name]["kind"] for name in here}
    kind = _choose({name: weight for name, weight in lexicon()["kinds"].items() if name in present}, rng)
    thing = str(rng.choice([name for name in here if things[name]["kind"] == kind]))
    few = kind in ("face", "building", "plant")
    subject = Group(thing, 1 + int(rng.choice(4, p=[0.75, 0.25, 0, 0] if few else [0.5, 0.25, 0.15, 0.1])))
    target = None
    if kind == "face":  # with something to handle: what is at hand there, or food, which people bring anywhere
        wanted = _choose({"food": 0.4, "object": 0.25, "animal": 0.15, None: 0.2}, rng)
        usable = [name for name, entry in things.items() if "use" in entry and entry["kind"] == wanted]
        usable = usable if wanted == "food" else [name for name in usable if name in here]
        target = str(rng.choice(usable)) if usable else None
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


def _other(subject: Group, place: str, here: list[str], target: str | None, rng: np.random.Generator) -> tuple:
    """Another group and the relation of the subject to it; (None, None) where nothing else fits."""
    things = lexicon()["things"]
    one = things[subject.thing]
    low = [t for t, entry in things.items() if entry["kind"] in ("building", "plant") and "field" in entry["places"]]
    taken = {one["label"], things[target]["label"] if target else None}
    candidates = []
    for name in here + (low if place == "sky" else []):
        if things[name]["kind"] == "face":
            fits = one["kind"] == "face" and name != subject.thing and not target
        else:
            fits = things[name]["label"] not in taken
        if one["kind"] in ("building", "plant"):
            fits &= things[name]["kind"] in ("building", "plant", "vehicle")
        candidates += [name] if fits else []
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
    single = relation in ("on", "front", "above") or two["kind"] in ("face", "building")
    return Group(other, 1 if single else int(rng.integers(1, 3))), relation


def _arrange(
    subject: Group, target: Any, other: Any, relation: str | None, place: str, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """Places for all figures, such that each can be seen."""
    ground = {"sky": 0.75, "sea": 0.88, "table": 0.86}.get(place, 0.93) + rng.uniform(-0.03, 0.03)
    face = lexicon()["things"][subject.thing]["kind"] == "face"
    left = bool(rng.random() < 0.5) or relation == "left"
    row = functools.partial(_row, rng=rng)

    def side(start: float, stop: float) -> tuple[float, float]:
        """A span of a picture whose subject is on the left, or of its mirror image."""
        return (start, stop) if left else (1 - stop, 1 - start)

    if relation is None and target is None:
        shift = rng.uniform(-0.08, 0.08)
        return row(subject, (0.06 + shift, 0.94 + shift), 1.0 if face else ground, 0.7 if face else 0.52)
    if relation is None:
        hand = row(Group(target), side(0.56, 0.98), rng.uniform(0.86, 0.97), 0.42)
        return row(subject, side(0.0, 0.66), 1.0, 0.68) + hand
    if target:
        around = row(other, side(0.0, 0.3), 0.95, 0.36) + row(subject, side(0.3, 0.72), 1.0, 0.56)
        return around + row(Group(target), side(0.68, 1.0), rng.uniform(0.84, 0.95), 0.3)
    if relation == "front":
        behind = row(other, (0.12, 0.88), ground - 0.16, 0.48)
        return behind + row(subject, side(0.02, 0.55), min(ground + 0.04, 0.98), 0.36)
    if relation == "above":
        return row(other, (0.2, 0.8), 0.98, 0.36) + row(subject, (0.1, 0.9), 0.42, 0.34)
    if relation == "on":
        (below,) = row(other, (0.15, 0.85), ground, 0.48)
        top = below.bottom - below.size * _aspect(other.thing)[1]
        # what stands on something overlaps its upper edge a little
        return (below, *row(subject, (below.x - 0.2, below.x + 0.2), top + 0.06, 0.3))
    middle = 0.5 if face else np.clip(subject.count / (subject.count + other.count), 0.4, 0.65)
    beside = row(other, side(middle, 0.97), ground, 0.46)
    return beside + row(subject, side(0.03, middle), 1.0 if face else ground, 0.56 if face else 0.46)


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
    order = np.argsort(steps, kind="stable")
    return tuple(Figure(group.thing, centres[k], bottom + steps[k], size, mirrored) for k in order)


def describe(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Captions of a scene, no two alike if that can be had; one of them names all that is labelled."""
    complete = rng.integers(N_CAPTIONS)
    captions: list[str] = []
    for number in range(N_CAPTIONS):
        for _ in range(10):
            caption = _caption(scene, rng, complete=number == complete)
            if caption not in captions and len(caption.split()) > 3:
                break
        captions.append(caption)
    return captions


def _caption(scene: Scene, rng: np.random.Generator, *, complete: bool) -> str:
    """One sentence, of the patterns that fit what there is to say."""
    words = lexicon()
    place, kind = words["places"][scene.place], words["things"][scene.subject.thing]["kind"]
    subject = noun_phrase(scene.subject, rng)
    verb = _pick(words["verbs"][scene.verb], rng)
    if scene.target:
        taken = noun_phrase(Group(scene.target), rng)
    elif verb.object.startswith("~"):
        taken = Phrase(verb.object[1:], True)
    elif verb.object:
        several = scene.subject.count > 1
        taken = Phrase(plural(verb.object) if several else with_article(verb.object), several)
    else:
        taken = Phrase("", False)
    be, taken_be = ("are" if phrase.plural else "is" for phrase in (subject, taken))
    here, there = words["relations"][scene.relation].values() if scene.relation else ((), ())
    other = noun_phrase(scene.other, rng).text if scene.other else ""
    near = f" {_pick(here, rng)} {other}" if other else ""
    where = f" {_pick(place['where'], rng)}" if place["where"] else ""
    doing = f"{verb.ing} {taken.text}".strip()
    does = f"{verb.base if subject.plural else verb.third} {taken.text}".strip()
    thing = "a close-up" if scene.place == "plain" else "a scene"
    said = {
        "A": subject.text,
        "is": be,
        "who": "who" if kind in ("person", "face") else "that",
        "doing": doing,
        "does": does,
        # "is parked" is in the present tense already
        "is_doing": does if verb.third.startswith("is ") else f"{be} {doing}",
        "O": taken.text,
        "O_is": taken_be,
        "participle": verb.participle,
        "T": taken.text if scene.target else "",
        "B": other,
        "near_B": near,
        "far": f" {_pick(there, rng)}" if other else "",
        "near": near if complete or rng.random() < 0.65 else "",
        "where": where if complete or rng.random() < 0.65 else "",
        "there": where.strip(),
        "when": f" {_pick(words['times'][scene.light], rng)}" if scene.light != "day" and rng.random() < 0.7 else "",
        "place": with_article(_pick(place["names"], rng)),
        "picture": _pick(("a picture", "a view", "an image", thing), rng),
    }
    fitting = {
        pattern: weight
        for pattern, weight, says_all, needed in words["patterns"]
        if (says_all or not complete) and all(said[field] for field in needed)
    }
    text = _choose(fitting, rng).format_map(said)
    return text[0].upper() + text[1:] + "."


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
    counts = lexicon()["counts"][str(group.count)]
    quantity = _pick([text for text in counts if " of " not in noun or not text.endswith("of")], rng)
    return Phrase(f"{quantity} {plural(noun)}".strip(), quantity not in ("a pair of", "a group of"))


def plural(noun: str) -> str:
    """The plural of a noun with what comes before and after its head ("slice of pizza", "brown dog")."""
    for link in (" of ", " with "):
        head, found, rest = noun.partition(link)
        if found:
            return plural(head) + link + rest
    before, space, head = noun.rpartition(" ")
    if head in lexicon()["plurals"]:
        head = lexicon()["plurals"][head]
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


def _pick(choices: Any, rng: np.random.Generator) -> Any:
    return choices[rng.integers(len(choices))]


def _choose(weights: dict, rng: np.random.Generator) -> Any:
    share = np.array(list(weights.values()), dtype=float)
    return list(weights)[rng.choice(len(weights), p=share / share.sum())]


def draw(scene: Scene) -> np.ndarray:
    """The picture of a scene, shape (`SIZE`, `SIZE`, 3), uint8."""
    picture = backdrop(scene.place, scene.light, np.random.default_rng(scene.backdrop))
    for figure in scene.figures:
        glyph = _glyph(lexicon()["things"][figure.thing]["glyph"], max(4 * round(figure.size * CANVAS / 4), 8))
        glyph = ImageOps.mirror(glyph) if figure.mirrored else glyph
        left = round(figure.x * CANVAS - glyph.width / 2)
        picture.paste(glyph, (left, round(figure.bottom * CANVAS - glyph.height)), glyph)
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BOX))


@functools.lru_cache(maxsize=4096)
def _glyph(character: str, size: int) -> Image.Image:
    """A figure with a transparent background, its longer side `size` px."""
    master = _master(character)
    width, height = (max(round(side * size / max(master.size)), 1) for side in master.size)
    return master.resize((width, height), Image.Resampling.LANCZOS)


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
