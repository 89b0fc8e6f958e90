"""The protected domains and their mail servers."""

from __future__ import annotations

from appliance.console import draft
from appliance.console.change import propose_and_commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Offer, walk
from appliance.console.domain_questions import DomainQuestions, try_server


def domains_page(desk: Desk) -> None:
    _Domains(desk).run()


class _Domains:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._text = desk.sysd.text().text
        config = desk.config()
        hops = {hop.name: [server.url for server in hop.servers] for hop in config.next_hop}
        self._servers = {domain.name: hops.get(domain.next_hop, []) for domain in config.domain}

    def run(self) -> None:
        for name, urls in self._servers.items():
            self._desk.dialogue.say(f"  {name}: {' '.join(urls)}")
        items = [Offer("add a domain", self._add)]
        items += [Offer("another mail server for a domain", self._change)] if self._servers else []
        items += [Offer("remove a domain", self._remove)] if len(self._servers) > 1 else []
        items += [Offer("try the mail server of a domain", self._try)] if self._servers else []
        self._desk.dialogue.choose(items).value()

    def _add(self) -> None:
        given = draft.Answers()
        questions = DomainQuestions(self._desk, given)
        walk([questions.domain, questions.server])
        self._put(given.domain, given.server)

    def _change(self) -> None:
        name = self._chosen()
        urls = self._servers[name]
        if len(urls) > 1:
            self._desk.dialogue.say(f"It has {len(urls)} servers; the one that you name replaces them all.")
        given = draft.Answers(domain=name.lower(), server=urls[0] if len(urls) == 1 else "")
        DomainQuestions(self._desk, given).server()
        self._put(given.domain, given.server)

    def _put(self, name: str, url: str) -> None:
        propose_and_commit(self._desk, draft.with_domain(self._text, name, url), f"mail server of {name}")

    def _remove(self) -> None:
        name = self._chosen()
        propose_and_commit(self._desk, draft.without_domain(self._text, name.lower()), f"without {name}")

    def _try(self) -> None:
        for url in self._servers[self._chosen()]:
            try_server(self._desk, url)

    def _chosen(self) -> str:
        return self._desk.dialogue.choose_from([*self._servers], str, "Domain")
