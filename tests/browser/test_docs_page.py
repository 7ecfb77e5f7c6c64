"""The page that describes the server, as a person meets it in a browser."""

from __future__ import annotations

import pandas as pd
from playwright.sync_api import Browser, expect

import mlops_magics as mlops
from mlops_magics.store.workspace import Workspace


def test_a_person_signs_in_reads_of_the_endpoint_and_tries_a_request(
    browser: Browser, workspace: Workspace
) -> None:
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"<b>x</b>": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, [2, 4, 6])
    packed = mlops.package(model, name="double", data=rows, workspace=workspace)
    endpoint = mlops.deploy(packed, "double", workspace=workspace)
    assert endpoint.url is not None
    base = endpoint.url.partition("/endpoints/")[0]
    refused = browser.new_context()
    answer = refused.request.get(f"{base}/docs")
    assert (answer.status, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    refused.close()
    word = {"username": "me", "password": workspace.token}
    context = browser.new_context(http_credentials=word)  # as if typed when the browser asks
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(f"{base}/docs")
    expect(page.get_by_role("heading", name="double")).to_be_visible()
    assert problems == []
    card = page.locator("details", has_text="Predict, by MLflow's protocol").first
    assert "<b>x</b>" in card.get_by_label("Body").input_value()
    page.get_by_label("Token").fill(workspace.token)
    send = card.get_by_role("button", name="Send")
    send.focus()
    page.keyboard.press("Enter")
    expect(card.locator("output strong")).to_have_text("200 OK")
    expect(card.locator("output pre").first).to_contain_text('"predictions"')
    expect(card.locator("output pre").last).to_contain_text("x-variant: champion")
    assert page.locator("main b:not(.method)").count() == 0  # names from data stay texts
    card.get_by_label("Body").fill('{"dataframe_records": [{"x": 1}]}')
    send.click()
    expect(card.locator("output strong")).to_have_text("400 Bad Request")
    expect(card.locator("output pre").first).to_contain_text("unknown column")
    context.close()
