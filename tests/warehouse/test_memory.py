"""Short statements that would make gigabytes: what the process holds while they are asked."""
# ruff: noqa: S608 - constants alone

import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[2]
MOST_MEGABYTES = 500
TENFOLD = ", ".join(f"a{n} AS (SELECT {{join}} AS s FROM a{n - 1})" for n in range(1, 8))
CONCAT = TENFOLD.format(join=f"CONCAT({','.join('s' * 10)})")
PIPES = TENFOLD.format(join=" || ".join("s" * 10))
JSON = ", ".join(f"a{n} AS (SELECT TO_JSON_STRING(s) AS s FROM a{n - 1})" for n in range(1, 32))
TEXT = "a0 AS (SELECT REPEAT('x', 1000) AS s)"
ROWS = "UNNEST(GENERATE_ARRAY(1, 2048)) AS n"
MANY = "UNNEST(GENERATE_ARRAY(1, 10000)) AS n, UNNEST(GENERATE_ARRAY(1, 400)) AS m"
LONG = f"(SELECT REPEAT('x', 9999 - MOD(n, 2)) AS s FROM {ROWS})"
STATEMENTS = [
    f"WITH {TEXT}, {CONCAT} SELECT LENGTH(s) FROM a7",
    f"WITH {TEXT}, {PIPES} SELECT LENGTH(s) FROM a7",
    f"WITH a0 AS (SELECT '\"' AS s), {JSON} SELECT LENGTH(s) FROM a31",
    (
        "WITH RECURSIVE r AS (SELECT 'x' AS s, 0 AS n UNION ALL"
        " SELECT CONCAT(s, s), n + 1 FROM r WHERE n < 31) SELECT MAX(LENGTH(s)) FROM r"
    ),
    (
        "WITH RECURSIVE r AS (SELECT [1, 2] AS s, 0 AS n UNION ALL"
        " SELECT ARRAY_CONCAT(s, s), n + 1 FROM r WHERE n < 27) SELECT MAX(ARRAY_LENGTH(s)) FROM r"
    ),
    (
        "WITH RECURSIVE r AS (SELECT b'x' AS s, 0 AS n UNION ALL"
        " SELECT CAST(TO_HEX(s) AS BYTES), n + 1 FROM r WHERE n < 31) SELECT COUNT(*) FROM r"
    ),
    f"SELECT {', '.join(['SUM(LENGTH(REPEAT(chr, n)))'] * 200)} FROM {ROWS}, UNNEST(['x']) AS chr",
    f"SELECT {', '.join(f'SUM(LENGTH(UPPER(SUBSTR(s, {n}))))' for n in range(150))} FROM {LONG}",
    f"SELECT SUM(ARRAY_LENGTH([{', '.join('s' * 300)}])) FROM {LONG}",
    f"SELECT {', '.join(['SUM(ARRAY_LENGTH(GENERATE_ARRAY(1, 5 * n)))'] * 40)} FROM {ROWS}",
    f"SELECT {', '.join(['SUM(ARRAY_LENGTH(SPLIT(s, e)))'] * 10)} FROM {LONG}, UNNEST(['']) AS e",
    f"SELECT LENGTH(STRING_AGG(REPEAT('x', 1000), '')) FROM {MANY}",
    f"SELECT LENGTH(TO_JSON_STRING(ARRAY_AGG(REPEAT('x', 1000)))) FROM {MANY}",
]
ASKED = """
import resource, sys
from pathlib import Path

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from convergence.errors import CdpError
from convergence.warehouse.question import QueryLimits, Scope
from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
from tests.warehouse.test_memory import STATEMENTS

warehouse = DuckdbWarehouse(Path(sys.argv[1]), folders=lambda _: (), memory_limit="128MB")
warehouse.ensure_dataset("acme")
scope = Scope(project="local", tenant_id="acme", datasets=frozenset({"acme"}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for sql in STATEMENTS:
    try:
        warehouse.query(scope, sql, QueryLimits(seconds=60))
    except CdpError as refused:
        print(refused.code, refused.detail)
    else:
        print("answered", sql[:60])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_no_statement_takes_the_memory_of_the_machine(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", ASKED, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=TREE,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr
    *answers, megabytes = child.stdout.splitlines()
    assert len(answers) == len(STATEMENTS)
    assert [answer for answer in answers if answer.startswith("answered")] == []
    assert int(megabytes) < MOST_MEGABYTES, child.stdout
