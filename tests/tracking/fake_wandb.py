"""Servers on loopback in W&B's place: one that takes runs, one that fails, one that never answers."""

import gzip
import json
import socket
import threading
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILES = {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []}}
SERVER = {"serverInfo": {"features": []}}


@contextmanager
def taking(status: int = 200):
    """(its address, the rows that it took by run id). status: of every answer."""
    rows = defaultdict(list)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            asked = json.loads(gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw)
            if self.path.endswith("/file_stream"):
                history = asked.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
                rows[self.path.split("/")[-2]] += [json.loads(line) for line in history]
            body = json.dumps({"data": answer(asked)}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing: the log is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", rows
    finally:
        server.shutdown()
        server.server_close()


def answer(asked):
    """To a GraphQL query, as far as wandb-core 0.25 reads it."""
    if asked.get("operationName") != "UpsertBucket":
        return FILES | SERVER
    name, project = asked["variables"]["name"], asked["variables"]["project"]
    place = {"id": "p", "name": project, "entity": {"id": "e", "name": "me"}}
    return {"upsertBucket": {"bucket": {"id": "r", "name": name, "displayName": name, "project": place}}}


@contextmanager
def silent():
    """Its address: connections are accepted, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
