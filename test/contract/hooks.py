"""What schemathesis cannot know from the OpenAPI document: how to write a task file, and which requests can succeed."""

import json
import os
import re
import struct
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from random import Random

import schemathesis
from hypothesis import strategies as st

masks = Path(__file__).parents[2] / "masks"
octets = "application/octet-stream"
dice = Random(1)
counter = count()


@schemathesis.serializer("application/x-ndjson", "application/vnd.apache.parquet")
def as_text(_context, value):
    """Files of examples: whatever the value is, the server must respond to it."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")



def read_header(file: bytes) -> tuple[dict, int]:
    """The header of a safetensors file, and the offset of its data."""
    (length,) = struct.unpack_from("<Q", file)
    return json.loads(file[8 : 8 + length]), 8 + length


def write(metadata: dict, tensors: dict) -> bytes:
    """A safetensors file of (dtype, shape, data) by name."""
    header, end = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + b"".join(data for _, _, data in tensors.values())


def read(path: Path) -> tuple[dict, dict]:
    file = path.read_bytes()
    header, start = read_header(file)
    metadata = header.pop("__metadata__")
    cut = lambda begin, end: file[start + begin : start + end]
    return metadata, {name: (t["dtype"], t["shape"], cut(*t["data_offsets"])) for name, t in header.items()}


bundled = [read(masks / f"{name}.safetensors") for name in ("sst2", "trec", "mrpc", "sick_relatedness")]
names = st.text(min_size=1, max_size=12)


@st.composite
def task_files(draw) -> bytes:
    """Task files of this server: bundled ones with other labels and problem types."""
    metadata, tensors = draw(st.sampled_from(bundled))
    metadata = dict(metadata)
    kinds = ["single_label_classification", "multi_label_classification", "token_classification"]
    if "labels" in metadata:
        count = len(json.loads(metadata["labels"]))
        metadata["labels"] = json.dumps(draw(st.lists(names, min_size=count, max_size=count, unique=True)))
        metadata["problem_type"] = draw(st.sampled_from(kinds))
    if draw(st.booleans()):
        metadata["description"] = draw(st.text(max_size=40))
    if draw(st.integers(0, 5)) == 0:
        metadata = {key: text for key, text in metadata.items() if key not in ("labels", "range")}
        metadata["problem_type"] = "feature_extraction"
        tensors = {"mask": tensors["mask"]}
    return write(metadata, tensors)


schemathesis.openapi.media_type(octets, task_files())

# API keys expire in the future.
schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(2100, 1, 1), datetime(9999, 1, 1)).map(lambda time: time.replace(tzinfo=timezone.utc).isoformat()),
)


@schemathesis.deserializer(octets)
def read_download(_context, response):
    header, _ = read_header(response.content)
    return header


@schemathesis.hook
def before_load_schema(_context, document):
    # A server without API keys accepts requests without one.
    if os.environ["CONTRACT_ROLE"] == "open":
        document["security"] = []
        for path in document["paths"].values():
            for operation in path.values():
                operation.pop("security", None)
    # Files in forms are task files too.
    form = document["paths"]["/tasks"]["post"]["requestBody"]["content"]["multipart/form-data"]
    form["encoding"] = {"file": {"contentType": octets}}
    # An example of a form would need a file.
    del document["components"]["schemas"]["TaskForm"]["properties"]["id"]["examples"]
    # Every documented response header is always present.
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                for header in response.get("headers", {}).values():
                    header["required"] = True


@schemathesis.hook
def before_call(_context, case, _kwargs):
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    # The coverage phase removes quotes from values, but entity tags need them.
    for name, value in case.headers.items() if valid else ():
        if name.lower() in ("if-match", "if-none-match") and not re.search(r'["*]', value):
            case.headers[name] = f'"{value}"'
    if valid and case.operation.path.endswith("/predict") and dice.randrange(4) > 0:
        case.body = acceptable(case.body)
    # Half of the uploads are new tasks; the others name bundled tasks or missing versions.
    if valid and (case.method, case.operation.path) == ("PUT", "/tasks/{id}") and dice.randrange(2) > 0:
        case.path_parameters = {"id": f"new-{next(counter)}"}
        case.headers = {name: value for name, value in case.headers.items() if not name.lower().startswith("if-")}
    # Half of the new API keys belong to an owner that always exists.
    if valid and (case.method, case.operation.path) == ("POST", "/tenants/{id}/keys") and dice.randrange(2) > 0:
        case.path_parameters = {"id": "metrics"}


def acceptable(body: dict) -> dict:
    """A prediction request that can succeed: without blank texts, unknown tasks, and thresholds for tasks that are not
    multi-label. The schema allows these, and the server rejects them."""
    text = lambda given: "a gorgeous film" if isinstance(given, str) and not given.strip() else given

    def filled(given):
        if isinstance(given, str):
            return text(given)
        if isinstance(given, list):
            return [filled(each) for each in given]
        return {name: "sst2" if name == "task" else text(value) for name, value in given.items() if name != "version"}

    return {**{name: value for name, value in body.items() if name != "threshold"}, "inputs": filled(body["inputs"])}


@schemathesis.check
def deadline_only_with_timeout(_context, response, case):
    """Only requests with x-request-timeout-ms may get a 504."""
    asked = any(name.lower() == "x-request-timeout-ms" for name in response.request.headers)
    assert response.status_code != 504 or asked, "504 without x-request-timeout-ms"


@schemathesis.check
def problems_say_what_happened(_context, response, case):
    """Every response has a request id, and every problem has a code and the same id."""
    request_id = response.headers.get("x-request-id", [""])[0]
    assert request_id, "a response without x-request-id"
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    problem = response.json()
    assert response.headers["content-type"][0] == "application/problem+json"
    assert problem["type"] == f"urn:propetl:problem:{problem['code']}"
    assert (problem["status"], problem["request_id"]) == (response.status_code, request_id)
    assert problem["detail"] and len(problem["detail"]) < 2_000, "the detail is empty or too long"
