"""The page in a real browser: Chromium without a window, driven by selenium."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.report import report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser; pip install selenium")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Chromium and chromedriver are not here; on Debian: chromium-driver"
)
QUIET = ("quic", "background-networking", "component-update", "sync", "gpu", "extensions", "dev-shm-usage")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ["headless=new", "no-sandbox", "no-first-run", "mute-audio", *(f"disable-{name}" for name in QUIET)]
    for flag in [*flags, f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(run: RunDir, other: RunDir, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report([run.path, other.path], out=tmp_path_factory.mktemp("page") / "page.html").resolve().as_uri()


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    """The page freshly opened at 1600 px, and at the end nothing on its console."""
    size(driver, 1600)
    driver.get("about:blank")
    driver.get(address)
    until(driver, "return document.querySelectorAll('details[open] .view[data-drawn]').length === 7")
    yield driver
    assert driver.get_log("browser") == []


def size(driver: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def until(driver: Any, script: str) -> None:
    ends = time.monotonic() + 10
    while not driver.execute_script(script):
        assert time.monotonic() < ends, script
        time.sleep(0.05)


def ids(driver: Any) -> list[str]:
    """The recordings that the table shows, in its order."""
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll('#all tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => row.cells[0].textContent)"
    )
    return found


def column(driver: Any, number: int) -> list[float]:
    values: list[float] = driver.execute_script(
        "return [...document.querySelectorAll('#all tbody tr')].map((row) => row.cells[arguments[0]].dataset.value)"
        ".filter((value) => value !== undefined).map(Number)",
        number,
    )
    return values


def test_a_player_plays_and_seeks(page: Any) -> None:
    first, second = page.find_elements("css selector", ".play")[:2]
    first.click()
    until(page, "const a = document.querySelector('audio'); return a.currentTime > .2 && a.readyState >= 3")
    assert page.execute_script("return document.querySelector('.play').getAttribute('aria-label')").startswith("Pause ")
    second.click()
    until(page, "return !document.querySelectorAll('audio')[1].paused && document.querySelector('audio').paused")
    until(page, "return document.querySelectorAll('audio')[1].currentTime > .2")
    page.execute_script("document.querySelectorAll('audio').forEach((audio) => audio.pause())")
    view = page.find_element("css selector", ".view")
    view.send_keys("\ue010")
    until(page, "return document.querySelector('audio').currentTime > .95")
    view.send_keys("\ue012")
    until(page, "return Math.abs(document.querySelector('audio').currentTime - .5) < .1")
    assert view.get_attribute("aria-valuenow") == "0.5" and view.get_attribute("role") == "slider"


def test_pictures_are_drawn_when_a_recording_is_opened(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('canvas').length") == 7
    page.execute_script("document.querySelectorAll('details.recording')[1].open = true")
    until(page, "return document.querySelectorAll('.view[data-drawn]').length > 7")
    colours = page.execute_script(
        "const canvas = document.querySelector('canvas');"
        "const { data } = canvas.getContext('2d').getImageData(0, 40, canvas.width, 60);"
        "return new Set(new Uint32Array(data.buffer)).size"
    )
    assert colours > 50


def test_sorting(page: Any) -> None:
    heads = page.find_elements("css selector", "#all thead tr:last-child th")
    names = [head.text.split("\n")[0] for head in heads]
    assert names[:2] == ["recording", "speakers"] and "WER %" in names
    for number in (2, names.index("WER %")):
        button = heads[number].find_element("css selector", "button")
        button.click()
        assert heads[number].get_attribute("aria-sort") == "descending"
        assert column(page, number) == sorted(column(page, number), reverse=True)
        button.send_keys("\ue007")
        assert heads[number].get_attribute("aria-sort") == "ascending"
        assert column(page, number) == sorted(column(page, number))
    heads[0].find_element("css selector", "button").click()
    assert ids(page) == sorted(ids(page)) and len(ids(page)) == 7
    without = page.execute_script("return document.querySelector('#all tbody tr:last-child td:last-child').textContent")
    page.execute_script(
        "document.querySelectorAll('#all thead tr:last-child button')[arguments[0]].click()", len(names) - 1
    )
    assert without and ids(page)[-1] in {
        "test_0 (first joint)",
        "test_1 (first joint)",
        "test_2 (first joint)",
        "test_3",
    }


def test_filtering(page: Any) -> None:
    from selenium.webdriver.support.select import Select

    def fill(name: str, text: str) -> None:
        box = page.find_element("id", name)
        box.clear()
        box.send_keys(text)

    def shown() -> str:
        return str(page.find_element("id", "shown").text)

    assert shown() == "7 recordings"
    fill("find", "TEST_3")
    assert ids(page) == ["test_3"] and shown() == "1 of 7 recordings"
    fill("find", "alert(")
    assert len(ids(page)) == 7
    fill("find", "nobody")
    assert ids(page) == []
    page.find_element("css selector", "#filters [type=reset]").click()
    until(page, "return document.getElementById('shown').textContent === '7 recordings'")
    Select(page.find_element("id", "speaker")).select_by_visible_text("bob")
    assert len(ids(page)) == 7
    metric = Select(page.find_element("id", "metric"))
    metric.select_by_visible_text("WER, first cascade (%)")
    assert len(ids(page)) == 4, "three are not of this column"
    fill("limit", "50")
    assert len(ids(page)) == 4
    Select(page.find_element("id", "side")).select_by_visible_text("is below")
    assert ids(page) == []
    metric.select_by_visible_text("SNR (dB)")
    fill("limit", "21.5")
    assert [name[:6] for name in ids(page)] == ["test_0", "test_1"] * 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_page(page: Any, width: int, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size(page, width)
    page.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    until(
        page,
        "return document.querySelectorAll('.view[data-drawn]').length === document.querySelectorAll('audio').length",
    )
    assert page.execute_script("const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    paper, ink = page.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map((c) => +c.match(/\\d+/)[0])"
    )
    assert (paper < ink) == (scheme == "dark")


def test_the_theme_can_be_changed(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = page.execute_script(colour)
    page.find_element("id", "theme").click()
    assert page.execute_script(colour) != before
    page.find_element("id", "theme").click()
    assert page.execute_script(colour) == before
    page.execute_script("localStorage.clear()")


CONTRAST = """
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const linear = (level) => (level <= 10 ? level / 3294 : ((level / 255 + .055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const found = {};
for (const node of document.querySelectorAll("body *")) {
  const words = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
  if (!words || node.closest("svg, .view, script, .unseen, .skip, option") || !node.getClientRects().length) continue;
  let behind = node;
  while (behind.parentElement && rgba(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const both = [getComputedStyle(node).color, getComputedStyle(behind).backgroundColor].map(rgba).map(luminance);
  const ratio = (Math.max(...both) + .05) / (Math.min(...both) + .05);
  if (ratio < 4.5) found[`${node.tagName}.${node.className}`] = ratio;
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(page: Any, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 or more."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.execute_script(CONTRAST) == {}


def test_a_link_opens_its_recording(page: Any) -> None:
    page.execute_script("document.querySelector('#all tbody tr:last-child a').click()")
    until(page, "return document.querySelector(location.hash).open")
    until(page, "return document.querySelector(location.hash).querySelector('[data-drawn]') !== null")
