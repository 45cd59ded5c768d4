"""Error pages of both languages: which files listeners get, and what is told about the rest."""

import http.client
import tomllib

import pytest
from haproxy_rig import Haproxy, Ports, needs_haproxy, outcome
from proxies import needs_nginx, nginx
from test_import_verb import Ours
from wire import PATIENCE

from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings

DEFAULTS = "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n"
FRONT = """\
frontend www
  bind 127.0.0.1:@front
  http-request deny if { path /denied }
  http-request deny deny_status 405 unless METH_GET
  default_backend gone
backend gone
  server a 127.0.0.1:@gone
"""
PAGE = "HTTP/1.0 %d Page\r\nContent-Type: text/html\r\nX-Page: %d\r\nCache-Control: no-cache\r\n\r\n<p>%d</p>\n"


def pages(found):
    return tomllib.loads(found.text)["listener"][0].get("error_pages", {})


def effects(found):
    return [(each.what, each.effect) for each in found.remarks if "error" in each.what]


@pytest.mark.parametrize(
    ("front", "back", "expected", "told"),
    [
        ("errorfile 503 /a", "", {"503": "/a"}, []),
        ("", "errorfile 503 /a", {"503": "/a"}, []),
        ("errorfile 403 /a", "errorfile 403 /b", {"403": "/a"}, [("errorfile", Effect.TRAFFIC)]),
        ("errorfile 503 /a", "errorfile 503 /b", {"503": "/b"}, [("errorfile", Effect.CHANGED)]),
        ("errorfile 408 /dev/null", "", {}, [("errorfile", Effect.NONE)]),
        ("errorfiles site 503", "", {"503": "/s"}, []),
        ("http-error status 404 content-type text/html errorfile /c", "", {"404": "/c"}, []),
        ("http-error status 404 content-type text/html string x", "", {}, [("http-error", Effect.TRAFFIC)]),
        ("errorloc 503 http://a/", "", {}, [("errorloc", Effect.TRAFFIC)]),
    ],
)
def test_files_of_haproxy(front, back, expected, told, tmp_path):
    named = "http-errors site\n  errorfile 503 /s\n  errorfile 404 /t\n"
    text = named + DEFAULTS + FRONT.replace("@front", "80").replace("@gone", "81") + f"  {back}\n"
    found = outcome(text.replace("  default_backend", f"  {front}\n  default_backend"), tmp_path)
    assert pages(found) == expected
    assert effects(found) == told


NGINX = """events {{}}
http {{
{http}
server {{ listen 81; {server}
location / {{ proxy_pass http://127.0.0.1:1; }} }}
}}
"""


@pytest.mark.parametrize(
    ("server", "expected", "told"),
    [
        ("root /w; error_page 404 /404.html;", {}, [("error_page", Effect.TRAFFIC)]),  # the other location takes it
        ("root /w; error_page 404 /404.html; location = /404.html { }", {"404": "/w/404.html"}, []),
        (
            "error_page 502 503 /x.html; location = /x.html { root /w; internal; }",
            {"502": "/w/x.html", "503": "/w/x.html"},
            [],
        ),
        ("error_page 404 /e/4.html; location /e/ { alias /w/; }", {"404": "/w/4.html"}, []),
        ("root /w; error_page 404 =200 /404.html;", {}, [("error_page", Effect.TRAFFIC)]),
        ("error_page 404 @app; error_page 403 http://a/;", {}, [("error_page", Effect.TRAFFIC)]),
        ("error_page 404 /x; location /x { proxy_pass http://127.0.0.1:2; }", {}, [("error_page", Effect.TRAFFIC)]),
    ],
)
def test_files_of_nginx(server, expected, told, tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_text(NGINX.format(http="", server=server.replace("; ", ";\n")))
    found = import_nginx([file], Surroundings({}, lambda _: []))
    assert pages(found) == expected
    assert sorted(set(effects(found))) == told


def answers(address, port):
    found = []
    for method, path in (("GET", "/"), ("GET", "/denied"), ("POST", "/x"), ("HEAD", "/denied"), ("GET", "/missing")):
        connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        connection.request(method, path, headers={"Host": "ide.example"})
        response = connection.getresponse()
        fields = [response.getheader(name) for name in ("X-Page", "Content-Type")]
        found.append((method, path, response.status, fields, response.read()))
        connection.close()
    return found


def ours(text, ports, folder):
    """Our answers with an imported file."""
    made = folder / "balancer.toml"
    new = text.replace("/var/lib/balancer", str(folder / "state")).replace(
        "/run/balancer/admin.sock", str(folder / "admin.sock")
    )
    new = new.replace("127.0.0.1:9600", ports.fill("127.0.0.2:@admin"))
    made.write_text("workers = 1\n" + new.replace(*map(ports.fill, ("127.0.0.1:@front", "127.0.0.2:@front"))))
    with Ours(made):
        return answers("127.0.0.2", ports["front"])


@needs_haproxy
def test_the_same_pages_as_haproxy(tmp_path):
    ports = Ports(["front", "admin", "gone"])
    ports.release("gone")
    for status in (403, 405, 503):
        (tmp_path / f"{status}.http").write_text(PAGE.replace("%d", str(status)))
    lines = "".join(f"  errorfile {status} {tmp_path}/{status}.http\n" for status in (403, 405, 503))
    source = tmp_path / "haproxy.cfg"
    source.write_text(ports.fill(DEFAULTS + lines + FRONT))
    with Haproxy(tmp_path, [source], ports["front"]):
        theirs = answers("127.0.0.1", ports["front"])
    assert ours(outcome(source.read_text(), tmp_path).text, ports, tmp_path) == theirs
    ports.close()


@needs_nginx
def test_the_same_pages_as_nginx(tmp_path):
    ports = Ports(["front", "admin", "gone"])
    ports.release("gone", "front")
    for status in (403, 405, 502):
        (tmp_path / f"{status}.html").write_text(f"<p>{status}</p>\n")
    places = "".join(f"location = /{status}.html {{ root {tmp_path}; internal; }}\n" for status in (403, 405, 502))
    text = ports.fill(
        "charset utf-8;\ncharset_types text/html;\ntypes { text/html html; }\n"
        f"server {{ listen 127.0.0.1:@front;\n{places}"
        "error_page 403 /403.html; error_page 405 /405.html; error_page 502 /502.html;\n"
        "location = /denied { deny all; }\nlocation /x { return 405; }\n"
        "location / { proxy_pass http://127.0.0.1:@gone; } }"
    )
    with nginx(tmp_path / "nginx", text, ports["front"]):
        theirs = answers("127.0.0.1", ports["front"])
    file = tmp_path / "nginx.conf"
    file.write_text(f"events {{}}\nhttp {{\n{text}\n}}\n")
    found = import_nginx([file], Surroundings({}, lambda _: []))
    mine = ours(found.text, ports, tmp_path)
    # nginx answers 502 if no host can be reached, the daemon 503.
    assert [(*each[:2], 502 if each[2] == 503 else each[2], *each[3:]) for each in mine] == theirs
    ports.close()
