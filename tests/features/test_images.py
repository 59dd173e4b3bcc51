"""Image networks: equal to loops written out by hand, learn what is planted and nothing from noise, resume exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
import transformers
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from brainalign.features import images as module
from brainalign.features import rcnn
from brainalign.features.images import activations, cosine, learning_set, published_networks, ready_made, resize
from brainalign.features.rcnn import NetworkConfig, RecurrentNetwork, predict, preset, train, train_twins

TINY = NetworkConfig(
    channels=(6, 8), kernels=(3, 3), recurrent_kernels=(3, 1), strides=(2, 2), time_steps=3, image_size=8, n_targets=5,
    epochs=3, warm_up=1, batch_size=16, learning_rate=0.01, shift=1, mirror=True,
)  # fmt: skip


def pictures(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def noise() -> tuple[np.ndarray, np.ndarray]:
    """Pictures and targets that have nothing to do with each other."""
    return pictures(40), np.random.default_rng(1).standard_normal((40, 5)).astype("float32")


def tiny(**changes) -> NetworkConfig:
    return dataclasses.replace(TINY, **changes)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return noise()


# The network ---------------------------------------------------------------------------------------------------------


def convolved(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """Convolution of (channel, row, column) by explicit loops."""
    reach = weight.shape[2] // 2
    wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    rows = range(0, x.shape[1], stride)
    return np.array(
        [[[np.sum(wide[:, r : r + len(w[0]), c : c + len(w[0])] * w) for c in rows] for r in rows] for w in weight]
    )


def by_hand(network: RecurrentNetwork, picture: np.ndarray, delay: int, pool: bool) -> list[list[np.ndarray]]:
    """All states of a network of two layers and three time steps, step after step."""
    weights = {name: value.detach().double().numpy() for name, value in network.state_dict().items()}
    steps = (1, 1) if pool else (2, 2)

    def smaller(x):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4)) if pool else x

    def finished(total, layer, time):
        scale, offset = (weights[f"norms.{layer}.{time}.{kind}"] for kind in ("weight", "bias"))
        over = (0, 1, 2) if scale.ndim == 3 else (2,)
        total = total.transpose(1, 2, 0)
        normed = (total - total.mean(over, keepdims=True)) / np.sqrt(total.var(over, keepdims=True) + 1e-5)
        return np.maximum(normed * scale + offset, 0).transpose(2, 0, 1)

    seen = (picture - weights["colour_mean"]) / weights["colour_scale"]
    seen = seen.transpose(2, 0, 1)
    states = []
    for time_step in range(3):
        first = convolved(smaller(seen), weights["bottom_up.0.weight"], steps[0])
        if time_step > 0:
            first = first + convolved(states[time_step - 1][0], weights["lateral.0.weight"])
        if time_step >= delay:
            back = convolved(states[time_step - delay][1], weights["top_down.0.weight"])
            first = first + back.repeat(2, axis=1).repeat(2, axis=2)
        first = finished(first, 0, time_step)
        second = convolved(smaller(first), weights["bottom_up.1.weight"], steps[1])
        if time_step > 0:
            second = second + convolved(states[time_step - 1][1], weights["lateral.1.weight"])
        states.append([first, finished(second, 1, time_step)])
    return states


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize(("delay", "downsampling", "norm"), [(1, "stride", "channels"), (2, "max", "all")])
def test_network_equals_loops_by_hand(delay, downsampling, norm, output):
    network = RecurrentNetwork(tiny(top_down_delay=delay, downsampling=downsampling, norm=norm, output=output))
    with torch.no_grad():  # norms that are not all alike
        for number, parameter in enumerate(network.norms.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    shown = pictures(2)
    with torch.no_grad():
        states = network.states(torch.from_numpy(shown))
    for k, picture in enumerate(shown):
        expected = by_hand(network, picture.astype(float), delay, downsampling == "max")
        for time_step in range(3):
            for layer in range(2):
                whole = expected[time_step][layer]
                np.testing.assert_allclose(states[time_step][layer][k], whole, atol=2e-5)
                mean = activations(network, shown, layer, time_step).values[k]
                np.testing.assert_allclose(mean, whole.mean((1, 2)), atol=2e-5)
        out = network.read_out.weight.detach().numpy() @ mean + network.read_out.bias.detach().numpy()
        out = 1 / (1 + np.exp(-out)) if output == "sigmoid" else out
        np.testing.assert_allclose(predict(network, shown).values[k], out, atol=2e-5)


def test_gradients_equal_finite_differences():
    network = RecurrentNetwork(tiny(channels=(3, 4), n_targets=2)).double()
    for norm in network.norms.parameters():  # away from the rectifier's corner, where there is no derivative
        norm.data += 0.3
    pixels, aims = torch.from_numpy(pictures(3)), torch.randn(3, 2, dtype=torch.float64)

    def loss():
        states = network.states(pixels)
        last = torch.stack([layers[-1].mean((2, 3)) for layers in states])
        return 1 - F.cosine_similarity(network.read_out(last), aims[None], dim=-1).mean()

    network.states = lambda pixels: [
        [state.double() for state in layers] for layers in RecurrentNetwork.states(network, pixels)
    ]
    loss().backward()
    for name in ("bottom_up.0", "bottom_up.1", "lateral.0", "lateral.1", "top_down.0", "read_out"):
        weight = network.get_submodule(name).weight
        place = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
        ends = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                weight[place] += step
                ends.append(float(loss()))
        assert weight.grad[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3, abs=1e-8), name


def test_twins_start_from_the_same_body_and_seeds_differ():
    one, twin = RecurrentNetwork(TINY), RecurrentNetwork(tiny(n_targets=9, output="sigmoid"))
    other = RecurrentNetwork(tiny(seed=1))
    assert torch.equal(one.bottom_up[1].weight, twin.bottom_up[1].weight)
    assert torch.equal(one.top_down[0].weight, twin.top_down[0].weight)
    assert not torch.equal(one.bottom_up[1].weight, other.bottom_up[1].weight)


def test_papers_configuration_is_the_papers():
    config = preset("paper")
    assert (len(config.channels), config.time_steps, config.image_size, config.channels[-1]) == (10, 6, 128, 512)
    assert (config.learning_rate, config.epsilon, config.epochs, config.warm_up) == (0.05, 0.1, 200, 10)
    with torch.device("meta"):
        network = RecurrentNetwork(config)
        states = network.states(torch.empty(1, 128, 128, 3, dtype=torch.uint8))
    assert [len(states), len(states[0]), tuple(states[-1][-1].shape)] == [6, 10, (1, 512, 16, 16)]
    # as counted in the networks that the study's authors released
    assert sum(weight.numel() for weight in network.parameters()) == 52_950_368


# Learning ------------------------------------------------------------------------------------------------------------


def planted(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of three soft spots whose colours set a target of five numbers, in a linear way."""
    rng = np.random.default_rng(5)
    colours = rng.uniform(-1, 1, (n, 3, 3))
    rows, columns = np.mgrid[:8, :8]
    spots = np.stack([np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 4) for r, c in ((1, 1), (1, 6), (6, 3))])
    shown = 127 + 90 * np.einsum("nsk,sij->nijk", colours, spots) + rng.normal(0, 3, (n, 8, 8, 3))
    return shown.clip(0, 255).astype(np.uint8), colours.sum(1) @ rng.standard_normal((3, 5))


