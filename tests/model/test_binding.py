import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import Invalid
from convergence.model import binding
from convergence.model.template import Template, Variable

BUILT_INS = {name: f"the-{name}" for name in binding.BUILT_INS - {"pipeline_id"} | {"date"}} | {
    "tenant_id": "acme",
    "admin_email": "admin@acme.example",
}
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30)


def template(
    defaults: Mapping[str, str | None] | None = None, pipeline_id: str = "{tenant_id}-x"
) -> Template:
    declared = (defaults or {}).items()
    return Template(
        ref="gcp/cost/x",
        pipeline_id=pipeline_id,
        description="",
        version="1",
        steps=(),
        variables={name: Variable(name=name, default=text) for name, text in declared},
        timeout_minutes=30,
        raw={},
        digest="",
    )


def bind(
    bound: Template,
    request_values: Mapping[str, str] | None = None,
    tenant_values: Mapping[str, str] | None = None,
) -> binding.Bound:
    return binding.bind(
        bound,
        tenant_values=tenant_values or {},
        request_values=request_values or {},
        builtins=BUILT_INS,
    )


def test_the_request_outweighs_the_tenant_and_the_tenant_the_template() -> None:
    bound = bind(template({"a": "1", "b": "1", "c": "1"}), {"c": "3"}, {"b": "2", "c": "2"})
    assert bound.parameters == {"a": "1", "b": "2", "c": "3"}
    assert bound.pipeline_id == "acme-x"


def test_only_the_templates_defaults_are_expanded() -> None:
    declared = template({"a": "x-{tenant_id}", "b": "", "c": ""})
    bound = bind(declared, {"c": "{date}"}, {"b": "{tenant_id}"})
    assert bound.parameters == {"a": "x-acme", "b": "{tenant_id}", "c": "{date}"}


@pytest.mark.parametrize("name", sorted(binding.BUILT_INS | binding.LATE))
def test_a_built_in_cannot_be_given(name: str) -> None:
    for request_values, tenant_values in (({name: "x"}, {}), ({}, {name: "x"})):
        with pytest.raises(Invalid) as caught:
            bind(template(), request_values, tenant_values)
        assert caught.value.code == "builtin_variable"


def test_an_undeclared_variable_is_refused_and_the_nearest_suggested() -> None:
    with pytest.raises(Invalid) as caught:
        bind(template({"destination_table": "t"}), {"destination_tabel": "x"})
    assert caught.value.code == "undeclared_variable"
    assert "destination_table?" in caught.value.hint


def test_admin_email_is_the_tenants_unless_the_template_declares_another() -> None:
    unset = template({"admin_email": None})
    assert bind(unset).parameters == {"admin_email": "admin@acme.example"}
    assert bind(unset, {"admin_email": "c@d"}).parameters == {"admin_email": "c@d"}
    assert bind(template({"admin_email": "a@b"})).parameters == {"admin_email": "a@b"}


def test_a_variable_that_nothing_sets_is_an_error() -> None:
    with pytest.raises(Invalid, match="variable table has no value") as caught:
        bind(template({"table": None}))
    assert caught.value.code == "missing_variable"


@pytest.mark.parametrize("value", ["x" * 1001, "a\nb", "a\x00", "a\x85", "a\u2028b", "\ud800", 5])
def test_a_value_that_is_no_line_of_text_is_refused(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        bind(template({"a": "1"}), {"a": value})
    assert caught.value.code == "invalid_variable"


def test_a_pipeline_id_that_a_variable_breaks_is_refused() -> None:
    declared = template({"a": "1"}, pipeline_id="{tenant_id}-{a}")
    assert bind(declared).pipeline_id == "acme-1"
    with pytest.raises(Invalid) as caught:
        bind(declared, {"a": "x y"})
    assert caught.value.code == "invalid_pipeline_id"


@given(values=st.dictionaries(st.sampled_from("abc"), PLAIN))
def test_the_hash_says_whether_the_bound_values_are_equal(values: dict[str, str]) -> None:
    declared = template({"a": "1", "b": "2", "c": "3"})
    bound, plain = bind(declared, values), bind(declared)
    assert (bound.parameter_hash == plain.parameter_hash) == (bound.parameters == plain.parameters)
    assert bound == bind(declared, None, values)
    assert len(bound.parameter_hash) == 64


def test_names_are_found_in_sql_and_json_is_left_alone() -> None:
    tree = {"query": "SELECT {a} FROM `{b}`", "list": [{"x": '{"c": 1} {D} { e } {f}'}, None, 3]}
    assert binding.names_in(tree) == {"a", "b", "f"}
    assert binding.names_in("{a_1}{1a}{}{{b}}") == {"a_1", "b"}


def test_what_is_unfilled_stays_as_it_is() -> None:
    tree = {"source": {"query": "{a}", "project": "{a}"}, "query": "{a}", "n": 1}
    filled = binding.fill(tree, {"a": "1"}, unfilled=[("source", "query")])
    assert filled == {"source": {"query": "{a}", "project": "1"}, "query": "1", "n": 1}


def test_an_unknown_name_is_refused_when_it_is_filled() -> None:
    with pytest.raises(Invalid, match=r"\{tenat_id\} is not a known name") as caught:
        binding.fill("{tenat_id}", {"tenant_id": "acme"})
    assert "{tenant_id}" in caught.value.hint


@given(names=st.dictionaries(NAMES, st.text() | st.sampled_from(["{a}", "{b}{a}"]), min_size=1))
def test_a_value_is_never_looked_through_again(names: dict[str, str]) -> None:
    text = "|".join(f"{{{name}}}" for name in names)
    assert binding.fill(text, names) == "|".join(names.values())


@given(
    tree=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="{")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_tree_without_names_is_unchanged(tree: object) -> None:
    assert binding.fill(tree, {}) == tree
    assert json.dumps(binding.fill(tree, {})) == json.dumps(tree)


def test_a_steps_own_variables_lie_over_the_others() -> None:
    names = binding.step_names({"a": "{b}-{tenant_id}", "b": "own"}, {"b": "1", "tenant_id": "t"})
    assert names == {"a": "1-t", "b": "own", "tenant_id": "t"}


@pytest.mark.parametrize("text", ["", "  ", "x" * 201, "a\nb", "\x00"])
def test_trigger_by_is_a_short_line_of_free_text(text: str) -> None:
    assert binding.check_trigger_by("Ann O'Neil (<night> run) {date}")
    with pytest.raises(Invalid) as caught:
        binding.check_trigger_by(text)
    assert caught.value.code == "invalid_trigger_by"
