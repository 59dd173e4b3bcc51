"""Your own viewing data: a folder of tables, arrays and pictures, read, checked and written.

A folder holds these files; only the first two and one of responses and rdms are needed; to train
networks on (`load_stimuli`), captions.csv, categories.csv and pictures. Tables are CSV in UTF-8; files
of spreadsheets that separate by semicolons are understood. A person's name is that of the file, without its ending.

====================  ================================================================================================
dataset.json          {"name": "mine", "space": "fsaverage5"}: the name for figure titles; where vertices lie,
                      "fsaverage5" or "fsaverage" (their numbers count the left, then the right hemisphere), or any
                      other name, or nothing.
captions.csv          image, caption: one row a caption, one or more an image. Further columns are ignored.
responses/NAME.npy    (repeat, image, vertex) or (image, vertex), one file a person, floating-point; as many repeats in
                      everybody. Large files are mapped, not read, until their numbers are needed.
seen.csv              person, image: which images a person saw, in the order of that person's responses. Who is not in
                      it, or everybody where there is no such file, saw all images in the order of captions.csv.
vertices/NAME.npy     (vertex,): labels of a person's vertices. Or vertices.npy for everybody; else they count from 0.
rois.csv              vertex, then one column a region of interest: 1 or 0, True or False.
test_images.csv       image: the shared test set, at least three that everybody saw. Unless given, all that everybody
                      saw; encoding models need others to learn from.
categories.csv        image, then one column a category: 1 or 0, True or False.
pictures/IMAGE.png    one for every captioned image, or none at all; all of one size. Also .jpg and .jpeg.
rdms/NAME.npy         (session, pair) or (pair,), one file a person: where only dissimilarities are known, for the pairs
                      of ``numpy.triu_indices(n, 1)`` over the images in the order of captions.csv.
====================  ================================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from brainalign.datasets._tables import SETTINGS, as_is, listed, new_folder, read_array, read_settings, read_table
from brainalign.datasets.types import Stimuli, Viewing, caption_problems, number_problems

KEYS = ("name", "space")
EXAMPLE = '{"name": "mine", "space": "fsaverage5"}'
PICTURES = (".png", ".jpg", ".jpeg")


def is_viewing_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is meant to hold viewing data: only those have a table of captions."""
    return (Path(folder) / "captions.csv").exists()


def load_viewing_folder(folder: str | os.PathLike[str]) -> Viewing:
    """Your own viewing data, from a folder with the layout above (see the module's description, or the README).

    Parameters
    ----------
    folder : path

    Returns
    -------
    Viewing
        Images are named by texts. Responses are memory maps, whose numbers are checked when they are read;
        `check` reads them all.

    Raises
    ------
    ValueError
        If anything is wrong; the message lists every problem.
    """
    data, problems = read_viewing_folder(folder, numbers=False)
    if problems or data is None:
        raise ValueError(f"{folder}: {len(problems)} problem(s)\n" + "\n".join(problems))
    return data


def load_stimuli(folder: str | os.PathLike[str], prepare: Callable[[np.ndarray], np.ndarray] | None = None) -> Stimuli:
    """What was shown, of a folder with the layout above in which responses need not be: to train networks on.

    Parameters
    ----------
    folder : path
        With captions.csv, categories.csv and pictures.
    prepare : callable, optional
        What is done to each picture (height, width, 3) when it is read, such as bringing it to one size.

    Returns
    -------
    Stimuli
        Images and categories in the order in which the captions name them.

    Raises
    ------
    ValueError
        Lists all that is wrong with the folder.
    """
    folder = Path(folder)
    problems: list[str] = []
    captions = _captions(folder, problems)
    categories = _masks(folder, "categories.csv", "image", problems)
    if captions is not None:
        names = pd.Index(captions["image"].unique(), name="image")
        images = _pictures(folder, names, problems, prepare)
        if images is None and not problems:
            problems.append("pictures: no such folder; put IMAGE.png or .jpg for every captioned image there")
        if categories is None and not (folder / "categories.csv").exists():
            problems.append("categories.csv: missing; networks that learn categories need it")
        elif categories is not None and (categories.index.has_duplicates or len(names.difference(categories.index))):
            bare = names.difference(categories.index)
            problems.append(f"categories.csv: one row an image, please; {len(bare)} have none: {bare[:5].tolist()}")
    if problems:
        raise ValueError(f"folder: {folder}\n" + "\n".join(listed(problems)))
    assert captions is not None and categories is not None and images is not None
    return Stimuli(images, captions, categories.loc[names])


