"""A pipeline's id leads back to its template and its tenant."""

from dataclasses import dataclass

from convergence.engine.service import Service
from convergence.errors import Conflict, NotFound
from convergence.model import binding
from convergence.model.template import Template
from convergence.model.tenant import TENANT_ID

KNOWN = frozenset({"tenant_id", "provider", "domain", "template_name"})
"""What an id may be made of, if it is to lead back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    tenant_id: str
    template: str


def find_pipeline(service: Service, pipeline_id: str, tenant_id: str | None) -> Pipeline:
    """The pipeline of that id; with `tenant_id` None of any tenant. Raises NotFound, Conflict."""
    found = [
        Pipeline(tenant_id=owner, template=template.ref)
        for template in service.library.valid()
        if binding.names_in(template.pipeline_id) <= KNOWN
        for owner in _owners(template, pipeline_id, tenant_id)
        if pipeline_id_of(template, owner) == pipeline_id
    ]
    if not found:
        whose = f" for tenant {tenant_id}" if tenant_id else ""
        raise NotFound(
            f"Pipeline {pipeline_id[:80]} not found{whose}",
            code="pipeline_not_found",
            hint="its id is the template's pipeline_id, or run it by its template's name",
        )
    if len(found) > 1:
        refs = ", ".join(pipeline.template for pipeline in found)
        raise Conflict(
            f"Pipeline {pipeline_id} is the id of several templates: {refs}",
            code="pipeline_ambiguous",
            hint="run it by its template's name",
        )
    return found[0]


def pipeline_id_of(template: Template, tenant_id: str) -> str:
    names = {
        "tenant_id": tenant_id,
        "provider": template.provider,
        "domain": template.domain,
        "template_name": template.name,
    }
    return str(binding.fill(template.pipeline_id, names))


def _owners(template: Template, pipeline_id: str, tenant_id: str | None) -> list[str]:
    """Whose it may be: the given tenant's, or that of a part of the id that fits."""
    if tenant_id is not None:
        return [tenant_id]
    if "tenant_id" not in binding.names_in(template.pipeline_id):
        return []
    parts = dict.fromkeys(pipeline_id.split("-"))
    return [part for part in parts if TENANT_ID.fullmatch(part)]
