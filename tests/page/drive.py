"""The page for people, driven in Chromium as a reader drives it: `make page`. Writes the screenshots of the docs.

It needs Playwright (the dependency group `page`) and Debian's chromium, so its name keeps it out of `make test`. Every
page of a test fails it for a message on the console (a breach of the Content-Security-Policy is one), and for a request
to anywhere but the admin listener.

With SCREENSHOTS=docs it writes the pictures that docs/page.md shows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.diagnosis.recorded import load, load_sqlite
from tests.harness import PATIENCE_S, Process, Server, Valkey, add_service, repository
from yummy_fast.feast_format._proto.value_pb2 import Value

PICTURES = (("wide", "light"), ("narrow", "dark"))
MARKUP = '<img src=x onerror="document.title=1">'

CONTRAST = """
() => {
  const channels = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255)).reduce(
    (sum, v, index) => sum + v * [.2126, .7152, .0722][index], 0);
  const back = node => {
    for (; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(node).backgroundColor);
      if (alpha) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || !node.checkVisibility() || ["SCRIPT", "STYLE", "OPTION"].includes(node.nodeName)) continue;
    const [a, b] = [light(channels(getComputedStyle(node).color)), light(back(node))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${node.nodeName}.${node.className}: ${text.slice(0, 30)}`);
  }
  return poor;
}
"""
"""The texts whose contrast is less than 4.5: WCAG 2.2, 1.4.3."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        assert path, "apt-get install chromium"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with Process([sys.executable, "-m", "yummy_fast", "demo"]) as demo:
        yield demo.wait_for(r"(http://\S+/-/ui)$")[1]


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """The page in a window of its own, which must stay silent and ask nobody else."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    said: list[str] = []
    origin = url.partition("/-/")[0]
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((origin, "data:")) else said.append(request.url))
    page.goto(url)
    try:
        yield page
        assert [line for line in said if "401 (Unauthorized)" not in line] == []
    finally:
        context.close()


def screenshot(page: Page, name: str) -> None:
    """A picture of the page, once its plots have some points; nothing unless pictures are wanted."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        for points in range(2, 8):
            page.get_by_role("button", name="Ask", exact=True).click()
            line = page.locator("#plots svg path").first
            expect(line).to_have_attribute("d", re.compile(rf"M[^L]*(L[^L]*){{{points - 1},}}"))
        page.get_by_role("button", name="Why is trips_today null for driver_id=2000?").click()
        expect(page.locator(".reason strong")).to_contain_text("driver_trips")
        page.locator(".reason").evaluate("node => node.scrollIntoView({block: 'center'})")
        # On a narrow screen the page is fourteen screens high: one of them is shown.
        page.screenshot(full_page="wide" in name, path=Path(folder) / name)


def ask_for(page: Page, *drivers: str) -> None:
    for number, driver in enumerate(drivers, 1):
        if number > 1:
            page.get_by_role("button", name="Add a row").click()
        page.get_by_label(f"driver_id, row {number}", exact=True).fill(driver)
    page.get_by_role("button", name="Ask", exact=True).click()


def answers(page: Page) -> list[list[str]]:
    """The rows of the answer, but for the last column."""
    return [
        [cell.inner_text() for cell in line.locator("th, td").all()[:7]]
        for line in page.locator("#answer tbody tr").all()
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "name"), [(1200, "wide"), (360, "narrow")])
def test_a_null_and_its_reason(chromium: Browser, demo_url: str, scheme: Any, width: int, name: str) -> None:
    with opened(chromium, demo_url, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        expect(page.locator("#title")).to_have_text("Features of demo")
        ask_for(page, "1001", "2000")
        expect(page.locator("#summary")).to_have_text("12 values of 2 rows, 6 of them null.")
        rows = answers(page)
        assert rows[0][:4] == ["driver_id=1001", "trips_today", "4", "PRESENT"]  # as README shows it
        assert rows[0][6] == "driver_trips:trips_today"
        assert rows[6][:6] == ["driver_id=2000", "trips_today", "null", "NOT_FOUND", "-", "-"]
        page.get_by_role("button", name="Why is trips_today null for driver_id=2000?").click()
        reason = page.locator(".reason")
        expect(reason.locator("strong")).to_contain_text("Other entities have a row of driver_trips (10 of 10 keys)")
        expect(reason).to_contain_text("driver_id=2000 (INT64)")
        expect(page.locator("#plots svg").first).to_have_attribute("aria-label", re.compile("answered: "))
        expect(page.locator("#ready")).to_have_text("ready")
        expect(page.locator("#registry")).to_contain_text("feature services")
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        if (name, scheme) in PICTURES:
            screenshot(page, f"page-{name}-{scheme}.png")


def test_the_keyboard_alone(chromium: Browser, demo_url: str) -> None:
    with opened(chromium, demo_url) as page:
        expect(page.get_by_label("driver_id, row 1", exact=True)).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.column"):
                break
        page.keyboard.type("2000")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Answer")).to_be_focused()  # where a screen reader goes on
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Why is trips_today null for driver_id=2000?")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".reason strong")).to_contain_text("driver_trips")
        focused = page.get_by_role("button", name="Why is trips_today null for driver_id=2000?")
        expect(focused).to_have_attribute("aria-expanded", "true")
        expect(focused).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".reason")).to_have_count(0)


def test_whatever_can_be_focused_has_a_name(chromium: Browser, demo_url: str) -> None:
    """By Chromium's own accessibility tree, which is what it hands to a screen reader."""
    with opened(chromium, demo_url) as page:
        ask_for(page, "2000")
        expect(page.locator("#answer tbody tr")).to_have_count(6)
        page.get_by_label("features", exact=True).check()
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        roles = [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in nodes
            if any(each["name"] == "focusable" and each["value"]["value"] for each in node.get("properties", ()))
        ]
        assert ("checkbox", "trips_today INT64") in roles
        assert [role for role, name in roles if not name and role != "RootWebArea"] == []
        images = [node["name"]["value"] for node in nodes if node["role"]["value"] == "image"]
        assert len(images) == 3


def test_the_numbers_move(chromium: Browser, demo_url: str) -> None:
    with opened(chromium, demo_url) as page:
        expect(page.locator("#plots svg").first).to_have_attribute("aria-label", re.compile("answered: "))
        ask_for(page, "1001")
        expect(page.locator("#plots svg").nth(1)).to_have_attribute("aria-label", re.compile(r"median: [\d.]+ ms"))
        expect(page.locator("#plots svg").nth(2)).not_to_have_attribute("aria-label", re.compile(r"PRESENT: 0,"))
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")


def test_the_code_to_copy_does_the_same(chromium: Browser, demo_url: str) -> None:
    with opened(chromium, demo_url) as page:
        page.get_by_label("features", exact=True).check()
        page.get_by_label("rating FLOAT").check()
        page.get_by_label("full feature names").check()
        page.get_by_label("driver_id, row 1", exact=True).fill("1002")
        code: dict[str, str] = {}
        for language in ("curl", "Python", "JavaScript"):
            page.get_by_label(language, exact=True).check()
            code[language] = page.locator("#code").inner_text()
        url = re.findall(r"http://[^/]+", code["curl"])[0]
    ran = subprocess.run(["bash", "-c", code["curl"]], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    answer = json.loads(ran.stdout)
    assert answer["metadata"]["feature_names"] == ["driver_id", "driver_trips__rating"]
    assert answer["results"][1]["values"] == [4.25]  # as README shows it
    ran = subprocess.run([sys.executable, "-c", code["Python"]], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.stdout.startswith("['driver_id', 'driver_trips__rating'] ["), ran.stderr
    context = chromium.new_context()
    window = context.new_page()
    window.goto(f"{url}/openapi.json")  # of the origin that the code asks
    found = window.evaluate(f"async () => {{ {code['JavaScript']} return results[1].values }}")
    context.close()
    assert found == [4.25]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_is_wanted_and_a_wrong_key_is_found(chromium: Browser, tmp_path: Path, workers: str) -> None:
    (tmp_path / "tokens").write_text("opensesame\n")
    with Valkey() as valkey:
        recorded = load("text_key", tmp_path, valkey)
        options = ["--admin", "127.0.0.1:0", "--ui", "--auth-tokens", str(tmp_path / "tokens"), "--workers", workers]
        with Server(recorded.folder, *options) as server:
            url = server.wait_for(r"admin on (http://\S+)")[1]
            with opened(chromium, f"{url}/-/ui") as page:
                expect(page.locator("#error")).to_have_text("This server wants a bearer token.")
                page.get_by_label("Bearer token").fill("opensesame")
                page.get_by_role("button", name="Use it").click()
                page.get_by_label("features", exact=True).check()
                page.get_by_label("Show features with").fill("RAT")
                expect(page.get_by_label("trips INT64")).to_be_hidden()
                page.get_by_label("rating ").check()
                ask_for(page, "1001")
                page.get_by_role("button", name="Why is rating null").click()
                expect(page.locator(".reason strong")).to_contain_text("The row was written with driver_id as STRING")
                expect(page.locator("#code")).to_contain_text("Authorization: Bearer $TOKEN")
                expect(page.locator("#code")).not_to_contain_text("opensesame")
                expect(page.locator("#store")).to_contain_text("redis")


def test_names_are_no_markup(chromium: Browser, valkey: Valkey, tmp_path: Path) -> None:
    where = repository(tmp_path / "markup", "redis", f"127.0.0.1:{valkey.port}")
    registry = (where / "registry.db").read_bytes()
    (where / "registry.db").write_bytes(add_service(registry, MARKUP, "svc_all"))
    with Server(where, "--admin", "127.0.0.1:0", "--ui") as server:
        url = server.wait_for(r"admin on (http://\S+)")[1]
        with opened(chromium, f"{url}/-/ui") as page:
            page.get_by_label("Feature service", exact=True).select_option(MARKUP)
            expect(page.locator("#code")).to_contain_text("onerror=")
            assert page.locator("img").count() == 0


def test_values_are_no_markup_and_a_file_is_looked_into(chromium: Browser, tmp_path: Path) -> None:
    recorded = load_sqlite("collision", tmp_path)
    with closing(sqlite3.connect(tmp_path / "online.db")) as connection:
        stored = Value(string_val=MARKUP).SerializeToString()
        connection.execute("UPDATE rides_stats SET value = ? WHERE feature_name = 'f9010'", [stored])
        connection.commit()
    with Server(recorded.folder, "--admin", "127.0.0.1:0", "--ui") as server:
        url = server.wait_for(r"admin on (http://\S+)")[1]
        with opened(chromium, f"{url}/-/ui") as page:
            page.get_by_label("features", exact=True).check()
            page.get_by_label("f9010 STRING").check()
            ask_for(page, "1001", "2000")
            expect(page.locator("#answer tbody tr")).to_have_count(2)
            assert answers(page)[0][2] == json.dumps(MARKUP)
            assert page.locator("img").count() == 0
            page.get_by_role("button", name="Why is f9010 null for driver_id=2000?").click()
            expect(page.locator(".reason")).to_contain_text("/online.db: no row of this entity")
            expect(page.locator(".reason strong")).to_contain_text("Other entities have a row of stats")
