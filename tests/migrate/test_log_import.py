"""Where the old balancer's log of requests went, and where ours goes."""

import tomllib

import pytest
from haproxy_rig import BASE, made, outcome

from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings

NAMES = {"logs.example": ["192.0.2.9"]}
HTTPLOG = {"access_format": "haproxy"}


@pytest.mark.parametrize(
    ("general", "front", "expected"),
    [
        ("log /dev/log local0", "log global", {"access": "syslog:/dev/log", **HTTPLOG}),
        ("log /dev/log local2 info", "log global", {"access": "syslog:/dev/log", "facility": "local2", **HTTPLOG}),
        ("log 127.0.0.1 daemon", "log global", {"access": "syslog:127.0.0.1:514", "facility": "daemon", **HTTPLOG}),
        ("", "log 192.0.2.1:1514 len 4096 format rfc5424 local0", {"access": "syslog:192.0.2.1:1514", **HTTPLOG}),
        ("log [::1]:514 local0", "log global", {"access": "syslog:[::1]:514", **HTTPLOG}),
        ("log one.example local0", "log global", {"access": "syslog:[2001:db8::1]:514", **HTTPLOG}),
        ("log stdout format raw local0", "log global\n  option httplog", {"access": "stdout", **HTTPLOG}),
        ("log /dev/log local1 notice", "log global", None),
        ("log /dev/log local0", "", None),
        ("log ring@x local0", "log global", None),
    ],
)
def test_haproxy(general, front, expected, tmp_path):
    text = f"global\n  {general}\n" + BASE.replace("  default_backend", f"  {front}\n  default_backend")
    config, _ = made(text, tmp_path)
    log = config.get("log")
    if log is not None:
        log["access"] = (
            log["access"].replace("syslog", "syslog:/dev/log") if log["access"] == "syslog" else log["access"]
        )
    assert log == expected
    found = outcome(text, tmp_path)
    assert {each.effect for each in found.remarks if each.what == "log"} <= {Effect.NONE}


@pytest.mark.parametrize(
    ("http", "server", "expected"),
    [
        ("", "", None),
        ("access_log logs/a.log;", "", {"access": "/logs/a.log", "access_format": "combined"}),
        ("access_log off;", "", {"access": "off"}),
        (
            "access_log off;",
            "access_log /var/log/x main buffer=4k;",
            {"access": "/var/log/x", "access_format": "combined"},
        ),
        ("access_log /dev/stdout;", "access_log off;", {"access": "stdout", "access_format": "combined"}),
        (
            "access_log syslog:server=unix:/dev/log,tag=nginx combined;",
            "",
            {"access": "syslog:/dev/log", "access_format": "combined", "facility": "local7"},
        ),
        (
            "access_log syslog:server=logs.example:1514,facility=local3;",
            "",
            {"access": "syslog:192.0.2.9:1514", "access_format": "combined", "facility": "local3"},
        ),
        ("access_log /var/log/$host.log;", "", None),
    ],
)
def test_nginx(http, server, expected, tmp_path):
    file = tmp_path / "nginx.conf"
    place = "location / { proxy_pass http://127.0.0.1:1; }"
    file.write_text(f"events {{}}\nhttp {{ {http}\nserver {{ listen 81; {server}\n{place} }} }}\n")
    found = import_nginx([file], Surroundings({}, lambda name: NAMES.get(name, [])))
    log = tomllib.loads(found.text).get("log")
    if log is not None:
        log["access"] = log["access"].replace(str(tmp_path), "")
    assert log == expected
    assert {each.effect for each in found.remarks if each.what == "access_log"} <= {Effect.NONE}
