"""A TOML file becomes a Config, or an error with file, line, reason and remedy; never anything else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.config import units
from appliance.config.load import BadConfig, load, parse
from appliance.config.schema import Config, Duration, HopTls, Size
from appliance.core.errors import ConfigError
from appliance.core.verdict import Action

GOOD = """\
# A comment with a [table] in it
hostname = "gw.example.test"
state = "state"

[[listen]]
name = "in"
address = "127.0.0.1:2525"

[[listen]]
name = "submission"
address = "127.0.0.1:5870"
kind = "submission"

[tls]
certificate = "tls/cert.pem"
key = "/etc/key.pem"

[limits]
message_size = "10MiB"
hops = 30

[timeouts]
command = "5m"
data = 90.5

[[next_hop]]
name = "inside"
tls = "verify"
servers = [
  { url = "smtp://192.0.2.1:25" },   # the first
  { url = "smtp://192.0.2.2:25", weight = 3 },
]

[[next_hop]]
name = "socket"
[[next_hop.servers]]
url = "lmtp:///run/lmtp.sock"
[[next_hop.servers]]
url = "lmtp://127.0.0.1:24"

[[domain]]
name = "example.test"
next_hop = "inside"

[scan.patterns]
files = ["patterns/a", "/b"]

[scan.clamd]
address = "unix:clamd.ctl"

[[policy]]
name = "default"
[[policy.rule]]
action = "hold"
scanner = "clamd"

