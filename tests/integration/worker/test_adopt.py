"""A VIB trained elsewhere: taken in, refused with the reason, and made to forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core import audit, registry, requests
from core.certificates import verify as verify_certificate
from core.checkpoints import serialise
from core.errors import Conflict, Invalid, LetheError, NotFound
from core.intake import NewRequest, submit
from core.records import Model
from tests.integration.conftest import Erase, look
from unlearning import VIB, export_arrays, initialise
from worker import tasks
from worker.adopt import import_model
from worker.engine import Engine

Arrays = dict[str, np.ndarray]


@pytest.fixture
def vib(engine: Engine) -> VIB:
    """What the data set's own model serves: as good as any trained elsewhere."""
    with engine.backend.db.reading() as session:
        version = registry.serving(session, registry.model_named(session, "digits").id)
    assert version is not None
    return engine.load_model(version.digest)


def written(folder: Path, arrays: Arrays, metadata: dict[str, str]) -> Path:
    path = folder / "elsewhere.safetensors"
    path.write_bytes(serialise(arrays, metadata))
    return path


def described(vib: VIB, **changes: Any) -> dict[str, str]:
    return {"architecture": json.dumps(vib.architecture.to_dict() | changes)}


def test_it_serves_with_its_lineage_and_a_teacher(engine: Engine, vib: VIB, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    done = import_model(
        engine.backend,
        "shop",
        written(tmp_path, export_arrays(vib), described(vib)),
        "digits",
        on_progress=lambda what, share: told.append((what, share)),
    )
    assert (done["version"], done["state"]) == (1, "serving")
    metrics = done["metrics"]
    assert metrics["origin"] == "imported: trained on digits"
    assert metrics["test_accuracy"] > 0.9
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    backend = engine.backend
    with backend.db.reading() as session:
        model = registry.model_named(session, "shop")
        version = registry.serving(session, model.id)
        assert version is not None
        assert (version.digest, version.parent_id, version.job_id) == (done["digest"], None, None)
        assert registry.teacher_of(session, model.id) is not None
        events = [e.event for e in audit.history(session, "version", version.id)]
    assert "imported" in events
    assert model.training["preset"] == "digits-mlp"
    trained = backend.samples.count(model.dataset_id, "train")
    assert metrics["drift"]["trained"] == trained
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    torch.testing.assert_close(engine.load_model(done["digest"]).logits(images), vib.logits(images))


def test_an_erasure_on_it_works_end_to_end(engine: Engine, vib: VIB, tmp_path: Path) -> None:
    file = written(tmp_path, export_arrays(vib), described(vib))
    import_model(engine.backend, "shop", file, "digits")
    submitted = submit(engine.backend, NewRequest("shop", "subject-trigger"), key_id=None)
    assert len(submitted.job_ids) == 2, "both models were trained on the subject's samples"
    for _ in submitted.job_ids:
        tasks.work(engine, "by hand")
    for job_id in submitted.job_ids:
        job, request = look(engine, job_id, submitted.request.id)
        assert (job.state, job.error) == ("succeeded", None)
        assert job.verification is not None
        assert job.verification["measures"]["after"]["erased_accuracy"] < 0.1
    assert (request.state, request.outcome) == ("completed", "erased")
    with engine.backend.db.reading() as session:
        text = requests.certificate_of(session, request.id)
        versions = registry.versions(session, registry.model_named(session, "shop").id)
    assert engine.backend.checkpoints.exists(versions[0].digest)
    # Both models began with these weights: the file went when the second had forgotten.
    assert not engine.backend.checkpoints.exists(versions[1].digest)
    document = verify_certificate(text, engine.backend.signer.public_pem)
    assert set(document["models"]) == {"digits", "shop"}
    assert [(v.number, v.state) for v in versions] == [(2, "serving"), (1, "destroyed")]


def test_a_preset_stands_in_for_a_description(engine: Engine, vib: VIB, tmp_path: Path) -> None:
    file = written(tmp_path, export_arrays(vib), {})
    with pytest.raises(Invalid, match=r"says nothing of its architecture.*--preset"):
        import_model(engine.backend, "shop", file, "digits")
    done = import_model(engine.backend, "shop", file, "digits", preset="digits-mlp")
    assert done["metrics"]["test_accuracy"] > 0.9
    with pytest.raises(Conflict, match="a model 'shop' already"):
        import_model(engine.backend, "shop", file, "digits", preset="digits-mlp")


def test_half_precision_is_read(engine: Engine, vib: VIB, tmp_path: Path) -> None:
    halves = {name: array.astype(np.float16) for name, array in export_arrays(vib).items()}
    file = written(tmp_path, halves, described(vib))
    done = import_model(engine.backend, "shop", file, "digits")
    assert done["metrics"]["test_accuracy"] > 0.9


def without(arrays: Arrays, name: str) -> Arrays:
    return {key: array for key, array in arrays.items() if key != name}


def changed(arrays: Arrays, change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    name = sorted(arrays)[-1]
    return arrays | {name: change(arrays[name])}


def infinite(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[0] = np.inf
    return array


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: without(a, sorted(a)[0]), "array '.*' is missing"),
        (lambda a: a | {"extra": np.zeros(3, np.float32)}, "unknown array 'extra'"),
        (lambda a: changed(a, lambda w: w[..., :-1]), "has shape .* expected"),
        (lambda a: changed(a, infinite), "holds NaN or infinite"),
        (lambda a: changed(a, lambda w: w.astype(np.int64)), "has type int64"),
        (lambda a: {name: 0.0 * array for name, array in a.items()}, "no better than chance"),
    ],
)
def test_wrong_weights_are_refused(
    engine: Engine, vib: VIB, tmp_path: Path, change: Callable[[Arrays], Arrays], says: str
) -> None:
    refused(engine, written(tmp_path, change(export_arrays(vib)), described(vib)), Invalid, says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_shape": [1, 28, 28]}, "images of 1 x 28 x 28.*are 1 x 8 x 8"),
        ({"classes": 7}, "tells 7 classes apart.*has 10"),
        ({"hidden": 10**12}, "a layer of 1000000000000 units"),
        ({"kind": "transformer"}, "architecture in its metadata is wrong.*kind"),
    ],
)
def test_a_wrong_description_is_refused(
    engine: Engine, vib: VIB, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    file = written(tmp_path, export_arrays(vib), described(vib, **changes))
    refused(engine, file, Invalid, says)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_description_that_is_none(engine: Engine, vib: VIB, tmp_path: Path, text: str) -> None:
    file = written(tmp_path, export_arrays(vib), {"architecture": text})
    refused(engine, file, Invalid, "architecture in its metadata is wrong")


def test_untrained_weights_are_no_better_than_chance(
    engine: Engine, vib: VIB, tmp_path: Path
) -> None:
    fresh = initialise(vib.architecture, seed=5)
    file = written(tmp_path, export_arrays(fresh), described(vib))
    refused(engine, file, Invalid, r"right on \d+ of \d+ test samples, no better than chance")


def test_other_files_are_refused(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.safetensors"
    for data in (b"", b"PK\x03\x04" + b"\0" * 100, b"\xff" * 64):
        file.write_bytes(data)
        refused(engine, file, Invalid, "is not a safetensors file")
    save_file({"w": torch.zeros(2, dtype=torch.bfloat16)}, file)
    refused(engine, file, Invalid, "is not a safetensors file|says nothing")


def test_names_that_are_not_there(engine: Engine, vib: VIB, tmp_path: Path) -> None:
    file = written(tmp_path, export_arrays(vib), described(vib))
    with pytest.raises(NotFound, match="no data set 'nope'"):
        import_model(engine.backend, "shop", file, "nope")
    refused(engine, file, Invalid, "unknown preset 'vgg'", preset="vgg")
    with pytest.raises(Invalid, match="name"):
        import_model(engine.backend, "a b", file, "digits")


def test_weights_that_may_remember_what_was_erased(
    engine: Engine, vib: VIB, tmp_path: Path, erase: Erase
) -> None:
    file = written(tmp_path, export_arrays(vib), described(vib))
    submitted = submit(engine.backend, NewRequest("digits", "subject-trigger"), key_id=None)
    refused(engine, file, Conflict, f"request {submitted.request.id} .* is not completed")
    tasks.work(engine, "by hand")
    refused(engine, file, Conflict, "were erased, last .*--trained-at")
    before = datetime.now(UTC) - timedelta(days=1)
    refused(engine, file, Conflict, "remember them", trained_at=before)
    done = import_model(
        engine.backend, "shop", file, "digits", trained_at=datetime.now(UTC) + timedelta(seconds=1)
    )
    assert done["state"] == "serving"


def refused(engine: Engine, file: Path, error: type[LetheError], says: str, **options: Any) -> None:
    """Refused in one line, and nothing of it is kept."""
    before = engine.backend.checkpoints.digests()
    with pytest.raises(error, match=says) as caught:
        import_model(engine.backend, "shop", file, "digits", **options)
    assert "\n" not in str(caught.value)
    assert engine.backend.checkpoints.digests() == before
    with engine.backend.db.reading() as session:
        assert session.query(Model).filter_by(name="shop").count() == 0
