"""What was presented and what was recorded."""

from __future__ import annotations

from difflib import get_close_matches

from brainalign.datasets.alice import alice
from brainalign.datasets.types import Audio, Listening
from brainalign.datasets.virtual import virtual_listening

__all__ = ["Audio", "Listening", "load_listening"]

LISTENING = {"virtual": virtual_listening, "alice": alice}


def load_listening(name: str = "virtual", **options) -> Listening:
    """A listening data set by name.

    Parameters
    ----------
    name : str
        "virtual" (real speech, planted responses) or "alice" (real fMRI of 27 people).
    **options
        Passed to the data set's own loader: `datasets.virtual.virtual_listening`, `datasets.alice.alice`.

    Returns
    -------
    Listening

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in LISTENING:
        close = get_close_matches(str(name), LISTENING, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"name: no listening data set {name!r}; choose from {sorted(LISTENING)}.{hint}")
    return LISTENING[name](**options)
