"""Checkpoints: whole or absent, the pointer last, foreign files recognised."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from ml.envs.config import EnvConfig
from ml.envs.policy_interface import PolicyInterface
from ml.errors import CheckpointError
from ml.onboard.observation.spec import OBSERVATION_VERSION
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied
from ml.training import checkpoints
from ml.training.checkpoints import (
    CheckpointStore,
    describe,
    interface_of,
    load_model,
    model_bytes,
    read_checkpoint,
    restore,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.tiny_convoys import TinyConvoys


def _learner(tiny: type[TinyConvoys], *, embed: int = 8, seed: int = 0) -> PPO:
    return PPO(
        "MultiInputPolicy",
        tiny(num_envs=2),
        n_steps=8,
        batch_size=16,
        n_epochs=2,
        policy_kwargs=create_deep_set_policy_kwargs(embed),
        seed=seed,
        device="cpu",
    )


@pytest.fixture
def learner(tiny_convoys: type[TinyConvoys]) -> PPO:
    """A model that has learnt for a moment, so that its optimiser has a state."""
    return _learner(tiny_convoys).learn(32)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """An empty store that keeps two."""
    return CheckpointStore(tmp_path, keep=2)


def _same(first: PPO, second: PPO) -> bool:
    one, two = first.get_parameters(), second.get_parameters()
    weights = all(torch.equal(one["policy"][k], two["policy"][k]) for k in one["policy"])
    moments = [p["policy.optimizer"]["state"] for p in (one, two)]
    return (
        weights
        and moments[0].keys() == moments[1].keys()
        and all(
            torch.equal(moments[0][k][m], moments[1][k][m])
            for k in moments[0]
            for m in moments[0][k]
        )
    )


def test_a_restored_model_goes_on_where_the_saved_one_was(
    learner: PPO, store: CheckpointStore, tiny_convoys: type[TinyConvoys]
):
    """Weights, the optimiser's moments and the step count come back; not so in a fresh model."""
    store.save(learner, learner.num_timesteps)
    fresh = _learner(tiny_convoys, seed=5)
    assert not _same(learner, fresh)
    checkpoint, problems = store.newest()
    restore(fresh, checkpoint)
    assert not problems
    assert _same(learner, fresh)
    assert fresh.num_timesteps == 32


def test_plain_sb3_loads_a_checkpoint(learner: PPO, store: CheckpointStore):
    """A checkpoint is an ordinary model file: PPO.load needs nothing else."""
    path = store.save(learner, 32)
    loaded = PPO.load(path, device="cpu")
    obs = learner.get_env().reset()
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], learner.predict(obs, deterministic=True)[0]
    )


def test_load_model_acts_as_the_saved_one(learner: PPO, store: CheckpointStore):
    """Loading without unpickling finds the network's width in the weights."""
    path = store.save(learner, 32)
    obs = learner.get_env().reset()
    wanted = learner.predict(obs, deterministic=True)[0]
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        actions = load_model(source).predict(obs, deterministic=True)[0]
        np.testing.assert_array_equal(actions, wanted)


def test_a_study_goes_on_hiding_what_it_hid(tiny_convoys: type[TinyConvoys], tmp_path: Path):
    """A loaded model hides the same columns and the maximum, whoever loads it."""
    hidden = studied(
        create_deep_set_policy_kwargs(8), hidden_ego=(0,), hidden_peers=(1,), pooling="mean"
    )
    model = PPO(
        "MultiInputPolicy", tiny_convoys(num_envs=2), policy_kwargs=hidden, n_steps=8, batch_size=16
    )
    path = tmp_path / "study.zip"
    path.write_bytes(model_bytes(model))
    obs = tiny_convoys(num_envs=2).reset()
    for loaded in (load_model(path), PPO.load(path, device="cpu")):
        assert loaded.policy.features_extractor.shown_ego[0] == 0.0
        np.testing.assert_array_equal(
            loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
        )


def _in_buffer(model: PPO, path: Path) -> io.BytesIO:
    buffer = io.BytesIO()
    model.save(buffer)
    assert not path.exists()
    return buffer


def _without_suffix(model: PPO, path: Path) -> str:
    model.save(str(path.with_suffix("")))
    return str(path.with_suffix(""))


def _less(model: PPO, path: Path) -> Path:
    model.save(path, exclude=["ep_info_buffer", "device"])
    return path


def _by_plain_sb3(model: PPO, path: Path) -> Path:
    model.save(path)
    PPO.load(path).save(path)
    return path


