"""Models: listed, read, their versions, and going back to one."""

from __future__ import annotations

from fastapi import APIRouter

from core import facts, policy, registry
from service.deps import BackendDep, CanAdmin, CanRead, CanReview, Reader, Tx
from service.openapi import problems
from service.paging import ModelName
from service.schemas import ModelPage, ModelView, PolicyChange, Rollback, VersionPage, VersionView

router = APIRouter(prefix="/models", tags=["models"], responses=problems(404, 409))


@router.get("")
def list_all(caller: CanRead, session: Reader) -> ModelPage:
    """Every model that the key is for, by name."""
    found = facts.of_models(session, registry.models(session, only=caller.model_id))
    return ModelPage(items=[ModelView.of(each) for each in found])


@router.get("/{name}")
def get(caller: CanRead, session: Reader, name: ModelName) -> ModelView:
    """One model: what should be served, and what each live replica serves."""
    caller.permit(name)
    [found] = facts.of_models(session, [registry.model_named(session, name)])
    return ModelView.of(found)


@router.get("/{name}/versions")
def versions(caller: CanRead, session: Reader, name: ModelName) -> VersionPage:
    """The lineage of a model, newest first."""
    caller.permit(name)
    found = facts.of_versions(session, registry.model_named(session, name))
    return VersionPage(items=[VersionView.of(each) for each in found])


@router.patch("/{name}/policy")
def change_policy(caller: CanAdmin, tx: Tx, name: ModelName, body: PolicyChange) -> ModelView:
    """Change a model's policy: what is named is set, null resets it. From the next job on.

    A job that a worker holds goes on with the policy that it was taken up with. What is left of
    the drift budget counts by the new limits at once; a retraining is queued when a job ends.
    """
    caller.permit(name)
    model = registry.lock_model(tx, registry.model_named(tx.session, name).id)
    policy.change(tx, model, body.named)
    [found] = facts.of_models(tx.session, [model])
    return ModelView.of(found)


@router.post("/{name}/rollback")
def rollback(
    caller: CanReview, tx: Tx, backend: BackendDep, name: ModelName, body: Rollback
) -> ModelView:
    """Serve an earlier version again, if it has forgotten the same requests."""
    caller.permit(name)
    model = registry.lock_model(tx, registry.model_named(tx.session, name).id)
    registry.rollback(tx, model, body.version, body.reason, file_exists=backend.checkpoints.exists)
    [found] = facts.of_models(tx.session, [model])
    return ModelView.of(found)
