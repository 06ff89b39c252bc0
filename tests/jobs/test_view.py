"""``manta view`` in a real Chromium: what is drawn, the filters, keys, and that document text never runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.view import view
from tests.jobs import outputs

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Open = Callable[[str], "Chrome"]

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
    "--force-prefers-reduced-motion",
)  # fmt: skip


def _program(names: tuple[str, ...], package: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"the report is tested in a real browser: apt-get install {package}", pytrace=False)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    driver = _program(("chromedriver",), "chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = _program(("chromium", "chromium-browser", "google-chrome"), "chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def opened(chromium: Chrome) -> Iterator[Open]:
    """Opens a report; afterwards nothing may have been fetched, said on the console or asked in a dialog."""
    seen: list[str] = []

    def go(path: str) -> Chrome:
        chromium.get_log("performance")
        chromium.get("about:blank")
        chromium.get(Path(path).as_uri())
        seen.append(Path(path).as_uri())
        return chromium

    yield go
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = chromium.switch_to.alert.text
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith(("data:", "about:", "chrome:"))} == {seen[-1]}


def shown(page: Chrome, section: str) -> list[str]:
    """First lines of the items of a section that are to be seen."""
    script = "return [...document.querySelectorAll(arguments[0])].filter(e => !e.hidden).map(e => e.innerText)"
    return [text.strip() for text in page.execute_script(script, f"#{section}-rows .item")]


def set_filter(page: Chrome, section: str, key: str, value: str) -> str:
    """Sets one filter as a person would; returns what the form counts."""
    script = """
        const form = document.querySelector(`.filters[data-for=${arguments[0]}]`);
        const field = form.querySelector(`[data-key=${arguments[1]}]`);
        field.value = arguments[2];
        field.dispatchEvent(new Event("input", { bubbles: true }));
        return form.querySelector(".shown").textContent;"""
    count: str = page.execute_script(script, section, key, value)
    return count


def test_filters(tmp_path: Path, opened: Open) -> None:
    page = opened(view(str(outputs.token_output(tmp_path))))
    assert len(shown(page, "pages")) == 5
    for key, value, count, first in (
        ("text", "TERMS payment", "1 of 5", "invoice.pdf\npage 2 of 2"),  # by the words of the page
        ("status", "partial", "1 of 5", "scan.pdf\npage 1 of 2"),
        ("label", "TOTAL", "2 of 5", "invoice.pdf\npage 1 of 2"),
        ("code", "corrupt", "1 of 5", "broken.pdf\nwhole document"),
        ("score", "10", "1 of 5", "invoice.pdf\npage 2 of 2"),  # 10 % of the way from 0.30 to 0.97
    ):
        before = page.execute_script(f"return document.querySelector('.filters [data-key={key}]').value")
        assert set_filter(page, "pages", key, value) == count
        assert shown(page, "pages")[0].startswith(first)
        open_page = page.find_element("css selector", ".page.is-shown h3").text
        assert open_page in {text.split("\n")[0] for text in shown(page, "pages")}
        assert set_filter(page, "pages", key, before) == "5"
    assert set_filter(page, "pages", "text", "nowhere") == "0 of 5"
    assert "No page fits" in page.find_element("css selector", ".stage").text
    assert set_filter(page, "results", "label", "DATE") == "1 of 3"
    assert set_filter(page, "errors", "code", "ocr_timeout") == "1 of 2"
    assert "no progress for 120 s" in shown(page, "errors")[0]
    assert set_filter(page, "documents", "status", "failed") == "1 of 3"


def test_words_and_entities_are_drawn_where_they_stand(tmp_path: Path, opened: Open) -> None:
    page = opened(view(str(outputs.token_output(tmp_path))))
    script = """
        const svg = document.querySelector(".page.is-shown .paper svg");
        const box = (e) => ["x", "y", "width", "height"].map((k) => Number(e.getAttribute(k)));
        return {
          tall: svg.viewBox.baseVal.height,
          words: [...svg.querySelectorAll(".word")].map((e) => [e.dataset.said, ...box(e)]),
          marks: [...svg.querySelectorAll(".mark")].map((e) => [...e.querySelectorAll("rect:not(.tag)")].map(box)),
          tags: [...svg.querySelectorAll(".mark text")].map((e) => e.textContent),
        };"""
    drawn = page.execute_script(script)
    tall = 1000 * 842 / 595
    assert drawn["tall"] == pytest.approx(tall, abs=0.1)
    assert [word[0] for word in drawn["words"][1:4]] == ["No.\nO 0.99", "42\nB-NUMBER 0.90", "Total\nO 0.99"]
    assert drawn["words"][2][1:] == pytest.approx([420, 60 * tall / 1000, 140, 20 * tall / 1000], abs=0.1)
    assert drawn["tags"] == ["NUMBER", "TOTAL"]
    assert [len(boxes) for boxes in drawn["marks"]] == [1, 2]  # the total stands on two lines
    assert drawn["marks"][0][0] == pytest.approx([417, 60 * tall / 1000 - 3, 146, 20 * tall / 1000 + 6], abs=0.1)
    button = page.find_element("css selector", ".page.is-shown .marks [data-mark='1']")
    button.click()
    assert "is-on" in page.find_element("css selector", ".page.is-shown .mark[data-mark='1']").get_attribute("class")


def test_answers_stand_on_the_page(tmp_path: Path, opened: Open) -> None:
    page = opened(view(str(outputs.question_output(tmp_path))))
    aside = page.find_element("css selector", ".page.is-shown aside").text
    assert "Who?" in aside
    assert "Ms Ray" in aside
    marks = page.find_elements("css selector", ".page.is-shown .mark")
    assert len(marks) == 2
    x, width = (float(marks[0].find_element("css selector", "rect").get_attribute(key)) for key in ("x", "width"))
    assert (x, width) == (240 - 3, 560 - 240 + 6)  # words 1 and 2
    assert "How much?" in page.find_element("css selector", "#documents").text


def test_keys(tmp_path: Path, opened: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(view(str(outputs.token_output(tmp_path))))
    body = page.find_element("css selector", "body")

    def current() -> str | None:
        return page.find_element("css selector", ".page.is-shown").get_attribute("id")

    assert current() == "page-1"
    body.send_keys("jj")
    assert current() == "page-3"
    body.send_keys("k")
    assert current() == "page-2"
    body.send_keys("w")
    assert "show-words" in page.find_element("css selector", ".page.is-shown").get_attribute("class")
    body.send_keys("/")
    focused = page.switch_to.active_element
    assert focused.get_attribute("data-key") == "text"
    focused.send_keys("jk")  # typed, not obeyed
    assert focused.get_attribute("value") == "jk"
    focused.send_keys(Keys.BACKSPACE, Keys.BACKSPACE, Keys.ESCAPE)
    link = page.find_element("css selector", "#pages-rows a")
    link.send_keys(Keys.ENTER)
    assert current() == "page-1"
    link.send_keys(Keys.ARROW_DOWN)
    assert current() == "page-2"


EVIL = "<script>window.hacked = 1; alert(1)</script>"
EVIL_NAME = "/data/\"><img src=x onerror=alert(2)>'{{7*7}}</script><script>window.hacked=2<.pdf"


def test_document_text_is_data(tmp_path: Path, opened: Open) -> None:
    outputs.token_output(tmp_path, name=EVIL_NAME, word=EVIL)
    rows = [{"uri": EVIL_NAME, "page": 3, "stage": EVIL, "code": "corrupt", "message": EVIL, "detail": EVIL}]
    outputs.write_errors(tmp_path, rows)
    outputs.write_run(tmp_path, outputs.record(checkpoint=EVIL, command=f"manta run '{EVIL}'", notice=EVIL))
    page = opened(view(str(tmp_path)))
    assert page.execute_script("return window.hacked") is None
    assert page.execute_script("return document.querySelectorAll('img').length") == 0
    assert page.execute_script("return document.scripts.length") == 2
    words = page.execute_script("return [...document.querySelectorAll('.word')].map(e => e.dataset.said)")
    assert f"{EVIL}\nO 0.99" in words
    written = page.execute_script("return [...document.querySelectorAll('.written')].map(e => e.textContent)")
    assert EVIL in written
    text = page.find_element("css selector", "body").text
    assert EVIL_NAME.rsplit("/", 1)[-1] in text
    assert text.count(EVIL) >= 4


def test_the_policy_stops_what_slips_through(tmp_path: Path, chromium: Chrome) -> None:
    chromium.get(Path(view(str(outputs.token_output(tmp_path)))).as_uri())
    script = """
        const done = arguments[0];
        const made = document.createElement("script");
        try { made.textContent = "window.hacked = 3"; document.body.append(made); } catch (error) {}
        try { document.body.innerHTML += "<img src=x onerror='window.hacked = 4'>"; } catch (error) {}
        fetch("http://127.0.0.1:9/").then(() => done("fetched"), () => done(window.hacked || "stopped"));"""
    assert chromium.execute_async_script(script) == "stopped"
    chromium.get_log("browser")


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_light_and_dark(tmp_path: Path, opened: Open, width: int, scheme: str) -> None:
    page = opened(view(str(outputs.token_output(tmp_path))))
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        red = page.execute_script("return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]")
        assert (int(red) < 60) is (scheme == "dark")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_results_of_tables(tmp_path: Path, opened: Open) -> None:
    rows = [{"label": "good" if i % 2 else "bad", "score": i / 10, "vector": [0.1 * i] * 9} for i in range(10)]
    page = opened(view(str(outputs.table_output(tmp_path, ("label", "score", "vector"), rows))))
    assert page.find_elements("css selector", "#pages") == []
    assert set_filter(page, "results", "label", "good") == "5 of 10"
    assert set_filter(page, "results", "score", "50") == "2 of 10"
    assert shown(page, "results")[0].split() == ["t.jsonl", "row", "1", "good", "0.100", "9", "numbers"]


def test_text_and_runs_and_old_records(tmp_path: Path, opened: Open) -> None:
    outputs.older_record(outputs.text_output(tmp_path))
    page = opened(view(str(tmp_path)))
    assert len(page.find_elements("css selector", "#runs tbody tr")) == 2
    assert page.execute_script("return document.querySelector('#page-2 pre').textContent") == "مرحبا 世界"


# ---- pictures of the pages


def test_pages_are_drawn_and_changed_or_lost_ones_say_so(tmp_path: Path, opened: Open) -> None:
    names = [str(tmp_path / f"{name}.pdf") for name in ("there", "changed", "gone")]
    out = tmp_path / "out"
    rows = [outputs.page(name, 1, ["Total", "12.50"]) for name in names]
    for row, name in zip(rows, names, strict=True):
        row.update(doc_id=outputs.write_pdf(Path(name), name), width=300.0, height=200.0)
    outputs.write_pages(out, rows)
    outputs.write_run(out, outputs.record())
    outputs.write_pdf(Path(names[1]), "other")
    Path(names[2]).unlink()
    page = opened(view(str(out)))
    html = (out / "report" / "index.html").read_text()
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", html)
    assert len(found) == 1
    from PIL import Image

    picture = Image.open(BytesIO(base64.b64decode(found[0]))).convert("L")
    assert picture.size == (1000, 667)
    assert picture.getextrema()[0] < 80  # there is ink
    notes = [note.get_attribute("textContent") for note in page.find_elements("css selector", "figcaption")]
    assert [re.search("changed|no longer there", note or "")[0] for note in notes] == ["changed", "no longer there"]  # type: ignore[index]


def test_a_page_that_was_turned_to_be_read_is_shown_upright(tmp_path: Path) -> None:
    from PIL import Image
    from reportlab.pdfgen.canvas import Canvas

    path, out = tmp_path / "lying.pdf", tmp_path / "out"
    canvas = Canvas(str(path), pagesize=(600, 400))
    canvas.rect(0, 300, 100, 100, fill=1)  # top left; top right once the page is turned clockwise
    canvas.save()
    row = outputs.page(str(path), 1, ["Total"], reader="ocr:tesserocr@90")
    row.update(doc_id=hashlib.sha256(path.read_bytes()).hexdigest(), width=400.0, height=600.0)
    outputs.write_pages(out, [row])
    found = re.search(r"image/webp;base64,([A-Za-z0-9+/=]+)", Path(view(str(out))).read_text())
    assert found
    picture = Image.open(BytesIO(base64.b64decode(found[1]))).convert("L")
    assert picture.size == (1000, 1500)
    assert [picture.getpixel(at) for at in ((900, 100), (100, 100), (900, 1400))] == [
        pytest.approx(0, abs=8), pytest.approx(255, abs=8), pytest.approx(255, abs=8)
    ]  # fmt: skip


def test_the_picture_for_the_readme(tmp_path: Path) -> None:
    from PIL import Image

    from jobs.report.picture import EXAMPLE, picture

    _program(("chromium", "google-chrome"), "chromium")
    shot = picture(str(outputs.token_output(tmp_path / "out")), tmp_path / "shot.png")
    with Image.open(shot) as new, Image.open(EXAMPLE) as kept:
        assert new.size == kept.size == (1360, 1960)
    assert max(shot.stat().st_size, EXAMPLE.stat().st_size) < 300_000
