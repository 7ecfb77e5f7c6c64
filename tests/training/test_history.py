"""Hidden state is told from the saved notebook and what the kernel executed."""

import nbformat
import pytest

from mlops_magics.training import judge


@pytest.fixture
def saved(tmp_path):
    def save(*cells):
        """Cells as (number of execution, source)."""
        notebook = nbformat.v4.new_notebook()
        for number, source in cells:
            cell = nbformat.v4.new_code_cell(source)
            cell["execution_count"] = number
            notebook.cells.append(cell)
        path = tmp_path / "a.ipynb"
        nbformat.write(notebook, path)
        return path

    return save


def test_a_notebook_run_from_top_to_bottom_is_clean(saved):
    path = saved((1, "import math\nx = 1"), (2, "def f(y):\n    return x + math.pi + y\nf(2)"))
    verdict = judge(["", "import math\nx = 1", "def f(y):\n    return x + math.pi + y\nf(2)"], path)
    assert verdict.clean
    assert str(verdict) == "clean"


def test_cells_out_of_order_are_told(saved):
    verdict = judge(["", "y = 2", "x = 1"], saved((2, "x = 1"), (1, "y = 2")))
    assert str(verdict) == "hidden state: cells ran out of order: [2] stands above [1]"


def test_a_cell_edited_after_it_ran_is_told(saved):
    verdict = judge(["", "x = 1", "x + 1"], saved((1, "x = 5"), (2, "x + 1")))
    assert verdict.reasons == ("edited after running: [1]",)


def test_a_name_whose_cell_is_gone_is_told(saved):
    verdict = judge(["", "secret = 3", "x = secret"], saved((2, "x = secret")))
    assert verdict.undefined == ("secret",)
    assert "no cell defines: secret" in str(verdict)


def test_the_running_cell_need_not_be_saved_with_its_number(saved):
    path = saved((1, "x = 1"), (None, "%%mlops_run a -o out\nmodel = x"))
    verdict = judge(["", "x = 1", "%%mlops_run a -o out\nmodel = x"], path)
    assert verdict.clean


def test_magics_define_names_and_are_not_read_as_python(saved):
    cells = [
        "%load_ext mlops_magics\nflights = %mlops_ingest a.csv --name f",
        "%%mlops_run a --out first\nn = len(flights)",
        "%%bash\necho $undefined_name",
        "first\nn\n!ls {n}\n?n",
    ]
    path = saved(*enumerate(cells, 1))
    assert judge(["", *cells], path).clean


def test_locals_comprehensions_and_arguments_are_no_hidden_names(saved):
    source = (
        "def f(a, *b, c=1, **d):\n    e = [g for g in b]\n    return a, e, d\n"
        "class K:\n    z = 1\n    def m(self):\n        global late\n        late = self.z\n"
        "with open('x') as h:\n    h.read()\n"
        "for i, (j, k) in {}.items():\n    print(i, j, k)\n"
        "try:\n    pass\nexcept ValueError as exc:\n    print(exc)\n"
        "late; (w := 3); print(w)"
    )
    assert judge(["", source], saved((1, source))).clean


def test_star_imports_leave_names_untold(saved):
    cells = ["from math import *", "pi + tau"]
    assert judge(["", *cells], saved(*enumerate(cells, 1))).clean


def test_an_unknown_or_broken_notebook_gives_no_verdict(tmp_path):
    broken = tmp_path / "b.ipynb"
    broken.write_text("{")
    assert judge(["", "x"]).clean is None
    assert judge(["", "x"], broken).clean is None
    assert "cannot be read" in str(judge(["", "x"], broken))
