"""The monitor in a real JupyterLab: live, honest about silence, inert, and with a static twin."""

from __future__ import annotations

import re
import time

import nbformat
import pytest
from playwright.sync_api import expect

SHOW = "from successive import Looks, widget\nlooks = Looks()\nview = widget(looks)\nview"
MONITOR = ".mlops-monitor"


def _requests(notebook):
    text = notebook.page.locator(".mm-figure").first.inner_text()
    return int(re.search(r"(\d+) requests", text).group(1))


def _wait_for_requests(notebook, least):
    notebook.page.wait_for_function(
        """(least) => {
            const text = document.querySelector('.mm-figure')?.innerText ?? '';
            return Number(/(\\d+) requests/.exec(text)?.[1] ?? -1) >= least;
        }""",
        arg=least,
    )


def _wait_until(notebook, code, said):
    deadline = time.monotonic() + 30
    while (now := notebook.run(code)) != said:
        assert time.monotonic() < deadline, now
        notebook.page.wait_for_timeout(100)


def test_new_requests_appear_while_a_cell_keeps_the_kernel_busy(open_notebook):
    with open_notebook(SHOW, "import time; time.sleep(600)") as notebook:
        notebook.start(0)
        _wait_for_requests(notebook, 1)
        notebook.start(1)
        expect(notebook.page.locator(".jp-Notebook .jp-Cell").nth(1)).to_contain_text("[*]")
        _wait_for_requests(notebook, _requests(notebook) + 3)
        expect(notebook.page.locator(".mm-pill")).to_have_text("● Live")
        notebook.command("notebook:interrupt-kernel")


def test_before_the_first_request_it_says_how_to_send_one(open_notebook):
    with open_notebook(SHOW.replace("Looks()", "Looks(traffic=False)")) as notebook:
        notebook.run_all()
        expect(notebook.page.locator(".mm-pill")).to_have_text("○ Idle")
        expect(notebook.page.locator(".mm-first")).to_contain_text("%mlops_predict flight-delay")
        expect(notebook.page.locator(".mm-figures")).to_be_hidden()
        notebook.run("looks.traffic = True")
        _wait_for_requests(notebook, 1)
        expect(notebook.page.locator(".mm-first")).to_be_hidden()


def test_the_static_twin_is_hidden_while_live_and_stands_after_the_kernel_is_gone(
    open_notebook, lab
):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        twin = notebook.page.locator("[class^=mlops-twin-]")
        expect(twin).to_be_hidden()
        notebook.save()
        notebook.end_kernel()
        (saved,) = lab.project.glob("test_the_static_twin*.ipynb")
        lab.open(notebook.page, saved.name, anew=True)
        expect(twin).to_be_visible()
        expect(twin.locator("img")).to_have_js_property("naturalWidth", 640)
        expect(twin).to_contain_text("table of that moment")


@pytest.mark.parametrize(
    "name",
    ["<img src=x onerror=alert(1)>", "</style><script>alert(2)</script>"],
    ids=["image", "script"],
)
def test_a_name_that_is_html_is_shown_and_inert(open_notebook, name):
    show = SHOW.replace("Looks()", f"Looks(endpoint={name!r}, feature={name!r})")
    with open_notebook(show) as notebook:
        dialogs = []
        notebook.page.on(
            "dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss())
        )
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        notebook.page.locator(".mm-row").first.click()
        expect(notebook.page.locator(".mm-endpoint")).to_have_text(name)
        expect(notebook.page.locator(".mm-name").first).to_have_text(name)
        assert notebook.page.locator(f"{MONITOR} :is(img, script)").count() == 0
        assert dialogs == []


def test_an_unknown_is_a_dash_and_never_zero(open_notebook):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        errors = notebook.page.locator(".mm-figure", has_text="Errors")
        expect(errors.locator(".mm-figure-value")).to_have_text("–")
        latency = notebook.page.locator(".mm-figure", has_text="Latency")
        expect(latency).to_contain_text("p99 –")


