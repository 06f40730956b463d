"""Which SUMOs a training run connects to."""

import socket

import pytest

from ml.errors import ConfigError
from ml.training.command_line import parse_command_line
from ml.training.deployment import read_deployment, read_hosts, servers


def test_hosts_are_a_list_with_ports():
    """The usual port where none is named; spaces and a last comma do no harm."""
    assert read_hosts("a:8814, b,", "here") == (("a", 8814), ("b", 8813))
    assert read_hosts("", "here") == ()


@pytest.mark.parametrize("wrong", ["a:", ":8813", "a:x", "a:0", "a:99999", "a:1:2"])
def test_what_is_no_host_is_named(wrong):
    """With its place and the way to write it."""
    with pytest.raises(ConfigError, match=r"--sumo-hosts: .*a:8813,b:8813"):
        read_hosts(f"good:8813,{wrong}", "--sumo-hosts")


def test_a_name_of_many_addresses_is_many_servers(monkeypatch):
    """As a scaled service has them; a name with one address, or none yet, stays a name."""
    known = {"sumo": ["10.0.0.3", "10.0.0.2"], "one": ["10.0.0.9"]}

    def answer(host, port, *_):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    found = servers((("sumo", 8813), ("one", 8814), ("later", 8815)))
    assert found == [("10.0.0.2", 8813), ("10.0.0.3", 8813), ("one", 8814), ("later", 8815)]


def test_the_option_wins_over_the_variable_and_makes_traci_the_backend():
    """And a wrong one is told by its name."""
    deployment = read_deployment({"SUMO_HOST": "elsewhere"})
    found = parse_command_line(["--sumo-hosts", "a:1,b:2"], deployment)
    assert found.deployment.sumo_hosts == (("a", 1), ("b", 2))
    assert found.config.env.backend == "traci"
    with pytest.raises(ConfigError, match="--sumo-hosts"):
        parse_command_line(["--sumo-hosts", "a:b"], deployment)
