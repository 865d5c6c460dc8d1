"""The model on MLServer: named by MLSERVER_MODEL_IMPLEMENTATION, started with `mlserver start`."""

from __future__ import annotations

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import Digits


class Classifier(MLModel):
    async def load(self) -> bool:
        self.model = Digits()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = NumpyCodec.decode_input(payload.inputs[0])
        found = self.model(torch.from_numpy(images))
        outputs = [NumpyCodec.encode_output("probabilities", found.numpy())]
        return InferenceResponse(model_name=self.name, outputs=outputs)