def test_roll_back_asks_first_and_shows_what_came_of_it(open_notebook):
    cell = (
        "from successive import Looks, widget\nimport mlops_magics as mlops\ncalls = []\n"
        "def back(name):\n    calls.append(1)\n    if len(calls) == 1:\n"
        "        raise mlops.DeployFailed('no earlier revision', hint='mlops endpoints')\n"
        "view = widget(Looks(), actions={'rollback': back})\nview"
    )
    with open_notebook(cell) as notebook:
        notebook.run_all()
        page = notebook.page
        page.get_by_role("button", name="Roll back…").click()
        dialogue = page.locator(".mm-dialogue")
        expect(dialogue).to_contain_text("Send all traffic of flight-delay back")
        page.keyboard.press("Escape")
        expect(dialogue).to_be_hidden()
        assert notebook.run("print(len(calls))") == "0\n"

        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("button", name="Roll back", exact=True).click()
        expect(page.get_by_role("alert").filter(has_text="Not rolled back")).to_contain_text(
            "no earlier revision"
        )
        expect(dialogue).to_contain_text("mlops endpoints")
        page.get_by_role("button", name="Close").click()

        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("button", name="Roll back", exact=True).click()
        expect(dialogue).to_contain_text("Traffic goes to revision 2 (flight-delay/3)")
        assert notebook.run("print(len(calls))") == "2\n"


def test_when_pictures_cannot_be_taken_it_says_why_and_what_to_do(open_notebook):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        notebook.run(
            "import mlops_magics as mlops\n"
            "looks.failure = mlops.DatabaseUnavailable('database is locked', hint='mlops doctor')"
        )
        banner = notebook.page.locator(".mm-banner")
        expect(banner).to_contain_text("database is locked")
        expect(banner).to_contain_text("mlops doctor")
        expect(notebook.page.locator(".mm-pill")).to_have_text("▲ No picture")
        notebook.run("looks.failure = None")
        expect(banner).to_be_hidden()
        expect(notebook.page.locator(".mm-pill")).to_have_text("● Live")


def test_a_picture_that_stands_still_does_not_say_that_it_is_live(open_notebook):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        notebook.run("view._closed.set()")
        expect(notebook.page.locator(".mm-pill")).to_contain_text("Paused")
        expect(notebook.page.locator(".mm-banner")).to_contain_text("%mlops_monitor flight-delay")


def test_nobody_looking_lets_the_kernel_rest(open_notebook):
    with open_notebook(SHOW, *["print('line\\n' * 60)"] * 2) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        notebook.page.locator(".jp-Notebook .jp-Cell").last.scroll_into_view_if_needed()
        expect(notebook.page.locator(MONITOR)).not_to_be_in_viewport()
        _wait_until(notebook, "print(view._looked_at.is_set())", "False\n")
        notebook.page.locator(MONITOR).scroll_into_view_if_needed()
        _wait_for_requests(notebook, _requests(notebook) + 2)


def test_a_feature_opens_with_the_keyboard_and_shows_its_distribution(open_notebook):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        _wait_for_requests(notebook, 1)
        row = notebook.page.locator(".mm-row").first
        row.focus()
        notebook.page.keyboard.press("Enter")
        expect(row).to_have_attribute("aria-expanded", "true")
        drawing = notebook.page.locator(".mm-detail .mm-distribution").first
        expect(drawing).to_have_attribute("aria-label", re.compile("largest change at 2 to 3"))
        # new pictures keep it open and keep the focus
        _wait_for_requests(notebook, _requests(notebook) + 2)
        expect(row).to_be_focused()
        expect(drawing).to_be_visible()


def test_the_saved_notebook_holds_picture_and_text_without_widget_state(open_notebook, lab):
    with open_notebook(SHOW) as notebook:
        notebook.run_all()
        notebook.save()
    (path,) = lab.project.glob("test_the_saved_notebook*.ipynb")
    saved = nbformat.read(path, as_version=4)
    live, static = saved.cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert "application/vnd.jupyter.widget-view+json" not in static.data
    assert "data:image/svg+xml;base64," in static.data["text/html"]
    assert "requests" in static.data["text/plain"]
    assert "widgets" not in saved.metadata