def _after_learning(model: PPO, path: Path) -> Path:
    model.learn(2, reset_num_timesteps=False)
    model.save(path)
    return path


@pytest.mark.parametrize(
    "save", [_in_buffer, _without_suffix, _less, _by_plain_sb3, _after_learning]
)
def test_a_model_that_was_loaded_and_saved_can_be_loaded(
    learner: PPO, tiny_convoys: type[TinyConvoys], tmp_path: Path, save: Callable
):
    """By its own `save`, however it is called: the same policy in the same vehicle."""
    interface = PolicyInterface(
        time_gap_s=0.7, action_lag_s=0.3, safety_layer=True, position_common_share=0.4
    )
    describe(learner, interface)
    loaded = load_model(io.BytesIO(model_bytes(learner)))
    loaded.set_env(tiny_convoys(num_envs=1))
    source = save(loaded, tmp_path / "again.zip")
    again = load_model(source)
    assert again.interface == loaded.interface == interface
    assert again.num_timesteps == loaded.num_timesteps
    assert all(map(torch.equal, again.policy.parameters(), loaded.policy.parameters()))
    assert interface_of(PPO.load(source, device="cpu")) == interface


def test_a_model_of_another_vehicle_says_so_in_its_next_file(learner: PPO, tmp_path: Path):
    """`interface` may be set; no file holds two of them, or any that has to be unpickled."""
    describe(learner, PolicyInterface(action_lag_s=0.3))
    loaded = load_model(io.BytesIO(model_bytes(learner)))
    loaded.interface = PolicyInterface(safety_layer=True)
    loaded.save(tmp_path / "again")
    assert load_model(tmp_path / "again").interface == PolicyInterface(safety_layer=True)
    with zipfile.ZipFile(tmp_path / "again.zip") as archive:
        assert "interface" not in json.loads(archive.read("data"))


def test_a_model_of_ones_own_is_told_how_to_be_loaded(learner: PPO, tmp_path: Path):
    """Saved by Stable-Baselines3 alone it does not say what it was made for; `describe` does."""
    learner.save(tmp_path / "own.zip")
    with pytest.raises(CheckpointError, match=r"describe\(model, PolicyInterface\.of\(config\)\)"):
        load_model(tmp_path / "own.zip")
    describe(learner, PolicyInterface.of(EnvConfig(safety_layer=True)))
    learner.save(tmp_path / "own.zip")
    with (tmp_path / "own.zip").open("rb") as file:
        assert load_model(file).interface.safety_layer


