"""Run the tour notebook with papermill and tell, stage by stage, what came out.

    python notebooks/tour.py [-p NAME VALUE ...] [FOLDER]

Records go to a workspace of the tour's own in FOLDER (default: ``output/tour``), beside the
executed notebook. The server that the tour starts is stopped at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TAG = "headline"  # a cell with this tag says its stage's result in one line


def main() -> int:
    """Run; return the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", nargs="?", default="output/tour", type=Path)
    arguments.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = arguments.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MLOPS_WORKSPACE"] = str(folder / ".mlops")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

    import yaml

    parameters = {name: yaml.safe_load(value) for name, value in given.p}
    began = time.monotonic()
    print(f"tour: {HERE / 'tour.ipynb'} runs in a fresh kernel\n", flush=True)
    failed = None
    try:
        run(HERE / "tour.ipynb", folder / "tour.ipynb", parameters)
    except KeyboardInterrupt:
        failed = "interrupted"
    except Exception as exc:
        # papermill's own error repeats the cell; its last line says what happened
        failed = "\n".join(str(exc).strip().splitlines()[-6:]) or repr(exc)
    stopped = stop()
    if failed:
        print(
            f"\ntour: stopped by\n{failed}\n\n"
            f"  the notebook, as far as it got: {folder / 'tour.ipynb'}"
        )
        return 1
    where = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"\ndone in {time.monotonic() - began:.0f} s; {stopped}\n")
    print("where to look")
    rows = [
        ("the story, with cards and pictures", f"{bin_folder()}/jupyter lab {where}/tour.ipynb"),
        ("the records, from a shell", f"{bin_folder()}/mlops status --workspace {where}"),
        ("the same in MLflow's pages", ui(where)),
    ]
    for what, command in rows:
        print(f"  {what:<36}{command}")
    return 0


def run(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Execute the notebook, printing each headline as soon as its cell is done."""
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines
    from traitlets.config import Config

    class Telling(NBClientEngine):
        """Papermill's usual engine; it also reads the headlines aloud."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
            complete, state = nb_man.cell_complete, {"stage": "", "since": time.monotonic()}

            def told(cell: Any, cell_index: int | None = None, **more: Any) -> None:
                complete(cell, cell_index=cell_index, **more)
                for before in reversed(nb_man.nb.cells[: cell_index or 0]):
                    if before.cell_type == "markdown" and before.source.startswith("## "):
                        state["stage"] = before.source.splitlines()[0].removeprefix("## ")
                        break
                if TAG in cell.metadata.get("tags", []):
                    now = time.monotonic()
                    print(
                        f"{now - state['since']:6.1f} s  {state['stage']:<24}{said(cell)}",
                        flush=True,
                    )
                    state["since"] = now

            nb_man.cell_complete = told
            super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("tour", Telling)
    with tempfile.TemporaryDirectory(prefix="tour-") as private:
        papermill.execute_notebook(
            notebook,
            output,
            parameters,
            engine_name="tour",
            kernel_name="python3",
            cwd=HERE,
            progress_bar=False,
            log_output=False,
            # sockets in a private folder, not TCP: nobody else on the machine can listen in
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/kernel"}}),
        )


def said(cell: Any) -> str:
    """What a headline cell printed."""
    text = "".join(out.get("text", "") for out in cell.outputs if out.output_type == "stream")
    return text.strip().replace("\n", f"\n{'':34}")


def stop() -> str:
    """Stop the tour's server; say so."""
    from mlops_magics import errors, stop

    try:
        stop()
    except errors.MlopsError as exc:
        return f"the server: {exc}"
    return "the server that it started is stopped"


def bin_folder() -> str:
    """The folder of the commands, as one would type it."""
    folder = Path(sys.executable).parent
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def ui(where: Path) -> str:
    """The command that shows MLflow's pages of this workspace."""
    from mlops_magics.store.workspace import Workspace

    return f"{bin_folder()}/mlflow ui --backend-store-uri {Workspace.find().tracking.uri}"


if __name__ == "__main__":
    sys.exit(main())
