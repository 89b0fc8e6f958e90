"""Typed questions with a cache: what intake and delivery ask about names and addresses.

Equal questions that are under way share one look-up; answers, also negative ones, are kept for their time to live.
Knows nothing of mail but the type MX; `mx` makes routes of it. One resolver a worker, on one event loop (asyncio or
uvloop).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Callable

from appliance.config.schema import Dns
from appliance.core.errors import DnsTrouble, GatewayError, NoSuchDomain
from appliance.dns.answer import Answer, Record
from appliance.dns.cache import Cache
from appliance.dns.names import is_host_name, to_ascii
from appliance.dns.upstream import Upstream, parse_server, system_servers

_QUESTIONS_AT_ONCE = 512  # each holds a socket; silent zones must not leave too few to the others
_CACHED_OCTETS_MAX = 4_096  # a larger answer is given to its caller, not kept: memory is bounded, not only entries
_RECORD_OCTETS = 100  # what a record takes beside its text, about
_PTR_NAMES_MAX = 5

_Question = tuple[str, str]


class Resolver:
    """Asks the configured servers, or those of /etc/resolv.conf as it stands when the resolver is made."""

    def __init__(self, config: Dns, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds and rules the cache alone; deadlines follow the event loop.

        Raises:
            ConfigError: a server's address cannot be read.
        """
        self.deadline_s = float(config.deadline)
        self.allow_address_literals = config.allow_address_literals
        self.queries: Counter[str] = Counter()
        """Questions that were put to servers, by type (`MX`, `A`, ...); neither cache hits nor repetitions count."""
        self._upstream = Upstream([parse_server(text) for text in config.servers] or system_servers())
        self._clock = clock
        self._cache: Cache[_Question, Answer] = Cache(config.cache_entries)
        self._under_way: dict[_Question, asyncio.Task[Answer | DnsTrouble]] = {}
        self._slots = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """The MX records as (preference, host), in no order; empty if there are none. Errors as in `a`."""
        return [(record.preference, record.value) for record in await self._ask(to_ascii(domain), "MX")]

    async def a(self, host: str) -> list[str]:
        """The IPv4 addresses of `host`, aliases followed; empty if the name has none.

        Raises:
            DnsTrouble: no usable answer within the deadline; temporary.
            NoSuchDomain: the name does not exist; permanent.
            BadDomain: not a name that could be looked up; permanent.
        """
        return [record.value for record in await self._ask(to_ascii(host), "A")]

    async def aaaa(self, host: str) -> list[str]:
        """The IPv6 addresses of `host`. Errors as in `a`."""
        return [record.value for record in await self._ask(to_ascii(host), "AAAA")]

    async def reverse(self, ip: str) -> str:
        """The name of `ip` that also resolves to `ip`, safe to be written into a header or log; else empty.

        Never raises, and takes no longer than one deadline.
        """
        try:
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        try:
            async with asyncio.timeout(self.deadline_s):
                for record in (await self._ask(address.reverse_pointer, "PTR"))[:_PTR_NAMES_MAX]:
                    if is_host_name(record.value) and await self._confirms(record.value, address):
                        return record.value
        except (GatewayError, TimeoutError):
            pass  # no name is an answer here, and the caller is told to expect it
        return ""

    async def close(self) -> None:
        """Gives up the questions under way: who still waits for one gets DnsTrouble."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _confirms(self, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        try:
            records = await self._ask(name, "A" if address.version == 4 else "AAAA")
        except GatewayError:
            return False
        return any(ipaddress.ip_address(record.value) == address for record in records)

    async def _ask(self, name: str, kind: str) -> tuple[Record, ...]:
        question = (name, kind)
        answer: Answer | DnsTrouble | None = self._cache.get(question, self._clock())
        if answer is None:
            task = self._under_way.get(question)
            if task is None:
                task = asyncio.create_task(self._look_up(question))
                self._under_way[question] = task
                task.add_done_callback(lambda _: self._under_way.pop(question, None))
            # One caller's cancellation must not take the answer from the others.
            answer = await asyncio.shield(task)
        if isinstance(answer, DnsTrouble):
            # A new exception for each of those who waited, for each adds its own traceback.
            raise DnsTrouble(*answer.args) from answer
        if not answer.exists:
            raise NoSuchDomain(f"{kind} of {name}: NXDOMAIN")
        return answer.records

    async def _look_up(self, question: _Question) -> Answer | DnsTrouble:
        """Asks the servers and fills the cache; trouble is a result, so that nobody needs to wait for the task."""
        name, kind = question
        end_s = asyncio.get_running_loop().time() + self.deadline_s
        try:
            async with asyncio.timeout_at(end_s):
                await self._slots.acquire()
            try:
                self.queries[kind] += 1
                answer = await self._upstream.ask(name, kind, end_s)
            finally:
                self._slots.release()
        except TimeoutError:
            return DnsTrouble(f"{kind} of {name}: too many questions under way")
        except asyncio.CancelledError:
            # Nobody but `close` cancels this task, and it ends here; those who wait for it are not cancelled.
            return DnsTrouble(f"{kind} of {name}: resolver closed")
        except DnsTrouble as trouble:
            return trouble
        if sum(_RECORD_OCTETS + len(record.value) for record in answer.records) <= _CACHED_OCTETS_MAX:
            self._cache.put(question, answer, answer.ttl_s, self._clock())
        return answer
