"""Ports and configuration that the demo finds for itself."""

import os
import socket
import time
from ipaddress import ip_address

import pytest

from balancer.config.load import load
from balancer.demo import setup
from balancer.demo.certificate import make_certificate
from balancer.demo.setup import free_port, loopbacks, make_setup
from balancer.errors import Refused


@pytest.fixture
def taken():
    """A port that is taken on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_passed_over(taken):
    assert taken < free_port(taken, ["127.0.0.1"]) < taken + setup.ATTEMPTS


def test_one_that_is_taken_on_any_address_is_passed_over(taken):
    assert free_port(taken, loopbacks()) != taken


def test_no_free_port_is_said(taken, monkeypatch):
    monkeypatch.setattr(setup, "ATTEMPTS", 1)
    with pytest.raises(Refused, match=rf"no port from {taken} to {taken} is free on 127\.0\.0\.1; choose"):
        free_port(taken, ["127.0.0.1"])


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(Refused, match=f"expected a port from 1 to 65535, not {port}"):
        free_port(port, ["127.0.0.1"])


def test_ports_end_at_65535(monkeypatch):
    monkeypatch.setattr(setup, "_is_free", lambda host, port: False)
    with pytest.raises(Refused, match="no port from 65530 to 65535 is free"):
        free_port(65530, ["127.0.0.1"])


def test_loopbacks_can_be_bound():
    assert all(ip_address(each).is_loopback for each in loopbacks())


@pytest.mark.parametrize("name", ["plain", 'a "quoted" name', "ünï 🙂", "back\\slash"])
def test_the_configuration_is_a_good_one(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    made = make_setup(folder, make_certificate(folder), 18443, ["ide-01", "ide-02"])
    config = load(made.config, time.time())
    assert config.listener[0].bind == made.bind
    assert config.listener[0].tls.certificates[0].key == made.certificate.key
    assert {backend.name: backend.address for backend in config.pool[0].backend} == made.hosts
    assert len({made.port, made.admin.port, *(address.port for address in made.hosts.values())}) == 4
    assert os.path.commonpath([made.socket, config.state_dir, config.log.access, folder]) == str(folder)