def save_viewing(data: Viewing, folder: str | os.PathLike[str]) -> Path:
    """Write a data set in the layout that `load_viewing_folder` reads.

    The folder appears when all of it has been written. What was planted (`truth`) is no part of a recording and is
    left out.

    Parameters
    ----------
    data : Viewing
    folder : path
        Must not exist yet, or be empty.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something.
    ValueError
        For names of people or images that no file can have, or labels that the layout does not hold.
    """
    names = [*data.subjects, *(data.rdms["subject"].to_numpy() if data.rdms is not None else [])]
    names = [str(name) for name in [*names, *(data.image_names if data.images is not None else [])]]
    unfit = [n for n in names if not n or n != n.strip() or n[0] == "." or set(n) & set('/\\:*?"<>|\0')]
    if unfit:
        raise ValueError(f"data: {unfit[:5]} cannot be names of files; rename these people or images.")
    with new_folder(folder) as part:
        (part / SETTINGS).write_text(json.dumps({"name": data.name, "space": data.space}) + "\n", encoding="utf-8")
        data.captions[["image", "caption"]].to_csv(part / "captions.csv", index=False)
        pd.DataFrame({"image": list(data.test_images)}).to_csv(part / "test_images.csv", index=False)
        for field, label in (("rois", "vertex"), ("categories", "image")):
            if getattr(data, field) is not None:
                getattr(data, field).rename_axis(label).astype(int).to_csv(part / f"{field}.csv")
        if data.responses is not None:
            seen = [pd.DataFrame({"person": person, "image": data.images_of(person)}) for person in data.subjects]
            pd.concat(seen).to_csv(part / "seen.csv", index=False)
        for person, array in (data.responses or {}).items():
            _save(part / "responses" / f"{person}.npy", array.to_numpy())
            _save(part / "vertices" / f"{person}.npy", array["vertex"].to_numpy())
        if data.rdms is not None:
            for person, array in zip(data.rdms["subject"].to_numpy(), data.rdms.to_numpy(), strict=True):
                _save(part / "rdms" / f"{person}.npy", array)
        if data.images is not None:
            (part / "pictures").mkdir()
            for name, picture in zip(data.image_names, np.asarray(data.images), strict=True):
                Image.fromarray(picture).save(part / "pictures" / f"{name}.png")
        problems = read_viewing_folder(part, numbers=False)[1]
        if problems:
            raise ValueError("data: the folder could not be read back:\n" + "\n".join(problems))
    return Path(folder)


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    np.save(path, array, allow_pickle=False)


def read_viewing_folder(folder: str | os.PathLike[str], *, numbers: bool = True) -> tuple[Viewing | None, list[str]]:
    """The data set, or None, and all that is wrong with it.

    Parameters
    ----------
    folder : path
    numbers : bool
        Read all responses, to find those that are not finite or never change.

    Returns
    -------
    data : Viewing or None
        None if anything is wrong.
    problems : list of str
        One line each, as `datasets.check` gives them.
    """
    folder = Path(folder)
    problems: list[str] = []
    if not folder.is_dir():
        return None, [f"{folder}: no such folder."]
    settings = _settings(folder, problems)
    captions = _captions(folder, problems)
    if captions is None:  # everything else is told by the images that it names
        return None, listed(problems)
    fields = {"captions": captions, "name": settings.get("name", "mine"), "space": settings.get("space", "")}
    images = pd.Index(captions["image"].unique(), name="image")
    fields["responses"] = _responses(folder, images, problems)
    fields["rdms"] = _rdms(folder, len(images), problems)
    for field in ("responses", "rdms", "vertices"):
        stray = [path.name for path in sorted((folder / field).glob("[!.]*")) if path.suffix != ".npy"]
        if stray:
            problems.append(f"{field}: expected NAME.npy and nothing else, got {stray[:5]}; write it with numpy.save")
    if not any((folder / field).is_dir() for field in ("responses", "rdms")):
        problems.append("responses, rdms: neither folder is here; put one NAME.npy a person into responses")
    fields["rois"] = _masks(folder, "rois.csv", "vertex", problems)
    fields["categories"] = _masks(folder, "categories.csv", "image", problems)
    fields["images"] = _pictures(folder, images, problems)
    fields["test_images"] = _test_images(folder, images, fields["responses"], problems)
    if fields["responses"] is not None or fields["rdms"] is not None:
        problems += Viewing.problems(**fields)
    for person, array in (fields["responses"] or {}).items():
        for repeat in range(array.sizes["repeat"] if numbers else 0):  # one at a time: less memory
            found = [*number_problems(array[repeat])]
            problems += [f"responses/{person}.npy, repeat {repeat + 1}: {problem}" for problem in found]
    return None if problems else Viewing(**fields), listed(problems)


