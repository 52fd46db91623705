"""Compares the HTTP API with its OpenAPI document, openapi/openapi.json, with schemathesis: as a user of a server without
API keys, as the operator, and as a tenant. Prints the differences, and exits 1 if there are any.

    .venv/bin/pip install -r test/contract/requirements.txt
    .venv/bin/python test/contract/run.py [--examples 20] [--seed 1] [--roles open operator tenant]
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

here = Path(__file__).parent
root = here.parents[1]
operator_key = secrets.token_hex(32)

tasks = {"PUT /tasks/:id 201", "POST /tasks 201", "POST /tasks/:id/predict 200", "POST /predict 200", "GET /tasks/:id 200"}
tenants = {"PUT /tenants/:id 201", "POST /tenants/:id/keys 201", "DELETE /tenants/:id 204", "GET /tenants/:id/keys 200"}
# Responses that each role must have received at least once. A run that reaches too little is not a success.
reached = {
    "open": {*tasks, "DELETE /tasks/:id 204", "GET /tenants 403"},
    "operator": {*tasks, *tenants, "GET /tenants 200"},
    "tenant": {*tasks, "GET /tasks 401", "GET /tenants/:id 200", "GET /tenants 403", "PUT /tenants/:id 403"},
}


def lines_of(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def responses(log: Path) -> Counter:
    """Counts the responses by route and status."""
    found = Counter()
    for line in lines_of(log):
        if line["msg"] == "request":
            path = line["url"].partition("?")[0]
            route = re.sub(r"^(/tasks|/tenants)/[^/]+(/keys(?=/))?", lambda at: f"{at[1]}/:id{at[2] or ''}", path)
            route = re.sub(r"/keys/[^/]+$", "/keys/:key", route)
            found[f"{line['method']} {route} {line['status']}"] += 1
    return found


@contextmanager
def server(directory: Path, keyed: bool):
    """The address of a server that is stopped at the end. Raises AssertionError if it fails, exits with a code other than 0
    or logs an error."""
    log = directory / "log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROPETL_")}
    if keyed:
        env["PROPETL_OPERATOR_KEY"] = operator_key
    flags = ["--port", "0", "--provider", "cpu", "--data-dir", str(directory / "data")]
    with log.open("w") as out:
        process = subprocess.Popen(["node", "dist/cli.js", "serve", *flags], cwd=root, env=env, stdout=out, stderr=out)
    try:
        yield ready(process, log)
        assert process.poll() is None, f"the server exited early with {process.returncode}"
        process.terminate()
        assert process.wait(60) == 0, f"the server exited with {process.returncode} after SIGTERM"
    finally:
        process.kill()
    errors = [line for line in lines_of(log) if line["level"] >= 50]
    assert not errors, f"the server logged {len(errors)} errors, the first {json.dumps(errors[0])}"


def ready(process: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in lines_of(log):
            if line["msg"] == "ready":
                return line["address"]
        time.sleep(0.1)
    raise AssertionError(f"the server did not become ready:\n{log.read_text()}")


def as_operator(method: str, url: str, body: dict) -> dict:
    headers = {"authorization": f"Bearer {operator_key}", "content-type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers, method=method)) as response:
        return json.load(response)


def key_of_tenant(address: str) -> str:
    """The API key of the example tenant of the document. It has low quotas, and high rate limits."""
    rates = {"requests_per_second": 1_000_000, "tokens_per_second": 100_000_000}
    as_operator("PUT", f"{address}/tenants/acme", {"limits": {"tasks": 40, **rates}})
    return as_operator("POST", f"{address}/tenants/acme/keys", {})["key"]


def run(role: str, examples: int, seed: int) -> tuple[bool, str]:
    """Whether the run of a role succeeded, and its output."""
    with TemporaryDirectory(prefix="propetl-contract-") as directory:
        try:
            with server(Path(directory), keyed=role != "open") as address:
                key = {"open": lambda: None, "operator": lambda: operator_key, "tenant": lambda: key_of_tenant(address)}[role]()
                command = [
                    *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(here / "schemathesis.toml")),
                    *("run", str(root / "openapi/openapi.json"), "--url", address, "--no-color"),
                    *("--max-examples", str(examples), "--seed", str(seed)),
                    *(("--header", f"Authorization: Bearer {key}") if key else ()),
                ]
                env = {**os.environ, "CONTRACT_ROLE": role, "SCHEMATHESIS_HOOKS": str(here / "hooks.py")}
                done = subprocess.run(command, env=env, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            found = responses(Path(directory) / "log")
            table = "\n".join(f"{count:6} {response}" for response, count in sorted(found.items()) if count > 1)
            missed = reached[role] - found.keys()
            output = f"{done.stdout}\n{table}\n" + "".join(f"never received: {response}\n" for response in sorted(missed))
            return done.returncode == 0 and not missed, output
        except AssertionError as error:
            return False, str(error)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--examples", type=int, default=12, help="examples for each operation and phase")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--roles", nargs="+", default=["open", "operator", "tenant"])
    given = arguments.parse_args()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda role: (role, *run(role, given.examples, given.seed)), given.roles))
    for role, success, output in results:
        print(f"\n##### as {role}\n\n{output}")
    return 0 if all(success for _, success, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
