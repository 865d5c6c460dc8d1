"""What the pages of models show, computed: lanes of a lineage, a policy in words, drawings."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core import policy
from core.lineage import Step
from core.records import AuditEvent, Version
from core.samples import SampleBatch
from service.admin.explained import (
    GROUPS,
    SCHEDULING,
    WORDS,
    change_of,
    explained,
    scheduling,
)
from service.admin.formats_records import details, happened
from service.admin.lineage_picture import LANE, MARGIN, Row, draw
from service.admin.pictures import as_png, thumbnails
from service.admin.prediction import fitted, predicted


def steps(*versions: tuple[int, int | None]) -> list[Step]:
    """Newest first, each with its parent."""
    return [
        Step(Version(number=number), parent, None, parent is None, 0, [], None)
        for number, parent in versions
    ]


def lanes(rows: list[Row]) -> list[int]:
    return [(row.x - MARGIN) // LANE for row in rows]


def test_a_line_is_one_lane() -> None:
    rows = draw(steps((3, 2), (2, 1), (1, None)))
    assert lanes(rows) == [0, 0, 0]
    assert [(line.y1, line.y2) for line in rows[1].lines] == [(0, 50), (50, 100)]
    assert [(line.y1, line.y2) for line in rows[2].lines] == [(0, 50)]
    assert {row.width for row in rows} == {2 * MARGIN}


def test_versions_of_one_parent_meet_at_it() -> None:
    rows = draw(steps((4, 1), (3, 1), (2, 1), (1, None)))
    assert lanes(rows) == [0, 1, 2, 0]
    assert sorted(line.x1 for line in rows[3].lines) == [MARGIN, MARGIN + LANE, MARGIN + 2 * LANE]
    assert {line.x2 for line in rows[3].lines} == {rows[3].x}
    assert rows[0].width == 2 * MARGIN + 2 * LANE


def test_a_lane_that_ended_is_used_again_and_a_parent_out_of_sight_is_led_to() -> None:
    rows = draw(steps((9, 8), (8, None), (7, 3), (6, 5)))
    assert lanes(rows) == [0, 0, 0, 1]
    assert [line.y2 for line in rows[3].lines if line.x1 == rows[2].x] == [100]
    assert rows[3].lines[-1].y2 == 100
    assert draw([]) == []


def test_every_number_of_a_policy_is_explained() -> None:
    names = [name for group in GROUPS.values() for name in group]
    numbers = {
        name
        for name, value in policy.DEFAULTS.items()
        if not isinstance(value, bool | str) and not name.startswith("scheduling.")
    }
    assert set(SCHEDULING) | set(names) | {"inconclusive", "relearning"} == set(policy.DEFAULTS)
    assert sorted(names) == sorted(WORDS)
    assert set(names) == numbers
    found = {each.name: each for _, group in explained({}) for each in group}
    assert "about 79 of them" in found["thresholds.auc_band"].effect
    assert not any(each.changed for each in found.values())
    own = {"thresholds": {"auc_band": 0.05}, "budget": {"jobs": 7}}
    found = {each.name: each for _, group in explained(own) for each in group}
    assert "about 316 of them" in found["thresholds.auc_band"].effect
    assert (found["budget.jobs"].value, found["budget.jobs"].changed) == (7, True)
    assert found["budget.jobs"].most == 1_000_000


def test_a_form_as_a_change_of_a_policy() -> None:
    form = {"thresholds.auc_band": " 0.2 ", "budget.jobs": "12.0", "inconclusive": "review"}
    change, wrong = change_of(form)
    assert wrong == {}
    merged = policy.merged({"relearning": True, "thresholds": {"class_loss": 0.5}}, change)
    assert merged == {
        "inconclusive": "review",
        "thresholds": {"auc_band": 0.2},
        "budget": {"jobs": 12},
    }
    form = {"scheduling.class": "night", "scheduling.weight": "2.5", "scheduling.memory_mb": "900"}
    change, wrong = change_of(form)
    assert wrong == {}
    own = policy.merged({"scheduling": {"tenant": "acme"}}, change)
    assert own == {"scheduling": {"class": "night", "weight": 2.5, "memory_mb": 900}}
    shown = {each.name: each.value for each in scheduling(own)}
    assert list(shown.values()) == ["night", "", "2.5", "900"]
    heavy = change_of({"scheduling.weight": "heavy"})[1]
    assert heavy == {"scheduling.weight": "must be a number"}
    assert change_of({"relearning": "on"})[0]["relearning"] is True
    for text in ("much", "nan", "inf", "1e999"):
        assert change_of({"budget.days": text})[1] == {"budget.days": "must be a number"}


def event(name: str, **data: object) -> AuditEvent:
    return AuditEvent(
        seq=1, at=datetime(2026, 1, 1, tzinfo=UTC), noun="job", noun_id="job_1", event=name,
        data=data, previous="", hash="",
    )  # fmt: skip


def test_events_in_words() -> None:
    moved = event("moved", **{"from": "in_progress", "to": "completed", "reason": "done"})
    assert (happened(moved), details(moved)) == ("in progress → completed", "reason done")
    made = event("created", scopes=["read"], days=None, of_all=0.5)
    assert (happened(made), details(made)) == ("created", 'scopes ["read"], days null, of all 0.5')
    assert len(details(event("long", text="x" * 900))) == 161


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_samples_as_pictures() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    shown = opened(as_png(grey))
    assert (shown.size, shown.mode) == ((56, 56), "L")
    assert np.array_equal(np.asarray(shown)[::7, ::7], grey[0])
    colour = np.zeros((3, 90, 80), np.uint8)
    colour[2] = 255
    assert opened(as_png(colour)).getpixel((0, 0)) == (0, 0, 255)
    assert opened(as_png(colour)).size == (80, 90)
    batch = SampleBatch(
        np.array([5]), ["secret name"], np.array([1]), np.array([0], np.int32),
        np.array([2], np.int8), grey[None],
    )  # fmt: skip
    [each] = thumbnails(batch)
    assert (each.key, each.split) == (5, "heldout")
    assert "secret" not in str(each)


def drawing(box: tuple[int, int, int, int]) -> bytes:
    image = Image.new("L", (280, 280))
    ImageDraw.Draw(image).rectangle(box, fill=255)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("side", "columns", "rows"), [(8, range(3, 5), range(8)), (28, range(12, 16), range(4, 24))]
)
def test_a_drawing_is_brought_to_where_the_training_digits_lie(
    side: int, columns: range, rows: range
) -> None:
    fit = np.asarray(Image.open(io.BytesIO(fitted(drawing((10, 20, 49, 219)), [1, side, side]))))
    lit = np.argwhere(fit > 100)
    assert fit.shape == (side, side)
    assert (lit[:, 0].min(), lit[:, 0].max()) == (rows[0], rows[-1])
    assert abs(lit[:, 1].mean() - np.mean(columns)) <= 0.5


def test_what_is_no_drawing_stays_as_it_is() -> None:
    nothing = drawing((0, 0, 0, 0))
    blank = io.BytesIO()
    Image.new("L", (280, 280)).save(blank, "PNG")
    huge = io.BytesIO()
    Image.new("L", (3000, 8)).save(huge, "PNG")
    for data in (blank.getvalue(), huge.getvalue(), b"no image", drawing((0, 0, 9, 9))[:60]):
        assert fitted(data, [1, 8, 8]) == data
    assert fitted(nothing, [1, 8, 8]) != nothing  # one dot is a drawing


def test_how_sure_a_prediction_is() -> None:
    def of(doubt: float) -> str:
        found = predicted(
            classes=["a", "b"], version=3, digest="d", probabilities=np.array([0.2, 0.8], "f4"),
            doubt=doubt, unknown=0.0, image=np.zeros((1, 8, 8), np.float32),
        )  # fmt: skip
        assert [name for name, _ in found.ranked] == ["b", "a"]
        assert found.label == "b"
        return found.words

    assert (of(0.0), of(0.2), of(0.69)) == (
        "The model is sure.",
        "The model is fairly sure.",
        "The model is unsure: do not rely on this.",
    )
