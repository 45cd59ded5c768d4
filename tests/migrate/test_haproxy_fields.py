"""What the import makes of haproxy's rules on header fields, and of those that no table can express."""

import pytest
from haproxy_rig import BASE, made, outcome


def front(*lines):
    return BASE.replace("  default", "".join(f"  {line}\n" for line in lines) + "  default")


def test_the_last_of_several_rules_counts(tmp_path):
    lines = ["set-header X-A 1", "add-header x-a 2", "del-header X-A", "set-header X-a 3", "add-header X-A 4"]
    config, _ = made(front(*(f"http-request {line}" for line in lines)), tmp_path)
    assert config["listener"][0]["request_fields"] == {"set": {"X-a": "3"}, "add": {"X-A": "4"}}


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("%[src]", "{client_address}"),
        ("%ci:%cp", "{client_address}:{client_port}"),
        ('"for=%[src];proto=%[ssl_fc_protocol] 100%%"', "for={client_address};proto={tls_version} 100%"),
        ("%[hdr(host)]", "{host}"),
        ("%[req.hdr(Origin,-1)]", "{header:Origin}"),
        ("%[unique-id]", "{request_id}"),
    ],
)
def test_values(tmp_path, value, ours):
    config, _ = made(front(f"http-request set-header X-A {value}"), tmp_path)
    assert config["listener"][0]["request_fields"]["set"] == {"X-A": ours}


@pytest.mark.parametrize(
    "line",
    [
        "http-request set-header X-A %[src,map(secret)]",
        "http-request set-header X-A %[var(txn.secret)]",
        "http-request set-header X-A secret if { path /x }",
        "http-request set-header X-A {secret}",
        "http-request set-header Host secret",
        "http-request add-header Connection secret",
        "http-request del-header X-A -m beg",
        "http-response set-header X-A secret if { status 200 }",
    ],
)
def test_what_no_table_can_express_is_told(tmp_path, line):
    found = outcome(front(line), tmp_path)
    keywords = " ".join(line.split()[:2])
    [remark] = [each for each in found.remarks if each.what == keywords]
    assert remark.message.startswith("not converted: ")
    assert not found.complete
    assert "secret" not in str(found.remarks) + found.text
    assert "_fields" not in found.text


def test_behind_a_rule_that_lets_requests_skip_it(tmp_path):
    config, told = made(front("http-request allow if { path /x }", "http-request set-header X-A 1"), tmp_path)
    assert "request_fields" not in config["listener"][0]
    assert "http-request set-header" in told.values()


def test_spellings_of_old_versions(tmp_path):
    lines = [r"reqadd X-Proto:\ https", r"rspadd X-A:\ 100%", "reqidel ^X-B:.*", r"rspdel ^Server:\ .*"]
    config, told = made(front(*lines), tmp_path)
    listener = config["listener"][0]
    assert listener["request_fields"] == {"remove": ["X-B"], "add": {"X-Proto": "https"}}
    assert listener["response_fields"] == {"remove": ["Server"], "add": {"X-A": "100%"}}
    assert {"reqadd", "rspadd", "reqidel", "rspdel"} <= set(told.values())


def test_secrets_are_in_the_file_alone(tmp_path):
    found = outcome(front("http-request set-header Authorization hunter2"), tmp_path)
    assert 'set = { Authorization = "hunter2" }' in found.text
    assert "hunter2" not in str(found.remarks)


@pytest.mark.parametrize(
    ("in_front", "in_backend", "listener", "pool"),
    [
        (["option forwardfor"], ["option forwardfor"], ["X-Forwarded-For"], []),
        ([], ["option forwardfor header X-Client"], [], ["X-Client"]),
        (["option forwardfor"], ["http-request del-header X-Forwarded-For"], ["X-Forwarded-For"], ["X-Forwarded-For"]),
    ],
)
def test_the_address_is_added_once(tmp_path, in_front, in_backend, listener, pool):
    text = front(*in_front) + "".join(f"  {line}\n" for line in in_backend)
    config, told = made(text, tmp_path)
    assert [*config["listener"][0].get("request_fields", {}).get("add", {})] == listener
    assert [*config["pool"][0].get("request_fields", {}).get("add", {})] == pool
    assert "option forwardfor" not in told.values()


def test_a_backend_of_frontends_with_and_without_the_option(tmp_path):
    text = (
        front("option forwardfor") + "  option forwardfor\nfrontend other\n  bind 127.0.0.1:81\n  default_backend ide\n"
    )
    config, told = made(text, tmp_path)
    assert "request_fields" not in config["pool"][0]
    assert "option forwardfor" in told.values()
