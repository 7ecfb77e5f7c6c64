"""A kernel that was forked is the one that its command would have started, only sooner."""

from mlops_magics.pipelines.nursery import can_fork
from mlops_magics.pipelines.runner import run_pipeline

FACTS = """
import json, os, signal, sys, threading
import mlops_magics as mlops
import tqdm.auto
from IPython import get_ipython
facts = {
    "folder": os.getcwd(),
    "path": sys.path,
    "argv": [sys.argv[0].rpartition("/")[2], *sys.argv[1:2]],
    "environment": {
        name: os.environ.get(name)
        for name in ("MPLBACKEND", "MLOPS_PIPELINE_RUN", "PYTHONPATH", "JPY_PARENT_PID")
    } | {"JPY_PARENT_PID": os.environ["JPY_PARENT_PID"] == str(os.getppid())},
    "module": [__name__, sys.modules["__main__"].__dict__ is globals()],
    "bar": tqdm.auto.tqdm.__module__,
    "signals": [str(signal.getsignal(signal.SIGINT)).partition(" at ")[0],
                str(signal.getsignal(signal.SIGTERM)), str(signal.getsignal(signal.SIGCHLD))],
    "group": os.getpgid(0) == os.getsid(0) == os.getpid(),
    "threads": sorted(type(thread).__name__ for thread in threading.enumerate()),
}
mlops.output("facts", facts)
mlops.output("loaded", "pandas" in sys.modules)
"""
WORK = """
import numpy, pandas, pyarrow, pyarrow.parquet
from sklearn.ensemble import RandomForestClassifier
mlops.output("chance", float(numpy.random.random()))
frame = pandas.DataFrame({"a": numpy.arange(2000.0) % 7, "b": numpy.arange(2000) % 2})
numpy.linalg.svd(numpy.ones((300, 300)))
fitted = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(frame[["a"]], frame["b"])
pyarrow.parquet.write_table(pyarrow.table(frame), "frame.parquet", use_dictionary=False)
mlops.output("score", float(fitted.score(frame[["a"]], frame["b"])))
mlops.output("rows", len(pandas.read_parquet("frame.parquet")))
"""


def test_a_forked_kernel_is_as_a_started_one_and_what_is_loaded_works(
    workspace, notebook, pipeline
):
    notebook("forked", FACTS, WORK)
    notebook("fresh", FACTS, "import os\nos.environ['OMP_NUM_THREADS'] = '2'", WORK)
    path = pipeline(
        "name: p\nsteps:\n  forked: {notebook: forked.ipynb}\n"
        "  again: {notebook: forked.ipynb, cache: false, needs: [forked]}\n"
        "  fresh: {notebook: fresh.ipynb, needs: [again]}\n"
    )
    outputs = run_pipeline(path, workspace=workspace).outputs
    assert outputs["forked"]["loaded"] is can_fork()
    assert outputs["fresh"]["loaded"] is False  # it may want another pandas than what is loaded
    assert outputs["forked"]["facts"] == outputs["fresh"]["facts"]
    for step in outputs.values():
        assert (step["score"], step["rows"]) == (outputs["fresh"]["score"], 2000)
    assert len({step["chance"] for step in outputs.values()}) == 3


def test_a_module_of_the_project_is_found_before_what_is_loaded(workspace, notebook):
    path = notebook("mine", "import scipy, mlops_magics as mlops\nmlops.output('v', scipy.MINE)")
    (path.parent / "scipy.py").write_text("MINE = 7\n")
    assert run_pipeline(path, workspace=workspace).outputs == {"mine": {"v": 7}}


def test_without_its_nursery_a_run_goes_on(workspace, notebook, pipeline):
    kill = (
        "import os, psutil, time\nnursery = psutil.Process(os.getppid()).parent()\n"
        "if 'nursery' in ' '.join(nursery.cmdline()):\n    nursery.kill()\n    time.sleep(0.5)"
    )
    notebook("kills", kill, "import mlops_magics as mlops\nmlops.output('done', True)")
    notebook("last", "import mlops_magics as mlops\nmlops.output('done', True)")
    path = pipeline(
        "name: p\nsteps:\n  kills: {notebook: kills.ipynb}\n"
        "  last: {notebook: last.ipynb, needs: [kills]}\n"
    )
    record = run_pipeline(path, workspace=workspace)
    assert record.outputs == {"kills": {"done": True}, "last": {"done": True}}
