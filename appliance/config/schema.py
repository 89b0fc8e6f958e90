"""The configuration file as values: one TOML file is the whole truth (secrets lie beside it and are referred to).

Each table of the file is a struct here, each key a field with its unit and default. `config.load` turns a file into
`Config` and words the errors; `config.check` says what is wrong with a well-formed one. Nothing here reads a file.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from appliance.config.box_tables import Console, Mode
from appliance.config.network_tables import Network
from appliance.core.verdict import Action, FailPolicy


class Size(int):
    """Octets. In the file an integer or a string with a unit: `"1MiB"`, `"512KiB"`, `"2GB"`."""


class Duration(float):
    """Seconds. In the file a number or a string with a unit: `"300ms"`, `"30s"`, `"5m"`, `"4h"`, `"5d"`."""


KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
RETRY_S = tuple(Duration(s) for s in (60, 300, 900, 1800, 3600, 7200, 14400))


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ListenKind(Enum):
    SMTP = "smtp"  # port 25: opportunistic STARTTLS, no AUTH
    SUBMISSION = "submission"  # port 587: STARTTLS, then AUTH
    SUBMISSIONS = "submissions"  # port 465: TLS from the first octet (RFC 8314)


class Listen(_Table, frozen=True, kw_only=True):
    """`[[listen]]`: one listening socket."""

    name: str
    address: str  # "0.0.0.0:25", "[::]:25"
    kind: ListenKind = ListenKind.SMTP
    proxy_protocol: bool = False  # a PROXY v1/v2 header comes first, from `trusted.proxy` only; not for `submissions`
    fd_name: str = ""  # take the socket of this name from systemd (LISTEN_FDNAMES) when there is one


class Tls(_Table, frozen=True, kw_only=True):
    """`[tls]`: the certificate that we show. Without one, no STARTTLS is offered."""

    certificate: str = ""  # PEM file, chain included
    key: str = ""  # PEM file, not readable by others
    minimum: str = "TLSv1.2"  # or "TLSv1.3"
    client_ca: str = ""  # PEM file: client certificates signed by these are asked for and verified
    self_signed: bool = False  # make a certificate in the state directory when none is given
    look_every: Duration = Duration(60)  # changed files are taken into use without a reload; 0: at SIGHUP only


class Limits(_Table, frozen=True, kw_only=True):
    """`[limits]`: a limit that is reached gives a clear reply, never a stall."""

    sessions: int = 10_000  # at one time, all workers together
    sessions_per_address: int = 50  # at one time, per IPv4 address
    sessions_per_net64: int = 200  # at one time, per IPv6 /64
    sessions_per_minute: int = 600  # new ones, per address or /64
    messages_per_session: int = 1_000
    messages_per_minute: int = 3_000  # per address or /64
    recipients_per_message: int = 1_000
    recipients_per_minute: int = 10_000  # per address or /64
    errors_per_session: int = 20  # then 421
    idle_commands: int = 100  # NOOP, RSET, VRFY, HELP, EHLO, HELO in a session without a message in between; then 421
    message_size: Size = Size(50 * MIB)  # announced as SIZE
    command_line: Size = Size(2 * KIB)  # octets with CRLF; RFC 5321 §4.5.3.1.4 asks for 512, extensions for more
    header_section: Size = Size(256 * KIB)
    header_fields: int = 1_000
    header_line: Size = Size(64 * KIB)
    hops: int = 50  # Received fields (RFC 5321 §6.3)
    body_line: Size = Size(0)  # 0: lines over 998 octets pass unchanged; else longer lines are refused
    memory_per_worker: Size = Size(256 * MIB)  # bodies held at one time; over it 452


class Timeouts(_Table, frozen=True, kw_only=True):
    """`[timeouts]`: RFC 5321 §4.5.3.2 gives minutes; these are what busy gateways live with."""

    command: Duration = Duration(300)
    data: Duration = Duration(180)  # between two reads of a body
    message: Duration = Duration(3600)  # a whole body, from 354 to the final dot
    tls_handshake: Duration = Duration(30)
    connect: Duration = Duration(10)  # to a next hop
    greeting: Duration = Duration(30)  # of a next hop
    reply: Duration = Duration(120)  # of a next hop, to a command
    final_reply: Duration = Duration(600)  # of a next hop, to the final dot
    hop_held: Duration = Duration(60)  # a client that makes no progress holds a next-hop connection no longer
    hop_streamed: Duration = Duration(900)  # a body on `wire` does not either: then to the spool if kept, else 451
    drain: Duration = Duration(30)  # sessions still open this long after SIGTERM get 421


class BareNewline(Enum):
    REFUSE = "refuse"
    NORMALISE = "normalise"


class Path(Enum):
    """Which way a body goes: see README. `ram` turns into `wire` above the hold window.

    Recipients are asked of the next hop on all three ways, if it is up.
    """

    WIRE = "wire"
    RAM = "ram"
    SPOOL = "spool"


class Delivery(_Table, frozen=True, kw_only=True):
    """`[delivery]`: how messages pass through."""

    path: Path = Path.RAM
    hold_window: Size = Size(1 * MIB)  # bodies up to this size are held until the verdict
    withhold: Size = Size(4 * KIB)  # the last octets of a longer body, held until the verdict
    keep_bytes: bool = False  # keep longer bodies in an unlinked file, so that they can still be held or spooled
    bare_newline: BareNewline = BareNewline.REFUSE
    spool_when_down: bool = True  # next hop down: accept into the queue; False: 451 to the client
    received_from_address: bool = True  # write the client's address into Received


class HopTls(Enum):
    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"


class HopServer(_Table, frozen=True, kw_only=True):
    url: str  # smtp://host:port, smtps://host:port, lmtp://host:port, lmtp:///path/of/socket
    preference: int = 10  # lowest first
    weight: int = 1  # share among equal preferences


class NextHop(_Table, frozen=True, kw_only=True):
    """`[[next_hop]]`: where messages go; one or several servers."""

    name: str
    servers: list[HopServer]
    tls: HopTls = HopTls.MAY
    tls_name: str = ""  # name to verify instead of the URL's host
    tls_fingerprints: list[str] = []  # SHA-256 of the certificate, hex; replaces CA verification
    tls_ca: str = ""  # PEM file instead of the system's
    username: str = ""  # AUTH to a smart host
    password_file: str = ""
    connections: int = 100  # per worker at one time
    acquire_timeout: Duration = Duration(30)  # a transaction waits this long for a free one, then 451
    idle: Duration = Duration(30)  # a pooled connection is closed after this
    probe_after: Duration = Duration(5)  # a pooled connection idle longer is probed by RSET before use
    messages_per_connection: int = 1_000
    breaker_failures: int = 3  # consecutive failures that open the circuit
    breaker_reset: Duration = Duration(15)  # then one half-open probe


class Domain(_Table, frozen=True, kw_only=True):
    """`[[domain]]`: a protected domain. Its mail goes to `next_hop`, without any MX look-up."""

    name: str
    next_hop: str
    subdomains: bool = False  # `*.name` too
    policy: str = "default"


class Relay(_Table, frozen=True, kw_only=True):
    """`[relay]`: who may send to domains that are not ours. Empty: nobody."""

    networks: list[str] = []  # CIDR
    client_certificates: list[str] = []  # SHA-256 fingerprints, hex
    logins: bool = True  # authenticated submission may
    smart_host: str = ""  # name of a next_hop; empty: by MX
    mx_port: int = 25  # where MX hosts listen; another one is for test networks
    allow_open_relay: bool = False  # the explicit override that `mailweir check` asks for; do not


class Submission(_Table, frozen=True, kw_only=True):
    """`[submission]`: ports 587 and 465."""

    users_file: str = ""  # argon2id hashes, made by `mailweir user add`
    sender_must_match: bool = True
    failures_before_lockout: int = 5  # per address and per login
    lockout: Duration = Duration(900)


class Trusted(_Table, frozen=True, kw_only=True):
    """`[trusted]`: addresses (CIDR) that may tell us about the client they speak for."""

    xclient: list[str] = []
    proxy: list[str] = []


class Dns(_Table, frozen=True, kw_only=True):
    """`[dns]`"""

    servers: list[str] = []  # "127.0.0.1" or "127.0.0.1:5353"; empty: /etc/resolv.conf
    deadline: Duration = Duration(10)  # per question, over all servers
    cache_entries: int = 10_000
    allow_address_literals: bool = False  # user@[192.0.2.1]


class Patterns(_Table, frozen=True, kw_only=True):
    """`[scan.patterns]`: Hyperscan over the message as it arrives. GTUBE and EICAR are always in."""

    enabled: bool = True
    files: list[str] = []
    engine: str = "auto"  # "hyperscan", "re2", or "auto": hyperscan where it is installed
    fail: FailPolicy = FailPolicy.TEMPFAIL


class Digest(_Table, frozen=True, kw_only=True):
    """`[scan.digest]`: SHA-256 of the message as received."""

    enabled: bool = False
    fail: FailPolicy = FailPolicy.OPEN


class Clamd(_Table, frozen=True, kw_only=True):
    """`[scan.clamd]`: INSTREAM to clamd while the message arrives."""

    enabled: bool = False
    address: str = "unix:/run/clamav/clamd.ctl"  # or "tcp:127.0.0.1:3310"
    budget: Duration = Duration(60)  # from the final dot to the answer
    connect: Duration = Duration(5)
    buffer: Size = Size(1 * MIB)  # a clamd slower than the client by more than this slows the client
    max_size: Size = Size(100 * MIB)  # the rest of a longer message is not sent; a finding says so
    fail: FailPolicy = FailPolicy.TEMPFAIL


class Scan(_Table, frozen=True, kw_only=True):
    patterns: Patterns = Patterns()
    digest: Digest = Digest()
    clamd: Clamd = Clamd()


class Rule(_Table, frozen=True, kw_only=True):
    """`[[policy.rule]]`: the first rule that matches decides."""

    action: Action
    scanner: str = "*"  # `patterns`, `clamd`, ..., `*` for any
    match: str = "*"  # shell-style, on the finding's rule name
    tag: str = ""  # the finding carries this tag
    name: str = ""


class Policy(_Table, frozen=True, kw_only=True):
    """`[[policy]]`"""

    name: str = "default"
    rule: list[Rule] = []  # before the built-in ones: anything found by patterns or clamd is refused
    scan: bool = True  # False: relay only; refused by `check` where it would cover everything


class Queue(_Table, frozen=True, kw_only=True):
    """`[queue]`"""

    retry: list[Duration] = msgspec.field(default_factory=lambda: list(RETRY_S))  # last one repeats
    lifetime: Duration = Duration(5 * 86400)
    bounce_lifetime: Duration = Duration(1 * 86400)  # messages from the null sender
    warn_after: Duration = Duration(4 * 3600)  # delay DSN; 0: none
    destinations: int = 20  # deliveries at one time per destination and worker
    deliveries: int = 100  # deliveries at one time per worker
    double_bounce: str = "drop"  # or an address, usually the postmaster's
    return_full_limit: Size = Size(50 * KIB)  # a larger original comes back as headers only (RFC 3461 §4.3)


class Spool(_Table, frozen=True, kw_only=True):
    """`[spool]`"""

    segment: Size = Size(64 * MIB)
    quota: Size = Size(4 * GIB)  # per gateway
    keep_free: Size = Size(256 * MIB)  # of the file system; never filled further


class Tracking(_Table, frozen=True, kw_only=True):
    """`[tracking]`: SQLite data base for `mailweir trace`."""

    enabled: bool = True
    batch: Duration = Duration(1)
    keep: Duration = Duration(30 * 86400)
    folder: str = ""  # where it lies; empty: the state directory
    size: Size = Size(0)  # the oldest go when it would be larger; 0: as large as `keep` makes it


class Metrics(_Table, frozen=True, kw_only=True):
    """`[metrics]`: Prometheus text format."""

    address: str = "127.0.0.1:9125"  # empty: none


class Log(_Table, frozen=True, kw_only=True):
    """`[log]`"""

    to: str = "auto"  # "journal", "stdout", a file's path, or "auto": journal where there is one
    level: str = "info"
    keep_mib: int = 0  # of an appliance's journal on its disk, over a restart; 0: in memory only


class Workers(_Table, frozen=True, kw_only=True):
    """`[workers]`"""

    count: int = 0  # 0: one a core


class Config(_Table, frozen=True, kw_only=True):
    """The whole file."""

    version: int = 1
    mode: Mode = Mode.GATEWAY
    hostname: str
    state: str = "/var/lib/mailweir"
    postmaster: str = ""  # who gets mail to <postmaster>; empty: postmaster at the first [[domain]], else at hostname
    listen: list[Listen] = []
    workers: Workers = Workers()
    tls: Tls = Tls()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    delivery: Delivery = Delivery()
    next_hop: list[NextHop] = []
    domain: list[Domain] = []
    relay: Relay = Relay()
    submission: Submission = Submission()
    trusted: Trusted = Trusted()
    dns: Dns = Dns()
    scan: Scan = Scan()
    policy: list[Policy] = []
    queue: Queue = Queue()
    spool: Spool = Spool()
    tracking: Tracking = Tracking()
    metrics: Metrics = Metrics()
    log: Log = Log()
    network: Network = Network()
    console: Console = Console()
