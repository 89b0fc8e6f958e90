"""Well-formed configurations that must not be used are refused, those that are unwise are warned of."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.check import problems, refuse_errors
from appliance.config.load import parse
from appliance.config.relaying import public_counts
from appliance.config.schema import Config
from appliance.core.errors import ConfigError

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
GOOD = """\
hostname = "gw.example.test"
{top}
[[listen]]
name = "in"
address = "127.0.0.1:2525"
[[next_hop]]
name = "inside"
servers = [{{ url = "smtp://192.0.2.1:25" }}]
{hop}
[[domain]]
name = "example.test"
next_hop = "inside"
{rest}
"""


def config_of(rest: str = "", *, top: str = "", hop: str = "") -> Config:
    return parse(GOOD.format(rest=rest, top=top, hop=hop), "/nowhere/gw.toml")


def errors(config: Config, *, files: bool = False) -> list[str]:
    return [problem.key for problem in problems(config, files, now=NOW) if problem.severity == "error"]


def warnings(config: Config, *, files: bool = False) -> list[str]:
    return [problem.key for problem in problems(config, files, now=NOW) if problem.severity == "warning"]


def test_a_good_configuration_has_no_problems() -> None:
    assert problems(config_of(), files=False) == []


# --- open relays


@pytest.mark.parametrize(
    "networks",
    [
        '"0.0.0.0/0"',
        '"::/0"',
        '"0.0.0.0/1", "128.0.0.0/1"',
        '"128.0.0.0/2"',
        '"8.0.0.0/7"',
        '"8.0.0.0/8", "9.0.0.0/8"',
        '"8.0.0.0/9", "20.0.0.0/9", "30.0.0.0/9"',
        '"2000::/3"',
        '"2001::/18"',
        '"::ffff:0:0/96"',
        '"::ffff:8.0.0.0/103"',
        '"::/64"',
        '"10.0.0.0/8", "0.0.0.0/5"',
    ],
)
@pytest.mark.parametrize("key", ["relay]\nnetworks", "trusted]\nxclient", "trusted]\nproxy"])
def test_networks_that_cover_everybody_make_an_open_relay(networks: str, key: str) -> None:
    assert errors(config_of(f"[{key} = [{networks}]")) == [key.replace("]\n", ".")]


@pytest.mark.parametrize(
    "networks",
    [
        '"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1", "fc00::/7", "fe80::/10"',
        '"192.0.2.0/24", "2001:db8::/32"',
        '"::ffff:10.0.0.0/104"',
        '"198.51.100.7"',
    ],
)
def test_own_networks_may_relay(networks: str) -> None:
    assert problems(config_of(f"[relay]\nnetworks = [{networks}]"), files=False) == []


def test_a_whole_class_a_network_is_warned_of() -> None:
    assert warnings(config_of('[relay]\nnetworks = ["8.0.0.0/8"]')) == ["relay.networks"]


def test_the_override_turns_the_error_into_a_loud_warning() -> None:
    config = config_of('[relay]\nnetworks = ["0.0.0.0/0"]\nallow_open_relay = true')
    (problem,) = problems(config, files=False)
    assert problem.severity == "warning"
    assert "THE GUARD AGAINST OPEN RELAYS IS OFF" in problem.text


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.randoms(use_true_random=False))
def test_everything_in_pieces_is_still_everything(rounds: int, chance: object) -> None:
    pieces = [ipaddress.ip_network("0.0.0.0/0")]
    for _ in range(rounds):
        piece = pieces.pop(chance.randrange(len(pieces)))  # type: ignore[attr-defined]
        pieces += piece.subnets()
    chance.shuffle(pieces)  # type: ignore[attr-defined]
    listed = ", ".join(f'"{piece}"' for piece in pieces)
    assert errors(config_of(f"[relay]\nnetworks = [{listed}]")) == ["relay.networks"]


def test_private_addresses_do_not_count_as_public() -> None:
    assert public_counts([ipaddress.ip_network("10.0.0.0/7")]) == (1 << 24, 0)


def test_host_bits_in_a_network_are_refused_with_the_network_meant() -> None:
    (problem,) = problems(config_of('[relay]\nnetworks = ["192.0.2.1/24"]'), files=False)
    assert (problem.key, problem.remedy) == ("relay.networks[0]", "write 192.0.2.0/24")


def test_a_top_level_domain_with_subdomains_is_refused() -> None:
    config = config_of('[[domain]]\nname = "com"\nnext_hop = "inside"\nsubdomains = true')
    assert errors(config) == ["domain[1].subdomains"]


def test_a_default_policy_that_does_not_scan_is_refused() -> None:
    assert errors(config_of('[[policy]]\nname = "default"\nscan = false')) == ["policy[0].scan"]


def test_a_default_policy_that_accepts_every_finding_is_refused() -> None:
    assert errors(config_of('[[policy]]\nrule = [{action = "accept"}]')) == ["policy[0].rule[0]"]


def test_relaying_without_a_scan_for_one_domain_is_only_warned_of() -> None:
    rest = '[[domain]]\nname = "b.test"\nnext_hop = "inside"\npolicy = "bare"\n[[policy]]\nname = "bare"\nscan = false'
    config = config_of(rest)
    assert (errors(config), warnings(config)) == ([], ["policy[0]"])


# --- references and names


def test_dangling_references_name_the_nearest() -> None:
    rest = '[[domain]]\nname = "b.test"\nnext_hop = "insid"\npolicy = "x"\n[relay]\nsmart_host = "y"'
    found = problems(config_of(rest), files=False)
    assert {problem.key for problem in found} == {"domain[1].next_hop", "domain[1].policy", "relay.smart_host"}
    assert "did you mean 'inside'?" in [problem.remedy for problem in found]


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        ('[[listen]]\nname = "in"\naddress = "127.0.0.1:1"', "listen[1].name"),
        ('[[listen]]\nname = "b"\naddress = "127.0.0.1:2525"', "listen[1].address"),
        ('[[listen]]\nname = "b"\naddress = "localhost:1"', "listen[1].address"),
        ('[[listen]]\nname = "b"\naddress = "127.0.0.1"', "listen[1].address"),
        ('[[listen]]\nname = "b"\naddress = "::1:25"', "listen[1].address"),
        ('[[listen]]\nname = "b"\naddress = "[::1]:70000"', "listen[1].address"),
        ('[[listen]]\nname = "b"\naddress = "[::1]:25"\nproxy_protocol = true', "listen[1].proxy_protocol"),
        ('[[domain]]\nname = "EXAMPLE.test"\nnext_hop = "inside"', "domain[1].name"),
        ('[[domain]]\nname = "*.test"\nnext_hop = "inside"', "domain[1].name"),
        ('[[domain]]\nname = "user@b.test"\nnext_hop = "inside"', "domain[1].name"),
        ('[[policy]]\nname = "a"\n[[policy]]\nname = "a"', "policy[1].name"),
        ('[[policy]]\nname = "a"\nrule = [{action = "hold", scanner = "clam"}]', "policy[0].rule[0].scanner"),
        ('[relay]\nclient_certificates = ["ab:cd"]', "relay.client_certificates[0]"),
        ('[dns]\nservers = ["dns.example"]', "dns.servers[0]"),
        ('[dns]\nservers = ["127.0.0.1:x"]', "dns.servers[0]"),
        ('[scan.clamd]\nenabled = true\naddress = "/run/clamd.ctl"', "scan.clamd.address"),
        ('[scan.patterns]\nengine = "perl"', "scan.patterns.engine"),
        ('[metrics]\naddress = "here"', "metrics.address"),
        ('[log]\nlevel = "loud"', "log.level"),
        ("[log]\nkeep_mib = 8", "log.keep_mib"),
        ('[queue]\ndouble_bounce = "nobody"', "queue.double_bounce"),
        ('[queue]\nlifetime = "10s"\nbounce_lifetime = "10s"\nwarn_after = 0', "queue.lifetime"),
        ('[tls]\ncertificate = "a"', "tls"),
    ],
)
def test_what_cannot_work_is_refused(rest: str, key: str) -> None:
    assert key in errors(config_of(rest), files=rest.startswith("[tls]"))


@pytest.mark.parametrize(
    "servers", ['"127.0.0.1"', '"127.0.0.1:5353"', '"::1"', '"[::1]:5353"', '"2001:db8::53", "192.0.2.53:53"']
)
def test_all_notations_of_dns_servers_are_taken(servers: str) -> None:
    assert errors(config_of(f"[dns]\nservers = [{servers}]")) == []


@pytest.mark.parametrize(("top", "key"), [('postmaster = "nobody"', "postmaster"), (f'state = "/{"x" * 90}"', "state")])
def test_bad_top_level_values_are_refused(top: str, key: str) -> None:
    assert errors(config_of(top=top)) == [key]


def test_a_host_name_that_is_none_is_refused_and_a_short_one_warned_of() -> None:
    assert errors(parse('hostname = "a_b!"', "x")) == ["hostname"]
    assert "hostname" in warnings(parse('hostname = "gateway"', "x"))


# --- next hops


@pytest.mark.parametrize(
    ("hop", "key"),
    [
        ('tls_fingerprints = ["xyz"]\ntls = "verify"', "next_hop[0].tls_fingerprints[0]"),
        (f'tls_fingerprints = ["{"a" * 64}"]\ntls = "encrypt"', "next_hop[0].tls"),
        ('username = "me"', "next_hop[0]"),
        ('password_file = "/p"', "next_hop[0]"),
        ('username = "me"\npassword_file = "/p"\ntls = "none"', "next_hop[0].tls"),
    ],
)
def test_next_hops_that_cannot_be_safe_are_refused(hop: str, key: str) -> None:
    assert errors(config_of(hop=hop)) == [key]


def test_a_password_that_tls_could_be_stripped_from_is_warned_of() -> None:
    assert warnings(config_of(hop='username = "me"\npassword_file = "/p"\ntls = "may"')) == ["next_hop[0].tls"]


@pytest.mark.parametrize(
    "url",
    [
        "http://a:1",
        "smtp://",
        "smtp://me:secret@a:25",
        "smtp://a:b",
        "smtp://::1:25",
        "smtp://a b:1",
        "x",
    ],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    config = config_of(f'[[next_hop]]\nname = "b"\nservers = [{{url = "{url}"}}]\n[relay]\nsmart_host = "b"')
    assert errors(config) == ["next_hop[1].servers[0].url"]


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:2526", "smtp://127.0.0.1:2526"),
        ("127.0.0.1:2526", "smtp://localhost:2526"),
        ("0.0.0.0:2526", "smtp://127.0.0.9:2526"),
        ("0.0.0.0:2526", "lmtp://GW.example.test:2526"),
        ("[::]:2526", "smtp://[::1]:2526"),
    ],
)
def test_a_next_hop_that_is_our_own_listener_is_refused(listen: str, url: str) -> None:
    rest = (
        f'[[listen]]\nname = "b"\naddress = "{listen}"\n'
        f'[[next_hop]]\nname = "b"\nservers = [{{url = "{url}"}}]\n[relay]\nsmart_host = "b"'
    )
    assert errors(config_of(rest)) == ["next_hop[1].servers[0].url"]


def test_a_server_on_this_host_behind_another_port_is_no_loop() -> None:
    rest = '[[next_hop]]\nname = "b"\nservers = [{url = "smtp://127.0.0.1:10025"}]\n[relay]\nsmart_host = "b"'
    assert errors(config_of(rest)) == []


def test_a_smart_host_that_sends_through_us_is_warned_of() -> None:
    assert warnings(config_of('[relay]\nsmart_host = "inside"')) == ["relay.smart_host"]


# --- submission, amounts


def test_submission_needs_users_and_a_certificate() -> None:
    found = problems(config_of('[[listen]]\nname = "s"\naddress = "127.0.0.1:1"\nkind = "submission"'), files=False)
    assert [problem.remedy for problem in found if problem.severity == "error"] == [
        "set submission.users_file",
        "set tls.certificate and tls.key, or tls.self_signed = true",
    ]


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        ('[delivery]\nwithhold = "2MiB"', "delivery.withhold"),
        ('[delivery]\nhold_window = "100MiB"', "delivery.hold_window"),
        ('[limits]\nmessage_size = "5GiB"', "limits.message_size"),
        ('[spool]\nsegment = "1GiB"\nquota = "1GiB"', "spool.segment"),
    ],
)
def test_amounts_that_defeat_each_other_are_refused(rest: str, key: str) -> None:
    assert errors(config_of(rest)) == [key]


def test_a_limit_that_never_applies_is_warned_of() -> None:
    assert warnings(config_of('[timeouts]\nhop_streamed = "30s"')) == ["timeouts.hop_streamed"]
    assert warnings(config_of('[timeouts]\ndata = "2h"')) == ["timeouts.data"]


# --- files


def write_certificate(directory: Path, name: str, *, days: int = 365, host: str = "gw.example.test") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=400))
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    raw_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / f"{name}.key").write_bytes(raw_key)
    (directory / f"{name}.key").chmod(0o600)


def with_tls(directory: Path, certificate: str = "a.crt", key: str = "a.key") -> Config:
    text = GOOD.format(
        top=f'state = "{directory}"', hop="", rest=f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
    )
    return parse(text, str(directory / "gw.toml"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def test_a_certificate_in_order_is_not_complained_about(directory: Path) -> None:
    write_certificate(directory, "a")
    assert problems(with_tls(directory), now=NOW) == []


def test_a_key_of_another_certificate_is_refused(directory: Path) -> None:
    write_certificate(directory, "a")
    write_certificate(directory, "b")
    (problem,) = problems(with_tls(directory, key="b.key"), now=NOW)
    assert (problem.severity, problem.key) == ("error", "tls.certificate")
    assert "do not work together" in problem.text


def test_a_key_that_others_can_read_is_refused(directory: Path) -> None:
    write_certificate(directory, "a")
    (directory / "a.key").chmod(0o644)
    assert errors(with_tls(directory), files=True) == ["tls.key"]


def test_missing_certificate_files_are_refused(directory: Path) -> None:
    assert errors(with_tls(directory), files=True) == ["tls.certificate", "tls.key"]


@pytest.mark.parametrize(("days", "severity"), [(-1, "error"), (3, "warning")])
def test_expiry_is_told(directory: Path, days: int, severity: str) -> None:
    write_certificate(directory, "a", days=days)
    (problem,) = problems(with_tls(directory), now=NOW)
    assert (problem.severity, problem.remedy) == (severity, "renew it")


def test_a_certificate_of_another_name_is_warned_of(directory: Path) -> None:
    write_certificate(directory, "a", host="other.test")
    assert warnings(with_tls(directory), files=True) == ["tls.certificate"]


def test_rubbish_in_a_certificate_is_refused(directory: Path) -> None:
    write_certificate(directory, "a")
    (directory / "a.crt").write_text("rubbish")
    assert errors(with_tls(directory), files=True) == ["tls.certificate"]


def test_files_that_are_not_there_are_refused(directory: Path) -> None:
    rest = '[scan.patterns]\nfiles = ["p"]\n[submission]\nusers_file = "u"\n[tls]\nself_signed = true\nclient_ca = "c"'
    hop = 'tls = "verify"\ntls_ca = "ca"\nusername = "me"\npassword_file = "pw"'
    config = parse(GOOD.format(top=f'state = "{directory}"', hop=hop, rest=rest), str(directory / "gw.toml"))
    assert sorted(errors(config, files=True)) == [
        "next_hop[0].password_file",
        "next_hop[0].tls_ca",
        "scan.patterns.files[0]",
        "submission.users_file",
        "tls.client_ca",
    ]


def test_a_users_file_that_others_can_read_is_refused(directory: Path) -> None:
    (directory / "users.toml").write_text('[[user]]\nname = "a@b.test"\nhash = "$argon2id$"\n')
    (directory / "users.toml").chmod(0o604)
    config = config_of(f'[tls]\nself_signed = true\n[submission]\nusers_file = "{directory}/users.toml"')
    assert errors(config, files=True) == ["submission.users_file"]


def test_a_state_directory_that_is_a_file_is_refused(directory: Path) -> None:
    (directory / "state").write_text("")
    assert errors(config_of("[tls]\nself_signed = true", top=f'state = "{directory}/state"'), files=True) == ["state"]


def test_an_address_of_this_host_behind_a_wildcard_listener_is_a_loop() -> None:
    # 127.9.9.9 would be recognised as loopback; the look at the interfaces is asked directly.
    from appliance.config.hops import _is_this_host

    assert _is_this_host(ipaddress.ip_address("127.9.9.9"))
    assert not _is_this_host(ipaddress.ip_address("192.0.2.77"))


def test_the_roles_get_errors_as_one_exception_and_warnings_back() -> None:
    assert refuse_errors(config_of(), "gw.toml", files=False) == []
    with pytest.raises(ConfigError, match=r"gw\.toml: relay\.networks: .*open relay"):
        refuse_errors(config_of('[relay]\nnetworks = ["0.0.0.0/0"]'), "gw.toml", files=False)


def test_nothing_is_left_open_by_a_check(directory: Path) -> None:
    write_certificate(directory, "a")
    config = with_tls(directory)
    problems(config, now=NOW)
    before = os.listdir("/proc/self/fd")
    problems(config, now=NOW)
    assert os.listdir("/proc/self/fd") == before
    assert socket.getdefaulttimeout() is None