def test_planted_target_is_learned_and_a_shuffled_one_is_not():
    shown, aims = planted(700)
    config = tiny(epochs=10, shift=0, mirror=False, channels=(8, 16))
    mean = aims[:500].mean(0)

    def held_out(order) -> float:
        network = train(shown[:500], aims[:500][order], config).network
        return float(cosine(predict(network, shown[500:]), aims[500:], mean).mean())

    assert held_out(np.arange(500)) > 0.9
    # 200 cosines of directions in five dimensions vary by about 0.45 each, but wrong predictions go together
    assert abs(held_out(np.random.default_rng(0).permutation(500))) < 0.25


def test_history_tells_the_learning_rate_loss_and_held_out_cosine(data):
    shown, aims = data
    config = tiny(epochs=4, warm_up=2, batch_size=40)
    network, history = train(shown, aims, config, held_out=(shown[:10], aims[:10]))
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["learning_rate"].tolist() == pytest.approx([0.01 / 40, 0.01 * 20.5 / 40, 0.01, 0.005])
    assert history["held_out"].iloc[-1] == pytest.approx(cosine(predict(network, shown[:10]), aims[:10]).mean())
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_training_is_determined_by_the_seed_and_pictures_do_move(data):
    one, again, other = (train(*data, config).network for config in (TINY, TINY, tiny(seed=1)))
    assert same(one, again) and not same(one, other)
    assert not same(one, train(*data, tiny(shift=0)).network)
    assert not same(one, train(*data, tiny(mirror=False)).network)


