"""Servers on loopback in W&B's place: one that takes what the client sends, one that fails, one that never answers.

What is taken can be asked for: runs with their rows and summaries, artifacts, saved views. Of GraphQL it knows the
operations that wandb 0.25, `wandb sync` and wandb-workspaces 0.4.5 need, by their names and no query language. A run
whose id is written again replaces the run that was there, as W&B does it without `resume`.
"""

import gzip
import json
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVER = {"features": [], "cliVersionInfo": {"max_cli_version": "0.99.0"}}
HISTORY = "wandb-history.jsonl"
NAMED = {"group": "groupName", "job_type": "jobType", "display_name": "displayName"}


@dataclass
class FakeRun:
    """said: the variables of UpsertBucket that had a value, the newest last"""

    id: str
    said: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    lines: dict = field(default_factory=dict)  # of the file stream, by file
    exit_code: int | None = None

    @property
    def rows(self):
        return [json.loads(line) for line in self.lines.get(HISTORY, [])]

    @property
    def config(self):
        return {key: each["value"] for key, each in json.loads(self.said.get("config") or "{}").items()}

    def stream(self, sent):
        """A body of the file stream: lines from an offset on, and whether the run has ended."""
        for name, part in (sent.get("files") or {}).items():
            before = self.lines.get(name, [])[: part["offset"]]
            self.lines[name] = before + part["content"]
        if summary := self.lines.pop("wandb-summary.json", None):
            self.summary = json.loads(summary[-1])
        if sent.get("complete"):
            self.exit_code = sent["exitcode"]


@dataclass
class FakeArtifact:
    name: str
    type: str
    run: str
    digest: str
    aliases: list
    files: dict = field(default_factory=dict)  # name -> bytes
    whole: bool = False


