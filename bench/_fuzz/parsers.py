"""Every parser of bytes that come from elsewhere, what it is fed, and what may come of it."""

from __future__ import annotations

from bench._fuzz.bodies import (
    forms,
    infer_bodies,
    json_bodies,
    open_images,
    open_infer,
    open_predict,
    pictures,
    raw,
)
from bench._fuzz.files import (
    certificates,
    checkpoints,
    idx_files,
    open_certificate,
    open_checkpoint,
    open_idx,
    open_parquet,
    open_sheet,
    parquet_files,
    sheets,
)
from bench._fuzz.mutate import (
    BYTES,
    counted,
    flipped,
    json_value,
    png_chunk,
    tensors_header,
    tokens,
)
from bench._fuzz.running import Parser

CSV = tokens(
    b",", b'"', b"\n", b"\r", b"\x00", b'""', b"subject_id", b"\xff", b"\xef\xbb\xbf", b"'"
)
FORM = tokens(
    b"\r\n",
    b"--x",
    b"--x--",
    b"\r\n\r\n",
    b"Content-Disposition:",
    b'name="',
    b"filename*=utf-8''",
    b"\x00",
    b"Content-Type: ",
    b": ",
    b";" * 50,
    b"Content-Transfer-Encoding: base64\r\n",
)
QUERY = tokens(b"&", b"=", b"%", b"%00", b"dtype=", b"samples=", b"version=", b"+", b"\xff")
PEM = tokens(b"-----BEGIN PUBLIC KEY-----", b"-----END", b"=", b"\n\n", b"\\u0000", b"{", b'"')

PARSERS: tuple[Parser, ...] = (
    Parser(
        "images",
        "PNG and JPEG: POST /predict, imports",
        pictures,
        (*BYTES, png_chunk, png_chunk),
        open_images,
        4,
    ),
    Parser(
        "json",
        "POST /predict, JSON",
        json_bodies,
        (*BYTES, counted, json_value, json_value, json_value),
        open_predict("application/json"),
        4,
    ),
    Parser(
        "multipart",
        "POST /predict, a form",
        forms,
        (*BYTES, FORM, FORM, FORM),
        open_predict("multipart/form-data; boundary=x"),
        3,
    ),
    Parser(
        "raw",
        "POST /predict, raw numbers and the query",
        raw,
        (*BYTES, QUERY, QUERY),
        open_predict("application/octet-stream"),
        2,
    ),
    Parser(
        "infer",
        "/v2 infer: JSON, binary tensors, packed bodies",
        infer_bodies,
        (*BYTES, counted, json_value),
        open_infer,
        4,
    ),
    Parser(
        "safetensors",
        "lethe models import",
        checkpoints,
        (*BYTES, tensors_header, tensors_header, tensors_header),
        open_checkpoint,
        2,
    ),
    Parser(
        "parquet",
        "lethe dataset import --from parquet",
        parquet_files,
        (*BYTES, flipped),
        open_parquet,
        2,
    ),
    Parser(
        "idx",
        "lethe dataset import --from mnist",
        idx_files,
        BYTES,
        open_idx,
        1,
    ),
    Parser(
        "csv",
        "lethe erase --csv, lethe dataset import --subjects",
        sheets,
        (*BYTES, CSV, CSV, CSV),
        open_sheet,
        2,
    ),
    Parser(
        "certificate",
        "lethe verify-certificate",
        certificates,
        (*BYTES, PEM, json_value),
        open_certificate,
        1,
    ),
)
