"""The models of the book: a registry of facts about them, and a family of damaged relatives of a small one.

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

Damage is the same whenever it is made: the noise has a fixed seed for each matrix. Several kinds are applied in the
order above, however they are written. But for untrained twins, norms, biases and embeddings are left as they are: the
input layer and the output vocabulary of all relatives are those of the base, and what differs is what the blocks make
of them.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from transformers.pytorch_utils import Conv1D

__all__ = ["damaged", "graded_family", "parse", "registry"]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Damage = dict[str, float]

KINDS = ("untrained", "noise", "bits", "skip", "span")  # in the order in which they are applied
VERSION = 1  # raise when a spec comes to mean other weights: it is part of what features are stored under
SEED = 20240


def registry() -> pd.DataFrame:
    """Facts about the models that the book names.

    Returns
    -------
    DataFrame
        Indexed by the name that `features.language.layer_features` takes, with the columns

        - ``hugging_face``: the model's name on the Hugging Face hub
        - ``kind``: "causal" or "bidirectional"
        - ``layers``, ``width``, ``parameters``: blocks, size of the hidden state, and millions; missing where unknown
        - ``study``: "confirmed" for the seven models of Mischler et al. (2024) whose family public accounts name,
          "unconfirmed" for guesses at the five others, else empty
        - ``offline``: whether its weights are an asset of the package
        - ``source``: where the facts come from
    """
    table = pd.DataFrame.from_dict(_toml()["models"], orient="index").rename_axis("model")
    table["hugging_face"] = table["hugging_face"].fillna(table.index.to_series())
    table["study"] = table["study"].fillna("")
    table["offline"] = table["offline"].eq(True)
    sizes = ["layers", "width", "parameters"]
    table[sizes] = table[sizes].astype("Int64")
    return table[["hugging_face", "kind", *sizes, "study", "offline", "source"]]


def graded_family(base: str = "smollm2-135m", n: int | None = None) -> list[str]:
    """Specs of a model and its damaged relatives, from intact to near chance at predicting the next word.

    The strengths in ``models.toml`` were chosen by surprisal on a transcript of read speech so that performance falls
    in about even steps and no single kind of damage carries the range.

    Parameters
    ----------
    base : str
        A model with a family in ``models.toml``.
    n : int, optional
        Number of specs, the base included; they are taken evenly from the whole range. Default: all.

    Returns
    -------
    list of str
        The base first, then its relatives by falling performance.

    Raises
    ------
    ValueError
        If the base has no family, or n is not between 2 and the family's size.
    """
    families = _toml()["families"]
    if base not in families:
        raise ValueError(f"base: no graded family of {base!r}; there is one of {', '.join(families)}")
    members = [base, *(f"{base}@{damage}" for damage in families[base]["damages"])]
    if n is None:
        return members
    if n not in range(2, len(members) + 1):
        raise ValueError(f"n: expected a number of models from 2 to {len(members)}, got {n!r}")
    return [members[place] for place in np.linspace(0, len(members) - 1, n).round().astype(int)]


def _toml() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parents[1] / "data" / "models.toml").read_text(encoding="utf-8"))


def parse(spec: str) -> tuple[str, Damage]:
    """Split a spec into the name of the base and the damages, in the order in which they are applied.

    Parameters
    ----------
    spec : str
        Such as "smollm2-135m@noise=0.3".

    Returns
    -------
    base : str
    damage : dict
        Each kind of damage with its value.

    Raises
    ------
    ValueError
        For damages that are unknown, named twice, or have no sensible value.
    """
    base, tail = re.fullmatch(r"(.*?)((?:@[^@/\\]*)*)", spec, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    damage: Damage = {}
    for part in tail.split("@")[1:]:
        kind, _, text = part.partition("=")
        if kind not in KINDS or kind in damage:
            raise ValueError(
                f"model: {spec!r} holds '@{part}'; expected a name, then any of @untrained=k, @noise=s, @bits=b, "
                "@skip=p and @span=k, each once"
            )
        try:
            value = float(text) if kind in ("noise", "skip") else int(text)
        except ValueError:
            value = math.nan
        low, high, expected = {
            "untrained": (-1, math.inf, "a whole number, 0 or more"),
            "noise": (0, math.inf, "a number above 0, in standard deviations of the weights"),
            "bits": (1, 17, "a whole number from 2 to 16"),
            "skip": (0, 1, "a share of the blocks between 0 and 1"),
            "span": (0, math.inf, "a whole number of tokens, 1 or more"),
        }[kind]
        if not low < value < high:
            raise ValueError(f"model: {kind} in {spec!r}: expected {expected}, got {text!r}")
        damage[kind] = value
    return base, {kind: damage[kind] for kind in KINDS if kind in damage}


def lesioned_config(config: Any, damage: Damage, name: str) -> Any:
    """Return the configuration of the damaged model.

    Parameters
    ----------
    config : PretrainedConfig
        The text model's.
    damage : dict
        As `parse` returns it.
    name : str
        The model's name, for messages.

    Returns
    -------
    PretrainedConfig

    Raises
    ------
    ValueError
        If the architecture does not allow the damage.
    """
    config = copy.deepcopy(config)
    if "skip" in damage:
        config.num_hidden_layers -= len(_left_out(config.num_hidden_layers, damage["skip"], name))
    if "span" in damage and not (config.model_type == "mistral" or _is_plain_llama(config)):
        raise ValueError(
            f"model: span in {name!r}: a shorter attention span is known for the Llama and Mistral architectures "
            f"without biases, not for {config.model_type!r}; use noise, bits or skip"
        )
    return config


def damaged(model: transformers.PreTrainedModel, damage: Damage, name: str) -> transformers.PreTrainedModel:
    """Return the model with the damage done; the one that is passed is used up.

    Parameters
    ----------
    model : PreTrainedModel
        On the CPU.
    damage, name
        As in `lesioned_config`.

    Returns
    -------
    PreTrainedModel
    """
    blocks = _blocks(model, name)
    if "untrained" in damage:
        _draw_anew(model, int(damage["untrained"]))
    with torch.no_grad():
        for key, weight, is_transposed in _matrices(blocks):
            values = weight.float()
            if "noise" in damage:
                rng = np.random.default_rng([SEED, zlib.crc32(key.encode())])
                noise = torch.from_numpy(rng.standard_normal(tuple(weight.shape), dtype=np.float32))
                values += noise * (damage["noise"] * values.std())
            if "bits" in damage:
                step = values.abs().amax(0 if is_transposed else -1, keepdim=True) / (2 ** (damage["bits"] - 1) - 1)
                values = (values / step.clamp_min(1e-30)).round() * step
            weight.copy_(values)
    if "skip" in damage:
        _leave_out(model, blocks, _left_out(len(blocks), damage["skip"], name))
    return _with_span(model, int(damage["span"])) if "span" in damage else model


def _draw_anew(model: transformers.PreTrainedModel, number: int) -> None:
    """Matrices from a normal distribution of the configuration's width, norms 1, biases 0."""
    width = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    with torch.no_grad():
        for key, weight in model.named_parameters():  # tied weights come once
            if weight.ndim > 1:
                rng = np.random.default_rng([SEED, number, zlib.crc32(key.encode())])
                weight.copy_(torch.from_numpy(rng.standard_normal(tuple(weight.shape), dtype=np.float32)) * width)
            else:
                weight.fill_(1.0 if key.endswith("weight") else 0.0)