def test_twins_differ_in_their_targets_only_and_learn_from_all_but_the_held_out(data, tmp_path):
    shown, aims = data
    listed = (aims > 0).astype(float)
    listed[:, 0], listed[[3, 38]] = 1, 0  # two are in no category
    kinds = {"captions": aims, "categories": listed}
    options = {"n_seeds": 2, "n_held_out": 10, "control": True}
    twins = train_twins(shown, kinds, tiny(epochs=4), n_jobs=1, folder=tmp_path / "deeper", **options)
    again = train_twins(shown, kinds, tiny(epochs=4), n_jobs=2, folder=tmp_path / "side by side", **options)
    assert again.history.equals(twins.history) and again.networks.keys() == twins.networks.keys()
    assert all(same(*pair) for pair in zip(again.networks.values(), twins.networks.values(), strict=True))
    keys = [(kind, seed) for kind in (*kinds, "untrained") for seed in (0, 1)]
    assert list(twins.networks) == [*keys, ("control", 0)]
    assert set(twins.learned) == set(range(30)) - {3} and set(twins.held_out) == set(range(30, 40)) - {38}
    outputs = [network.config.output for network in twins.networks.values()]
    assert outputs == ["linear"] * 2 + ["sigmoid"] * 2 + ["linear"] * 3
    assert twins.history.groupby(["trained on", "seed"])["epoch"].max().tolist() == [4, 4, 4, 4, 2]
    assert np.allclose(twins.means["captions"], aims[twins.learned].mean(0))
    first, own = twins.networks["untrained", 1], RecurrentNetwork(tiny(seed=1))
    assert torch.equal(first.lateral[0].weight, own.lateral[0].weight)
    assert torch.equal(first.colour_mean, twins.networks["categories", 1].colour_mean)
    config = tiny(epochs=4, seed=1)
    held_out = (shown[twins.held_out], aims[twins.held_out])
    assert same(twins.networks["captions", 1], train(shown[twins.learned], aims[twins.learned], config).network)
    assert len(list(twins.folder.glob("*.safetensors"))) == 5
    train(shown[twins.learned], aims[twins.learned], config, held_out=held_out, folder=twins.folder)
    assert len(list(twins.folder.glob("*.safetensors"))) == 5
    for bad in (0, 40):
        with pytest.raises(ValueError, match=f"n_held_out: expected a whole number from 1 to 39, got {bad}"):
            train_twins(shown, {"captions": aims}, TINY, n_held_out=bad, folder=tmp_path)


def test_bfloat16_learns_about_the_same(data):
    _, full = train(*data, tiny(epochs=6))
    _, half = train(*data, tiny(epochs=6, precision="bfloat16"))
    assert half["loss"].iloc[-1] == pytest.approx(full["loss"].iloc[-1], abs=0.1)
    assert half["loss"].iloc[-1] < half["loss"].iloc[0]


