"""Rendered scenes: the same every time, in good English, and pictures, captions and labels that say the same."""

import re
from dataclasses import replace

import numpy as np
import pytest

from brainalign.simulated import scenes
from brainalign.simulated.scenes import Group, compose, describe, draw, lexicon, noun_phrase, plural, render_scenes

SEVERAL = ("Two", "Three", "Four", "Several", "Some", "A couple of")
ONE = ("A ", "An ")


def scene(index: int, seed: int = 0):
    """A scene and its captions, as `render_scenes` makes them."""
    rng = np.random.default_rng([seed, index])
    made = compose(rng)
    return made, describe(made, rng)


@pytest.fixture(scope="module")
def many():
    return [scene(index) for index in range(600)]


def test_a_scene_depends_on_the_seed_and_its_number_alone():
    few, more, other = render_scenes(12), render_scenes(20), render_scenes(12, seed=1)
    np.testing.assert_array_equal(few.images, more.images[:12])
    assert few.captions.equals(more.captions[:60])
    assert few.categories.equals(more.categories[:12])
    assert few.captions["caption"].tolist() == [text for index in range(12) for text in scene(index)[1]]
    assert (few.images != other.images).any((1, 2, 3)).all()
    assert few.captions["caption"].isin(other.captions["caption"]).mean() < 0.1


def test_layout():
    made = render_scenes(7)
    assert made.images.shape == (7, 128, 128, 3)
    assert made.images.dtype == np.uint8
    assert made.captions["image"].tolist() == np.repeat(range(7), 5).tolist()
    assert made.captions["caption_id"].is_unique
    assert list(made.categories.columns[:5]) == list(scenes.SUPERCATEGORIES)
    assert {column.kind for column in made.categories.dtypes} == {"b"}


def test_every_figure_can_be_seen(many):
    for made, _ in many[:150]:
        whole = draw(made)
        for number, figure in enumerate(made.figures):
            without = draw(replace(made, figures=made.figures[:number] + made.figures[number + 1 :]))
            changed = (whole != without).any(2).sum()
            assert changed > 30, f"{figure} of {made} cannot be seen ({changed} px)"


def names_of(label: str) -> set[str]:
    """All words that name a label: of its things and places, in the singular and plural."""
    found = {label}
    for name, thing in lexicon()["things"].items():
        if label in (name, *thing["label"].split(), thing["label"]):
            found |= set(thing["names"])
    if label in lexicon()["places"]:
        found |= {*lexicon()["places"][label]["names"], *lexicon()["places"][label]["where"]}
    return {text.lower() for name in found for text in (name, plural(name))}


def test_every_label_is_drawn_and_named_in_a_caption(many):
    for made, texts in many:
        drawn = {figure.thing for figure in made.figures}
        groups = [made.subject, *([made.other] if made.other else []), *([Group(made.target)] if made.target else [])]
        assert drawn == {group.thing for group in groups}
        assert len(made.figures) == sum(group.count for group in groups)
        for label in made.labels - set(scenes.SUPERCATEGORIES) | ({"person"} & made.labels):
            named = any(name in text.lower() for name in names_of(label) for text in texts)
            assert named, f"no caption names the {label}: {texts}"


def test_relations_are_as_drawn(many):
    found = set()
    for made, _ in many:
        if not made.relation:
            continue
        one, two = (
            np.mean([(f.x, f.bottom) for f in made.figures if f.thing == group.thing], axis=0)
            for group in (made.subject, made.other)
        )
        apart, lower = two[0] - one[0], one[1] - two[1]
        right = {"left": apart > 0.1, "front": lower > 0.05, "above": lower < -0.3, "on": lower < -0.1}
        assert right.get(made.relation, abs(apart) > 0.1), made
        found.add(made.relation)
    assert found == set(lexicon()["relations"])


def test_numbers_in_captions_are_those_drawn(many):
    words = {"two": 2, "pair": 2, "couple": 2, "three": 3, "four": 4}
    checked = 0
    for made, texts in many:
        if made.verb == "juggle":  # three balls
            continue
        counts = {made.subject.count, made.other.count if made.other else 1}
        for text in texts:
            said = {words[word] for word in re.findall(r"\w+", text.lower()) if word in words}
            assert said <= counts, f"{text} {made}"
            checked += len(said)
    assert checked > 200