def _settings(folder: Path, problems: list[str]) -> dict:
    settings = read_settings(folder, KEYS, EXAMPLE, problems)
    if settings is None:
        return {}
    if "name" not in settings:
        problems.append(f"{SETTINGS}: 'name' is missing; expected something like {EXAMPLE}")
    for key in KEYS:
        if not isinstance(settings.get(key, ""), str) or (key in settings and key == "name" and not settings[key]):
            problems.append(f"{SETTINGS}: {key!r} must be a text, got {settings.pop(key)!r}")
    return settings


def _captions(folder: Path, problems: list[str]) -> pd.DataFrame | None:
    table = read_table(folder, "captions.csv", ("image", "caption"), problems)
    if table is None:
        return None
    captions = table[["image", "caption"]].astype(str).apply(lambda column: column.str.strip())
    empty = captions["image"] == ""
    if empty.any():
        problems.append(f"captions.csv: {int(empty.sum())} rows name no image, first row {table.index[empty][0]}")
    captions = captions.assign(caption_id=range(len(captions)))
    found = [f"captions.csv: {problem}" for problem in caption_problems(captions)]
    problems += found
    return None if found or empty.any() else captions.reset_index(drop=True)


def _responses(folder: Path, images: pd.Index, problems: list[str]) -> dict[str, xr.DataArray] | None:
    if not (folder / "responses").is_dir():
        return None
    paths = sorted((folder / "responses").glob("*.npy"))
    if not paths:
        problems.append("responses: the folder holds no NAME.npy; write one a person with numpy.save")
    seen = _seen(folder, [path.stem for path in paths], problems)
    found = {}
    for path in paths:
        file, person = f"responses/{path.name}", path.stem
        array = read_array(path, problems, mapped=True)
        labels = _vertices(folder, person, problems)
        if array is None:
            continue
        shown = seen.get(person, images)
        if array.ndim not in (2, 3) or 0 in array.shape:
            problems.append(f"{file}: expected shape (repeat, image, vertex) or (image, vertex), got {array.shape}")
            continue
        array = array if array.ndim == 3 else array[None]
        if labels is None:
            labels = np.arange(array.shape[2])
        if array.shape[1:] != (len(shown), len(labels)):
            problems.append(
                f"{file}: expected {len(shown)} images and {len(labels)} vertices as its last two dimensions, got "
                f"{array.shape[1:]}; see seen.csv and vertices.npy"
            )
            continue
        coords = {"image": np.asarray(shown), "vertex": labels}
        found[person] = xr.DataArray(array, dims=("repeat", "image", "vertex"), coords=coords)
    return found or None


def _seen(folder: Path, people: list[str], problems: list[str]) -> dict[str, np.ndarray]:
    if not (folder / "seen.csv").exists():
        return {}
    table = read_table(folder, "seen.csv", ("person", "image"), problems)
    if table is None:
        return {}
    table = table[["person", "image"]].apply(lambda column: column.str.strip())
    strangers = sorted(set(table["person"]) - set(people))
    if strangers:
        problems.append(f"seen.csv: names people without a file in responses: {strangers[:5]}")
    return {person: rows.to_numpy(str) for person, rows in table.groupby("person")["image"]}


def _vertices(folder: Path, person: str, problems: list[str]) -> np.ndarray | None:
    for path in (folder / "vertices" / f"{person}.npy", folder / "vertices.npy"):
        if path.exists():
            labels = read_array(path, problems, mapped=True)
            if labels is not None and labels.ndim != 1:
                problems.append(f"{path.name}: expected shape (vertex,), got {labels.shape}")
            return None if labels is None or labels.ndim != 1 else np.asarray(labels)
    return None


