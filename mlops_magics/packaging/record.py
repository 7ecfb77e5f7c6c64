"""What `package` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.errors import EvidenceMissing
from mlops_magics.records import Record
from mlops_magics.store import evidence, models, onnx, packages, predictors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_magics.store.workspace import Workspace

__all__ = ["Package", "existing", "report_given"]


@dataclass(frozen=True)
class Package(Record):
    """A packaged model.

    Attributes
    ----------
    uri : str
        ``models:/m-…``; any MLflow tool can load it.
    name, model_id, run_id, digest : str
        Its names in MLflow, and its content's digest.
    flavor, task, predict_fn : str
        What it is and how it predicts; task is ``binary``, ``multiclass``, ``regression`` or empty.
    path : Path
        The private copy that servers load.
    size : int
        Bytes of all files.
    inputs, outputs : list of dict
        The signature's columns in MLflow's form.
    trusted : list of str
        Types that loading it trusts.
    locked : int
        Distributions in the exact lock.
    passed : bool or None
        Whether its test report passed; None when there is none, or one without gates.
    tested : bool
        Whether there is a test report.
    found : bool
        Whether it was packaged already, so that nothing was written now.
    runtime : str
        What serves it unless a deployment says otherwise: ``native`` or ``onnx``.
    onnx : dict or None
        What the comparison with ONNX Runtime showed, when one was asked for: ``verdict`` (equal,
        differs, not converted), ``reason``, ``rows``, ``tolerance``, ``greatest_difference``,
        ``label_disagreements``, ``differences`` (some of the rows, with both answers).
    """

    uri: str
    name: str
    model_id: str
    run_id: str
    digest: str
    flavor: str
    task: str
    predict_fn: str
    path: Path
    size: int
    inputs: list[dict[str, Any]] = field(repr=False)
    outputs: list[dict[str, Any]] = field(repr=False)
    trusted: list[str] = field(repr=False)
    locked: int
    passed: bool | None
    tested: bool = False
    found: bool = False
    runtime: str = "native"
    onnx: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        path: Path,
        *,
        name: str,
        model_id: str,
        run_id: str,
        report: Mapping[str, Any] | None,
        found: bool = False,
    ) -> Package:
        """Read a package's folder; the rest is what MLflow and its report say."""
        manifest = packages.read_manifest(path)
        lock = (path / "mlops" / "requirements.lock").read_text("utf-8")
        return cls(
            uri=f"models:/{model_id}",
            name=name,
            model_id=model_id,
            run_id=run_id,
            digest=path.name,
            flavor=manifest["flavor"],
            task=manifest["task"],
            predict_fn=manifest["predict_fn"],
            path=path,
            size=sum((path / each).stat().st_size for each in packages.files_of(path)),
            inputs=manifest["signature"]["inputs"],
            outputs=manifest["signature"]["outputs"],
            trusted=manifest["trusted_types"],
            locked=len(lock.splitlines()),
            passed=None if report is None else evidence.verdict(report),
            tested=report is not None,
            found=found,
            runtime=manifest.get("runtime", "native"),
            onnx=onnx.read_record(path),
        )

    def card(self) -> Card:
        """Show identity, contents and signature."""
        badges = {
            True: Badge("tests passed", "good"),
            False: Badge("tests failed", "bad"),
            None: Badge("no gates", "neutral") if self.tested else Badge("not tested", "warn"),
        }
        rows = [
            [one.get("name", "array"), _type(one), "required" if one["required"] else "optional"]
            for one in self.inputs
        ]
        register = f"mlops register {self.uri} --name {self.name}"
        test = f"mlops test {self.uri} --data HOLDOUT --target TARGET --min METRIC=VALUE"
        return Card(
            title=self.name,
            subtitle=f"package · {self.flavor}",
            badge=badges[self.passed],
            facts=[
                ("uri", Code(self.uri)),
                ("digest", Code(self.digest[:16])),
                ("size", f"{self.size / 1024:,.0f} KiB"),
                ("predicts with", Code(self.predict_fn)),
                ("environment", f"{self.locked} distributions, locked exactly"),
                ("run", Code(self.run_id)),
                *self._runtime_facts(),
            ],
            grids=[Grid(["input", "type", ""], rows), *self._differences()],
            notes=[
                *(["It was packaged already; nothing was written now."] if self.found else []),
                *self._runtime_notes(),
            ],
            next=[register if self.tested else test],
        )

    def _runtime_facts(self) -> list[tuple[str, Any]]:
        if self.onnx is None:
            return []
        if self.onnx["verdict"] != "equal":
            return [("served by", "its own library")]
        proof = (
            f"ONNX Runtime: equal on all {self.onnx['rows']:,} reference rows, greatest difference "
            f"{self.onnx['greatest_difference']:.1g} (allowed {self.onnx['tolerance']['absolute']})"
        )
        feed = ", ".join(f"{one['name']!r}: …" for one in self.onnx["inputs"][:2])
        more = ", …" if len(self.onnx["inputs"]) > 2 else ""
        return [
            ("served by", proof),
            ("in any process", Code(f"session = onnxruntime.InferenceSession({onnx.MODEL!r})")),
            ("", Code(f"session.run([{self.onnx['output']!r}], {{{feed}{more}}})")),
            ("whole example", Code(f"python {self.path / 'mlops' / 'predict_onnx.py'}")),
        ]

    def _runtime_notes(self) -> list[str]:
        if self.onnx is None or self.onnx["verdict"] == "equal":
            return []
        if self.onnx["verdict"] == "not converted":
            return [f"It has no ONNX model and is served as it is: {self.onnx['reason']}."]
        return [
            f"Its ONNX model answers otherwise on {self.onnx['rows_that_differ']:,} of "
            f"{self.onnx['rows']:,} reference rows, so it was not kept, and the model is served "
            f"as it is: {self.onnx['label_disagreements'] or 0} other labels, numbers differ by up "
            f"to {self.onnx['greatest_difference']:.1g} (allowed "
            f"{self.onnx['tolerance']['absolute']})."
        ]

    def _differences(self) -> list[Grid]:
        found = (self.onnx or {}).get("differences") or []
        rows = [[one["row"], str(one["native"]), str(one["onnx"])] for one in found]
        return [Grid(["row", "native", "ONNX"], rows, "answers that differ", 5)] if rows else []


