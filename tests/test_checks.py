"""Errors name the argument, what was expected and what came; what is right comes back as it was."""

import numpy as np
import pytest

from brainalign import _checks


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: _checks.one_of("kind", "word", ["words", "nouns"]),
            r"kind: expected one of 'words', 'nouns', got 'word'",
        ),
        (lambda: _checks.whole("n", 1.5), "n: expected a whole number of at least 1, got 1.5"),
        (lambda: _checks.whole("n", "many", 2, 4), "n: expected a whole number from 2 to 4, got 'many'"),
        (lambda: _checks.whole("n", np.nan), "n: expected a whole number of at least 1, got nan"),
        (lambda: _checks.within("p", 1), "p: expected a number between 0 and 1, got 1"),
        (lambda: _checks.within("p", np.nan), "p: expected a number between 0 and 1, got nan"),
        (lambda: _checks.within("snr", -1, 0, np.inf), "snr: expected a number above 0, got -1"),
        (lambda: _checks.shaped("x", np.ones((3, 2)), 4, "column"), r"x: expected shape \(4, column\), got \(3, 2\)"),
        (lambda: _checks.shaped("x", np.ones((3, 2)), "word"), r"x: expected shape \(word,\), got \(3, 2\)"),
        (
            lambda: _checks.finite("x", [[1, np.inf], [np.nan, 2]]),
            r"x: 2 of 4 values are not finite .*, the first at \(0, 1\)",
        ),
        (lambda: _checks.varying("x", np.eye(3)[:2]), "x: 1 columns are constant: 2; leave them out"),
        (lambda: _checks.varying("x", np.ones((2, 3, 1)), "channels", ["a"]), "x: 1 channels are constant: a"),
        (lambda: _checks.alike(x=[1], y=[1, 2]), "x, y: expected the same length, got 1, 2"),
        (lambda: _checks.labelled("x", ["a", None], 2), "x: expected 2 labels, none missing .* got 1 missing"),
        (lambda: _checks.labelled("x", ["a", "a"], 2, least=2), "at least 2 different ones, got 0 missing and 1 diff"),
        (lambda: _checks.labelled("x", ["a"], 2), r"x: expected shape \(2,\), got \(1,\)"),
        (lambda: _checks.torch_device("tpu-x"), "device: expected 'auto' or a device that is there"),
    ],
)
def test_errors(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_what_is_right_comes_back():
    assert _checks.one_of("a", 1, (1, 2)) == 1 and _checks.whole("a", 3.0) == 3 and _checks.within("a", 0.5) == 0.5
    assert _checks.shaped("a", [[1, 2]], 1, "column").shape == (1, 2)
    assert _checks.finite("a", [1, 2]).dtype == float and _checks.finite("a", [1], "float32").dtype == "float32"
    assert _checks.varying("a", np.eye(2)).shape == (2, 2) and _checks.alike(a=[1], b="x") is None
    assert _checks.labelled("a", ["b", "c"], 2, least=2).tolist() == ["b", "c"]
    assert _checks.listed(range(10), 3) == "0, 1, 2 and 7 more" and _checks.listed("ab") == "a, b"
    assert _checks.torch_device("cpu").type == "cpu"
