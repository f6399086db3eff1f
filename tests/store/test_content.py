"""What the record says of images: nothing about a person, and enough to answer them again."""

import base64
import hashlib
import io
import json
import shutil
import urllib.error
import urllib.request
from concurrent import futures
from pathlib import Path

import grpc
import pyarrow.parquet
import pydicom
import pytest
from conftest import ROOT
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from test_shipping import Site

# A row of pixels that stands in no other file, and what a person could be known by.
PATTERN = bytes(range(37, 101))
PLANTED = ["PLANTED^NAME", "PLANTED-ID", "PLANTED-ACC", "1.2.3.4.5.6.7.8.9.77777", "PLANTED-STUDY", "planted-file"]


def dicom(seed: int = 0) -> bytes:
    """A radiograph of 64 x 64 with planted identifiers and a planted row of pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.AccessionNumber = PLANTED[:3]
    data.StudyInstanceUID = PLANTED[3]
    data.Modality, data.PhotometricInterpretation, data.PatientAge = "DX", "MONOCHROME2", "003Y"
    data.Rows = data.Columns = 64
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    pixels = bytearray(40 for _ in range(64 * 64))
    for row in range(16, 48):
        pixels[row * 64 + 16 : row * 64 + 48] = bytes([255 - seed]) * 32
    pixels[:64] = PATTERN
    data.PixelData = bytes(pixels)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def classify(server, image: bytes) -> str:
    url = f"http://{server.http}/api/v1/predict?model=spots&study_id=PLANTED-STUDY"
    headers = {"content-type": "application/dicom", "x-file-name": "planted-file.dcm"}
    with urllib.request.urlopen(urllib.request.Request(url, image, headers), timeout=60) as answer:
        assert answer.status == 200
        return answer.headers["x-audit-id"]


def refused(server, image: bytes) -> None:
    """An image that is damaged, sent as `classify` and as a tensor: what is said of it is looked at, too."""
    with pytest.raises(urllib.error.HTTPError) as refusal:
        classify(server, image)
    assert refusal.value.headers["x-audit-id"], "it has a row"
    data = base64.b64encode(image).decode()
    message = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [data]}]}
    url = f"http://{server.http}/v2/models/spots.image/infer"
    request = urllib.request.Request(url, json.dumps(message).encode(), {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=60)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A receiver of OTLP traces over gRPC; what it gets is kept as it came."""

    def __init__(self) -> None:
        self.got: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def Export(self, request, _context):  # noqa: N802, the name of the call
        self.got.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def __enter__(self) -> "Collector":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None)

    def spans(self) -> list[str]:
        scopes = [scope for got in self.got for resource in got.resource_spans for scope in resource.scope_spans]
        return [span.name for scope in scopes for span in scope.spans]


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path, f"[store]\ndirectory = {json.dumps(str(tmp_path / 'store'))}\n")


def everything(folder: Path) -> list[tuple[str, bytes]]:
    """Every file below a folder; of Parquet what it unpacks to as well."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        found.append((str(path), path.read_bytes()))
        if path.suffix == ".parquet":
            rows = pyarrow.parquet.read_table(path, partitioning=None).to_pylist()
            found.append((f"rows of {path}", b"".join(repr(row).encode() for row in rows)))
            blobs = [value for row in rows for value in row.values() if isinstance(value, bytes)]
            found.append((f"bytes of {path}", b"|".join(blobs)))
    return found


def test_nothing_planted_is_in_spool_store_registry_log_traces_or_metrics(site, tmp_path) -> None:
    with Collector() as collector:
        server = site.serve(
            models=["spots"],
            HILUM__AUDIT__DURABILITY="store",
            HILUM__AUDIT__SEAL_AGE="1h",
            HILUM__TELEMETRY__LOG_FILTER="debug",
            HILUM__TELEMETRY__OTLP_ENDPOINT=collector.endpoint,
            HILUM__TELEMETRY__TRACE_RATIO="1",
        )
        ids = [classify(server, dicom(seed)) for seed in range(3)]
        refused(server, dicom()[:-2000])
        places = everything(site.spool) + everything(tmp_path / "store")
        assert any(name.endswith(".open") for name, _ in places), "the spool has the rows now"
        assert any("/_commit/" in name for name, _ in places), "and so has the store, as commits"
        metrics = server.get("/metrics")[1]
        assert server.metric('hilum_rows_total{model="spots",version="1"}') >= 3, metrics
        places.append(("metrics", metrics.encode()))
        # The end sends what spans are left.
        assert server.stop() == 0
    names = collector.spans()
    assert {"decode", "queue"} <= set(names) and names.count("POST /api/v1/predict") == 4, sorted(set(names))
    places += [(f"traces {number}", got.SerializeToString()) for number, got in enumerate(collector.got)]
    shown = site.hilum("audit", "show", "--output", "json")
    assert all(id in shown for id in ids), "they are in the record"
    places += everything(tmp_path / "store")
    assert any(name.startswith("rows of") for name, _ in places)
    places += [("registry", site.database.read_bytes()), ("log", "\n".join(server.log).encode()), ("show", shown.encode())]
    pixels = [PATTERN, bytes([255]) * 32, bytes([40]) * 64]
    for name, content in places:
        for word in [*(word.encode() for word in PLANTED), *pixels]:
            assert word not in content, f"{word!r} is in {name}"
            assert word.hex().encode() not in content.lower(), f"{word!r} in hexadecimal digits is in {name}"


def test_images_are_answered_again_as_they_were(site, tmp_path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    server = site.serve(models=["spots"])
    for seed in range(4):
        (images / f"{seed}.dcm").write_bytes(dicom(seed))
        classify(server, (images / f"{seed}.dcm").read_bytes())
    assert server.stop() == 0
    (images / "3.dcm").unlink()
    (images / "note.txt").write_text("no image")
    models = ("--models", str(ROOT / "tests/models"))
    report = json.loads(site.hilum("audit", "replay", str(images), *models, "--output", "json"))
    assert (report["rows"], report["found"], report["differences"]) == (4, 3, [])
    assert report["largest"] < 1e-5
    # `--find` finds one of them by its bytes.
    found = site.hilum("audit", "show", "--find", str(images / "1.dcm"), "--output", "json").splitlines()
    assert len(found) == 1
    # A version that was changed behind the record's back is seen.
    changed = tmp_path / "models"
    shutil.copytree(ROOT / "tests/models/spots", changed / "spots")
    bundle = changed / "spots/1/bundle.toml"
    bundle.write_text(bundle.read_text().replace('labels = ["CLEAR", "SPOTTED"]', 'labels = ["CLEAN", "SPOTTED"]'))
    sums = bundle.with_name("SHA256SUMS")
    if sums.exists():
        lines = [line.split() for line in sums.read_text().splitlines()]
        digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
        sums.write_text("".join(f"{digest if name == 'bundle.toml' else was}  {name}\n" for was, name in lines))
    said = site.hilum("audit", "replay", str(images), "--models", str(changed), code=3)
    assert "DIFFERS" in said and "the bundle is another" in said
    site.hilum("audit", "replay", str(tmp_path / "store"), *models, code=3)
