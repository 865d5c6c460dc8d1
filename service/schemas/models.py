"""Models, their versions and their replicas on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from core import policy
from core.canaries import Counts
from core.drift import Standing
from core.facts import ModelFacts, Served, VersionFacts
from core.records import Version
from service.schemas.common import Because, In, Moment, Out

Limits = dict[str, StrictInt | StrictFloat | None]


class Rollback(Because):
    """The version to serve again, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"version": 3, "reason": "version 4 is worse on class 7"}},
    )
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class SchedulingChange(In):
    """Null leaves it to the model: its architecture, and what its jobs took."""

    job_class: Annotated[
        str | None, Field(alias="class", description="The class of workers that take its jobs.")
    ] = None
    tenant: Annotated[
        str | None, Field(description="Models of one tenant have one fair share together.")
    ] = None
    weight: Annotated[StrictInt | StrictFloat | None, Field(description="Of that share.")] = None
    memory_mb: Annotated[
        StrictInt | None, Field(description="What a job takes on the worker's device.")
    ] = None


class PolicyChange(In):
    """A merge patch (RFC 7396): what is named is set, null resets it to its default."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "inconclusive": "review",
                "thresholds": {"auc_band": 0.05, "class_loss": None},
                "budget": {"jobs": 20},
            }
        },
    )
    inconclusive: Annotated[
        Literal["publish", "retrain", "review"] | None,
        Field(description="What a verdict does that neither passes nor fails."),
    ] = None
    relearning: Annotated[
        StrictBool | None, Field(description="Teach each candidate a tenth of E again (G8).")
    ] = None
    thresholds: Annotated[
        Limits | None, Field(description=f"Limits of the gates: {', '.join(policy.THRESHOLDS)}.")
    ] = None
    budget: Annotated[
        Limits | None,
        Field(description="Of drift: erased_share, jobs, accuracy_lost, days."),
    ] = None

    scheduling: Annotated[
        SchedulingChange | None,
        Field(description="What its jobs ask of a worker, and whose share they run on."),
    ] = None

    @property
    def named(self) -> dict[str, Any]:
        """What the patch names, null included."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class Deviation(Out):
    """A setting that is not what it is by default."""

    setting: Annotated[str, Field(description="As in `thresholds.auc_band`.")]
    default: Any
    in_force: Any


class CanariesView(Out):
    """Groups of canaries in the model's data set; each job spends one."""

    groups: int
    size: Annotated[int, Field(description="Canaries in a group.")]
    spent: int
    left: int

    @classmethod
    def of(cls, counts: Counts) -> CanariesView:
        """From the count of a data set."""
        spent = counts.groups - counts.left
        return cls(groups=counts.groups, size=counts.size, spent=spent, left=counts.left)


class ReplicaView(Out):
    """What a live inference process serves of a model."""

    id: str
    host: str
    pid: int
    version: int | None
    digest: str | None
    error: str | None
    lease_until: Moment

    @classmethod
    def of(cls, served: Served) -> ReplicaView:
        """As the replica last reported."""
        replica = served.replica
        return cls(
            id=replica.id,
            host=replica.host,
            pid=replica.pid,
            version=served.version,
            digest=served.digest,
            error=served.error,
            lease_until=replica.lease_until,
        )


class ServingView(Out):
    """The version that every replica should serve."""

    version: int
    digest: str
    published_at: Moment | None

    @classmethod
    def of(cls, version: Version) -> ServingView:
        """From the record."""
        return cls(version=version.number, digest=version.digest, published_at=version.published_at)


class DriftView(Out):
    """What is left before the model is retrained exactly: see `left`, the rest explains it."""

    since: Annotated[Moment, Field(description="The last exact training.")]
    limits: Annotated[
        dict[str, float],
        Field(description="By the model's policy: erased_share, jobs, accuracy_lost, days."),
    ]
    used: Annotated[dict[str, float], Field(description="Of each limit, in its own unit.")]
    left: Annotated[
        dict[str, float],
        Field(description="Of each limit, as a share; at 0 a retraining is queued."),
    ]

    @classmethod
    def of(cls, standing: Standing) -> DriftView:
        """From the account of the version that is served."""
        return cls(
            since=datetime.fromisoformat(standing.since),
            limits=standing.limits,
            used=standing.used,
            left=standing.left,
        )


class ModelView(Out):
    """A model, what should be served and what is."""

    name: str
    dataset: str
    classes: list[str]
    shape: Annotated[list[int], Field(description="Of one input: C, H, W.")]
    architecture: dict[str, Any]
    training: dict[str, Any]
    policy: Annotated[
        dict[str, Any], Field(description="In force from the next job on, defaults filled in.")
    ]
    policy_deviations: Annotated[
        list[Deviation], Field(description="Where it differs from the defaults.")
    ]
    canaries: Annotated[CanariesView | None, Field(description="Null where the data set has none.")]
    created_at: Moment
    serving: ServingView | None
    drift: Annotated[
        DriftView | None, Field(description="The drift budget; null while nothing is served.")
    ]
    replicas: list[ReplicaView]

    @classmethod
    def of(cls, facts: ModelFacts) -> ModelView:
        """As every answer shows it."""
        model = facts.model
        return cls(
            name=model.name,
            dataset=facts.dataset.name,
            classes=facts.dataset.classes,
            shape=facts.dataset.shape,
            architecture=model.architecture,
            training=model.training,
            policy=policy.in_force(model.policy),
            policy_deviations=[Deviation(**each) for each in policy.deviations(model.policy)],
            canaries=CanariesView.of(facts.canaries) if facts.canaries else None,
            created_at=model.created_at,
            serving=ServingView.of(facts.serving) if facts.serving else None,
            drift=DriftView.of(facts.drift) if facts.drift else None,
            replicas=[ReplicaView.of(each) for each in facts.replicas],
        )


class ModelPage(Out):
    """By name; one page."""

    items: list[ModelView]
    next: None = None


class VersionView(Out):
    """One checkpoint of a model. Destroyed ones stay listed: lineage outlives the files."""

    version: int
    digest: str
    state: str
    parent: int | None
    job_id: str | None
    tainted_by: Annotated[list[str], Field(description="Requests that it still remembers.")]
    metrics: dict[str, Any]
    served_by: Annotated[list[str], Field(description="Live replicas that serve it now.")]
    created_at: Moment
    published_at: Moment | None
    destroyed_at: Moment | None

    @classmethod
    def of(cls, facts: VersionFacts) -> VersionView:
        """As every answer shows it."""
        version = facts.version
        return cls(
            version=version.number,
            digest=version.digest,
            state=version.state,
            parent=facts.parent,
            job_id=version.job_id,
            tainted_by=facts.tainted_by,
            metrics=version.metrics,
            served_by=facts.served_by,
            created_at=version.created_at,
            published_at=version.published_at,
            destroyed_at=version.destroyed_at,
        )


class VersionPage(Out):
    """Newest first; one page."""

    items: list[VersionView]
    next: None = None