def same(one: RecurrentNetwork, other: RecurrentNetwork) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Checkpoints ---------------------------------------------------------------------------------------------------------

HANGS = """
import sys, time
sys.path.insert(0, {tests!r})
import test_images
from brainalign.features import rcnn

run_epoch = rcnn._one_epoch

def hangs(network, optimiser, images, targets, epoch):
    loss = run_epoch(network, optimiser, images, targets, epoch)
    if epoch == 3:  # its weights are changed, its checkpoint not yet written
        time.sleep(600)
    return loss

rcnn._one_epoch = hangs
rcnn.train(*test_images.noise(), test_images.tiny(epochs=6), folder={folder!r})
"""


def epochs_in(folder) -> int:
    try:
        with safe_open(only(folder), framework="pt") as file:
            return len(json.loads(file.metadata()["history"]))
    except (OSError, ValueError):
        return 0


def only(folder):
    """The one checkpoint in a folder."""
    (path,) = (path for path in folder.glob("*.safetensors") if not path.name.startswith("."))
    return path


def test_a_killed_training_goes_on_to_the_same_result(data, tmp_path, project):
    code = HANGS.format(tests=str(project / "tests" / "features"), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    while epochs_in(tmp_path) < 3:
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert epochs_in(tmp_path) == 3
    whole, resumed = train(*data, tiny(epochs=6)), train(*data, tiny(epochs=6), folder=tmp_path)
    assert same(resumed.network, whole.network)
    assert resumed.history.equals(whole.history)
    assert [file for file in tmp_path.iterdir() if not file.name.startswith(".")] == [only(tmp_path)]


@pytest.mark.parametrize("after", [1, 2])
def test_stopped_after_an_epoch_equals_not_stopped_bit_for_bit(data, tmp_path, monkeypatch, after):
    folder, run_epoch = tmp_path / "deeper", rcnn._one_epoch

    def stops(network, optimiser, images, targets, epoch):
        if epoch == after:
            raise KeyboardInterrupt
        return run_epoch(network, optimiser, images, targets, epoch)

    whole = train(*data, TINY)
    monkeypatch.setattr(rcnn, "_one_epoch", stops)
    with pytest.raises(KeyboardInterrupt):
        train(*data, TINY, folder=folder)
    monkeypatch.undo()
    resumed = train(*data, TINY, folder=folder)
    assert same(resumed.network, whole.network)
    assert resumed.history.equals(whole.history)


@pytest.mark.parametrize("config", [TINY, tiny(time_steps=1), tiny(top_down_delay=3)])
def test_finished_checkpoint_is_used_and_not_written(data, config, tmp_path, monkeypatch):
    first = train(*data, config, folder=tmp_path)
    content = only(tmp_path).read_bytes()
    monkeypatch.setattr(rcnn, "_one_epoch", None)
    again = train(*data, config, folder=tmp_path)
    assert same(first.network, again.network) and first.history.equals(again.history)
    assert only(tmp_path).read_bytes() == content


def test_the_second_of_two_who_train_the_same_network_waits_for_the_first(data, tmp_path, monkeypatch):
    found = []
    first = train(*data, TINY, folder=tmp_path / "elsewhere")
    path = only(tmp_path / "elsewhere")
    monkeypatch.setattr(rcnn, "_one_epoch", None)  # nobody trains from here on
    second = threading.Thread(target=lambda: found.append(train(*data, TINY, folder=tmp_path)))
    with FileLock(tmp_path / f".{path.name}.lock"):
        second.start()
        second.join(0.3)
        assert second.is_alive() and not found
        path.rename(tmp_path / path.name)
    second.join(20)
    assert same(first.network, found[0].network) and first.history.equals(found[0].history)


def test_training_that_diverges_stops_and_keeps_the_last_sound_epoch(data, tmp_path, monkeypatch):
    monkeypatch.setattr(rcnn, "_rate", lambda config, epoch: 0.01 if epoch < 1 else np.inf)
    with pytest.raises(FloatingPointError, match="in epoch 2; use a lower learning_rate"):
        train(*data, TINY, folder=tmp_path)
    assert epochs_in(tmp_path) == 1


def test_folder_holds_a_file_for_each_training(data, tmp_path):
    shown, aims = data
    changed = shown.copy()
    changed[0, 0, 0, 0] ^= 1
    for arguments in [
        (*data, TINY),
        (*data, tiny(seed=1)),
        (changed, aims, TINY),
        (shown, aims + 1, TINY),
        (*data, TINY),
    ]:
        train(*arguments, folder=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_damaged_checkpoint_is_refused_and_kept(data, tmp_path):
    train(*data, TINY, folder=tmp_path)
    path = only(tmp_path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-10] ^= 1
    for damaged in (content[:-40], content[:100], b"", bytes(flipped), b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checkpoint: .* is damaged, or no checkpoint"):
            train(*data, TINY, folder=tmp_path)
        assert path.read_bytes() == damaged
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no checkpoint of this module"):
        train(*data, TINY, folder=tmp_path)
    assert list(load_file(path)) == ["a"]


def test_checkpoint_that_cannot_be_written_says_so(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the checkpoint"):
        train(*data, TINY, folder=tmp_path / "file")


# Bad input -----------------------------------------------------------------------------------------------------------


def with_row(aims: np.ndarray, value: float) -> np.ndarray:
    changed = aims.copy()
    changed[3] = value
    return changed


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x, y: (x.astype(float), y), "images: expected pictures of uint8, got float64"),
        (lambda x, y: (x[0], y), r"images: expected shape \(image, 8, 8, 3\), got \(8, 8, 3\)"),
        (lambda x, y: (x[..., :1], y), r"images: expected shape .* got \(40, 8, 8, 1\)"),
        (lambda x, y: (pictures(40, 16), y), r"images: expected shape .* got \(40, 16, 16, 3\)"),
        (lambda x, y: (x, y[:-1]), r"targets: expected shape \(40, 5\).*got \(39, 5\)"),
        (lambda x, y: (x, y[:, :4]), r"targets: expected shape \(40, 5\).*got \(40, 4\)"),
        (lambda x, y: (x, with_row(y, np.nan)), r"targets: 5 of 200 values are not finite .*, the first at \(3, 0\)"),
        (lambda x, y: (x, with_row(y, 0)), "targets: expected directions, got nothing but 0 in 3"),
    ],
)
def test_bad_pictures_and_targets(data, spoil, words):
    with pytest.raises(ValueError, match=words):
        train(*spoil(*data), TINY)
    with pytest.raises(ValueError, match="held_out " + words):
        train(*data, TINY, held_out=spoil(*data))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": (6, 8, 9)}, "channels, kernels"), ({"channels": ()}, "channels"),
        ({"strides": (2, 0)}, "strides"),
        ({"kernels": (3, 4)}, "odd"), ({"image_size": 10}, "image_size: expected a multiple of 4"),
        ({"time_steps": 0}, "time_steps"), ({"warm_up": 3}, "warm_up"), ({"epochs": 2.5}, "epochs"),
        ({"learning_rate": np.nan}, "learning_rate"), ({"l2": -1.0}, "l2"), ({"output": "softmax"}, "output"),
        ({"precision": "float16"}, "precision"), ({"shift": 8}, "shift"), ({"batch_size": 0}, "batch_size"),
    ],
)  # fmt: skip
def test_impossible_configurations(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny(**changes)


def test_unknown_presets_fields_and_devices(data):
    with pytest.raises(ValueError, match="name: expected one of 'small', 'paper', got 'large'"):
        preset("large")
    with pytest.raises(TypeError, match="'layers'"):
        preset("small", layers=3)
    with pytest.raises(ValueError, match="device: .* got 'abacus'"):
        train(*data, TINY, device="abacus")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": 2}, "layer: expected a whole number from -2 to 1, got 2"), ({"layer": -3}, "layer: .* got -3"),
        ({"layer": "last"}, "layer: .* got 'last'"),
        ({"time_step": 3}, "time_step: expected a whole number from -3 to 2, got 3"),
    ],
)  # fmt: skip
def test_unknown_layers_and_time_steps(options, words):
    with pytest.raises(ValueError, match=words):
        activations(RecurrentNetwork(TINY), pictures(2), **options)