def test_captions_are_grammatical(many):
    for _, texts in many:
        for text in texts:
            assert re.fullmatch(r"[A-Z][A-Za-z ,-]+\.", text), text
            assert "  " not in text
            assert " ," not in text
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text, re.IGNORECASE), text
            assert not re.search(r"\b(\w+) \1\b", text), text
            assert not re.search(r"There is (two|three|four|several|some|a couple)", text), text
            assert not re.search(r"There are (an?|one) (?!couple)", text), text
            be = re.search(r"\b(is|are)\b", text)
            if be and text.startswith(SEVERAL):
                assert be[0] == "are", text
            elif be and text.startswith(ONE):
                assert be[0] == "is", text


def test_verbs_agree_with_their_subjects(many):
    found = {True: 0, False: 0}
    for made, texts in many:
        thing = lexicon()["things"][made.subject.thing]
        nouns = "|".join(form for name in thing["names"] for form in (name, plural(name)))
        adjectives = "|".join([*thing["adjectives"], "-"])
        for verb in lexicon()["verbs"][made.verb]:
            counted = r"An?|A couple of|A group of|A pair of|Two|Three|Four|Several|Some"
            pattern = rf"((?:{counted}) )?(?:(?:{adjectives}) )?(?:{nouns}) ({verb.third}|{verb.base})\b"
            for match in filter(None, (re.match(pattern, text, re.IGNORECASE) for text in texts)):
                singular = match[0].startswith(ONE) and not match[0].startswith("A couple of")
                assert match[2] == (verb.third if singular else verb.base), match.string
                found[singular] += 1
    assert min(found.values()) > 40


def test_captions_of_a_scene_differ_as_people_do(many):
    texts = [texts for _, texts in many]
    assert np.mean([len(set(group)) for group in texts]) > 4.9
    openings = [len({" ".join(text.split()[:2]) for text in group}) for group in texts]
    assert np.mean(openings) > 3.5
    passive = np.mean([bool(re.search(r"\b(is|are) being \w+ by", text)) for group in texts for text in group])
    existential = np.mean([text.startswith("There ") for group in texts for text in group])
    assert 0.01 < passive < 0.15
    assert 0.05 < existential < 0.25


def test_scenes_show_all_kinds_of_things(many):
    share = {name: np.mean([name in made.labels for made, _ in many]) for name in scenes.SUPERCATEGORIES}
    assert all(0.15 < part < 0.8 for part in share.values()), share
    relations = {made.relation for made, _ in many}
    assert relations == {None, *lexicon()["relations"]}
    assert {made.subject.count for made, _ in many} == {1, 2, 3, 4}
    assert {made.place for made, _ in many} == set(lexicon()["places"])


def test_the_lexicon_is_sound():
    missing = scenes._master("\U0010fffd").tobytes()  # the box that stands for characters that the font lacks
    for name, thing in lexicon()["things"].items():
        assert set(thing["places"]) <= set(lexicon()["places"]), name
        assert {*thing["does"], *([thing["use"]] if "use" in thing else [])} <= set(lexicon()["verbs"]), name
        assert len(thing["glyph"]) == 1, name
        assert scenes._master(thing["glyph"]).tobytes() != missing, name
        assert thing["kind"] in lexicon()["kinds"], name


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("brown dog", "brown dogs"),
        ("slice of pizza", "slices of pizza"),
        ("loaf of bread", "loaves of bread"),
        ("cake with a cherry", "cakes with a cherry"),
        ("puppy", "puppies"),
        ("boy", "boys"),
        ("bus", "buses"),
        ("sandwich", "sandwiches"),
        ("tomato", "tomatoes"),
        ("young woman", "young women"),
        ("sheep", "sheep"),
    ],
)
def test_plurals(one, several):
    assert plural(one) == several


def test_a_group_is_singular_and_a_couple_plural(rng):
    phrases = {noun_phrase(Group("elephant", 3), rng) for _ in range(60)}
    assert {p.plural for p in phrases if p.text.startswith("a group of")} == {False}
    assert {p.plural for p in phrases if not p.text.startswith("a group of")} == {True}
    assert {noun_phrase(Group("elephant"), rng).text for _ in range(60)} == {"an elephant", "a grey elephant"}


def test_errors():
    with pytest.raises(ValueError, match="n_images: expected a whole number of at least 1, got 0"):
        render_scenes(0)
