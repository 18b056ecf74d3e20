"""The first process to say what all must agree on decides."""

from concurrent.futures import ThreadPoolExecutor

from convergence.store import deployment
from convergence.store.database import Database


def test_the_first_decides(database: Database) -> None:
    assert deployment.agree(database, "files", "a") == "a"
    assert deployment.agree(database, "files", "b") == "a"


def test_of_many_at_once_one_decides(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = pool.map(lambda n: deployment.agree(database, "files", str(n)), range(8))
    assert len(set(said)) == 1


def test_what_is_forgotten_is_decided_again(database: Database) -> None:
    for version in ("1", "2"):
        deployment.agree(database, f"pepper.{version}", "a")
    with database.write() as tx:
        assert list(deployment.values(tx, "pepper.")) == ["1", "2"]
        assert deployment.forget(tx, "pepper.") == 2
    assert deployment.agree(database, "pepper.1", "b") == "b"
