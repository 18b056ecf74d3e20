"""Finds `provider/domain/name.yml` below a directory and reads it as a Template."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convergence.errors import Fault, Invalid, NotFound, Unavailable
from convergence.model import authoring, yaml_text
from convergence.model.authoring import StepModels
from convergence.model.finding import nearest
from convergence.model.template import SEGMENT, Template, check_ref

SUFFIX = ".yml"

Stamp = tuple[int, int, int]


@dataclass(slots=True)
class Library:
    """The templates of a directory. A file is read again when it has changed.

    `step_models` give each step type's model of its own keys, by `ps_type`.
    """

    directory: Path
    step_models: StepModels
    _read: dict[str, tuple[Stamp, Template]] = field(default_factory=dict)

    def get(self, ref: str) -> Template:
        """Raises NotFound, or Invalid with every fault of the file."""
        known = self._read.get(ref)
        try:
            with suppress(FileNotFoundError):
                if known and known[0] == _stamp(self.directory / f"{ref}{SUFFIX}"):
                    return known[1]
            file = self._file(check_ref(ref))
            stamp = _stamp(file)
            template = self._parsed(ref, file)
        except OSError as error:
            raise Unavailable(
                f"{self.path(ref)}: {error.strerror}",
                code="template_unreadable",
                hint="may this process read the file?",
            ) from error
        self._read[ref] = (stamp, template)
        return template

    def refs(self) -> list[str]:
        """Every template's name, whether or not its file is valid, in order."""
        found = (
            file.relative_to(self.directory).with_suffix("").parts
            for file in self.directory.glob(f"*/*/*{SUFFIX}")
            if self._is_inside(file)
        )
        return sorted("/".join(parts) for parts in found if all(map(SEGMENT.fullmatch, parts)))

    def valid(self) -> Iterator[Template]:
        """The templates without faults, in order of their names."""
        for ref in self.refs():
            with suppress(Invalid):
                yield self.get(ref)

    def path(self, ref: str) -> str:
        """Where the template is, as it is shown: from the directory's own name on."""
        return f"{self.directory.name}/{check_ref(ref)}{SUFFIX}"

    def text(self, ref: str) -> str:
        """The file as it was written. Raises NotFound."""
        return self._file(check_ref(ref)).read_text(encoding="utf-8", errors="replace")

    def _file(self, ref: str) -> Path:
        file = self.directory / f"{ref}{SUFFIX}"
        if not self._is_inside(file):
            meant = nearest(ref, self.refs())
            raise NotFound(
                f"Template not found: {self.path(ref)}",
                code="template_not_found",
                hint=f"did you mean {meant}?" if meant else "cdp templates ls names them all",
            )
        return file

    def _is_inside(self, file: Path) -> bool:
        """Whether it is a file, and no link leads out of the directory."""
        return file.is_file() and file.resolve().is_relative_to(self.directory.resolve())

    def _parsed(self, ref: str, file: Path) -> Template:
        with file.open("rb") as stream:
            content = stream.read(yaml_text.MAX_BYTES + 1)
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            fault = Fault(message="not UTF-8", file=self.path(ref), line=line, column=1)
            raise _invalid(self.path(ref), [fault]) from error
        return parse(text, file=self.path(ref), ref=ref, step_models=self.step_models)


def _stamp(file: Path) -> Stamp:
    """What changes when a file is written or replaced."""
    state = file.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino


def parse(text: str, *, file: str, ref: str, step_models: StepModels) -> Template:
    """The template of a text. Raises Invalid with every fault: place, message, suggestion."""
    document = yaml_text.read(text, file=file)
    findings = authoring.check(document.value, step_models) if document.is_whole else []
    if faults := document.faults(findings):
        raise _invalid(file, faults)
    return authoring.build(ref, document.value)


def from_snapshot(ref: str, raw: Mapping[str, Any], step_models: StepModels) -> Template:
    """The template that was stored with a run, by the same rules; faults have no line."""
    findings = authoring.check(raw, step_models)
    if findings:
        faults = [Fault(message=f.sentence, pointer=f.pointer) for f in findings]
        raise _invalid(f"the stored template {ref}", faults)
    return authoring.build(ref, raw)


def _invalid(what: str, faults: list[Fault]) -> Invalid:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Invalid(
        f"{what} is not a valid template ({count}): {faults[0]}",
        code="invalid_template",
        hint=faults[0].suggestion,
        faults=faults,
    )
