"""Numbers and claims of a page."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_runs import write_notebook

from brainalign.book import Report, runs
from brainalign.stats import Estimate


def test_an_estimate_has_no_negative_zero():
    assert f"{Estimate(-0.001, -0.2, 0.2):.2f}" == "0.00 (-0.20 to 0.20)"


@pytest.mark.parametrize(
    ("parts", "spec", "text"),
    [
        ((0.2512, 0.181, 0.3149, 27), "", "0.25 (0.18 to 0.31)"),
        ((0.2512, 0.181, 0.3149), "+.3f", "+0.251 (+0.181 to +0.315)"),
        ((27.2, 20.0, 41.0), "", "27 (20 to 41)"),
        ((0.0031, 0.0022, 0.0041), "", "0.0031 (0.0022 to 0.0041)"),
        ((1.0, 1.0, 1.0), "", "1.00 (1.00 to 1.00)"),
        ((np.nan, np.nan, np.nan), "", "nan (nan to nan)"),
    ],
)
def test_an_estimate_prints_with_its_interval(parts, spec, text):
    assert format(Estimate(*parts), spec) == text


def test_an_estimate_of_arrays_gives_one_by_index():
    many = Estimate(np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([2.0, 3.0]), 5)
    assert many[1] == Estimate(2.0, 1.0, 3.0, 5)
    with pytest.raises(ValueError, match="take one out"):
        format(many)


def test_numbers_and_claims_are_shown_once_and_written(tmp_path):
    report = Report(tmp_path / "page", prefix="a.")
    report.add(gain=Estimate(0.25, 0.18, 0.31, 27), n=np.int64(3), name="six regions")
    assert report.claim("gain <is> above 0", report["gain"].low > 0)
    shown = report._repr_mimebundle_()
    assert "a.gain: 0.25 (0.18 to 0.31)" in shown["text/plain"] and "gain &lt;is&gt; above 0" in shown["text/html"]
    assert not report.claim("gain is above 1", np.float64(0.25) > 1)
    assert report._repr_mimebundle_()["text/plain"] == "gain is above 1: not so here"
    numbers, claims = (json.loads((tmp_path / "page" / f"{name}.json").read_text()) for name in ("numbers", "claims"))
    assert numbers == {"gain": {"value": 0.25, "low": 0.18, "high": 0.31, "n": 27}, "n": 3, "name": "six regions"}
    assert claims == {"gain <is> above 0": True, "gain is above 1": False}
    figure = plt.figure()
    assert report.figure("one", figure.add_subplot()) is figure and (tmp_path / "page" / "one.svg").is_file()
    plt.close(figure)
    Report(tmp_path / "page")
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["claims.json", "numbers.json"]


def test_what_a_report_refuses(tmp_path):
    report = Report(tmp_path)
    report.add(n=3, gone=float("nan"))
    report.add(n=3, gone=float("nan"))
    for bad, message in (
        ({"n": 4}, "n: is 3"),
        ({"x": np.ones(2)}, "x: expected one number"),
        ({"X": 1}, "small letters"),
    ):
        with pytest.raises(ValueError, match=message):
            report.add(**bad)
    report.claim("so", True)
    for text, holds in (("so", True), ("many", np.ones(2) > 0), ("no truth value", 1)):
        with pytest.raises(ValueError, match="one truth value for each claim"):
            report.claim(text, holds)


def test_claims_that_have_to_hold_fail_the_build_and_are_marked_elsewhere(tmp_path):
    source = (
        "from brainalign.book import Report\nreport = Report('results/01_page')\n"
        "report.add(gain=size)\nreport.claim('the gain is positive', size > 0)\nreport"
    )
    notebook = {"01_page": write_notebook(tmp_path / "01_page.ipynb", source)}
    profile = runs.Profile("strict", {"01_page": {"size": -1}}, claims_hold=True)
    for _ in range(2):  # a run that is reused is held to its claims as well
        with pytest.raises(
            runs.NotebookError, match="01_page: claims that its run does not bear: the gain is positive"
        ):
            runs.execute_all(profile, notebook, tmp_path / "executed", cwd=tmp_path)
    lenient = runs.Profile("own data", profile.notebooks)
    (run,) = runs.execute_all(lenient, notebook, tmp_path / "executed", cwd=tmp_path)
    assert run.reused and run.claims == {"the gain is positive": False}
    assert "not so here" in (tmp_path / "executed/01_page.ipynb").read_text()
    assert runs.execute_all(runs.Profile("good", claims_hold=True), notebook, tmp_path / "executed", cwd=tmp_path)
