"""Writes `reference.json`: rows, hashes, keyed hashes and Merkle roots by an independent implementation
(cbor2, hmac, hashlib), for the tests of `src/audit` to be held against.

    pip install cbor2 && python tests/audit/reference.py > tests/audit/reference.json
"""

import hashlib
import hmac
import json
import math

import cbor2

KEY = bytes(range(32))


def keyed(*fields: bytes) -> str:
    message = b"".join(len(f).to_bytes(8, "little") + f for f in (b"hilum1", *fields))
    return hmac.new(KEY, message, hashlib.sha256).hexdigest()


def merkle(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + merkle(leaves[:k]) + merkle(leaves[k:])).digest()


def f32(value: float) -> float:
    import struct

    return struct.unpack("<f", struct.pack("<f", value))[0]


def row(**changes):
    """A row as (column, value) in the order of the schema."""
    values = {
        "audit_id": "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
        "ts": 1795896530000001,
        "chain": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
        "seq": 0,
        "prev_hash": bytes(32),
        "request_id": "r-1",
        "trace_id": None,
        "principal": bytes.fromhex(keyed(b"principal", b"", b"anonymous")),
        "model": "_none",
        "version": None,
        "bundle_sha256": None,
        "image_digest": None,
        "route": None,
        "input_hmac": None,
        "study_hmac": None,
        "hmac_key_id": "k1",
        "input_kind": None,
        "scores": [],
        "calibrated": [],
        "label": None,
        "decision": None,
        "warnings": ["TOO_MANY_REQUESTS"],
        "mean": None,
        "std": None,
        "p1": None,
        "p99": None,
        "entropy": None,
        "sharpness": None,
        "aspect": None,
        "bits": None,
        "ood_score": None,
        "embedding": [],
        "queue_us": 0,
        "decode_us": 0,
        "infer_us": 0,
        "total_us": 0,
        "batch_size": 0,
        "status": "OVERLOADED",
        "row": 0,
        "count": 70000,
    }
    assert changes.keys() <= values.keys()
    return values | changes


FULL = {
    "request_id": "größer",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "model": "pneumonia",
    "version": "2",
    "bundle_sha256": hashlib.sha256(b"bundle").digest(),
    "image_digest": hashlib.sha256(b"image").digest(),
    "route": "champion",
    "input_hmac": bytes.fromhex(keyed(b"image", b"", b"", b"\x89PNG")),
    "study_hmac": bytes.fromhex(keyed(b"study", b"S-1")),
    "input_kind": "png",
    "scores": [f32(0.1), 0.5],
    "calibrated": [f32(1 / 3), f32(65504.0)],
    "label": "PNEUMONIA",
    "decision": "positive",
    "warnings": ["low_contrast", "laterality"],
    "mean": 73.3,
    "std": 66.98962606254791,
    "p1": 0.19,
    "p99": 255.0,
    "entropy": 4.321928094887363,
    "sharpness": 15750.25,
    "aspect": 1.25,
    "bits": 12,
    "ood_score": 2.0**-24,
    "embedding": [f32(x / 7) for x in range(-4, 4)],
    "queue_us": 23,
    "decode_us": 24,
    "infer_us": 65536,
    "total_us": 2**32,
    "batch_size": 255,
    "status": "OK",
    "row": 3,
    "count": 1,
}
ROWS = [
    row(),
    row(**FULL),
    # What floating-point numbers can be: not numbers, infinities, zeros of both signs, the limits of
    # half and single precision.
    row(
        **FULL
        | {
            "scores": [math.nan, math.inf, -math.inf, -0.0, 0.0, 65504.0, 65505.0, f32(5.960464477539063e-08)],
            "calibrated": [f32(1e-45), f32(3.4028235e38), f32(2.0**-25)],
            "mean": 1e300,
            "std": 65504.0000001,
            "p1": 5e-324,
            "p99": -65504.0,
            "ood_score": 2.0**-25,
            "ts": -1,
        }
    ),
    row(**FULL | {"decision": "abstain", "route": "mirror", "input_kind": "dicom", "seq": 23}),
    row(**FULL | {"decision": "rejected", "route": "shadow", "input_kind": "tensor", "seq": 24}),
]


def shown(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, list):
        return [shown(v) for v in value]
    return value


def main():
    rows, hashes, previous = [], [], bytes(32)
    for number, values in enumerate(ROWS):
        values = values | {"seq": number, "prev_hash": previous}
        encoded = cbor2.dumps(list(values.values()), canonical=True)
        previous = hashlib.sha256(encoded).digest()
        hashes.append(previous)
        columns = {name: shown(value) for name, value in values.items()}
        rows.append({"columns": columns, "cbor": encoded.hex(), "hash": previous.hex()})
    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(13)]
    pixels = bytes(range(16))
    print(
        json.dumps(
            {
                "rows": rows,
                "roots": [merkle(leaves[:n]).hex() for n in range(14)],
                "rows_root": merkle(hashes).hex(),
                "keyed": {
                    "file": keyed(b"image", b"", b"", b"\x89PNG"),
                    "tensor": keyed(b"tensor", b"FP32", b"1,2,2", pixels),
                    "two_tensors": keyed(b"tensor", b"FP32", b"1,2,2", pixels, b"INT64", b"", bytes(8)),
                    "study": keyed(b"study", b"S-1"),
                    "principal": keyed(b"principal", b"", b"anonymous"),
                    "salted": keyed(b"principal", b"\xab\xcd", b"anonymous"),
                },
            },
            indent=1,
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
