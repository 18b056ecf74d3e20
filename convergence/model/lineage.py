"""Where some rows of a day come from: the load that brought them, and what proves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from convergence.model.load import Load
from convergence.model.money import Total, differences
from convergence.model.quality import QualityResult
from convergence.model.restatement import Restatement
from convergence.model.run import Run

Place = tuple[date, str]
"""Day and source: the unit that a load replaces. Lists go on after one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The asked rows of one day and source, by currency, and the load that brought them.

    `load` is None for rows that no known load published. `sql` is the query as it was run, or,
    where only the template is kept, its query with the load's names filled.
    """

    day: date
    source: str
    run_id: str
    shown: Mapping[str, Total]
    load: Load | None
    run: Run | None
    sql: str
    quality: QualityResult | None
    restatements: Sequence[Restatement] = ()

    @property
    def differences(self) -> list[str]:
        """How the whole load differs from its source: nothing, for all that was published."""
        if self.load is None or self.load.is_sample:
            return []
        return differences(self.load.totals, self.load.source_totals)

    @property
    def is_equal(self) -> bool:
        return self.load is not None and not self.load.is_sample and not self.differences
