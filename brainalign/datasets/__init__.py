"""What was presented and what was recorded."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from brainalign.datasets.folder import check, read
from brainalign.datasets.types import Audio, Listening, Stimuli, Viewing

__all__ = ["Audio", "Listening", "Stimuli", "Viewing", "check", "load_listening", "load_viewing"]

# Where each loader is, imported on use (torch and the readers of recordings are slow to load).
LISTENING = {
    "virtual": "simulated.listening:virtual_listening",
    "virtual-clean": "simulated.listening:virtual_listening",
    "alice": "datasets.alice:alice",
    "frank2015": "datasets.frank2015:frank2015",
    "n400": "datasets.n400:n400",
    "podcast": "datasets.podcast:podcast",
}
VIEWING = {
    "virtual": "simulated.viewing:virtual_viewing",
    "objects92": "datasets.objects92:objects92",
    "nsd": "datasets.nsd:nsd",
}


def load_listening(name: str | os.PathLike[str] = "virtual", **options: Any) -> Listening:
    """A listening data set, by name or from a folder of your own; all that is wrong with a folder is listed.

    Parameters
    ----------
    name : str or path
        "virtual" (real speech, planted responses), "virtual-clean" (the same with much less noise than real
        recordings have), "alice" (real fMRI of 27 people), "frank2015" (real EEG of 24 people, every word of 205
        sentences), "n400" (real EEG of 334 people, a noun a sentence) or "podcast" (real intracranial recordings of
        nine people, a large download); or a folder as `datasets.folder` describes it.
    **options
        Of `simulated.listening.virtual_listening` or `datasets.podcast.podcast`.

    Returns
    -------
    Listening
    """
    return _load(Listening, LISTENING, name, {"snr": 1.0} | options if name == "virtual-clean" else options)


def load_viewing(name: str | os.PathLike[str] = "virtual", **options: Any) -> Viewing:
    """A viewing data set, by name or from a folder of your own; all that is wrong with a folder is listed.

    Parameters
    ----------
    name : str or path
        "virtual" (rendered scenes, planted responses), "objects92" (92 objects, real human IT) or "nsd" (your copy of
        the Natural Scenes Dataset); or a folder as `datasets.folder` describes it.
    **options
        Of `simulated.viewing.virtual_viewing` or `datasets.nsd.nsd`.

    Returns
    -------
    Viewing
    """
    return _load(Viewing, VIEWING, name, options)


def _load(kind: type, known: dict[str, str], name: str | os.PathLike[str], options: dict[str, Any]) -> Any:
    if name in known:
        module, function = known[str(name)].split(":")
        try:
            return getattr(import_module(f"brainalign.{module}"), function)(**options)
        except ModuleNotFoundError as error:
            message = f"{name!r} needs {error.name}, which is not installed: pip install 'brainalign[data]'"
            raise ModuleNotFoundError(message, name=error.name) from error
    if os.path.isdir(name):
        data, problems = read(name, kind, numbers=False, **options)
        if problems:
            raise ValueError(f"{name}: {len(problems)} problem(s)\n" + "\n".join(problems))
        return data
    hint = "".join(f" Did you mean {close!r}?" for close in get_close_matches(str(name), known, n=1))
    raise ValueError(
        f"name: no {kind.__name__.lower()} data set {str(name)!r}; choose from {sorted(known)}, or give a folder that "
        f"exists.{hint}"
    )
