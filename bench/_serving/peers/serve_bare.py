"""The least that serves a model: a FastAPI handler that calls it. No key, checks or metrics."""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI, Request
from model import Digits, answer, tensor_of

app = FastAPI()
model = Digits()


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    inputs = tensor_of((await request.json())["inputs"])
    return {"predictions": [answer(each) for each in model(inputs)]}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), access_log=False, log_level="warning")
