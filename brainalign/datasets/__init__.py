"""What was presented and what was recorded."""

from __future__ import annotations

import os
from difflib import get_close_matches

from brainalign.datasets.alice import alice
from brainalign.datasets.folder import load_folder, read_folder, save_listening
from brainalign.datasets.n400 import n400
from brainalign.datasets.nsd import nsd
from brainalign.datasets.objects92 import objects92
from brainalign.datasets.podcast import podcast
from brainalign.datasets.types import Audio, Listening, Viewing
from brainalign.datasets.viewers import virtual_viewing
from brainalign.datasets.viewing_folder import is_viewing_folder, load_viewing_folder, read_viewing_folder, save_viewing
from brainalign.datasets.virtual import virtual_listening

__all__ = [
    "Audio",
    "Listening",
    "Viewing",
    "check_folder",
    "load_listening",
    "load_viewing",
    "save_listening",
    "save_viewing",
]

LISTENING = {"virtual": virtual_listening, "alice": alice, "n400": n400, "podcast": podcast}
VIEWING = {"virtual": virtual_viewing, "objects92": objects92, "nsd": nsd}


def load_listening(name: str | os.PathLike[str] = "virtual", **options) -> Listening:
    """A listening data set, by name or from a folder of your own.

    Parameters
    ----------
    name : str or path
        "virtual" (real speech, planted responses), "alice" (real fMRI of 27 people), "n400" (real EEG of 334
        people) or "podcast" (real intracranial recordings of nine people, a large download); or a folder with the
        layout that `datasets.folder` describes, which ``brainalign check FOLDER`` checks.
    **options
        Passed to the data set's own loader: `datasets.virtual.virtual_listening`, `datasets.alice.alice`,
        `datasets.n400.n400`, `datasets.podcast.podcast`. A folder takes none.

    Returns
    -------
    Listening

    Raises
    ------
    ValueError
        For an unknown name, or a folder with anything wrong in it: all of it is listed.
    """
    return _load("listening", LISTENING, load_folder, name, options)


def load_viewing(name: str | os.PathLike[str] = "virtual", **options) -> Viewing:
    """A viewing data set, by name or from a folder of your own.

    Parameters
    ----------
    name : str or path
        "virtual" (rendered scenes, planted responses), "objects92" (92 objects, real human IT) or "nsd" (your copy of
        the Natural Scenes Dataset); or a folder with the layout that `datasets.viewing_folder` describes, which
        ``brainalign check FOLDER`` checks.
    **options
        Passed to the data set's own loader: `datasets.viewers.virtual_viewing`, `datasets.objects92.objects92`,
        `datasets.nsd.nsd`. A folder takes none.

    Returns
    -------
    Viewing

    Raises
    ------
    ValueError
        For an unknown name, or a folder with anything wrong in it: all of it is listed.
    """
    return _load("viewing", VIEWING, load_viewing_folder, name, options)


def check_folder(folder: str | os.PathLike[str]) -> list[str]:
    """Everything that keeps a folder of your own from being loaded by `load_listening` or `load_viewing`.

    Parameters
    ----------
    folder : path
        Viewing data if it holds captions.csv, else listening data.

    Returns
    -------
    list of str
        One line a problem: the file, the column or row (as a spreadsheet numbers rows, the header being row 1), what
        was expected, what came and what to do. Empty when the folder is sound.
    """
    return (read_viewing_folder if is_viewing_folder(folder) else read_folder)(folder)[1]


def _load(kind: str, known: dict, from_folder, name: str | os.PathLike[str], options: dict) -> Listening | Viewing:
    if name in known:
        return known[name](**options)
    if os.path.isdir(name):
        return from_folder(name, **options)
    close = get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"name: no {kind} data set {str(name)!r}; choose from {sorted(known)}, or give a folder that exists.{hint}"
    )
