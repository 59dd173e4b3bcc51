"""The models of the book: a registry of facts about them, and a family of lesioned relatives of a small one.

A *spec* names a model and what is done to it: ``smollm2-135m@noise=0.3``, ``smollm2-135m@bits=4@skip=0.2``.

untrained=k
    Every weight of the model drawn anew, as its architecture begins before any training: number k of such twins. It
    reads the same tokens through the same architecture and has learned nothing.
noise=s
    Gaussian noise on every weight matrix of the blocks, s times the standard deviation of that matrix.
bits=b
    Every weight matrix of the blocks rounded to the nearest of 2^b - 1 values, evenly spaced and symmetric about 0, the
    largest of them the largest weight of the row that makes one output.
skip=p
    A share p of the blocks left out, evenly spaced between the first and the last one, which stay.
span=k
    Attention reaches the last k tokens, the token itself included, in every block; over L blocks information still
    travels L (k - 1) tokens. A `start_token` is a token like others and falls out of reach.

Lesions are the same whenever they are made: the noise has a fixed seed for each matrix. Several kinds are applied in
the order above, however they are written. But for untrained twins, norms, biases and embeddings are left as they are:
the input layer and the output vocabulary of all relatives are those of the base.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from brainalign._checks import one_of
from brainalign.assets import read_toml

__all__ = ["graded_family", "registry"]

KINDS: dict[str, tuple[type, float, float, str]] = {  # in the order in which they are applied: type, bounds, in words
    "untrained": (int, -1, math.inf, "a whole number, 0 or more"),
    "noise": (float, 0, math.inf, "a number above 0, in standard deviations of the weights"),
    "bits": (int, 1, 17, "a whole number from 2 to 16"),
    "skip": (float, 0, 1, "a share of the blocks between 0 and 1"),
    "span": (int, 0, math.inf, "a whole number of tokens, 1 or more"),
}
VERSION = 1  # raise when a spec comes to mean other weights: it is part of what features are stored under
SEED = 20240


def registry() -> pd.DataFrame:
    """Facts about the models that the book names, by the name that `features.language.layer_features` takes.

    Returns
    -------
    DataFrame
        ``hugging_face``, the name on the hub; ``kind``, "causal" or "bidirectional"; ``layers``, ``width`` and
        ``parameters`` (millions), missing where unknown; ``study``, "confirmed" for the seven models of Mischler et al.
        (2024) whose family public accounts name, "unconfirmed" for guesses at the five others, else empty;
        ``offline``, whether its weights are an asset; ``source`` of the facts.
    """
    table = pd.DataFrame.from_dict(_toml()["models"], orient="index").rename_axis("model")
    table["hugging_face"] = table["hugging_face"].fillna(table.index.to_series())
    table["study"] = table["study"].fillna("")
    table["offline"] = table["offline"].eq(True)
    sizes = ["layers", "width", "parameters"]
    table[sizes] = table[sizes].astype("Int64")
    return table[["hugging_face", "kind", *sizes, "study", "offline", "source"]]


def graded_family(base: str = "smollm2-135m") -> list[str]:
    """Specs of a model and its lesioned relatives, from intact to near chance at predicting the next word.

    Strengths were chosen by surprisal on a transcript of read speech so that performance falls in about even steps and
    no single kind of lesion carries the range. ValueError if `base` has no family in ``models.toml``.
    """
    families = _toml()["families"]
    return [base, *(f"{base}@{lesions}" for lesions in families[one_of("base", base, families)]["lesions"])]


def _toml() -> dict[str, Any]:
    return read_toml(Path(__file__).parents[1] / "data" / "models.toml")


def parse(spec: str) -> tuple[str, dict[str, float]]:
    """Split a spec into the name of the base and the lesions, each kind with its value, as they are applied."""
    base, tail = re.fullmatch(r"(.*?)((?:@[^@/\\]*)*)", spec, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    lesions: dict[str, float] = {}
    for part in tail.split("@")[1:]:
        kind, _, text = part.partition("=")
        if kind not in KINDS or kind in lesions:
            raise ValueError(
                f"model: expected a name, then any of @untrained=k, @noise=s, @bits=b, @skip=p and @span=k, each once, "
                f"got {spec!r} with '@{part}'."
            )
        number, low, high, expected = KINDS[kind]
        with contextlib.suppress(ValueError):
            lesions[kind] = number(text)
        if not low < lesions.get(kind, math.nan) < high:
            raise ValueError(f"model: {kind} in {spec!r}: expected {expected}, got {text!r}.")
    return base, {kind: lesions[kind] for kind in KINDS if kind in lesions}


def lesioned_config(config: Any, lesions: dict[str, float], name: str) -> Any:
    """The configuration (of the text model) with the lesions; refused where the architecture does not allow them."""
    config = copy.deepcopy(config)
    if "skip" in lesions:
        config.num_hidden_layers -= len(_left_out(config.num_hidden_layers, lesions["skip"], name))
    is_plain_llama = config.model_type == "llama" and not (config.attention_bias or config.mlp_bias)
    if "span" in lesions and not (config.model_type == "mistral" or is_plain_llama):
        raise ValueError(
            f"model: span in {name!r}: expected the Llama or Mistral architecture without biases, got "
            f"{config.model_type!r}; use noise, bits or skip."
        )
    return config


def lesioned(model: transformers.PreTrainedModel, lesions: dict[str, float], name: str) -> transformers.PreTrainedModel:
    """The model with the lesions; the one that is passed, on the CPU, is used up."""
    blocks = _blocks(model, name)
    with torch.no_grad():
        if "untrained" in lesions:
            _draw_anew(model, int(lesions["untrained"]))
        for key, module in blocks.named_modules():
            weight = getattr(module, "weight", None)
            if weight is None or weight.ndim < 2:  # norms and biases are vectors
                continue
            values = weight.float()
            if "noise" in lesions:
                values += _normal(weight, key) * (lesions["noise"] * values.std())
            if "bits" in lesions:
                largest = values.abs().amax(0 if isinstance(module, Conv1D) else -1, keepdim=True)
                step = largest / (2 ** (lesions["bits"] - 1) - 1)
                values = (values / step.clamp_min(1e-30)).round() * step
            weight.copy_(values)
    if "skip" in lesions:
        _leave_out(model, blocks, _left_out(len(blocks), lesions["skip"], name))
    return _with_span(model, int(lesions["span"])) if "span" in lesions else model


def _normal(weight: torch.Tensor, key: str, *number: int) -> torch.Tensor:
    rng = np.random.default_rng([SEED, *number, zlib.crc32(key.encode())])
    return torch.from_numpy(rng.standard_normal(tuple(weight.shape), dtype=np.float32))


def _draw_anew(model: transformers.PreTrainedModel, number: int) -> None:
    """Matrices from a normal distribution of the configuration's width, norms 1, biases 0."""
    width = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    for key, weight in model.named_parameters():  # tied weights come once
        if weight.ndim > 1:
            weight.copy_(_normal(weight, key, number) * width)
        else:
            weight.fill_(1.0 if key.endswith("weight") else 0.0)