[queue]
retry = ["1m", 300, "1h"]
"""


def complaint(text: str) -> str:
    with pytest.raises(BadConfig) as caught:
        parse(text, "gw.toml")
    return str(caught.value)


def test_a_good_file_becomes_typed_values() -> None:
    config = parse(GOOD, "gw.toml")
    assert config.limits.message_size == 10 << 20
    assert type(config.limits.message_size) is Size
    assert config.timeouts.command == 300.0
    assert type(config.timeouts.command) is Duration
    assert config.timeouts.data == 90.5
    assert config.queue.retry == [60.0, 300.0, 3600.0]
    assert [server.weight for server in config.next_hop[0].servers] == [1, 3]
    assert config.next_hop[0].tls is HopTls.VERIFY
    assert config.policy[0].rule[0].action is Action.HOLD


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_text(GOOD)
    config = load(tmp_path / "gw.toml")
    assert config.state == str(tmp_path / "state")
    assert config.tls.certificate == str(tmp_path / "tls" / "cert.pem")
    assert config.tls.key == "/etc/key.pem"
    assert config.tls.client_ca == ""
    assert config.scan.patterns.files == [str(tmp_path / "patterns/a"), "/b"]
    assert config.scan.clamd.address == f"unix:{tmp_path}/clamd.ctl"
    assert config.log.to == "auto"


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() -> None:
    text = complaint(GOOD.replace("hops = 30", "hopps = 30"))
    assert text == "gw.toml:20: limits.hopps: unknown key 'hopps'; did you mean 'hops'?"


def test_a_fault_in_the_second_table_of_an_array_is_told_with_that_tables_line() -> None:
    text = complaint(GOOD.replace('kind = "submission"', 'kind = "submision"'))
    assert text.startswith("gw.toml:12: listen[1].kind: 'submision' is not one of ")
    assert text.endswith("did you mean 'submission'?")


def test_a_fault_in_an_inline_table_is_told_with_its_own_line() -> None:
    assert complaint(GOOD.replace("weight = 3", "weight = 0")).startswith(
        "gw.toml:31: next_hop[0].servers[1].weight: 0 is out of range; write a value from 1 to 65535"
    )


def test_a_fault_in_a_nested_array_of_tables_is_told_with_its_own_line() -> None:
    text = complaint(GOOD.replace('url = "lmtp://127.0.0.1:24"', "url = 24"))
    assert text.startswith("gw.toml:39: next_hop[1].servers[1].url: must be a text, not 24; ")


def test_all_faults_are_told_in_the_order_of_lines() -> None:
    text = complaint(GOOD.replace("data = 90.5", "data = -1").replace("hops = 30", 'hops = "30"'))
    assert [line.split(": ")[0] for line in text.splitlines()] == ["gw.toml:20", "gw.toml:24"]


def test_a_missing_key_is_told_at_its_table() -> None:
    text = complaint(GOOD.replace('name = "submission"\n', ""))
    assert text == "gw.toml:9: listen[1]: the key 'name' is missing; add name = ..."


def test_a_missing_host_name_is_told_at_the_top() -> None:
    assert complaint("[tls]\n") == "gw.toml:1: the key 'hostname' is missing; add hostname = ..."


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"10MiB"', '"10 furlongs"', "'furlongs' is no unit of size"),
        ('"10MiB"', '"10"', "the unit is missing"),
        ('"10MiB"', "-1", "out of range"),
        ('"10MiB"', "1.5", "not a size"),
        ('"10MiB"', "true", "not a size"),
        ('"5m"', '"5 minutes"', "'minutes' is no unit of time"),
        ('"5m"', '"-5m"', "not a number with a unit"),
        ('"5m"', "inf", "not a duration"),
        ('"5m"', "nan", "not a duration"),
        ('"5m"', "0", "out of range"),
        ('"5m"', "1" + "0" * 400, "not a duration"),
        ("hops = 30", "hops = true", "must be a whole number, not true"),
        ("hops = 30", "hops = 30.0", "must be a whole number"),
        ("hops = 30", "hops = 1" + "0" * 40, "a huge number is out of range"),
        ("hops = 30", "hops = 1" + "0" * 5000, "not TOML"),
        ('retry = ["1m", 300, "1h"]', "retry = []", "must not be empty"),
        ('retry = ["1m", 300, "1h"]', 'retry = "1m"', "must be an array, not '1m'"),
        ('retry = ["1m", 300, "1h"]', "retry = [0]", "queue.retry[0]: 0.0 is out of range"),
        ('action = "hold"', "action = {}", "a table is not one of accept"),
        ("[tls]", "[tls", "not TOML"),
        ('hostname = "gw.example.test"', 'hostname = "gw\\u0000"', "control character"),
        ('hostname = "gw.example.test"', 'hostname = "gw"\ntls = 3', "not TOML"),
        ("[limits]", "[[limits]]", "limits: must be a table, not an array"),
    ],
)
def test_each_kind_of_fault_is_named(old: str, new: str, reason: str) -> None:
    assert old in GOOD
    assert reason in complaint(GOOD.replace(old, new))


def test_a_syntax_error_is_told_with_its_line() -> None:
    assert complaint(GOOD.replace("hops = 30", "hops = = 30")).startswith("gw.toml:20: not TOML: Invalid value; ")


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    assert "nested too deeply" in complaint("a = " + "[" * 50_000)


def test_a_version_from_the_future_is_refused() -> None:
    assert "version: 2 is out of range; write 1" in complaint("version = 2\n" + GOOD)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'hostname = "\xe4"\n'])
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gw.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"gw\.toml:1: not UTF-8; save"):
        load(tmp_path / "gw.toml")


def test_a_file_that_is_not_there_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml:1: cannot be read: No such file or directory; .*--config"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("path", ["/dev/zero", "/", "a\0b"])
def test_what_is_no_configuration_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize(
    ("text", "octets"), [("1B", 1), ("2KB", 2000), ("2 KiB", 2048), ("1.5mib", 1536 << 10), ("3GB", 3 * 10**9)]
)
def test_units_of_size(text: str, octets: int) -> None:
    assert units.size(text) == octets


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("30s", 30), ("1.5h", 5400), ("5d", 432000), ("2m", 120)]
)
def test_units_of_time(text: str, seconds: float) -> None:
    assert units.duration(text) == pytest.approx(seconds)


def assert_config_or_config_error(text: str) -> None:
    complaint = ""
    try:
        assert isinstance(parse(text, "gw.toml"), Config)
    except ConfigError as error:
        complaint = str(error)
    assert all(line.startswith("gw.toml:") for line in complaint.split("\n") if complaint)
    assert all(character.isprintable() or character == "\n" for character in complaint)


LINES = GOOD.splitlines()
SPLICES = st.one_of(
    st.sampled_from(
        [
            "[",
            "]",
            "{",
            "}",
            '"',
            "'",
            '"""',
            "\n",
            "\\",
            ".",
            "=",
            ",",
            "#",
            "-1",
            "true",
            "nan",
            "\x00",
            "\u2028",
            "é",
        ]
    ),
    st.text(max_size=6),
    st.sampled_from(LINES),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), SPLICES), min_size=1, max_size=4))
@example([(0, 0, "a = " + "[" * 3000)])
def test_a_mutated_file_is_a_config_or_a_config_error(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, cut, splice in edits:
        text = text[:at] + splice + text[at + cut :]
    assert_config_or_config_error(text)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_shuffled_lines_are_a_config_or_a_config_error(chance: random.Random) -> None:
    lines = LINES.copy()
    for _ in range(3):
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    assert_config_or_config_error("\n".join(lines))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1MiB", "30s", "smtp", "hold"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "url", "files"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def toml_of(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_of(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    if isinstance(value, bool) or value is None:
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08X}" for character in value) + '"'
    return str(value)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(Config.__struct_fields__)), VALUES)
def test_any_value_for_any_key_is_a_config_or_a_config_error(key: str, value: object) -> None:
    text = f"{key} = {toml_of(value)}\n" + ("" if key == "hostname" else 'hostname = "gw.example.test"\n')
    assert_config_or_config_error(text)