def test_activations_of_pictures_of_another_size_or_dtype():
    network = RecurrentNetwork(TINY)
    with pytest.raises(ValueError, match=r"images: expected shape \(image, 8, 8, 3\), got \(2, 12, 12, 3\)"):
        activations(network, pictures(2, 12))
    with pytest.raises(ValueError, match="expected pictures of uint8"):
        predict(network, pictures(2) / 255)


def test_batches_do_not_matter(monkeypatch):
    network, shown = RecurrentNetwork(TINY), pictures(7)
    whole = activations(network, shown)
    monkeypatch.setattr(module, "BATCH", 3)
    np.testing.assert_allclose(activations(network, shown), whole, atol=1e-6)
    assert whole.dims == ("image", "feature")


# Pictures and cosines ------------------------------------------------------------------------------------------------


def test_resize_takes_the_central_square():
    wide = np.zeros((2, 10, 20, 3), dtype=np.uint8)
    wide[:, :, 5:15] = 200
    small = resize(wide, 5)
    assert small.shape == (2, 5, 5, 3) and small.dtype == np.uint8
    np.testing.assert_array_equal(small, 200)
    np.testing.assert_array_equal(resize(wide, 10), wide[:, :, 5:15])
    with pytest.raises(ValueError, match="size"):
        resize(wide, 0)
    with pytest.raises(ValueError, match="uint8"):
        resize(wide.astype("float32"), 5)


