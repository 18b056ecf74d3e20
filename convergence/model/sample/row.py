"""A charge as a row of the detailed export: all its members, as JSON values."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from convergence.model.sample.catalog import SUPPORT, Account, Discount, Line, Project
from convergence.model.sample.charge import Adjustment, Charge

ORGANIZATION = "organizations/730518264090"
Record = dict[str, Any]


def row(account: Account, charge: Charge, file_day: date) -> Record:
    """Times are UTC; money is float, as it is in the export."""
    line = charge.line
    project = line.project if line else None
    service, description = line.service if line else SUPPORT
    sku, sku_description = charge.sku
    return {
        "billing_account_id": account.id,
        "service": {"id": service, "description": description},
        "sku": {"id": sku, "description": sku_description},
        "usage_start_time": _moment(charge.start),
        "usage_end_time": _moment(charge.end),
        "project": _project(project) if project else None,
        "labels": _labels(project, charge) if project else [],
        "system_labels": [],
        "location": _location(account, line) if line else None,
        "resource": _resource(project, charge) if project else None,
        "tags": _tags(project) if project else [],
        "price": _price(line) if line else None,
        "transaction_type": "GOOGLE",
        "seller_name": "Google",
        "export_time": _moment(exported_at(file_day)),
        "cost": charge.cost,
        "currency": account.currency,
        "currency_conversion_rate": account.rate,
        "usage": _usage(line, charge) if line else None,
        "credits": [_credit(discount, amount) for discount, amount in charge.credits],
        "invoice": {"month": charge.invoice_month, "publisher_type": "GOOGLE"},
        "cost_type": charge.cost_type,
        "adjustment_info": _adjustment(charge.adjustment) if charge.adjustment else None,
        "cost_at_list": charge.cost,
        "consumption_model": {"id": "7754-699E-0EBF", "description": "Default"},
        "cost_at_effective_price_default": charge.cost,
        "cost_at_list_consumption_model": charge.cost,
    }


def exported_at(file_day: date) -> datetime:
    """When the file of a day was written: early on the next."""
    return datetime.combine(file_day + timedelta(days=1), time(3, 20), UTC)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _project(project: Project) -> Record:
    name = project.id.replace("-", " ").title()
    return {
        "id": project.id,
        "number": project.number,
        "name": name,
        "labels": [{"key": "env", "value": project.env}],
        "ancestry_numbers": f"/{ORGANIZATION.partition('/')[2]}/",
        "ancestors": [
            {"resource_name": f"projects/{project.number}", "display_name": name},
            {"resource_name": ORGANIZATION, "display_name": project.id.partition("-")[0]},
        ],
    }


def _labels(project: Project, charge: Charge) -> list[Record]:
    """The `web` machines carry one key twice, as an export may."""
    labels = [{"key": "env", "value": project.env}, {"key": "team", "value": project.team}]
    if (charge.resource or "").startswith("web-"):
        labels.append({"key": "team", "value": "platform"})
    return labels


def _tags(project: Project) -> list[Record]:
    tag = {"key": "cost-center", "value": project.team, "inherited": True}
    return [tag | {"namespace": ORGANIZATION}]


def _location(account: Account, line: Line) -> Record:
    return {
        "location": line.zone or account.region,
        "country": account.country,
        "region": account.region,
        "zone": line.zone or None,
    }


def _resource(project: Project, charge: Charge) -> Record:
    place = f"//cloud.example/projects/{project.number}/resources/{charge.resource}"
    return {"name": charge.resource, "global_name": place}


def _price(line: Line) -> Record:
    """NUMERIC in the export: texts, so that they are exact."""
    price = str(line.price)
    return {
        "effective_price": price,
        "tier_start_amount": "0",
        "unit": line.unit[1],
        "pricing_unit_quantity": "1",
        "list_price": price,
        "effective_price_default": price,
        "list_price_consumption_model": price,
    }


def _usage(line: Line, charge: Charge) -> Record:
    unit, pricing_unit, many = line.unit
    return {
        "amount": charge.units * many,
        "unit": unit,
        "amount_in_pricing_units": charge.units,
        "pricing_unit": pricing_unit,
    }


def _credit(discount: Discount, amount: float) -> Record:
    credit = {"name": discount.name, "amount": amount, "full_name": discount.name}
    return credit | {"id": discount.type.lower(), "type": discount.type}


def _adjustment(adjustment: Adjustment) -> Record:
    return {
        "id": "c-1",
        "description": adjustment.description,
        "mode": adjustment.mode,
        "type": adjustment.type,
    }
