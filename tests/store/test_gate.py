import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from convergence.store.gate import Gate, GatedPool


def test_turns_come_in_the_order_of_asking() -> None:
    gate, order = Gate(timeout=10), list[int]()

    def visit(number: int) -> None:
        gate.enter()
        order.append(number)
        gate.leave()

    gate.enter()
    threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while gate.waiting < waiting:
            time.sleep(0.001)
    gate.leave()
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_a_turn_that_never_comes_is_given_up_and_blocks_nobody() -> None:
    gate, failures = Gate(timeout=0.01), list[BaseException]()

    def visit() -> None:
        try:
            gate.enter()
        except sqlite3.OperationalError as error:
            failures.append(error)

    gate.enter()
    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    gate.leave()
    gate.enter()
    assert "database is locked" in str(failures[0])


def test_a_thread_that_holds_the_gate_may_not_ask_again() -> None:
    gate = Gate(timeout=10)
    gate.enter()
    with pytest.raises(RuntimeError, match="inside a write transaction already"):
        gate.enter()
    gate.leave()
    gate.enter()


def test_another_thread_may_give_the_gate_back() -> None:
    gate = Gate(timeout=10)
    gate.enter()
    thread = threading.Thread(target=gate.leave)
    thread.start()
    thread.join()
    gate.enter()


def test_writers_hand_one_connection_on(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=GatedPool)

    def visit(_: int) -> object:
        with engine.begin() as connection:
            return connection.connection.driver_connection

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(visit, range(40)))) == 1
    engine.dispose()


def test_a_connection_that_cannot_be_made_holds_up_nobody(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'absent' / 'a.db'}", poolclass=GatedPool)
    for _ in range(2):
        with pytest.raises(sa.exc.OperationalError, match="unable to open"):
            engine.connect()
    (tmp_path / "absent").mkdir()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()


def test_a_lost_connection_is_replaced(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=GatedPool)
    with engine.connect() as connection:
        connection.invalidate()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()
