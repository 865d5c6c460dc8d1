"""Examples made from the OpenAPI document: a call and its answer for each route.

What a schema gives as an example is taken as it is; the rest follows from types and names.
tests/unit/lethe/test_reference.py holds every example to its schema.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOMENT = "2026-05-01T12:00:00Z"
DIGEST = "3f9a" + "0" * 56 + "c21b"
BY_NAME: dict[str, Any] = {
    "request_id": "er_01kq3x8v5mfd2t7w9c4b6n1h0z",
    "job_id": "job_01kq3x8v5nbe8r3y6k2j4p9s7a",
    "key_id": "key_01kq3x7aa1cd5e8f2g3h4j6k7m",
    "hold_id": "hold_01kq3y0c2h8fa5w7t1r4k6m9d3",
    "delivery_id": "dl_01kq3x9tr6ge4v8s2p5m7n0q3w",
    "secret": "s3cr3t",
    "form": "standard",
    "code": "4711-0815",
    "model": "mnist",
    "dataset": "mnist",
    "name": "mnist",
    "digest": DIGEST,
    "commitment": DIGEST,
    "commitment_salt": DIGEST,
    "subject_hash": DIGEST,
    "status": "scheduled",
    "phase": "unlearning",
    "strategy": "rfu_ss",
    "regulation": "gdpr",
    "external_id": "ticket-7",
    "callback_url": "https://shop.example/forgotten",
    "event": "scheduled",
    "from": "received",
    "to": "scheduled",
    "reason": "asked for by mistake",
    "label": "7",
    "probability": 0.75,
    "probabilities": [0.25, 0.75],
    "uncertainty": 0.5623,
    "classes": ["6", "7"],
    "shape": [1, 28, 28],
    "host": "inference-1",
    "wait": 20,
    "limit": 50,
    "Idempotency-Key": "7c0e5b8e-ticket-7",
    "If-None-Match": '"4"',
    "kind": "erase",
    "scopes": ["erase", "read"],
    "warnings": [],
    "tainted_by": [],
    "detail": "the database answers",
    "accepted": 1,
    "refused": 0,
    "index": 0,
}
"""What a field or parameter of this name holds, where its schema lets it."""
NOTHING = {
    "refusal",
    "released_at",
    "release_reason",
    "completed_at",
    "cursor",
    "error",
    "errors",
    "next",
    "outcome",
    "problem",
    "reason",
}
"""Fields that hold null where they may: the examples are of what has just begun, and is well."""
IDS = {
    "Erasure": "request_id",
    "Delivery": "delivery_id",
    "LegalHold": "hold_id",
    "Job": "job_id",
    "Key": "key_id",
    "Bulk": "request_id",
}
STATUSES = {"BulkResult": 202, "JobView": "running", "Alive": "ok", "VersionView": "serving"}


class Examples:
    """Makes examples of the schemas of one OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def of(self, schema: dict[str, Any], name: str = "", within: str = "") -> Any:
        """One value that the schema allows. name: of the field; within: of its object."""
        if "$ref" in schema:
            within = schema["$ref"].rsplit("/", 1)[1]
            return self.of(self._schemas[within], name, within)
        for given in ("example", "const", "default"):
            if schema.get(given) is not None and name not in BY_NAME:
                return schema[given]
        if schema.get("examples"):
            return schema["examples"][0]
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self._one_of(schema[several], name, within)
        return self._typed(schema, name, within)

    def _one_of(self, choices: list[dict[str, Any]], name: str, within: str) -> Any:
        if name in NOTHING and any(each.get("type") == "null" for each in choices):
            return None
        return self.of(next(each for each in choices if each.get("type") != "null"), name, within)

    def _typed(self, schema: dict[str, Any], name: str, within: str) -> Any:
        kind = schema.get("type", "object")
        if kind == "null":
            return None
        if "enum" in schema:
            return BY_NAME[name] if BY_NAME.get(name) in schema["enum"] else schema["enum"][0]
        if kind == "object":
            fields = schema.get("properties", {})
            return {each: self.of(fields[each], each, within) for each in fields}
        known = self._known(name, within)
        if kind == "array":
            if isinstance(known, list):
                return known
            return [self.of(schema.get("items", {}), name.removesuffix("s"), within)]
        if kind == "string":
            if schema.get("format") == "date-time" or name.endswith("_at"):
                return MOMENT
            return known if isinstance(known, str) else "text"
        if kind == "boolean":
            return False
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) or 0)
        if isinstance(known, int | float) and not isinstance(known, bool):
            return known
        return max(1, least) if kind == "integer" else max(0.5, least)

    def _known(self, name: str, within: str) -> Any:
        if name == "status" and within in STATUSES:
            return STATUSES[within]
        if name == "id":
            for stem, kind in IDS.items():
                if within.startswith(stem):
                    return BY_NAME[kind]
        return BY_NAME.get(name)


def body_of(operation: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the JSON that an operation takes."""
    content = operation.get("requestBody", {}).get("content", {})
    found: dict[str, Any] | None = content.get("application/json", {}).get("schema")
    return found


def answer_of(operation: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Status, media type and schema of the answer when all is well."""
    status = min(operation["responses"])
    content = operation["responses"][status].get("content", {})
    kind = next(iter(content), "")
    return status, kind, content.get(kind, {}).get("schema")


def curl(
    method: str,
    path: str,
    operation: dict[str, Any],
    examples: Examples,
    schema: dict[str, Any] | None,
) -> str:
    """A call, as a command; schema: of its body."""
    filled = re.sub(r"{(\w+)}", lambda found: str(BY_NAME.get(found[1], found[1])), path)
    words = ["curl"]
    if method != "get":
        words.append(f"-X {method.upper()}")
    if operation.get("security"):
        words.append('-H "Authorization: Bearer $KEY"')
    if schema:
        body = json.dumps(examples.of(schema), ensure_ascii=False)
        words += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join([*words, f"$LETHE_URL{filled}"])
