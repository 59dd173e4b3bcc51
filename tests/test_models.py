"""Published scores against their sources, computed ones against slow sums, intervals on noise."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy.stats import binom, binomtest, pearsonr, spearmanr, ttest_1samp
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from brainalign import assets, models
from brainalign.features import language
from brainalign.ridge import ContiguousKFold, cross_validate
from brainalign.stats import Shifts

# ---------------------------------------------------------------------------------------------------------- published

SCORES = ["arc_challenge", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k", "piqa", "boolq", "openbookqa"]
SCORES += ["arc_easy"]


PROTOCOLS = ("leaderboard", "zero-shot", "zero-shot-lighteval")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_published_number_has_a_source(protocol):
    table = models.published(protocol)
    assert table.index.is_unique and (table["protocol"] == protocol).all()
    assert table["url"].str.startswith("https://").all() and table["source"].notna().all()
    scores = table[[name for name in SCORES if name in table]]
    assert scores.stack().dropna().between(0, 100).all()
    assert set(table["kin"]) - {""} <= set(table.index) and not (table["kin"] == table.index).any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_numbers_are_the_collected_ones(project, protocol):
    """Against the collection they were taken from, with its notes on every number, where that is at hand."""
    files = [mirror / "llm_benchmarks" / "llm_benchmarks.csv" for mirror in assets.mirrors()]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        pytest.skip("the collection of benchmark scores is not here")
    collected = pd.read_csv(file, index_col="hf_id")
    table = models.published(protocol)
    names = [name for name in SCORES if name in table]
    suffix = "" if protocol == "leaderboard" else "_0shot"
    expected = collected.loc[table.index, [name + suffix for name in names]].set_axis(names, axis="columns")
    pd.testing.assert_frame_equal(table[names], expected.astype(float), check_names=False)
    harness = {"leaderboard": "leaderboard|NO values", "zero-shot": "StableLM", "zero-shot-lighteval": "lighteval"}
    assert collected.loc[table.index, "note"].str.contains(harness[protocol]).all()
    if protocol == "leaderboard":
        assert not collected.loc[table.index, "note"].str.contains("Google-reported|vendor-reported").any()
        assert table.index[table["in_study"]].tolist() == collected.index[:12].tolist()


def test_empty_stays_empty():
    table = models.published()
    assert table.loc["facebook/galactica-6.7b", [c for c in SCORES if c in table]].isna().all()
    assert np.isnan(models.average(table)["facebook/galactica-6.7b"])


def test_average_against_slow_sums():
    table, names = models.published(), ["arc_challenge", "hellaswag", "winogrande"]
    complete = [model for model in table.index if all(np.isfinite(table.loc[model, name]) for name in names)]
    mean = {name: sum(table.loc[m, name] for m in complete) / len(complete) for name in names}
    spread = {
        name: (sum((table.loc[m, name] - mean[name]) ** 2 for m in complete) / len(complete)) ** 0.5 for name in names
    }
    z = {name: (table[name] - mean[name]) / spread[name] for name in names}
    found = models.average(table)  # the default leaves out what is at chance, at floor, or falls with size
    assert found.notna().sum() == len(complete) < len(table)
    for model in complete[:5]:
        assert found[model] == pytest.approx(sum(z[name][model] for name in names) / 3)
    plain = models.average(table, names, rule="mean")
    assert plain[complete[0]] == pytest.approx(sum(table.loc[complete[0], name] for name in names) / 3)
    holes = table.copy()
    holes.loc[complete[0], "hellaswag"] = np.nan
    holes.loc[complete[1], ["hellaswag", "winogrande"]] = np.nan
    assert models.average(holes)[complete[:2]].isna().all()
    assert models.average(holes, rule="z-available")[complete[:2]].isna().tolist() == [False, True]


def test_protocols_are_not_mixed():
    with pytest.raises(ValueError, match="one protocol"):
        models.average(pd.concat([models.published(), models.published("zero-shot")]))
    with pytest.raises(ValueError, match="protocol: expected"):
        models.published("five-shot")
    with pytest.raises(ValueError, match="columns: expected one of .*piqa.*got 'mmlu'"):
        models.average(models.published("zero-shot"), ["piqa", "mmlu"])
    with pytest.raises(ValueError, match="rule"):
        models.average(models.published(), rule="median")
    with pytest.raises(ValueError, match="models with all columns: expected a whole number of at least 3, got 1"):
        models.average(models.published().iloc[:2])


# ----------------------------------------------------------------------------------------------------------- computed


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A causal model with random weights and a byte-level tokenizer, and the folder that holds both."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small is slower on more
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, initializer_range=0.3,
    )  # fmt: skip
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["The nurse near the teachers is tired ."] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    model, folder = LlamaForCausalLM(config).eval(), tmp_path_factory.mktemp("small")
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    yield model, tokenizer, folder
    torch.set_num_threads(threads)


def token_bits(small_model, text: str) -> list[tuple[float, int]]:
    """Surprisal and rank of each token after a start token, one forward pass, no padding."""
    model, tokenizer, _ = small_model
    ids = torch.tensor([[0, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    with torch.inference_mode():
        log_p = torch.log2(model(ids).logits[0].double().softmax(-1))
    return [
        (-float(log_p[place, token]), int((log_p[place] >= log_p[place, token]).sum()))
        for place, token in enumerate(ids[0, 1:])
    ]


def test_next_word_against_a_plain_run(small_model):
    # one token a word: ranks of words are those of tokens
    text = "The nurse near the teachers is tired ."
    found = models.next_word(pd.DataFrame({"word": text.split()}), small_model[-1], store=False)
    tokens = token_bits(small_model, text)
    assert len(tokens) == 8
    assert found.bits == pytest.approx(np.mean([bits for bits, _ in tokens]), abs=1e-3)
    assert found.top1 == np.mean([rank <= 1 for _, rank in tokens])
    assert found.top10 == np.mean([rank <= 10 for _, rank in tokens])


def test_accuracy_against_whole_sentences(small_model):
    pairs = models.minimal_pairs(2)
    found = models.minimal_pair_accuracy(pairs, small_model[-1], store=False)
    right = [
        sum(bits for bits, _ in token_bits(small_model, good)) < sum(bits for bits, _ in token_bits(small_model, bad))
        for good, bad in zip(pairs["good"], pairs["bad"], strict=True)
    ]
    expected = pd.Series(right, dtype=float).groupby(pairs["phenomenon"], sort=False).mean()
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found, expected)
    assert 0.2 < found.mean() < 0.8  # random weights know no grammar


def test_accuracy_of_known_models(monkeypatch):
    pairs = models.minimal_pairs(5)
    bad = set(pairs["bad"])

    def bits(words, model, **options):
        text = words.groupby("passage")["word"].transform(" ".join)
        return xr.DataArray(1.0 + {"knows": 1, "guesses": 0, "errs": -1}[model] * text.isin(bad), dims="word")

    monkeypatch.setattr(language, "surprisal", bits)
    for model, share in (("knows", 1.0), ("guesses", 0.5), ("errs", 0.0)):
        assert (models.minimal_pair_accuracy(pairs, model) == share).all()


def test_minimal_pairs_are_many_and_minimal():
    pairs = models.minimal_pairs()
    assert pairs["phenomenon"].nunique() >= 10
    assert len(pairs) == len(pairs.drop_duplicates(["good", "bad"])) >= 1000
    assert (pairs["phenomenon"].value_counts() == 70).all()
    assert not set(pairs["good"]) & set(pairs["bad"])
    for good, bad in pairs[["good", "bad"]].itertuples(index=False):
        assert not set("[]{}|:0123456789") & set(good + bad) and good[-1] in ".?" and good[-1] == bad[-1]
        a, b = (Counter(text.lower().rstrip(".?").split()) for text in (good, bad))
        assert a.total() == b.total()
        assert (a - b).total() <= 1  # one word is another, or the order is


def test_minimal_pairs_repeat_and_vary():
    first, again, other = (models.minimal_pairs(10, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert len(set(first["good"]) & set(other["good"])) < len(first) / 2
    assert (first.groupby(["phenomenon", "paradigm"]).size().groupby("phenomenon").agg(np.ptp) <= 1).all()


def test_pairs_that_cannot_be_had():
    with pytest.raises(ValueError, match="has no 1000 pairs"):
        models.minimal_pairs(1000)
    with pytest.raises(ValueError, match="whole number"):
        models.minimal_pairs(0)
    pairs = models.minimal_pairs(1)
    with pytest.raises(ValueError, match="expected two different sentences"):
        models.minimal_pair_accuracy(pairs.assign(bad=pairs["good"]), "none")


# -------------------------------------------------------------------------------------------------------- with brains


def test_models_are_compared_where_they_predict_equally_well(rng):
    layers = rng.standard_normal((6, 300, 3))  # each channel follows one of six layers, later ones farther away
    distance = np.repeat(np.arange(6), 4) + rng.uniform(0, 1, 24)
    values = np.concatenate([layer @ rng.standard_normal((3, 4)) for layer in layers], axis=1)
    responses = values + rng.standard_normal(values.shape)
    spoilt = layers + 6 * rng.standard_normal(layers.shape)
    features = {
        name: xr.DataArray(x, dims=("layer", "word", "feature")) for name, x in (("good", layers), ("bad", spoilt))
    }
    options = {"cv": 3, "inner_cv": 2, "alphas": [1.0, 100.0]}
    found = models.alignment_under_noise(features, responses, distance, levels=(1, 4, 16), seed=1, **options)
    for name, x in features.items():
        fit = cross_validate(x, responses, **options)["score"]
        own = found.sel(model=name, noise=0)
        assert float(own["score"]) == pytest.approx(float(fit.max("layer").mean()))
        assert float(own["rho"]) == pytest.approx(spearmanr(fit.argmax("layer"), distance).statistic)
    assert float(found["equal"].sel(model="bad")) == pytest.approx(float(found["rho"].sel(model="bad", noise=0)))
    plain, equal = (float(gap.sel(model="good") - gap.sel(model="bad")) for gap in (found["rho"][:, 0], found["equal"]))
    assert plain > 0.5 and equal < 0.7 * plain


def test_correlations_against_scipy(rng):
    performance, score = rng.standard_normal(9), rng.standard_normal((9, 12))
    people = np.repeat(["a", "b", "c"], [2, 4, 6])
    mean = np.mean([score[:, people == name].mean(1) for name in "abc"], axis=0)  # each person counts once
    found = models.performance_correlation(performance, score, people)
    assert found.r.value == pytest.approx(pearsonr(performance, mean).statistic)
    without = [pearsonr(np.delete(performance, i), np.delete(mean, i)).statistic for i in range(9)]
    assert (found.without_low, found.without_high) == pytest.approx((min(without), max(without)))
    assert found.r.n == 3 and np.isnan(found.p)


def lucky_scores(rng, n_models: int, n_channels: int) -> np.ndarray:
    """Scores of noise over a graded family: neighbours share nearly all of their luck."""
    place = np.linspace(0, 1, n_models)
    alike = np.exp(-(((place[:, None] - place) / 0.5) ** 2))
    return np.linalg.cholesky(alike + 1e-6 * np.eye(n_models)) @ rng.standard_normal((n_models, n_channels))


def test_interval_holds_where_models_share_their_luck(rng):
    """Where people are independent it covers at least at the nominal rate; electrodes alone mislead."""
    performance, people, n = np.linspace(-1, 1, 11), np.repeat(np.arange(6), 4), 400
    covered = naive = 0
    for seed in range(n):
        score = np.repeat(lucky_scores(rng, 11, 6), 4, axis=1) + 0.1 * rng.standard_normal((11, 24))
        found = models.performance_correlation(performance, score, people, n_resamples=400, seed=seed)
        covered += found.r.low <= 0 <= found.r.high
        naive += pearsonr(performance, score.mean(1)).pvalue > 0.05
    assert covered >= binom.ppf(0.001, n, 0.95)
    assert naive < 0.7 * n  # textbook p values take models for independent


def test_interval_holds_where_models_are_independent(rng):
    covered, n = 0, 300
    for seed in range(n):
        performance, score = rng.standard_normal(12), rng.standard_normal((12, 1)) + 0.2 * rng.standard_normal((12, 8))
        found = models.performance_correlation(performance, score, n_resamples=400, seed=seed)
        covered += found.r.low <= 0 <= found.r.high
    assert binom.ppf(0.001, n, 0.95) <= covered


def test_planted_correlation_is_found(rng):
    performance = np.linspace(0, 1, 11)
    score = 0.2 * performance[:, None] + 0.05 * lucky_scores(rng, 11, 40) + 0.01 * rng.standard_normal((11, 1))
    found = models.performance_correlation(performance, score, np.repeat(np.arange(8), 5))
    assert 0.8 < found.r.low <= found.r.value <= found.r.high <= 1 and found.without_low > 0.8


def test_null_takes_away_what_features_give_by_themselves(rng):
    """Noise scores that depend on the model alone look like a perfect correlation; copies of the null show them."""
    performance, bias = np.linspace(0, 1, 10), 0.3 * np.linspace(0, 1, 10)[:, None]
    p, covered, fooled, n = [], 0, 0, 200
    for seed in range(n):
        scores = lucky_scores(rng, 10, 20 * 12).reshape(10, 20, 12).transpose(1, 0, 2) + 10 * bias
        options = {"n_resamples": 300, "seed": seed}
        found = models.performance_correlation(performance, scores[0], null=scores[1:], **options)
        p.append(found.p)
        covered += found.r.low <= 0 <= found.r.high
        fooled += models.performance_correlation(performance, scores[0], **options).r.low > 0
    low, high = binom.ppf([0.001, 0.999], n, 0.95)
    assert low <= covered and fooled > 0.9 * n
    assert n - high <= (np.array(p) <= 0.05).sum() <= n - low and 0.4 < np.mean(p) < 0.6


TESTS = ("t over people", "interval over people and models", "p of the slope")


def called_on_noise(shared: float, n_cohorts: int) -> pd.Series:
    """How often each test calls a relation with performance in cohorts that hold nothing of the models.

    Eight people met the same words: a signal locked to them, `shared` of the variance, is common to all. Features of
    eight models lose dimensions with damage. The whole pipeline, best of two layers; 39 copies are responses
    shifted against the words, all people alike.
    """
    rng, n_words, n_people, dims = np.random.default_rng(7), 200, 8, (12, 11, 10, 9, 8, 7, 6, 5)
    base, damage = (a[:, 2:] + a[:, 1:-1] + a[:, :-2] for a in rng.standard_normal((2, 2, n_words + 2, 12)))
    family = [xr.DataArray((base + 0.5 * k * damage)[:, :, :d], dims=("layer", "word", "feature"))
              for k, d in enumerate(dims)]  # fmt: skip
    options = {"cv": ContiguousKFold(3, gap=3), "inner_cv": 2, "alphas": [10, 1000], "dtype": "float64"}
    options["null"] = Shifts(39, min_shift=5, together=True)
    performance, called = -np.arange(8.0), Counter(dict.fromkeys(TESTS, 0))
    for start in range(0, n_cohorts, 20):
        n = min(20, n_cohorts - start)
        noise = np.sqrt(1 - shared) * rng.standard_normal((n_words + 2, n, n_people))
        noise += np.sqrt(shared) * rng.standard_normal((n_words + 2, n, 1))
        responses = (noise[2:] + noise[1:-1] + noise[:-2]).reshape(n_words, -1)  # neighbouring words are alike
        responses = xr.DataArray(responses, dims=("word", "channel"))
        with threadpool_limits(1):  # products this small gain nothing from a second thread
            best = [cross_validate(x, responses, **options)[["score", "null"]].max("layer") for x in family]
        score = np.stack([b["score"] for b in best]).reshape(8, n, n_people)
        null = np.stack([b["null"] for b in best], axis=1).reshape(-1, 8, n, n_people)
        for k in range(n):
            ask = {"null": null[:, :, k], "n_resamples": 500, "seed": start + k}
            found = models.performance_correlation(performance, score[:, k], **ask)
            slopes = (performance - performance.mean()) @ (score[:, k] - null[:, :, k].mean(0))
            verdicts = ttest_1samp(slopes, 0).pvalue < 0.05, not found.r.low <= 0 <= found.r.high, found.p <= 0.05
            called.update({name: int(verdict) for name, verdict in zip(TESTS, verdicts, strict=True)})
    return pd.Series(called)[list(TESTS)]


def test_verdicts_hold_where_people_share_a_signal():
    n = 60
    called = called_on_noise(0.5, n)
    most = binom.ppf(0.999, n, 0.05)
    assert called["t over people"] > most  # what the people share is no evidence of the text
    assert called["interval over people and models"] <= most and called["p of the slope"] <= most


@pytest.mark.simulation
def test_verdicts_on_two_hundred_cohorts(project):
    rows, n = [], 200
    for shared in (0.0, 0.2, 0.5):
        for name, called in called_on_noise(shared, n).items():
            interval = binomtest(int(called), n).proportion_ci(method="exact")
            note = f"eight people share {shared:g} of the variance, eight models alike; null of 39 shifts"
            rows.append((f"{name}, shared {shared:g}", n, called, called / n, *interval, 0.05, note))
    columns = ["simulation", "n", "called", "rate", "low", "high", "nominal", "note"]
    file = project / "book" / "simulations" / "performance_correlation.csv"
    file.parent.mkdir(exist_ok=True)
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(file, index=False, float_format="%.4f")
    safe = ~table["simulation"].str.startswith("t over people")
    assert (table.loc[safe, "called"] <= binom.ppf(0.999, n, 0.05)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"performance": np.ones(8)}, "performance: 1 columns are constant"),
        ({"performance": np.arange(4.0), "score": np.eye(4)}, "models: expected .* at least 5, got 4"),
        ({"performance": np.arange(7.0)}, "score: expected shape"),
        ({"score": np.full((8, 6), np.nan)}, "score: 48 of 48 values are not finite"),
        ({"score": np.ones((8, 6))}, "all models have the same"),
        ({"subjects": [0, 0, 0, 1, 1, 1]}, "at least 3 different ones, got 0 missing and 2"),
        ({"subjects": [0, 1]}, "subjects: expected shape"),
        ({"null": np.zeros((3, 8, 5))}, "null: expected shape"),
    ],
)
def test_bad_input_is_refused(rng, change, message):
    arguments = {"performance": np.arange(8.0), "score": rng.standard_normal((8, 6))}
    with pytest.raises(ValueError, match=message):
        models.performance_correlation(**{**arguments, **change})
