"""The OpenAPI document: valid, and real answers are what it says."""

import json
import urllib.error
import urllib.request

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from server_process import PATIENCE


def ask(server, path: str, body: dict | None = None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.http}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.fixture(scope="session")
def document(server) -> dict:
    status, document = ask(server, "/openapi.json")
    assert status == 200
    return document


def test_it_is_a_valid_openapi_3_1_document(document):
    OpenAPIV31SpecValidator(document).validate()


def test_answers_are_what_it_says(server, document, images):
    tensor = {"name": "image", "datatype": "FP32", "shape": images.shape, "data": images.tolist()}
    infer = {"id": "r-7", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    calls = [
        ("get", "/v2", {}, None),
        ("get", "/v2/health/live", {}, None),
        ("get", "/v2/health/ready", {}, None),
        ("get", "/v2/models/{model}", {"model": "mnist"}, None),
        ("get", "/v2/models/{model}", {"model": "cats"}, None),
        ("get", "/v2/models/{model}/versions/{version}", {"model": "mnist", "version": "2"}, None),
        ("get", "/v2/models/{model}/ready", {"model": "mnist"}, None),
        ("post", "/v2/models/{model}/infer", {"model": "mnist"}, infer),
        ("post", "/v2/models/{model}/infer", {"model": "mnist"}, {}),
        ("post", "/v2/repository/index", {}, {"ready": True}),
        ("get", "/v2/systemsharedmemory/status", {}, None),
        ("post", "/v2/systemsharedmemory/unregister", {}, {}),
        ("get", "/v2/cudasharedmemory/status", {}, None),
        ("get", "/v2/logging", {}, None),
        ("post", "/v2/logging", {}, {"log_info": True, "log_file": None}),
        ("get", "/v2/trace/setting", {}, None),
        ("post", "/v2/models/{model}/trace/setting", {"model": "mnist"}, {"trace_level": ["OFF"]}),
        ("post", "/v2/repository/models/{model}/load", {"model": "mnist"}, {}),
    ]
    statuses = set()
    for method, path, names, body in calls:
        status, answer = ask(server, path.format(**names), body)
        statuses.add(status)
        responses = document["paths"][path][method]["responses"]
        described = responses.get(str(status), responses["default"])
        schema = described["content"]["application/json"]["schema"]
        jsonschema.validate(answer, schema | {"components": document["components"]})
        if body and status == 200:
            schema = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
            body = json.loads(json.dumps(body))
            jsonschema.validate(body, schema | {"components": document["components"]})
    assert statuses == {200, 400, 404, 412}