def _rdms(folder: Path, n_images: int, problems: list[str]) -> xr.DataArray | None:
    if not (folder / "rdms").is_dir():
        return None
    paths, found = sorted((folder / "rdms").glob("*.npy")), {}
    for path in paths:
        array = read_array(path, problems)
        if array is not None:
            found[path.stem] = np.atleast_2d(array)
    shapes = {name: array.shape for name, array in found.items()}
    if not paths:
        problems.append("rdms: the folder holds no NAME.npy; write one a person with numpy.save")
    if not found:
        return None
    n_pairs = n_images * (n_images - 1) // 2
    if len(set(shapes.values())) > 1 or any(array.ndim != 2 or array.shape[1] != n_pairs for array in found.values()):
        problems.append(
            f"rdms: expected shape (session, {n_pairs}) or ({n_pairs},), the pairs of {n_images} images, the same in "
            f"everybody, got {shapes}"
        )
        return None
    values = np.stack(list(found.values()))
    return xr.DataArray(values, dims=("subject", "session", "pair"), coords={"subject": list(found)})


def _masks(folder: Path, file: str, label: str, problems: list[str]) -> pd.DataFrame | None:
    """A table of truth values; its index holds texts for images, and numbers for vertices where all are."""
    if not (folder / file).exists():
        return None
    table = read_table(folder, file, (label,), problems)
    if table is None:
        return None
    index = as_is(table, label) if label == "vertex" else table[label].str.strip()
    cells = table.drop(columns=label).apply(lambda column: column.str.strip().str.lower())
    wrong = ~cells.isin(["0", "1", "true", "false"])
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        problems.append(
            f"{file}: expected 1 or 0, or True or False; {int(wrong.to_numpy().sum())} cells hold something else, "
            f"first {cells.iloc[row, column]!r} in row {cells.index[row]}, column {cells.columns[column]}"
        )
        return None
    if not cells.shape[1]:
        problems.append(f"{file}: has no column beside {label}; give it one, or remove the file")
        return None
    masks = cells.isin(["1", "true"])
    masks.index = pd.Index(index, name=label)
    return masks


def _pictures(
    folder: Path, images: pd.Index, problems: list[str], prepare: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray | None:
    if not (folder / "pictures").is_dir():
        return None
    files = [path for path in sorted((folder / "pictures").iterdir()) if path.suffix.lower() in PICTURES]
    paths = {path.stem: path for path in files}
    twice = sorted({path.name for path in files} - {path.name for path in paths.values()})
    if twice:
        problems.append(f"pictures: {len(twice)} image(s) have two files, first {twice[0]!r} and another; keep one")
    absent, bare = images.difference(list(paths)), pd.Index(list(paths)).difference(images)
    if len(absent):
        problems.append(f"pictures: {len(absent)} captioned image(s) have none, first {absent[:5].tolist()}")
    if len(bare):
        problems.append(f"pictures: {len(bare)} have no caption, first {bare[:5].tolist()}; caption or remove them")
    found: dict[str, np.ndarray] = {}
    for name in images.intersection(list(paths), sort=False):
        try:
            with Image.open(paths[name]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
                found[name] = pixels if prepare is None else prepare(pixels)
        except Exception as error:  # a damaged file can make its reader raise anything
            problems.append(f"pictures/{paths[name].name}: cannot be read ({type(error).__name__}: {error})")
    sizes = {array.shape for array in found.values()}
    if len(sizes) > 1:
        problems.append(f"pictures: expected all of one size, got {sorted(sizes)[:4]} (height, width, colours)")
    return np.stack(list(found.values())) if len(found) == len(images) and len(sizes) == 1 else None


def _test_images(
    folder: Path, images: pd.Index, responses: dict[str, xr.DataArray] | None, problems: list[str]
) -> list[str]:
    if (folder / "test_images.csv").exists():
        table = read_table(folder, "test_images.csv", ("image",), problems)
        if table is not None:
            return table["image"].str.strip().tolist()
    shown = [pd.Index(array["image"].to_numpy()) for array in (responses or {}).values()]
    return reduce(lambda a, b: a.intersection(b, sort=False), shown, images).tolist()