def _type(spec: Mapping[str, Any]) -> str:
    tensor = spec.get("tensor-spec")
    return f"{tensor['dtype']} {tensor['shape']}" if tensor else str(spec["type"])


def existing(workspace: Workspace, ref: models.ModelRef, report: Any) -> Package:
    """Return the package that a reference names; a newer report of the same model is attached.

    Raises
    ------
    EvidenceMissing
        The report given is of another model.
    """
    path = models.fetch(workspace, ref)
    known = evidence.report_of(workspace, ref, path)
    call = predictors.distinctive(models.load(path).model)
    if report is not None:
        newer: Mapping[str, Any] | None = report_given(workspace, report, call)
    else:
        newer = evidence.read_report(workspace, ref.run_id) if ref.run_id else None
    # a report that names a digest is a package's, and found by that
    if (
        newer is not None
        and not newer.get("digest")
        and (known is None or newer["created"] > known["created"])
        and evidence.is_of(newer, call)
    ):
        known = evidence.attach(workspace, ref, known, newer)
    model_id = ref.model_id
    name = ref.name if not ref.version else models.resolve(workspace, f"models:/{model_id}").name
    return Package.of(
        path, name=name, model_id=model_id, run_id=ref.run_id, report=known, found=True
    )


def report_given(workspace: Workspace, report: Any, call: Any) -> dict[str, Any]:
    """Return a report that was handed in, or what its run keeps of the same model since then.

    Raises
    ------
    EvidenceMissing
        It is of another model.
    """
    given: dict[str, Any] = report.to_dict() if hasattr(report, "to_dict") else dict(report)
    if not evidence.is_of(given, call):
        raise EvidenceMissing(
            "the test report given is of another model: it predicts otherwise on the report's "
            "own rows",
            hint="test this one: mlops test MODEL --data HOLDOUT --target TARGET",
        )
    kept = evidence.read_report(workspace, str(given["run_id"])) if given.get("run_id") else None
    if kept and kept["created"] > given.get("created", 0) and evidence.is_of(kept, call):
        return kept
    return given
