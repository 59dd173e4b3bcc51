"""What was presented and what was recorded."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from brainalign.datasets.folder import load_folder, read_folder, save_listening
from brainalign.datasets.types import Audio, Listening, Stimuli, Viewing
from brainalign.datasets.viewing_folder import is_viewing_folder, load_viewing_folder, read_viewing_folder, save_viewing

__all__ = [
    "Audio",
    "Listening",
    "Stimuli",
    "Viewing",
    "check",
    "load_listening",
    "load_viewing",
    "save_listening",
    "save_viewing",
]

# Name: where its loader is, imported on use (torch and the readers of recordings are slow to load), and its options.
LISTENING: dict[str, tuple[str, dict]] = {
    "virtual": ("simulated.listening:virtual_listening", {}),
    "virtual-clean": ("simulated.listening:virtual_listening", {"snr": 1.0}),
    "alice": ("datasets.alice:alice", {}),
    "n400": ("datasets.n400:n400", {}),
    "podcast": ("datasets.podcast:podcast", {}),
}
VIEWING: dict[str, tuple[str, dict]] = {
    "virtual": ("simulated.viewing:virtual_viewing", {}),
    "objects92": ("datasets.objects92:objects92", {}),
    "nsd": ("datasets.nsd:nsd", {}),
}


def load_listening(name: str | os.PathLike[str] = "virtual", **options: Any) -> Listening:
    """A listening data set, by name or from a folder of your own.

    Parameters
    ----------
    name : str or path
        "virtual" (real speech, planted responses), "virtual-clean" (the same with much less noise than real
        recordings have), "alice" (real fMRI of 27 people), "n400" (real EEG of 334 people) or "podcast" (real
        intracranial recordings of nine people, a large download); or a folder with the layout that `datasets.folder`
        describes, which ``brainalign check FOLDER`` checks.
    **options
        Passed to the data set's own loader: `simulated.listening.virtual_listening`, `datasets.alice.alice`,
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


def load_viewing(name: str | os.PathLike[str] = "virtual", **options: Any) -> Viewing:
    """A viewing data set, by name or from a folder of your own.

    Parameters
    ----------
    name : str or path
        "virtual" (rendered scenes, planted responses), "objects92" (92 objects, real human IT) or "nsd" (your copy of
        the Natural Scenes Dataset); or a folder with the layout that `datasets.viewing_folder` describes, which
        ``brainalign check FOLDER`` checks.
    **options
        Passed to the data set's own loader: `simulated.viewing.virtual_viewing`, `datasets.objects92.objects92`,
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


def check(folder: str | os.PathLike[str]) -> list[str]:
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


def _load(kind: str, known: dict, from_folder: Callable, name: str | os.PathLike[str], options: dict) -> Any:
    if name in known:
        place, own = known[name]
        module, function = place.split(":")
        try:
            return getattr(import_module(f"brainalign.{module}"), function)(**own | options)
        except ModuleNotFoundError as error:
            message = f"{name!r} needs {error.name}, which is not installed: pip install 'brainalign[data]'"
            raise ModuleNotFoundError(message, name=error.name) from error
    if os.path.isdir(name):
        return from_folder(name, **options)
    close = get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"name: no {kind} data set {str(name)!r}; choose from {sorted(known)}, or give a folder that exists.{hint}"
    )
