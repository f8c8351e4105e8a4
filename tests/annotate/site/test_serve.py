"""The server: ports, pictures that are made meanwhile, many people at once, and sudden ends."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from builder.annotate import database as tables
from builder.annotate.agreement import Said, by_kind, fleiss_kappa
from builder.annotate.ballots import Ballots
from builder.annotate.candidates import PairName
from builder.annotate.database import reopen_database
from builder.annotate.people import names
from builder.annotate.site.guard import Access
from builder.annotate.site.serve import BackgroundMaker, addresses, bind
from builder.dataset.votes import ANSWERS
from builder.errors import BuildError
from builder.reporter import Reporter
from tests.annotate.site.server import Client, Given, serving
from tests.annotate.site.study import PaintedExhibits
from tests.annotate.test_agreement import slow_kappa
from tests.quiet import Quiet


def test_a_port_in_use_gives_way_to_the_next_and_that_is_said(reporter: Quiet) -> None:
    with bind("127.0.0.1", 0, reporter) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port, reporter) as second:
            found = second.getsockname()[1]
        assert second.proto == socket.IPPROTO_TCP  # Else each page would wait for 40 ms.
    assert port < found < port + 20
    assert reporter.lines == [f"Port {port} is in use: this is on port {found}."]


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("no such host", "--host no such host is no address"),
        ("192.0.2.1", "--host 192.0.2.1 is no address of this machine"),
        ("a..b", "--host a..b is no address"),
    ],
)
def test_an_address_of_elsewhere_is_a_sentence(host: str, sentence: str, reporter: Quiet) -> None:
    with pytest.raises(BuildError, match=sentence):
        bind(host, 0, reporter)


def test_links_have_tokens_where_others_can_come() -> None:
    assert addresses(Access("127.0.0.1", "s", "V", "R"), 80)["vote"] == "http://127.0.0.1:80/"
    assert addresses(Access("::1", "s", "V", "R"), 80)["results"] == "http://[::1]:80/results"
    found = addresses(Access("192.0.2.7", "s", "V", "R"), 80)
    assert found["vote"] == "http://192.0.2.7:80/?token=V"
    assert found["results"] == "http://192.0.2.7:80/results?token=R"
    name = socket.gethostname()
    assert addresses(Access("0.0.0.0", "s", "V", "R"), 80)["vote"].startswith(f"http://{name}:80/")


class FailingExhibits(PaintedExhibits):
    """Pictures that cannot be made."""

    def make(self, pairs: Iterable[PairName], reporter: Reporter) -> None:
        raise BuildError("The disk is full.")


def test_why_pictures_are_not_made_is_said(tmp_path: Path, reporter: Quiet) -> None:
    maker = BackgroundMaker(FailingExhibits(tmp_path), [("otter", 1)], reporter)
    maker.start()
    maker.join()
    assert maker.trouble() == "The disk is full."
    assert reporter.lines == ["The disk is full."]


def test_pictures_are_made_while_people_vote(tmp_path: Path, reporter: Quiet) -> None:
    exhibits = PaintedExhibits(tmp_path)
    maker = BackgroundMaker(exhibits, [("otter", 1), ("otter", 4)], reporter)
    maker.start()
    maker.join()
    assert exhibits.made == [("otter", 1), ("otter", 4)]
    assert maker.trouble() is None


class SlowExhibits(PaintedExhibits):
    """Pictures of which there is no end."""

    def make(self, pairs: Iterable[PairName], reporter: Reporter) -> None:
        with reporter.track("pictures") as advance:
            while True:
                advance(1)


def test_who_stops_does_not_wait_for_pictures(tmp_path: Path, reporter: Quiet) -> None:
    maker = BackgroundMaker(SlowExhibits(tmp_path), [("otter", 1)], reporter)
    maker.start()
    maker.stop()
    maker.join()
    assert maker.trouble() is None


def choose(person: int, pair: int) -> str:
    """Return what a person answers: mostly what others do."""
    return ANSWERS[np.random.default_rng([person, pair]).choice(3, p=[0.2, 0.6, 0.2])]


def held(directory: Path) -> list[Given]:
    """Return the answers in the database, and see that each has its place."""
    database = reopen_database(str(directory / "votes.db"))
    people = names(database)
    rows = Ballots(database, tables.votes, 5).all()
    assert len({(row["pair"], row["person"]) for row in rows}) == len(rows)
    assert len({(row["pair"], row["seat"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["reasons"] == f"{people[row['person']]} on {row['pair']}"
    return sorted((people[row["person"]], row["pair"], row["answer"]) for row in rows)


def test_answers_of_eight_people_at_once_survive_a_kill(tmp_path: Path) -> None:
    """No answer is lost, and none is there twice; tests.benchmarks.annotate gives a thousand."""
    check_crowd(tmp_path, classes=6)


def check_crowd(directory: Path, classes: int) -> list[float]:
    """Have eight people answer all pairs, kill the server meanwhile; return seconds per page."""
    pairs = 5 * classes
    with serving(directory, "--classes", str(classes)) as server:
        people = [Client(server, f"person {n}", partial(choose, n)) for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(person.answer_all) for person in people]
            while sum(len(person.given) for person in people) < 2 * pairs:
                assert not any(one.done() and one.exception() for one in done)
            server.kill()
            server.start()
            for one in done:
                one.result()
    given = sorted(answer for person in people for answer in person.given)
    assert len(given) == 5 * pairs
    assert held(directory) == given
    assert Counter(pair for _, pair, _ in given) == dict.fromkeys(range(pairs), 5)
    said = Said.of((pair, 0, answer, 3, None) for _, pair, answer in given)
    spurious = [[int(a != ANSWERS[0]) for _, p, a in given if p == pair] for pair in range(pairs)]
    found = fleiss_kappa(by_kind(said.counts(pairs)))
    assert found.value == pytest.approx(slow_kappa(spurious, 2)[0], abs=1e-12)
    return [second for person in people for second in person.seconds]


def test_ctrl_c_stops_the_server_and_its_answers_stay(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        person = Client(server, "Ada", partial(choose, 1))
        person.answer_all(most=3)
        server.stop()
    assert held(tmp_path) == sorted(person.given)
    assert len(person.given) == 3
