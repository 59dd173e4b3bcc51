"""The feature store: what comes back is what was written, or nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from brainalign.features.store import FeatureStore, digest_files, locked

KEY = {"weights": "abc", "context": 3}


@pytest.fixture
def states() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def parts(store: FeatureStore) -> list[Path]:
    return sorted(store.root.rglob("*.zip"))


def test_written_layers_come_back(tmp_path, states):
    FeatureStore(tmp_path).entry(KEY).write(0, [0, 4, 7], states)
    found = FeatureStore(str(tmp_path)).entry(KEY).read(0, [7, 0])
    assert found.keys() == {0, 7}
    np.testing.assert_array_equal(found[0], states[0])
    np.testing.assert_array_equal(found[7], states[2])
    assert found[0].dtype == np.float32


def test_layers_of_later_writes_are_found_too(tmp_path, states):
    entry = FeatureStore(tmp_path).entry(KEY)
    entry.write(0, [1], states[:1])
    assert entry.read(0, [1, 2]).keys() == {1}
    entry.write(0, [2, 3], states[1:])
    found = entry.read(0, [1, 2, 3])
    np.testing.assert_array_equal(np.stack([found[layer] for layer in (1, 2, 3)]), states)


def test_missing_numbers_are_kept_as_such(tmp_path):
    entry = FeatureStore(tmp_path).entry(KEY)
    states = np.full((1, 2, 1), np.nan, dtype=np.float32)
    entry.write(0, [0], states)
    np.testing.assert_array_equal(entry.read(0, [0])[0], states[0])


@pytest.mark.parametrize("other", [{"weights": "abd"}, {"context": None}, {"context": 4}, {"pooling": "mean"}])
def test_another_key_finds_nothing(tmp_path, states, other):
    store = FeatureStore(tmp_path)
    store.entry(KEY).write(0, [0, 1, 2], states)
    assert store.entry({**KEY, **other}).read(0, [0, 1, 2]) == {}
    assert store.entry(KEY).read(1, [0, 1, 2]) == {}
    assert store.entry(dict(reversed(KEY.items())), model="a label changes nothing").read(0, [0]).keys() == {0}


def test_key_is_readable(tmp_path, states):
    FeatureStore(tmp_path).entry(KEY, model="tiny").write(0, [0, 1, 2], states)
    (description,) = tmp_path.rglob("key.json")
    assert json.loads(description.read_text()) == {**KEY, "model": "tiny"}


def test_default_root_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
    assert FeatureStore().root == tmp_path / "features"


def test_any_damage_is_noticed(tmp_path, states, caplog):
    """One byte changed anywhere: the right numbers come back, or none."""
    caplog.set_level(logging.CRITICAL)
    store = FeatureStore(tmp_path)
    entry = store.entry(KEY)
    entry.write(0, [0, 1, 2], states)
    (path,) = parts(store)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        found = entry.read(0, [0, 1, 2])
        for layer, state in found.items():
            np.testing.assert_array_equal(state, states[layer])
        noticed += len(found) < 3
    assert noticed > len(whole) // 7 // 3  # much of a zip file so small is names and dates


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"\0" * len(raw)])
def test_damaged_file_is_removed_and_replaced(tmp_path, states, damage, caplog):
    store = FeatureStore(tmp_path)
    entry = store.entry(KEY)
    entry.write(0, [0, 1, 2], states)
    (path,) = parts(store)
    path.write_bytes(damage(path.read_bytes()))
    assert entry.read(0, [0, 1, 2]) == {}
    assert "damaged" in caplog.text and parts(store) == []
    entry.write(0, [0, 1, 2], states)
    assert entry.read(0, [0, 1, 2]).keys() == {0, 1, 2}


def test_full_disk_leaves_nothing_half_written(tmp_path, states, monkeypatch):
    store = FeatureStore(tmp_path)
    entry = store.entry(KEY)
    entry.write(0, [0, 1, 2], states)
    before = sorted(tmp_path.rglob("*"))

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="cannot store features in .*No space left") as caught:
        entry.write(1, [0, 1, 2], states)
    assert caught.value.errno == errno.ENOSPC
    assert sorted(tmp_path.rglob("*")) == before
    assert entry.read(0, [0]).keys() == {0} and entry.read(1, [0]) == {}


def test_mismatched_layers_are_refused(tmp_path, states):
    with pytest.raises(ValueError, match="layers, states: expected the same length, got 2, 3"):
        FeatureStore(tmp_path).entry(KEY).write(0, [0, 1], states)


def test_lock_lets_one_in_at_a_time(tmp_path):
    inside, most = 0, 0

    def work(order: int) -> None:
        nonlocal inside, most
        entries = [FeatureStore(tmp_path).entry({"context": c}) for c in (1, 2, 3)[::order]]
        for _ in range(20):
            with locked(entries):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work, args=[order], daemon=True) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 1


def test_digest_follows_content_and_names(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("weights")
    first = digest_files([one])
    assert digest_files([one]) == first
    two.write_text("weights")
    assert digest_files([two]) != first
    one.write_text("Weights")
    os.utime(one, ns=(1, 1))
    assert digest_files([one]) != first
