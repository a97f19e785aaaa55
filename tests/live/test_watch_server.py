"""Who may read the page and stop a sweep. Real HTTP on loopback."""

import http.client
import re
import threading
from urllib.parse import urlencode, urlparse

import pytest

from harness.errors import ConfigError
from harness.live.server import FORM, WatchServer
from harness.records.layout import SweepFiles
from harness.records.looks import record_look
from harness.report import rollout_section
from tests.live.test_live_page import says
from tests.synthetic import keep_rollouts, leave_one_out, rollout, write_status, write_sweep


@pytest.fixture
def server(tmp_path, undrawn):
    """Of a sweep that runs."""
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2, seeds_planned=[0])
    write_status(folder, "all_on", state="running")
    says(folder)
    with WatchServer(folder) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server, method="GET", what="", body=None, path=None, **headers):
    """(status, text, headers); the request is a browser's unless `headers` says otherwise; None: without this one"""
    where = urlparse(server.url)
    sent = {"Host": where.netloc} | ({"Origin": f"http://{where.netloc}"} if method == "POST" else {}) | headers
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.putrequest(method, path or where.path + what, skip_host=True)
    raw = (body or "").encode()
    for name, value in ({"Content-Length": str(len(raw))} | sent).items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(raw)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.headers)


def form(server, **changes):
    return urlencode({"token": server.page.token} | changes)


def is_asked(server):
    return SweepFiles(server.page.folder).stop_path.exists()


def test_the_page_is_served_on_loopback_alone_and_kept_by_nobody(server):
    status, text, headers = ask(server)
    assert (status, server.server_address[0]) == (200, "127.0.0.1")
    assert "about 8 min to go" in text
    assert headers["Cache-Control"] == "no-store" and "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    status, text, _ = ask(server, what="now")
    assert status == 200 and '"version"' in text


def test_the_page_may_ask_its_own_server_and_nobody_else(server):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', ask(server)[1])[1]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "form-action 'self'" in policy


@pytest.mark.parametrize("path", ["/", "/index.html", "/wrong/", "/wrong/now"])
def test_without_the_address_that_was_printed_nothing_is_shown(server, path):
    status, text, _ = ask(server, path=path)
    assert (status, "that `harness watch` printed" in text) == (404, True)


@pytest.mark.parametrize("what", ["../../etc/passwd", "report.html", "..%2f", "now/x"])
def test_no_file_is_served(server, what):
    assert ask(server, what=what)[0] == 404


def test_rollouts_without_room_on_the_page_are_served_with_it(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(rollout_section, "ROOM", 1_500)
    folder = write_sweep(tmp_path / "ended", arms=leave_one_out()[:2], steps=2, seeds_planned=[0])
    keep_rollouts(
        folder, [rollout(f"{arm}/seed=0", number=n) for arm in ("all_on", "without_endpoint") for n in (0, 1)]
    )
    record_look(folder)
    with WatchServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert ask(server, what="rollouts/2.html")[0] == 404  # the page comes first
        (link, *_) = re.findall(r'href="(rollouts/2.html)#rollout-1-0"', ask(server)[1])
        status, text, headers = ask(server, what=link)
        assert (status, '<article id="rollout-1-0">' in text, 'href="../#rollouts"' in text) == (200, True, True)
        assert headers["Content-Type"].startswith("text/html") and "default-src 'none'" in text
        assert ask(server, "POST", what=link)[0] == ask(server, what="rollouts/3.html")[0] == 404
        assert ask(server, path=f"/wrong/{link}")[0] == 404
        server.shutdown()
    assert not (folder / "rollouts").exists()


def test_a_website_whose_name_leads_here_reads_nothing(server):
    assert ask(server, Host="evil.example:80")[0] == 403
    assert ask(server, Host=None)[0] == 403


def test_a_tunnel_with_another_port_is_served(server):
    assert ask(server, Host="localhost:8080")[0] == 200


def test_the_button_of_the_page_asks_the_sweep_to_stop(server):
    (token,) = re.findall(r'name="token" value="([^"]*)"', ask(server)[1])
    status, _, headers = ask(server, "POST", "stop", urlencode({"token": token}))
    assert (status, headers["Location"]) == (303, urlparse(server.url).path)
    assert is_asked(server)
    assert "<b>Stopping</b>" in ask(server, what="now")[1]  # before the sweep has seen it


REFUSED = [
    ("another token", {"token": "guess"}, {}, 403),
    ("no token", {"token": ""}, {}, 403),
    ("another site", {}, {"Origin": "https://evil.example"}, 403),
    ("a site of this machine", {}, {"Origin": "http://127.0.0.1:9"}, 403),
    ("nobody says who", {}, {"Origin": None}, 403),
    ("another host", {}, {"Host": "evil.example"}, 403),
    ("no length", {}, {"Content-Length": None}, 400),
    ("a long form", {"more": "x" * FORM}, {}, 400),
]


@pytest.mark.parametrize(("who", "changes", "headers", "status"), REFUSED, ids=lambda value: str(value)[:20])
def test_nobody_else_stops_it(server, who, changes, headers, status):
    assert ask(server, "POST", "stop", form(server, **changes), **headers)[0] == status
    assert not is_asked(server)


def test_a_link_or_a_picture_does_not_stop_it(server):
    assert ask(server, "GET", f"stop?{form(server)}")[0] == 404
    assert not is_asked(server)


def test_where_nothing_runs_nothing_is_stopped_and_it_is_said(server):
    SweepFiles(server.page.folder).now_path.unlink()
    status, text, _ = ask(server, "POST", "stop", form(server))
    assert (status, text.startswith("Nothing computes in")) == (409, True)
    assert not is_asked(server)


def test_nothing_is_written_through_a_link_that_leads_out(server, tmp_path):
    (tmp_path / "outside").mkdir()
    SweepFiles(server.page.folder).stop_path.symlink_to(tmp_path / "outside" / "file")
    status, text, _ = ask(server, "POST", "stop", form(server))
    assert (status, "leads out of the sweep's folder" in text) == (409, True)
    assert not (tmp_path / "outside" / "file").exists()


@pytest.mark.parametrize("port", [70000, -1])
def test_a_port_that_cannot_be_had_is_a_sentence(server, port):
    with pytest.raises(ConfigError, match="cannot be had"):
        WatchServer(server.page.folder, port)


def test_a_port_that_is_taken_is_a_sentence(server):
    with pytest.raises(ConfigError, match=f"Port {server.server_port} cannot be had: Address already in use. Without"):
        WatchServer(server.page.folder, server.server_port)