def test_cosine_equals_its_definition_and_a_mean_prediction_scores_zero(rng):
    a, b, centre = rng.standard_normal((6, 4)), rng.standard_normal((6, 4)), rng.standard_normal(4)
    x, y = a - centre, b - centre
    expected = [one @ two / np.sqrt(one @ one * (two @ two)) for one, two in zip(x, y, strict=True)]
    np.testing.assert_allclose(cosine(a, b, centre), expected)
    np.testing.assert_array_equal(cosine(np.tile(centre, (6, 1)), b, centre), 0)
    with pytest.raises(ValueError, match=r"targets: expected shape \(6, 4\), got \(3, 4\)"):
        cosine(a, b[:3])


def test_pictures_to_learn_from_are_brought_to_one_size(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, side in (("b", 8), ("a", 12)):
        Image.fromarray(pictures(1, side)[0]).save(tmp_path / "pictures" / f"{name}.png")
    (tmp_path / "captions.csv").write_text("image,caption\nb,One.\nb,Two.\na,Three.\n")
    (tmp_path / "categories.csv").write_text("image,dog,sea\na,1,0\nb,0,1\n")
    found = learning_set(tmp_path, 4)
    np.testing.assert_array_equal(found.images, [resize(pictures(1, side), 4)[0] for side in (8, 12)])
    assert found.categories.index.tolist() == ["b", "a"] and found.captions["image"].tolist() == ["b", "b", "a"]
    np.testing.assert_array_equal(found.categories, [[False, True], [True, False]])
    again = learning_set(found, 2)
    np.testing.assert_array_equal(again.images, resize(found.images, 2))


def test_published_table_has_the_studys_network_and_thirteen_others():
    table = published_networks()
    assert len(table) == 14 and table.index[0] == "LLM-trained RCNN"
    assert table["training_images"].idxmin() == "LLM-trained RCNN"
    scores = table[["ventral", "lateral", "parietal"]]
    assert (scores.iloc[0] > scores.iloc[1:].max()).all()


# Ready-made networks -------------------------------------------------------------------------------------------------

TOKENS = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS |= {"image_size": 32, "patch_size": 8}
MAPS = {"hidden_sizes": [8, 16], "depths": [1, 1]}
MEAN, SCALE = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def clip() -> transformers.CLIPModel:
    text = {key: value for key, value in TOKENS.items() if "size" not in key or key == "hidden_size"}
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config={**text, "vocab_size": 50}, vision_config=TOKENS, projection_dim=8)
    )