def test_a_file_from_before_the_common_share_drives_on_with_independent_errors(learner: PPO):
    """What is trained now believes in what its configuration says; an older file in nothing."""
    describe(learner, PolicyInterface.of(EnvConfig(position_common_share=0.5)))
    file = io.BytesIO(model_bytes(learner))
    assert load_model(file).interface.config_changes()["position_common_share"] == 0.5
    older = io.BytesIO()
    with zipfile.ZipFile(file) as new, zipfile.ZipFile(older, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "data":
                data = json.loads(content)
                described = [said for said in data.values() if isinstance(said, dict)]
                (interface,) = [said for said in described if "position_common_share" in said]
                del interface["position_common_share"]
                content = json.dumps(data).encode()
            old.writestr(name, content)
    assert load_model(older).interface.config_changes()["position_common_share"] == 0.0


def test_files_are_named_by_step_and_pruned(learner: PPO, store: CheckpointStore):
    """Only the newest stay, in order of steps, and `latest` names the newest."""
    for step in (16, 32, 48, 64):
        store.save(learner, step)
    names = sorted(path.name for path in store.directory.iterdir())
    assert names == ["latest", "step_000000048.zip", "step_000000064.zip"]
    assert (store.directory / "latest").read_text() == "step_000000064.zip\n"


def test_the_pointer_moves_last(
    learner: PPO, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    """While a checkpoint is being written, `latest` names the one before, which is whole."""
    store.save(learner, 16)
    write = checkpoints.write_atomically
    seen = []

    def watched(path: Path, content: bytes | str) -> None:
        pointed = (store.directory / "latest").read_text().strip()
        seen.append((path.name, pointed, (store.directory / pointed).exists()))
        write(path, content)

    monkeypatch.setattr(checkpoints, "write_atomically", watched)
    store.save(learner, 32)
    assert seen == [
        ("step_000000032.zip", "step_000000016.zip", True),
        ("latest", "step_000000016.zip", True),
    ]
    assert read_checkpoint(store.directory / "step_000000032.zip").counters["num_timesteps"] == 32


def test_a_full_disk_keeps_the_earlier_checkpoints(
    learner: PPO, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    """When writing fails, the pointer and what it points to stay as they were."""
    store.save(learner, 16)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            store.save(learner, 32)
    assert sorted(p.name for p in store.directory.iterdir()) == ["latest", "step_000000016.zip"]
    assert store.newest()[0].source.name == "step_000000016.zip"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_recognised(learner: PPO, store: CheckpointStore, share: float):
    """A half-written file is told of, and the checkpoint before it is used."""
    store.save(learner, 16)
    newest = store.save(learner, 32)
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="truncated"):
        read_checkpoint(newest)
    checkpoint, problems = store.newest()
    assert checkpoint.source.name == "step_000000016.zip"
    assert len(problems) == 1
    assert "step_000000032.zip" in problems[0]


def test_a_flipped_byte_is_recognised(learner: PPO, store: CheckpointStore):
    """A damaged file fails its checksum."""
    path = store.save(learner, 16)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = archive.getinfo("policy.pth")
    content[weights.header_offset + 200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_missing_pointer_or_a_wrong_one_costs_nothing(learner: PPO, store: CheckpointStore):
    """Without a usable pointer the newest file counts."""
    for step in (16, 32):
        store.save(learner, step)
    pointer = store.directory / "latest"
    for content in (b"step_000000099.zip\n", b"\xff\xfe", b"../../elsewhere.zip"):
        pointer.write_bytes(content)
        assert store.newest()[0].source.name == "step_000000032.zip"
    pointer.unlink()
    assert store.newest()[0].source.name == "step_000000032.zip"


def test_no_usable_checkpoint_gives_every_reason(store: CheckpointStore):
    """With nothing left, the message lists what was tried."""
    with pytest.raises(CheckpointError, match="there are no checkpoints"):
        store.newest()
    (store.directory / "step_000000016.zip").write_text("hello")
    with pytest.raises(CheckpointError, match=r"step_000000016\.zip is truncated or no checkpoint"):
        store.newest()


def _zip(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "."), content)
    return path


@pytest.mark.parametrize(
    "data", [b"no json", b"[]", b"{}", b'{"num_timesteps": -1}', b'{"num_timesteps": "x"}']
)
def test_a_foreign_zip_is_refused(tmp_path: Path, data: bytes):
    """A zip with other content is told from a checkpoint, whatever its JSON says."""
    parts = {"policy__pth": b"", "policy__optimizer__pth": b""}
    with pytest.raises(CheckpointError, match="holds no PPO checkpoint"):
        read_checkpoint(_zip(tmp_path / "a.zip", data=data, **parts))
    with pytest.raises(CheckpointError, match="it has no data, policy"):
        read_checkpoint(_zip(tmp_path / "b.zip", readme=b"hello"))


def test_a_missing_file_is_refused(tmp_path: Path):
    """The reason is the system's own."""
    with pytest.raises(CheckpointError, match="No such file"):
        read_checkpoint(tmp_path / "none.zip")


def test_another_network_is_refused_in_words(
    learner: PPO, store: CheckpointStore, tiny_convoys: type[TinyConvoys]
):
    """Weights of another width do not fit, and the message says what to use."""
    store.save(learner, 16)
    wider = _learner(tiny_convoys, embed=16)
    with pytest.raises(CheckpointError, match=r"does not fit this policy.*versions\.json"):
        restore(wider, store.newest()[0])


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("exploded",))


def test_a_strangers_checkpoint_runs_no_code(
    learner: PPO,
    tmp_path: Path,
    tiny_convoys: type[TinyConvoys],
    monkeypatch: pytest.MonkeyPatch,
):
    """Neither pickled settings nor a pickle in place of the weights is executed."""
    monkeypatch.chdir(tmp_path)
    original = zipfile.ZipFile(io.BytesIO(model_bytes(learner)))
    parts = {name.replace(".", "__"): original.read(name) for name in original.namelist()}
    settings = json.loads(parts["data"])
    armed = pickle.dumps(_Bomb())
    settings["policy_class"][":serialized:"] = base64.b64encode(armed).decode()

    in_settings = _zip(tmp_path / "a.zip", **parts | {"data": json.dumps(settings).encode()})
    load_model(in_settings)
    restore(_learner(tiny_convoys), read_checkpoint(in_settings))
    in_weights = _zip(tmp_path / "b.zip", **parts | {"policy__pth": armed})
    with pytest.raises(CheckpointError):
        load_model(in_weights)
    with pytest.raises(CheckpointError):
        restore(_learner(tiny_convoys), read_checkpoint(in_weights))
    assert not (tmp_path / "exploded").exists()
    # Plain SB3 does run it (and then warns, or fails): the trap works.
    with contextlib.suppress(Exception):
        PPO.load(in_settings)
    assert (tmp_path / "exploded").exists()


def test_later_checkpoints_are_set_aside(learner: PPO, store: CheckpointStore):
    """Continuing from an earlier step keeps the later files under another name."""
    for step in (16, 32):
        store.save(learner, step)
    aside = store.set_aside_after(16)
    assert [path.name for path in aside] == ["step_000000032.zip.superseded"]
    assert store.newest()[0].source.name == "step_000000016.zip"


def test_a_rest_of_a_killed_process_is_removed(learner: PPO, store: CheckpointStore):
    """What a killed process was writing does not stay for ever."""
    rest = store.directory / ".step_000000008.zip.partial"
    rest.write_bytes(b"half")
    store.save(learner, 16)
    assert not rest.exists()


def _with_data(path: Path, model: PPO, **changes: object) -> Path:
    """Write a model with some of its settings changed; None removes one."""
    original = zipfile.ZipFile(io.BytesIO(model_bytes(model)))
    parts = {name.replace(".", "__"): original.read(name) for name in original.namelist()}
    settings = json.loads(parts["data"]) | changes
    settings = {name: value for name, value in settings.items() if value is not None}
    return _zip(path, **parts | {"data": json.dumps(settings).encode()})


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (None, "does not say for which version"),
        (1, "was made for version 1 of"),
        ("x", "version 'x' of"),
    ],
)
def test_another_observation_is_refused(learner: PPO, tmp_path: Path, version: object, told: str):
    """Weights of the right shape, learnt on other columns, are no weights of ours."""
    path = _with_data(tmp_path / "a.zip", learner, observation_version=version)
    for read in (read_checkpoint, load_model):
        with pytest.raises(CheckpointError, match=told) as caught:
            read(path)
        assert f"version {OBSERVATION_VERSION}" in str(caught.value)


