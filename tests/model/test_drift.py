from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.model.drift import Drift, DriftKind, Verdict, aim, compare, is_in_place
from convergence.model.table import Column, Mode, TableSchema

SCHEMA = TableSchema(
    name="t",
    columns=(
        Column(name="id", type="STRING", mode=Mode.REQUIRED),
        Column(name="n", type="INT64", mode=Mode.REQUIRED, default="0"),
        Column(name="cost", type="NUMERIC"),
        Column(name="at", type="TIMESTAMP", default="CURRENT_TIMESTAMP()"),
    ),
    partition_by="at",
    cluster_by=("id",),
)


def changed(name: str, **changes: Any) -> TableSchema:  # noqa: ANN401 - any field
    columns = [replace(c, **changes) if c.name == name else c for c in SCHEMA.columns]
    return replace(SCHEMA, columns=tuple(columns))


def without(*names: str) -> TableSchema:
    return replace(SCHEMA, columns=tuple(c for c in SCHEMA.columns if c.name not in names))


def only(drifts: tuple[Drift, ...]) -> tuple[DriftKind, str, Verdict]:
    (drift,) = drifts
    return drift.kind, drift.column, drift.verdict


@pytest.mark.parametrize(
    ("live", "seen"),
    [
        (None, (DriftKind.TABLE, "", Verdict.ADDITIVE)),
        (without("cost"), (DriftKind.COLUMN, "cost", Verdict.ADDITIVE)),
        (without("n"), (DriftKind.COLUMN, "n", Verdict.ADDITIVE)),
        (without("id"), (DriftKind.COLUMN, "id", Verdict.APPROVAL)),
        (changed("cost", type="INT64"), (DriftKind.TYPE, "cost", Verdict.APPROVAL)),
        (changed("cost", type="FLOAT64"), (DriftKind.TYPE, "cost", Verdict.FORBIDDEN)),
        (changed("cost", mode=Mode.REPEATED), (DriftKind.TYPE, "cost", Verdict.FORBIDDEN)),
        (changed("cost", mode=Mode.REQUIRED), (DriftKind.MODE, "cost", Verdict.ADDITIVE)),
        (changed("n", mode=Mode.NULLABLE), (DriftKind.MODE, "n", Verdict.ADDITIVE)),
        (changed("id", mode=Mode.NULLABLE), (DriftKind.MODE, "id", Verdict.APPROVAL)),
        (changed("n", default=None), (DriftKind.DEFAULT, "n", Verdict.ADDITIVE)),
        (replace(SCHEMA, partition_by=None), (DriftKind.PARTITION, "", Verdict.FORBIDDEN)),
        (replace(SCHEMA, cluster_by=()), (DriftKind.CLUSTERING, "", Verdict.ADDITIVE)),
        (replace(SCHEMA, columns=SCHEMA.columns[::-1]), (DriftKind.ORDER, "", Verdict.ADDITIVE)),
        (
            replace(SCHEMA, columns=(*SCHEMA.columns, Column(name="x", type="STRING"))),
            (DriftKind.EXTRA, "x", Verdict.APPROVAL),
        ),
    ],
)
def test_each_kind_of_drift_is_named_and_judged(
    live: TableSchema | None, seen: tuple[DriftKind, str, Verdict]
) -> None:
    assert only(compare(SCHEMA, live)) == seen


def test_a_table_at_its_schema_has_no_drift() -> None:
    assert compare(SCHEMA, SCHEMA) == ()
    assert compare(SCHEMA, changed("at", default="current_timestamp")) == ()


def test_columns_at_the_end_are_added_in_place_and_others_need_new_rows() -> None:
    assert is_in_place(aim(SCHEMA, without("at")), without("at"))
    assert not is_in_place(aim(SCHEMA, without("n")), without("n"))


columns = st.lists(
    st.builds(
        Column,
        name=st.sampled_from(["id", "n", "cost", "at", "x", "y"]),
        type=st.sampled_from(["STRING", "INT64", "NUMERIC", "TIMESTAMP"]),
        mode=st.sampled_from([Mode.NULLABLE, Mode.REQUIRED]),
        default=st.sampled_from([None, "0"]),
    ),
    unique_by=lambda column: column.name,
    max_size=6,
)


@given(columns)
def test_reaching_the_aim_leaves_nothing_that_was_additive(found: list[Column]) -> None:
    live = replace(SCHEMA, columns=tuple(found))
    aimed = aim(SCHEMA, live)
    left = compare(SCHEMA, aimed)
    assert [drift for drift in left if drift.verdict is Verdict.ADDITIVE] == []
    assert aim(SCHEMA, aimed) == aimed
    assert {column.name for column in found} <= set(aimed.column_names)


@given(columns)
def test_with_approval_the_aim_is_the_schema_but_for_what_is_forbidden(
    found: list[Column],
) -> None:
    live = replace(SCHEMA, columns=tuple(found))
    aimed = aim(SCHEMA, live, approved=True)
    forbidden = [drift for drift in compare(SCHEMA, live) if drift.verdict is Verdict.FORBIDDEN]
    assert list(compare(SCHEMA, aimed)) == forbidden
    assert aimed.column_names == SCHEMA.column_names


@pytest.mark.parametrize(
    ("found", "wanted", "verdict"),
    [
        ("NUMERIC(18,9)", "NUMERIC", Verdict.APPROVAL),
        ("NUMERIC(10,2)", "NUMERIC(12,4)", Verdict.APPROVAL),
        ("NUMERIC(38,2)", "NUMERIC", Verdict.FORBIDDEN),
        ("NUMERIC", "NUMERIC(10,2)", Verdict.FORBIDDEN),
        ("INTEGER", "INT64", Verdict.APPROVAL),
        ("HUGEINT", "INT64", Verdict.FORBIDDEN),
    ],
)
def test_a_type_is_changed_with_approval_where_it_holds_each_value(
    found: str, wanted: str, verdict: Verdict
) -> None:
    schema = TableSchema(name="t", columns=(Column(name="x", type=wanted),))
    live = TableSchema(name="t", columns=(Column(name="x", type=found),))
    assert only(compare(schema, live)) == (DriftKind.TYPE, "x", verdict)


def test_an_extra_column_is_harmless_unless_each_row_must_have_it() -> None:
    free, needed = (
        Column(name="x", type="STRING"),
        Column(name="x", type="STRING", mode=Mode.REQUIRED),
    )
    for extra, is_harmless in ((free, True), (needed, False)):
        (drift,) = compare(SCHEMA, replace(SCHEMA, columns=(*SCHEMA.columns, extra)))
        assert drift.is_harmless is is_harmless


def test_the_checksum_knows_the_shape_and_not_the_words() -> None:
    said = replace(SCHEMA, columns=tuple(replace(c, description="!") for c in SCHEMA.columns))
    assert said.checksum == SCHEMA.checksum
    assert without("at").checksum != SCHEMA.checksum


def test_a_table_that_is_brought_there_keeps_its_days_as_long_as_it_was_told() -> None:
    wanted = TableSchema(name="t", columns=(Column(name="n", type="INT64"),), expiration_days=730)
    live = replace(wanted, columns=(), expiration_days=400)
    assert compare(replace(wanted, columns=()), live) == ()
    assert aim(wanted, live).expiration_days == 400