def _blocks(model: transformers.PreTrainedModel, name: str) -> torch.nn.ModuleList:
    n_layers = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():  # outer modules come before inner ones
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers:
            return module
    raise ValueError(f"model: {name!r}: expected a list of {n_layers} blocks in {type(model).__name__}, found none.")


def _left_out(n_layers: int, share: float, name: str) -> list[int]:
    n_out = round(share * n_layers)
    if not 1 <= n_out <= n_layers - 2:
        raise ValueError(
            f"model: skip in {name!r}: expected from 1 to {n_layers - 2} blocks to leave out, got {n_out}, {share:g} "
            f"of {n_layers}."
        )
    return np.linspace(0, n_layers - 1, n_out + 2)[1:-1].round().astype(int).tolist()


def _leave_out(model: transformers.PreTrainedModel, blocks: torch.nn.ModuleList, out: list[int]) -> None:
    for place in reversed(out):
        del blocks[place]
    for place, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):  # the place of a block's keys and values in the cache
                module.layer_idx = place  # type: ignore[assignment]
    config = model.config.get_text_config()
    if vars(config).get("layer_types"):  # some derive it from the number of layers
        config.layer_types = [kind for place, kind in enumerate(config.layer_types) if place not in out]
    config.num_hidden_layers = len(blocks)


def _with_span(model: transformers.PreTrainedModel, span: int) -> transformers.PreTrainedModel:
    """Mistral is Llama with a sliding attention window, so Llama's weights run unchanged in its classes."""
    known = {key: value for key, value in model.config.to_dict().items() if key not in ("model_type", "architectures")}
    with torch.device("meta"):  # takes no memory and no time: all tensors come from the model
        new = transformers.MistralForCausalLM(transformers.MistralConfig(**{**known, "sliding_window": span}))
    new.load_state_dict(model.state_dict(), assign=True)
    new.model.rotary_emb = model.model.rotary_emb  # its buffers are not part of the state
    return new.eval()


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar, which would end up in executed notebooks."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()
