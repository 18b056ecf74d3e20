import sqlite3
import threading
import time

import pytest

from convergence.store.gate import Gate


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