def test_another_kind_of_policy_is_refused(tiny_convoys: type[TinyConvoys], tmp_path: Path):
    """A policy without Deep Sets, saved by us or by plain SB3, is told from ours."""
    stranger = PPO("MultiInputPolicy", tiny_convoys(num_envs=2), n_steps=8, batch_size=16)
    (tmp_path / "a.zip").write_bytes(model_bytes(stranger))
    with pytest.raises(CheckpointError, match="holds no Deep Sets policy"):
        load_model(tmp_path / "a.zip")
    with pytest.raises(CheckpointError, match="does not fit this policy"):
        restore(_learner(tiny_convoys), read_checkpoint(tmp_path / "a.zip"))


@pytest.mark.parametrize(
    "weights",
    [
        [1, 2],
        {"features_extractor.phi.2.weight": 3},
        {"features_extractor.phi.2.weight": torch.tensor(1.0)},
    ],
    ids=["list", "number", "scalar"],
)
def test_weights_of_another_form_are_refused(learner: PPO, tmp_path: Path, weights: object):
    """Whatever torch can read in place of the weights, the message names the file."""
    original = zipfile.ZipFile(io.BytesIO(model_bytes(learner)))
    parts = {name.replace(".", "__"): original.read(name) for name in original.namelist()}
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    path = _zip(tmp_path / "a.zip", **parts | {"policy__pth": buffer.getvalue()})
    with pytest.raises(CheckpointError, match=r"a\.zip"):
        load_model(path)


def test_room_that_was_set_aside_is_used_on_a_full_disk(
    learner: PPO, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    """The first write fails for want of room; the reserve is given up and the second succeeds."""
    store.reserve(learner)
    assert (store.directory / ".reserve").stat().st_size > 2 * len(model_bytes(learner))
    sync, calls = os.fsync, []

    def full_until_the_reserve_is_gone(handle: int) -> None:
        calls.append(handle)
        if (store.directory / ".reserve").exists():
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full_until_the_reserve_is_gone)
    store.save(learner, 16)
    assert store.newest()[0].source.name == "step_000000016.zip"
    assert not (store.directory / ".reserve").exists()
    assert len(calls) > 1
