"""The dialogue of `cdp sql` on a terminal: statements end in `;`, lines are kept."""

import readline
from collections.abc import Callable, Iterator
from contextlib import suppress

from convergence.cli import failures
from convergence.cli.command import Call
from convergence.cli.output import Format, say, show_rows, write
from convergence.cli.statement import answer, explain_statement
from convergence.errors import CdpError, Invalid

HELP = """\
SELECT …;      answer a statement, which may have several lines
\\d             the tables            \\d TABLE   the columns of one
\\o FORM        table, json, jsonl or csv from now on
\\e SELECT …    what the warehouse would run
\\?             this                  \\q         leave (or Ctrl-D); Ctrl-C drops the line"""
KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP", "BY", "ORDER", "LIMIT", "HAVING", "QUALIFY", "WITH"),
    *("JOIN", "LEFT", "UNNEST", "UNION", "ALL", "DISTINCT", "CASE", "WHEN", "THEN", "ELSE", "END"),
    *("AND", "OR", "NOT", "NULL", "IN", "BETWEEN", "AS", "DESC", "OVER", "PARTITION", "INTERVAL"),
    *("COUNT", "SUM", "AVG", "MIN", "MAX", "CAST", "DATE", "TIMESTAMP", "NUMERIC", "EXTRACT"),
)
HISTORY = "sql_history"
KEPT_LINES = 1000


class Dialogue:
    """Reads, answers, and reads again. Between statements the home is free for others."""

    def __init__(self, call: Call, tenant: str | None) -> None:
        self._call = call
        self._tenant = tenant
        self._form = call.format
        self._history = call.settings().home / HISTORY
        self._columns: dict[str, list[tuple[str, str]]] = {}

    def run(self) -> None:
        """Until Ctrl-D or `\\q`."""
        self._try(self._look)
        self._prepare_lines()
        say("BigQuery SQL, read-only; a statement ends in ;   help: \\?   leave: Ctrl-D")
        try:
            for text in self._statements():
                readline.add_history(text)
                if text.strip(" ;") == "\\q":
                    return
                self._answer(text)
        finally:
            self._keep()

    def _statements(self) -> Iterator[str]:
        """What is entered: a line that begins with a backslash, or lines until a `;`."""
        lines: list[str] = []
        while True:
            try:
                line = input(f"{self._tenant or 'operator'}> " if not lines else "   -> ")
            except KeyboardInterrupt:
                lines = []
                write("")
                continue
            except EOFError:
                write("")
                return
            if not lines and line.startswith("\\"):
                yield line
                continue
            lines += [line] if line.strip() else []
            if line.rstrip().endswith(";"):
                yield "\n".join(lines)
                lines = []

    def _answer(self, text: str) -> None:
        if text.startswith("\\"):
            self._try(lambda: self._obey(text))
        else:
            self._try(lambda: answer(self._call, self._tenant, text, self._form))

    def _obey(self, text: str) -> None:
        word, _, rest = text.strip().rstrip(";").partition(" ")
        match word:
            case "\\d":
                self._describe(rest.strip())
            case "\\o":
                self._form = _form(rest.strip())
            case "\\e":
                explain_statement(self._call, self._tenant, rest)
            case "\\?":
                write(HELP)
            case _:
                raise Invalid(f"there is no {word[:20]}", hint="\\? tells what there is")

    def _describe(self, table: str) -> None:
        self._look()
        if not table:
            rows = [{"table": name, "columns": len(found)} for name, found in self._columns.items()]
            show_rows(rows, ("table", "columns"), Format.TABLE)
        elif table in self._columns:
            named = [{"column": name, "type": kind} for name, kind in self._columns[table]]
            show_rows(named, ("column", "type"), Format.TABLE)
        else:
            raise Invalid(f"there is no table {table[:60]}", hint="\\d lists the tables")

    def _look(self) -> None:
        """The tables that the caller may read, `tenants` included."""
        own = [""] if self._tenant else []
        columns: dict[str, list[tuple[str, str]]] = {}
        with self._call.client() as client:
            for prefix in (*own, "tenants."):
                sql = _columns_of(prefix)
                for table, column, kind in client.query(self._tenant, sql)["rows"]:
                    columns.setdefault(f"{prefix}{table}", []).append((column, kind))
        self._columns = columns

    def _prepare_lines(self) -> None:
        readline.set_auto_history(False)
        readline.set_history_length(KEPT_LINES)
        with suppress(OSError):
            readline.read_history_file(self._history)
        readline.set_completer_delims(" \t\n(),=<>+-*/;`")
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")

    def _complete(self, begun: str, number: int) -> str | None:
        columns = {name for found in self._columns.values() for name, _ in found}
        words = sorted({*self._columns, *columns, *KEYWORDS})
        fitting = [word for word in words if word.lower().startswith(begun.lower())]
        return fitting[number] if number < len(fitting) else None

    def _keep(self) -> None:
        """The lines, for this user alone."""
        with suppress(OSError):
            self._history.parent.mkdir(parents=True, exist_ok=True)
            self._history.touch(mode=0o600)
            self._history.chmod(0o600)
            readline.write_history_file(self._history)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CdpError as error:
            failures.report(error, debug=self._call.debug, tenant=self._tenant or "TENANT")
        except KeyboardInterrupt:
            say("broken off")


def _form(word: str) -> Format:
    if word not in list(Format) or word == Format.PARQUET:
        raise Invalid(f"{word[:20]!r} is no form", hint="table, json, jsonl or csv")
    return Format(word)


def _columns_of(prefix: str) -> str:
    return (
        f"SELECT table_name, column_name, data_type FROM {prefix}INFORMATION_SCHEMA.COLUMNS "  # noqa: S608 - a constant
        "ORDER BY table_name, ordinal_position"
    )