def _blocks(model: transformers.PreTrainedModel, name: str) -> torch.nn.ModuleList:
    n_layers = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():  # outer modules come before inner ones
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers:
            return module
    raise ValueError(f"model: {name!r}: no list of {n_layers} blocks is found in {type(model).__name__} to damage")


def _matrices(blocks: torch.nn.ModuleList) -> list[tuple[str, torch.Tensor, bool]]:
    """Name, weight, and whether outputs are columns, of every weight matrix; norms and biases are vectors."""
    named = ((key, module, getattr(module, "weight", None)) for key, module in blocks.named_modules())
    return [(key, w, isinstance(module, Conv1D)) for key, module, w in named if w is not None and w.ndim > 1]


def _left_out(n_layers: int, share: float, name: str) -> list[int]:
    n_out = round(share * n_layers)
    if not 1 <= n_out <= n_layers - 2:
        raise ValueError(
            f"model: skip in {name!r}: {share:g} of {n_layers} blocks are {n_out}; from 1 to {n_layers - 2} can be "
            "left out"
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
    if getattr(config, "layer_types", None):
        config.layer_types = [kind for place, kind in enumerate(config.layer_types) if place not in out]
    config.num_hidden_layers = len(blocks)


def _is_plain_llama(config: Any) -> bool:
    return config.model_type == "llama" and not (config.attention_bias or config.mlp_bias)


def _with_span(model: transformers.PreTrainedModel, span: int) -> transformers.PreTrainedModel:
    """Mistral is Llama with a sliding attention window, so Llama's weights run unchanged in its classes."""
    known = {key: value for key, value in model.config.to_dict().items() if key not in ("model_type", "architectures")}
    config = transformers.MistralConfig(**{**known, "sliding_window": span})
    with torch.device("meta"):  # takes no memory and no time: all tensors come from the model
        new = transformers.MistralForCausalLM(config)
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
