"""Routes about jobs, their results, and uploads for them."""

import json
import uuid
from email.parser import BytesParser

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tests.bigquery_rest.fake import ROOT, TheFake, Upload
from tests.bigquery_rest.wire import Json

UPLOAD = "/upload/bigquery/v2/projects/{project}/jobs"
router = APIRouter()


@router.post(f"{ROOT}/jobs")
def insert_job(fake: TheFake, project: str, body: Json) -> Json:
    return fake.jobs.insert(project, body).resource


@router.get(f"{ROOT}/jobs")
def list_jobs(fake: TheFake, project: str) -> Json:
    return {"jobs": [job.resource for job in fake.jobs.all(project)]}


@router.get(f"{ROOT}/jobs/{{job}}")
def get_job(fake: TheFake, project: str, job: str, location: str = "") -> Json:
    return fake.jobs.get(project, job, location).resource


@router.post(f"{ROOT}/jobs/{{job}}/cancel")
def cancel_job(fake: TheFake, project: str, job: str, location: str = "") -> Json:
    found = fake.jobs.get(project, job, location)
    fake.jobs.cancel(found)
    return {"kind": "bigquery#jobCancelResponse", "job": found.resource}


@router.get(f"{ROOT}/queries/{{job}}")
def get_results(
    fake: TheFake, project: str, job: str, request: Request, location: str = ""
) -> Json:
    query = request.query_params
    found = fake.jobs.get(project, job, location)
    fake.jobs.wait(found, int(query.get("timeoutMs", 10_000)))
    with fake.catalog.lock:
        return fake.results(found, query)


@router.post(f"{ROOT}/queries")
def query_now(fake: TheFake, project: str, body: Json) -> Json:
    id_ = body.get("requestId") or uuid.uuid4().hex
    if not fake.jobs.known(project, id_):
        job = fake.jobs.insert(project, _of_query(id_, body))
    else:
        job = fake.jobs.get(project, id_)
    fake.jobs.wait(job, int(body.get("timeoutMs", 10_000)))
    options = {f"formatOptions.{key}": v for key, v in body.get("formatOptions", {}).items()}
    with fake.catalog.lock:
        paging = {key: body[key] for key in ("maxResults",) if key in body}
        return fake.results(job, {**options, **paging})


def _of_query(id_: str, body: Json) -> Json:
    """The job that a call of jobs.query stands for."""
    configuration = {key: body[key] for key in ("dryRun", "labels", "jobTimeoutMs") if key in body}
    reference = {"jobId": id_, "location": body.get("location")}
    return {"jobReference": reference, "configuration": {**configuration, "query": body}}


@router.post(UPLOAD)
async def upload(fake: TheFake, project: str, request: Request) -> Response:
    content = await request.body()
    if request.query_params["uploadType"] == "resumable":
        id_ = uuid.uuid4().hex
        fake.uploads[id_] = Upload(body=json.loads(content))
        where = f"{request.url}&upload_id={id_}"
        return Response(headers={"Location": where})
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + content).get_payload()
    said, data = (part.get_payload(decode=True) for part in parts)  # type: ignore[union-attr] # two parts
    return JSONResponse(fake.jobs.insert(project, json.loads(said), data).resource)  # type: ignore[arg-type] # bytes


@router.put(UPLOAD)
async def upload_part(fake: TheFake, project: str, upload_id: str, request: Request) -> Response:
    """What was sent before may be sent again: its answer was lost."""
    upload = fake.uploads[upload_id]
    part, (span, _, total) = await request.body(), _span(request)
    if part:
        upload.data[int(span.partition("-")[0] or 0) :] = part
    if total not in {"", "*", str(len(upload.data))} or (total == "*" and span):
        return Response(status_code=308, headers={"Range": f"bytes=0-{len(upload.data) - 1}"})
    upload.job = upload.job or fake.jobs.insert(project, upload.body, bytes(upload.data))
    return JSONResponse(upload.job.resource)


def _span(request: Request) -> tuple[str, str, str]:
    """First and last byte of a part, and the number of all: `*` where it is not known yet."""
    said = request.headers.get("content-range", "").removeprefix("bytes ")
    return said.rpartition("/")