MODELS = {
    "ResNet": lambda: transformers.ResNetModel(
        transformers.ResNetConfig(**MAPS, embedding_size=8, layer_type="basic", downsample_in_first_stage=True)
    ),
    "ConvNeXt": lambda: transformers.ConvNextModel(transformers.ConvNextConfig(**MAPS, num_stages=2)),
    "ViT": lambda: transformers.ViTModel(transformers.ViTConfig(**TOKENS)),
    "DINOv2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**TOKENS)),
    "CLIP": clip,
}
PROCESSORS = {"ResNet": "ConvNextImageProcessor", "ConvNeXt": "ConvNextImageProcessor", "ViT": "ViTImageProcessor"}
PROCESSORS |= {"DINOv2": "BitImageProcessor", "CLIP": "CLIPImageProcessor"}


def saved(kind: str, folder) -> torch.nn.Module:
    """A small model of a kind with random weights, in a folder as the hub has them."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    model.save_pretrained(folder)
    whole = kind in ("ResNet", "ConvNeXt")
    size = {"shortest_edge": 32} if whole or kind in ("DINOv2", "CLIP") else {"height": 32, "width": 32}
    settings = {"image_processor_type": PROCESSORS[kind], "do_resize": True, "size": size, "resample": 3}
    settings |= {"do_normalize": True, "image_mean": MEAN, "image_std": SCALE, "do_rescale": True}
    settings |= {"rescale_factor": 1 / 255, "crop_pct": 1.0} if whole else {"rescale_factor": 1 / 255}
    if kind in ("DINOv2", "CLIP"):
        settings |= {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_ready_made_networks_give_their_hidden_states(kind, tmp_path):
    model = saved(kind, tmp_path)
    model = getattr(model, "vision_model", model)
    shown = pictures(3, 48)
    small = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in shown]
    values = ((np.stack(small) / 255 - MEAN) / SCALE).transpose(0, 3, 1, 2).astype("float32")
    with torch.no_grad():
        held = model(torch.from_numpy(values), output_hidden_states=True).hidden_states
    network = ready_made(tmp_path)
    for layer, state in enumerate(held):
        tokens = state.ndim == 3
        mean = state[:, 1:].mean(1) if tokens else state.mean((2, 3))
        np.testing.assert_allclose(activations(network, shown, layer), mean, atol=1e-4)
    with pytest.raises(ValueError, match=f"layer: .* got {len(held)}"):
        activations(network, shown, len(held))
    with pytest.raises(ValueError, match="time_step: expected a whole number from -1 to 0, got 1"):
        activations(network, shown, 0, 1)
    with pytest.raises(ValueError, match="expected pictures of uint8"):
        activations(network, shown / 255)


def test_pickled_weights_and_code_of_models_are_refused(tmp_path):
    model = saved("ViT", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": {"AutoModel": "m.M"}}))
    (tmp_path / "m.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match="model: expected an image network"):
        ready_made(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    ready_made(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="model: expected an image network"):
        ready_made(tmp_path)
    with pytest.raises(ValueError, match="model: expected an image network"):
        ready_made(tmp_path / "nowhere")


def test_numbers_that_are_not_finite_have_no_cosine():
    with pytest.raises(ValueError, match="predicted: 1 of 4 values are not finite"):
        cosine([[np.nan, 1.0], [1.0, 1.0]], np.ones((2, 2)))