class FakeWandb:
    """runs: by id; views: what was saved, by id; asked: names of the operations, in order"""

    def __init__(self, status=200):
        self.status, self.address, self.runs, self.views, self.asked = status, "", {}, {}, []
        self._artifacts, self._lock = [], threading.Lock()

    @property
    def artifacts(self):
        """Whole ones, by name; versions in order."""
        found = {}
        for each in self._artifacts:
            if each.whole:
                found.setdefault(each.name, []).append(each)
        return found

    def named(self, name):
        """The run that is shown under a name."""
        (found,) = (run for run in self.runs.values() if run.said.get("displayName") == name)
        return found

    def table(self, run, name):
        """The rows of a table that a run logged, as dictionaries."""
        (newest,) = self.artifacts[f"run-{run.id}-{name}"][-1:]
        table = json.loads(newest.files[f"{name}.table.json"])
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    def put(self, path, body):
        """An upload, to an address that `answer` gave."""
        _, kind, number, name = path.split("/", 3)
        if kind == "artifact":
            self._artifacts[int(number)].files[name] = body

    def answer(self, operation, v):
        """To GraphQL: variables `v` -> data."""
        self.asked.append(operation)
        match operation:
            case "UpsertBucket":
                return {"upsertBucket": {"bucket": self._upserted(v), "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.address}/run/0/{name}"} for name in v["files"]]
                return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}
            case "RunUploadUrls":
                edges = [
                    {"node": {"name": f, "url": f"{self.address}/run/0/{f}", "updatedAt": None}} for f in v["files"]
                ]
                files = {"uploadHeaders": [], "edges": edges}
                return {"model": {"bucket": {"id": v["run"], "files": files}}}
            case "CreateArtifact":
                return {"createArtifact": {"artifact": self._created(v.get("input") or v)}}
            case "CreateArtifactFiles":
                edges = [{"node": self._place(each)} for each in v["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CreateArtifactManifest":
                url = f"{self.address}/manifest/0/{v['artifactID']}"
                file = {"id": "f", "uploadUrl": url, "uploadHeaders": []}
                return {"createArtifactManifest": {"artifactManifest": {"id": v["artifactID"], "file": file}}}
            case "CommitArtifact":
                artifact = self._artifacts[int(v["artifactID"])]
                artifact.whole = True
                return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": artifact.digest}}}
            case "Viewer" | "viewer" | "ServerInfo" | "GetDefaultEntity":
                viewer = {"id": "u", "entity": "me", "username": "me", "flags": None, "teams": {"edges": []}}
                return {"viewer": viewer, "serverInfo": SERVER}
            case "ProbeServerCapabilities":  # so that it is asked for its version, and takes tables without a wait
                fields = {"QueryType": ["serverInfo"], "MutationType": [], "ServerInfoType": ["cliVersionInfo"]}
                return {kind: {"fields": [{"name": name} for name in names]} for kind, names in fields.items()}
            case "InputFields" | "TypeFields":
                return {"TypeInfo": {"inputFields": [], "fields": []}}
            case "ProbeProjectInput" | "ProbeRunInput":
                return {"ProjectType": {"fields": []}, "RunType": {"fields": []}}
            case "ArtifactType":
                return {"project": {"artifact": None}}  # no artifact of that name
            case "Runs" | "LightweightRuns":
                return {"project": self._found(json.loads(v.get("filters") or "{}"))}
            case "GetProjects":
                names = {run.said.get("project", "p") for run in self.runs.values()}
                edges = [{"cursor": name, "node": self._project(name)} for name in sorted(names)]
                return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}
            case "ProjectInternalId":
                return {"project": {"internalId": "abc"}}
            case "UpsertView2" | "upsertView":
                return {"upsertView": self._saved(v)}
            case "SavedViews":
                edges = [{"node": {"id": id, **view}} for id, view in self.views.items() if view["type"] == v["type"]]
                return {"project": {"allViews": {"edges": edges, "pageInfo": {"hasNextPage": False}}}}
        return {"serverInfo": SERVER}

    def _upserted(self, v):
        name = v.get("name") or v["id"].removeprefix("storage-")
        with self._lock:
            run = self.runs.setdefault(name, FakeRun(name))
        run.said |= {key: value for key, value in v.items() if value is not None}
        if v.get("summaryMetrics"):
            run.summary = json.loads(v["summaryMetrics"])
        return self._node(run)

    def _node(self, run):
        project = {"id": "p", "name": run.said.get("project", "p"), "entity": {"id": "e", "name": "me"}}
        return {
            "id": f"storage-{run.id}",
            "name": run.id,
            "displayName": run.said.get("displayName"),
            "group": run.said.get("groupName"),
            "project": project,
            "projectId": 1,
            "state": "finished",
            "tags": [],
            "user": None,
            "config": run.said.get("config", "{}"),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyKeys": None,
            "sweepName": None,
        }

    def _project(self, name):
        own = {"id": "p", "name": name, "entityName": "me", "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
        return {"__typename": "Project", "user": None} | own

    def _found(self, filters):
        """As far as it is asked: the runs of a group, or of given ids."""
        group, ids = filters.get("group"), (filters.get("name") or {}).get("$in")
        runs = [
            run
            for run in self.runs.values()
            if (group is None or run.said.get("groupName") == group) and (ids is None or run.id in ids)
        ]
        edges = [{"node": self._node(run), "cursor": run.id} for run in runs]
        page = {"endCursor": None, "hasNextPage": False}
        return {
            "internalId": "abc",
            "readOnly": False,
            "runCount": len(runs),
            "runs": {"totalCount": len(runs), "edges": edges, "pageInfo": page},
        }

    def _created(self, v):
        collection = v.get("artifactCollectionName") or v["artifactCollectionNames"][0]
        made = FakeArtifact(
            collection, v["artifactTypeName"], v["runName"], v["digest"], [a["alias"] for a in v["aliases"]]
        )
        with self._lock:
            self._artifacts.append(made)
            number = str(len(self._artifacts) - 1)
        return {"id": number, "state": "PENDING", "artifactSequence": {"id": "s", "latestArtifact": None}}

    def _place(self, file):
        return {
            "id": "f",
            "name": file["name"],
            "displayName": file["name"],
            "storagePath": file["name"],
            "uploadUrl": f"{self.address}/artifact/{file['artifactID']}/{file['name']}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": file["artifactID"]},
        }

    def _saved(self, v):
        id = v.get("id") or f"view{len(self.views)}"
        inserted = id not in self.views
        self.views[id] = {key: v[key] for key in ("name", "displayName", "type", "spec")}
        place = {"id": "p", "name": v["projectName"], "entityName": v["entityName"]}
        view = {"id": id, **self.views[id], "description": "", "project": place, "updatedAt": None}
        return {"view": view, "inserted": inserted}


@contextmanager
def taking(status: int = 200):
    """A FakeWandb that listens. status: of every answer."""
    fake = FakeWandb(status)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            sent = json.loads(self._body())
            if self.path.endswith("/file_stream"):
                run = self.path.split("/")[-2]
                fake.runs.setdefault(run, FakeRun(run)).stream(sent)
                return self._reply({})
            name = sent.get("operationName") or re.match(r"\s*(?:query|mutation)?[\s{]*(\w+)", sent["query"])[1]
            return self._reply({"data": fake.answer(name, sent.get("variables") or {})})

        def do_PUT(self):
            fake.put(self.path, self._body())
            self._reply({})

        def _body(self):
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

        def _reply(self, data):
            body = json.dumps(data).encode()
            self.send_response(fake.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing: the log is the test's."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """Nothing: a client that was killed leaves its connection."""

    server = Server(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent():
    """Its address: connections are accepted, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def online(address: str) -> dict[str, str]:
    """What makes a command write to this W&B, with a key."""
    return {"WANDB_MODE": "online", "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": address}
