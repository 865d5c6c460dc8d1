"""What the templates of models, data sets, the audit chain, keys and the system get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from core.contents import ErasedBy, Samples, Sizes
from core.facts import ModelFacts
from core.lineage import Lineage, Step
from core.records import ApiKey, AuditEvent, Dataset, LegalHold, Subject
from core.system import Part, Process, Setting
from service.admin.explained import Explained, Said
from service.admin.lineage_picture import Row
from service.admin.listing import Listing
from service.admin.pictures import Thumbnail
from service.admin.prediction import Predicted


@dataclass(frozen=True)
class ModelList:
    """Every model."""

    template: ClassVar[str] = "models.html"
    models: Sequence[ModelFacts]


@dataclass(frozen=True)
class Model:
    """One model: its lineage, how it has drifted, who serves it. predicts: does this process?"""

    template: ClassVar[str] = "model.html"
    found: ModelFacts
    lineage: Lineage
    picture: Sequence[Row]
    retired: Sequence[Step]
    predicts: bool


@dataclass(frozen=True)
class Policy:
    """A model's policy, each setting explained. given: what was sent and refused; wrong: why."""

    template: ClassVar[str] = "policy.html"
    name: str
    groups: Sequence[tuple[str, Sequence[Explained]]]
    scheduling: Sequence[Said]
    inconclusive: str
    relearning: bool
    given: Mapping[str, str]
    wrong: Mapping[str, str]


@dataclass(frozen=True)
class Try:
    """A prediction, and the box to ask for one. drawn: can the model's images be drawn?"""

    template: ClassVar[str] = "try.html"
    name: str
    shape: Sequence[int]
    classes: Sequence[str]
    drawn: bool
    predicts: bool
    predicted: Predicted | None


@dataclass(frozen=True)
class DatasetList:
    """Every data set, with the names of its models and how many samples it has."""

    template: ClassVar[str] = "datasets.html"
    datasets: Sequence[tuple[Dataset, Sequence[str], int]]


@dataclass(frozen=True)
class DatasetPage:
    """One data set. outcomes: of ended requests. erased: jobs that destroyed samples."""

    template: ClassVar[str] = "dataset.html"
    dataset: Dataset
    models: Sequence[str]
    samples: Samples
    sizes: Sizes
    outcomes: Mapping[str, int]
    erased: Sequence[ErasedBy]


@dataclass(frozen=True)
class SubjectList:
    """Subjects of a data set: hashes and sizes."""

    template: ClassVar[str] = "subjects.html"
    dataset: Dataset
    subjects: Sequence[Subject]
    listing: Listing


@dataclass(frozen=True)
class SampleSheet:
    """Samples of one class, to look at."""

    template: ClassVar[str] = "samples.html"
    dataset: Dataset
    label: int
    thumbnails: Sequence[Thumbnail]
    listing: Listing


@dataclass(frozen=True)
class Audit:
    """A page of the chain, newest first. head: number and hash of the newest event."""

    template: ClassVar[str] = "audit.html"
    events: Sequence[AuditEvent]
    head: tuple[int, str]
    listing: Listing
    nouns: Sequence[str]
    chosen: Mapping[str, str]


@dataclass(frozen=True)
class KeyList:
    """Every key. made: one that was made or rotated just now, and its text, shown this once.

    models: names of those that a key is for alone, by id; every_model: all there are.
    """

    template: ClassVar[str] = "keys.html"
    keys: Sequence[ApiKey]
    models: Mapping[str | None, str]
    every_model: Sequence[str]
    scopes: Mapping[str, str]
    made: tuple[ApiKey, str] | None
    now: datetime


@dataclass(frozen=True)
class LegalHolds:
    """Holds with the names of their models; models: all that one can be placed on."""

    template: ClassVar[str] = "legal_holds.html"
    holds: Sequence[tuple[LegalHold, str]]
    listing: Listing
    models: Sequence[str]


@dataclass(frozen=True)
class System:
    """What Lethe runs on."""

    template: ClassVar[str] = "system.html"
    workers: Sequence[Process]
    replicas: Sequence[Process]
    parts: Sequence[Part]
    versions: Sequence[tuple[str, str]]
    settings: Sequence[Setting]
    role: str
    now: datetime


@dataclass(frozen=True)
class StatusLink:
    """A data subject's link, shown this once: its address and its code."""

    template: ClassVar[str] = "status_link.html"
    request_id: str
    address: str
    code: str
