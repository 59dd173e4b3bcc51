"""Numbers and claims of a page: said in its text, shown where they are made, and left behind as files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from brainalign._io import placed
from brainalign.stats import Estimate

__all__ = ["Report"]

CLAIMS, NUMBERS = "claims.json", "numbers.json"
NOT_SO = "not so here"


class Report:
    """The numbers of a page, by name, and what its text concludes from them.

    The text shows a number by the role ``glue:text``, with the prefix and its name and, after a colon, digits of its
    own choice, such as ``prefix.name:.2f``. A report that ends a cell shows what is new in it as a table, on the page
    and in JupyterLab, where these roles are raw text. Each number and claim is written to the folder when it is made.

    Parameters
    ----------
    folder : path
        Where ``numbers.json``, ``claims.json`` and figures go, relative to the working folder. What an earlier run left
        there of these is removed.
    prefix : str
        Begins each name in the text, such as "alice.".

    Examples
    --------
    >>> report = Report("results/example", prefix="alice.")
    >>> report.add(gain=Estimate(0.25, 0.18, 0.31, 27))
    >>> report.claim("the best layer adds to word rate", report["gain"].low > 0)
    True
    """

    def __init__(self, folder: str | os.PathLike[str], *, prefix: str = "") -> None:
        self.folder, self.prefix = Path(folder), prefix
        self.numbers: dict[str, Any] = {}
        self.claims: dict[str, bool] = {}
        self._shown: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in [*self.folder.glob("*.svg"), *self.folder.glob("*.json")]:
            old.unlink()
        self._write()

    def add(self, **numbers: Any) -> None:
        """Name numbers for the text, the table and ``numbers.json``.

        Parameters
        ----------
        **numbers : int, float, str, Estimate, or array of shape () or (1,)
            A name stands for one number only: one that is there already may come again with the same value.

        Raises
        ------
        ValueError
            For an array of more elements, another value of a known name, or a name that the role cannot hold.
        """
        from myst_nb import glue

        for name, number in numbers.items():
            value = _plain(name, number)
            if name in self.numbers and not _same(self.numbers[name], value):
                raise ValueError(
                    f"{name}: is {self.numbers[name]!r} in this report; choose another name for {value!r}."
                )
            self.numbers[name] = value
            glue(self.prefix + name, value, display=False)
        self._write()

    def claim(self, text: str, holds: Any) -> bool:
        """State a conclusion of the page's text, and whether this run bears it.

        Where it does not, the table says "not so here"; a profile whose claims have to hold
        (`Profile.claims_hold`) then fails the build.

        Parameters
        ----------
        text : str
            The conclusion as one statement, as the text draws it.
        holds : bool
            From numbers of this run.

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            If `holds` is no single truth value (a missing one, such as a comparison with NaN, is False), or the claim
            was made before.
        """
        if text in self.claims or np.ndim(holds) or not isinstance(holds, (bool, np.bool_)):
            raise ValueError(f"holds: expected one truth value for each claim, got {holds!r} for {text!r}.")
        self.claims[text] = bool(holds)
        self._write()
        return bool(holds)

    def figure(self, name: str, figure: Any) -> Any:
        """Keep a figure as ``name.svg`` in the folder, and return it to be shown, once: it is closed.

        Parameters
        ----------
        name : str
        figure : matplotlib Figure, or what has one as `figure` (an Axes, a seaborn grid)

        Returns
        -------
        matplotlib Figure
        """
        import matplotlib.pyplot as plt

        whole = getattr(figure, "figure", figure)
        whole.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        plt.close(whole)
        return whole

    def __getitem__(self, name: str) -> Any:
        return self.numbers[name]

    def __contains__(self, name: str) -> bool:
        return name in self.numbers

    def _new(self) -> tuple[Mapping[str, Any], Mapping[str, bool]]:
        """What no table has shown yet."""
        parts = self.numbers, self.claims
        numbers, claims = ({key: part[key] for key in part if key not in self._shown} for part in parts)
        self._shown |= {*numbers, *claims}
        return numbers, claims

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        numbers, claims = self._new()
        marks = {text: "holds" if held else NOT_SO for text, held in claims.items()}
        texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in numbers.items()}
        rows = [(self.prefix + name, text) for name, text in texts.items()] + [*marks.items()]
        cells = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows)
        plain = "\n".join(f"{key}: {value}" for key, value in rows)
        return {"text/html": f'<table class="dataframe report"><tbody>{cells}</tbody></table>', "text/plain": plain}

    def _write(self) -> None:
        numbers = {name: asdict(v) if isinstance(v, Estimate) else v for name, v in self.numbers.items()}
        for file, content in ((NUMBERS, numbers), (CLAIMS, self.claims)):
            with placed(self.folder / file) as partial:
                partial.write_text(json.dumps(content, indent=1, allow_nan=True) + "\n", encoding="utf-8")


def _plain(name: str, number: Any) -> Any:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name}: expected small letters, digits and underscores in a name.")
    if isinstance(number, (str, bool, Estimate)):
        return number
    values = np.asarray(number)
    if values.size != 1 or values.dtype.kind not in "biufU":
        raise ValueError(f"{name}: expected one number, text or Estimate, got {type(number).__name__} {values.shape}.")
    return values.item()


def _same(a: Any, b: Any) -> bool:
    return a == b or (a != a and b != b)
