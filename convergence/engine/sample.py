"""Make the sample export: its files, each at once or not at all, and its totals beside them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from convergence.errors import Conflict, NotFound, Unavailable
from convergence.model.money import Total, totals_from_json, totals_to_json
from convergence.model.sample.catalog import ACCOUNTS, Account
from convergence.model.sample.charge import Charge
from convergence.model.sample.export import DayTotals, Sample, files, totals
from convergence.model.sample.row import row

FACTS = "totals.json"
LOST = ("cost", "cost_amount")
"""How the broken file breaks the schema: a column that every bill has is called otherwise."""
Progress = Callable[[int, int], object]
"""Files that are there, of all."""


class Writer(Protocol):
    """Writes rows of the export as a Parquet file, or leaves what was there."""

    def __call__(
        self, path: Path, rows: Iterable[Mapping[str, Any]], *, rename: Mapping[str, str]
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A sample in its folder. `totals` are those of each account, broken file included."""

    folder: Path
    sample: Sample
    is_mended: bool
    totals: Mapping[str, DayTotals]

    def glob(self, account: Account) -> str:
        return str(self.folder / account.files / "*.parquet")

    def broken(self, account: Account) -> date | None:
        """The day whose file breaks the schema, while it does."""
        return None if self.is_mended else self._day(account.broken)

    def anomaly(self, account: Account) -> date | None:
        """The day that costs more than it should."""
        return self._day(account.anomaly)

    def _day(self, index: int | None) -> date | None:
        is_in = index is not None and index < self.sample.days
        return self.sample.day(index) if index is not None and is_in else None


def make(
    folder: Path, sample: Sample, write: Writer, *, mend: bool = False, progress: Progress
) -> Made:
    """Write what is missing; files that are there stay. `mend` writes the broken one anew, whole.

    Raises Conflict when the folder holds another sample.
    """
    before = read(folder) if (folder / FACTS).exists() else None
    if before is not None:
        _check_same(before, sample)
        sample = max(before.sample, sample, key=lambda each: each.days)
        if sample == before.sample and before.is_mended >= mend and _is_whole(before):
            return before
    is_mended = mend or (before is not None and before.is_mended)
    sums, written = {}, 0
    for account in ACCOUNTS:
        exported = files(account, sample)
        for day, charges in exported.items():
            is_broken = account.broken == (day - sample.first).days
            path = folder / account.files / f"{day}.parquet"
            if not path.exists() or (is_broken and mend):
                _write(write, path, account, day, charges, is_broken=is_broken and not is_mended)
            written += 1
            progress(written, len(ACCOUNTS) * sample.days)
        sums[account.id] = totals(account, exported.values())
    made = Made(folder=folder, sample=sample, is_mended=is_mended, totals=sums)
    _keep(made)
    return made


def read(folder: Path) -> Made:
    """The sample in a folder. Raises NotFound."""
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NotFound(
            f"there is no sample in {folder}: {error}",
            code="sample_not_found",
            hint="cdp sample generate",
        ) from error
    sample = Sample(
        first=date.fromisoformat(facts["first"]), days=facts["days"], seed=facts["seed"]
    )
    sums = {
        export["billing_account_id"]: {
            date.fromisoformat(day): totals_from_json(rows)
            for day, rows in export["totals"].items()
        }
        for export in facts["exports"]
    }
    return Made(folder=folder, sample=sample, is_mended=facts["mended"], totals=sums)


def facts(made: Made) -> list[dict[str, Any]]:
    """What is known of each export, as JSON values; decimals are plain texts."""
    found = []
    for account in ACCOUNTS:
        whole = total(made, account)
        broken, anomaly = made.broken(account), made.anomaly(account)
        found.append(
            {
                "table": account.table,
                "billing_account_id": account.id,
                "files": f"{account.files}/*.parquet",
                "first": made.sample.first.isoformat(),
                "last": made.sample.last.isoformat(),
                "currency": account.currency,
                "rows": whole.rows,
                "cost": format(whole.cost, "f"),
                "credits": format(whole.credits, "f"),
                "anomaly": anomaly.isoformat() if anomaly else None,
                "broken": broken.isoformat() if broken else None,
                "totals": _totals(made.totals[account.id]),
            }
        )
    return found


def total(made: Made, account: Account) -> Total:
    """The sum of an account's export: one currency, so that it can be added."""
    return sum(
        (total for day in made.totals[account.id].values() for total in day.values()), Total()
    )


def _write(
    write: Writer,
    path: Path,
    account: Account,
    day: date,
    charges: Iterable[Charge],
    *,
    is_broken: bool,
) -> None:
    rows = (row(account, charge, day) for charge in charges)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, rows, rename=dict([LOST]) if is_broken else {})
    except OSError as error:
        raise Unavailable(
            f"cannot write {path}: {error.strerror or error}",
            code="folder_unusable",
            hint="choose a folder that this user may write to, with room for 10 MB",
        ) from error


def _check_same(before: Made, sample: Sample) -> None:
    if (before.sample.first, before.sample.seed) != (sample.first, sample.seed):
        raise Conflict(
            f"{before.folder} holds another sample: from {before.sample.first}, "
            f"seed {before.sample.seed}",
            code="sample_differs",
            hint="choose another folder, or remove this one",
        )


def _is_whole(made: Made) -> bool:
    return all(
        len(list((made.folder / account.files).glob("*.parquet"))) >= made.sample.days
        for account in ACCOUNTS
    )


def _keep(made: Made) -> None:
    """Last of all, and at once: a folder with totals has all its files."""
    sample = made.sample
    known = {
        "first": sample.first.isoformat(),
        "days": sample.days,
        "seed": sample.seed,
        "mended": made.is_mended,
        "exports": facts(made),
    }
    draft = made.folder / f".{FACTS}"
    draft.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    draft.replace(made.folder / FACTS)


def _totals(sums: DayTotals) -> dict[str, Any]:
    return {day.isoformat(): totals_to_json(of_day) for day, of_day in sorted(sums.items())}
