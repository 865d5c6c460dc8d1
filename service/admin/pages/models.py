"""Models: listed, one with its lineage, its policy, going back, and trying a prediction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from core import facts, lineage, policy, registry
from core.errors import Invalid, Unavailable
from service.admin import contexts_records as contexts
from service.admin.deps import Administrator, Fields, Predictor, Reviewer, Viewer, Visitor
from service.admin.explained import change_of, explained, scheduling
from service.admin.lineage_picture import draw
from service.admin.prediction import DRAWS, Predicted, fitted, predicted
from service.admin.rendering import done, render
from service.deps import BackendDep, Reader, Tx
from service.inference.inputs import from_files
from service.paging import ModelName
from service.schemas.common import Reason

if TYPE_CHECKING:  # what predicts imports torch, which the role `api` does without
    from service.inference.engine import Inference

router = APIRouter(prefix="/models")


@router.get("")
def index(me: Viewer, session: Reader) -> Response:
    """Every model, by name."""
    found = facts.of_models(session, registry.models(session))
    return render(me, contexts.ModelList(models=found))


@router.get("/{name}")
def show(
    me: Viewer,
    session: Reader,
    request: Request,
    name: ModelName,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """One model: its lineage, how it has drifted, who serves it."""
    model = registry.model_named(session, name)
    [found] = facts.of_models(session, [model])
    line = lineage.of_model(session, model, before=before)
    context = contexts.Model(
        found=found,
        lineage=line,
        picture=draw(line.steps),
        retired=lineage.retired(session, model),
        predicts=_inference(request) is not None,
    )
    return render(me, context)


@router.post("/{name}/rollback")
def rollback(
    _: Reviewer,
    tx: Tx,
    backend: BackendDep,
    name: ModelName,
    version: Annotated[int, Form(ge=1, le=2**31 - 1)],
    reason: Annotated[Reason, Form()],
) -> Response:
    """Serve an earlier version again, if it has forgotten the same requests."""
    model = registry.lock_model(tx, registry.model_named(tx.session, name).id)
    registry.rollback(tx, model, version, reason, file_exists=backend.checkpoints.exists)
    return done(f"/admin/models/{name}", f"Version {version} is served again.")


@router.get("/{name}/policy")
def read_policy(me: Viewer, session: Reader, name: ModelName) -> Response:
    """The policy, each setting explained."""
    return _policy(me, name, registry.model_named(session, name).policy)


@router.post("/{name}/policy")
def change_policy(me: Administrator, tx: Tx, name: ModelName, form: Fields) -> Response:
    """Set what the form says; an empty field is reset to its default. From the next job on."""
    model = registry.lock_model(tx, registry.model_named(tx.session, name).id)
    change, wrong = change_of(form)
    if not wrong:
        try:
            policy.change(tx, model, change)
            return done(f"/admin/models/{name}/policy", "The policy was changed.")
        except Invalid as error:
            wrong = {each["where"]: each["message"] for each in error.details}
    return _policy(me, name, model.policy, form, wrong)


def _policy(
    me: Visitor,
    name: str,
    stored: policy.Policy,
    given: dict[str, str] | None = None,
    wrong: dict[str, str] | None = None,
) -> Response:
    in_force = policy.in_force(stored)
    context = contexts.Policy(
        name=name,
        groups=explained(stored),
        scheduling=scheduling(stored),
        inconclusive=in_force["inconclusive"],
        relearning=in_force["relearning"],
        given=given or {},
        wrong=wrong or {},
    )
    return render(me, context, 422 if wrong else 200)


@router.get("/{name}/try")
def ask(me: Predictor, session: Reader, request: Request, name: ModelName) -> Response:
    """The box that tries a prediction; where this process does not predict, where to ask."""
    return render(me, _try(session, request, name, None))


@router.post("/{name}/try")
async def predict(
    me: Predictor,
    request: Request,
    backend: BackendDep,
    name: ModelName,
    image: Annotated[UploadFile, File()],
    drawn: Annotated[bool, Form()] = False,
) -> Response:
    """Classify one image by the version that this process serves."""
    inference = _inference(request)
    if inference is None:
        raise Unavailable("this process does not predict: ask one of the role `inference`")
    data = await image.read()
    answer = await _predicted(inference, name, data, drawn)

    def context() -> contexts.Try:
        with backend.db.reading() as session:
            return _try(session, request, name, answer)

    return render(me, await asyncio.to_thread(context))


async def _predicted(inference: Inference, name: str, data: bytes, drawn: bool) -> Predicted:
    async with inference.use(name) as served:
        shape = served.shape
        fit = fitted(data, shape) if drawn else data
        images = await asyncio.to_thread(from_files, [fit], shape)
        found = await inference.infer(served, images, samples=DRAWS)
    assert found.information is not None, "it is drawn from z"
    return predicted(
        classes=served.classes,
        version=served.number,
        digest=served.digest,
        probabilities=found.probabilities[0],
        doubt=float(found.uncertainty[0]),
        unknown=float(found.information[0]),
        image=images[0],
    )


def _try(session: Reader, request: Request, name: str, answer: Predicted | None) -> contexts.Try:
    [found] = facts.of_models(session, [registry.model_named(session, name)])
    shape = found.dataset.shape
    return contexts.Try(
        name=name,
        shape=shape,
        classes=found.dataset.classes,
        drawn=shape[0] == 1,
        predicts=_inference(request) is not None,
        predicted=answer,
    )


def _inference(request: Request) -> Inference | None:
    """What this process predicts with, where it does."""
    found: Inference | None = getattr(request.app.state, "inference", None)
    return found
