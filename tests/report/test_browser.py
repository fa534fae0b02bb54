"""The page in a real browser: no error, sorting and filtering by mouse and keyboard, nothing for axe-core to find.

scripts/browser.sh installs Chromium and axe-core. Without them these tests skip.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twelvelead.report.inputs import ClassName, read_inputs
from twelvelead.report.page import build_page, render

pytestmark = pytest.mark.slow

AXE = Path(__file__).resolve().parents[2] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MOST_SECONDS = 100  # for axe-core, which needs one on a machine that does nothing else
SIZES = [(1280, 900), (360, 740)]
LONG_NAME = "Linksherzhypertrophie" * 9  # 189 letters; 200 are allowed


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    browser, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and service):
        pytest.skip("needs Chromium with its driver; scripts/browser.sh installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in [*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(case, tmp_path_factory) -> str:
    """The page of a comparison with thresholds, notes, and hard names; as a file on the disk."""
    request = replace(case, model=Path("model"))
    inputs = read_inputs(case)
    thresholds = np.linspace(0.05, 0.95, len(inputs.class_names))
    labels = inputs.labels.copy()
    labels[:, -1] = False  # a class without positives
    inputs = replace(
        inputs, labels=labels, thresholds=thresholds, notes=["recordings without an output file: 1 (A <b>1</b>)"]
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(build_page(request, inputs)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def own_address(own_case, tmp_path_factory) -> str:
    """The page of the user's own labels, with thresholds, unknown labels, and a long name without a blank."""
    inputs = read_inputs(own_case)
    names = [ClassName(LONG_NAME, LONG_NAME, ""), *inputs.class_names[1:]]
    inputs = replace(inputs, class_names=names, thresholds=np.array([0.2, 0.5, 0.9]))
    path = tmp_path_factory.mktemp("own_page") / "report.html"
    path.write_text(render(build_page(replace(own_case, model=Path("model")), inputs)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(driver, address):
    """Opens the page, or another one, in a window of a size and a colour scheme."""

    def opened(size=SIZES[0], scheme="light", script=True, media="", page=address):
        command = driver.execute_cdp_cmd
        metrics = dict(width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 500)
        command("Emulation.setDeviceMetricsOverride", metrics)
        command("Emulation.setScriptExecutionDisabled", dict(value=not script))
        # Without motion the page scrolls at once: a click would otherwise miss what is still moving.
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [dict(name=name, value=value) for name, value in wishes.items()]
        command("Emulation.setEmulatedMedia", dict(media=media, features=features))
        driver.get(page)
        return driver

    yield opened
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", dict(value=False))


# axe-core takes minutes for thousands of cells. Three of a kind stand for the rest: rows of a table, charts of a grid,
# columns of the matrix, one of whose cells gets the strongest colour that there is.
FEWER_OF_A_KIND = """
document.querySelectorAll("tbody").forEach((body) => [...body.rows].slice(3).forEach((row) => row.remove()));
document.querySelectorAll(".panels").forEach((grid) => [...grid.children].slice(3).forEach((each) => each.remove()));
document.querySelectorAll(".matrix tr").forEach((row) => [...row.cells].slice(4, -3).forEach((cell) => cell.remove()));
document.querySelectorAll("details").forEach((each) => { each.open = true; });
document.querySelector(".matrix .cell")?.style.setProperty("--shade", 1);
document.querySelector(".matrix .cell")?.append("9");
"""


def column(driver, number: int) -> list[str]:
    """The visible cells of a column of the table of classes, each one's first words."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#class-table tbody tr:not([hidden])')]"
        ".map((row) => row.cells[arguments[0]].dataset.value)",
        number,
    )


def sorted_states(driver) -> list[str | None]:
    heads = driver.find_elements("css selector", "#class-table thead th")
    return [head.get_attribute("aria-sort") for head in heads]


def test_the_page_opens_without_errors_or_requests(open_page):
    driver = open_page()
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)") == []
    assert driver.title.startswith("Challenge metric")
    pictures = driver.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(pictures) == 3 and min(pictures) > 1000


@pytest.mark.parametrize("size", SIZES, ids=["desk", "phone"])
def test_nothing_sticks_out_of_the_window(open_page, size):
    driver = open_page(size)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_a_click_on_a_head_sorts_and_a_second_one_turns_it_round(open_page):
    driver = open_page()
    button = driver.find_elements("css selector", "#class-table thead button")[3]
    button.click()
    values = [float(value) for value in column(driver, 3)]
    defined = [value for value in values if not np.isnan(value)]
    assert defined == sorted(defined, reverse=True) and len(set(defined)) > 2
    assert all(np.isnan(values[len(defined) :])) and sorted_states(driver)[3] == "descending"
    button.click()
    again = [float(value) for value in column(driver, 3)]
    assert again[: len(defined)] == defined[::-1] and all(np.isnan(again[len(defined) :]))
    assert [state for state in sorted_states(driver) if state] == ["ascending"]


def test_the_keyboard_reaches_the_heads_and_sorts(open_page):
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    driver.find_element("id", "class-positive").send_keys(Keys.TAB)  # to the table, which scrolls
    driver.switch_to.active_element.send_keys(Keys.TAB)
    focused = driver.switch_to.active_element
    assert focused.tag_name == "button" and focused.text == "Class"
    outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    focused.send_keys(Keys.ENTER)
    names = column(driver, 0)
    assert names == sorted(names, key=str.lower) and sorted_states(driver)[0] == "ascending"
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert column(driver, 0) == names[::-1]


def test_words_filter_the_classes_and_the_number_is_told(open_page):
    driver = open_page()
    everything = len(column(driver, 0))
    field = driver.find_element("id", "class-words")
    field.send_keys("Bundle branch")
    shown = column(driver, 0)
    assert 0 < len(shown) < everything and all("BBB" in name for name in shown)
    status = driver.find_element("id", "class-status")
    assert status.text == f"{len(shown)} of {everything} classes" and status.get_attribute("role") == "status"
    field.clear()
    field.send_keys("426783006")
    assert column(driver, 0) == ["NSR"]
    field.clear()
    driver.find_element("id", "class-positive").click()
    assert all(float(value) > 0 for value in column(driver, 1)) and len(column(driver, 1)) < everything


def test_the_skip_link_is_the_first_stop_and_leads_to_the_figures(open_page):
    from selenium.webdriver.common.keys import Keys

    driver = open_page()
    driver.find_element("tag name", "body").send_keys(Keys.TAB)
    link = driver.switch_to.active_element
    assert link.text == "Skip to the figures" and link.rect["y"] >= 0
    link.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "content"


def test_without_script_the_page_is_complete(open_page):
    driver = open_page(script=False)
    rows = driver.find_elements("css selector", "#class-table tbody tr")
    assert len(rows) == 24 and all(row.is_displayed() for row in rows)
    assert not driver.find_element("id", "class-filter").is_displayed()
    assert not driver.find_elements("css selector", "#class-table button")


@pytest.mark.parametrize("size", SIZES, ids=["desk", "phone"])
def test_the_page_of_own_labels_opens_sorts_and_fits_the_window(open_page, own_address, size):
    driver = open_page(size, page=own_address)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    heads = driver.find_elements("css selector", "#class-table thead button")
    assert [head.text for head in heads][:3] == ["Class", "Known", "Positives"]
    heads[1].click()
    values = [float(value) for value in column(driver, 1)]
    assert len(values) == 3 and values == sorted(values, reverse=True)


@pytest.mark.parametrize("of", ["address", "own_address"])
@pytest.mark.parametrize("scheme, size", [("light", SIZES[0]), ("dark", SIZES[1])], ids=["light-desk", "dark-phone"])
def test_axe_finds_nothing(open_page, request, scheme, size, of):
    if not AXE.is_file():
        pytest.skip("needs axe-core; scripts/browser.sh installs it")
    driver = open_page(size, scheme, page=request.getfixturevalue(of))
    driver.set_script_timeout(MOST_SECONDS)
    driver.execute_script(FEWER_OF_A_KIND + AXE.read_text(encoding="utf-8"))
    result = driver.execute_async_script(
        "axe.run({resultTypes: ['violations']}).then("
        "(found) => arguments[0]({violations: found.violations, passes: found.passes.length}))"
    )
    assert result["passes"] > 20
    assert [
        f"{each['id']}: {node['html'][:150]}: {node['failureSummary'][:300]}"
        for each in result["violations"]
        for node in each["nodes"][:3]
    ] == []


def test_both_colour_schemes_are_followed_and_print_is_white(open_page):
    grounds = {}
    for scheme, media in [("light", ""), ("dark", ""), ("dark", "print")]:
        driver = open_page(scheme=scheme, media=media)
        colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        curve = driver.execute_script("return getComputedStyle(document.querySelector('.panels .curve')).stroke")
        grounds[scheme, media] = [int(x) for x in colour[4:-1].split(",")], curve
    assert min(grounds["light", ""][0]) > 230 and max(grounds["dark", ""][0]) < 40
    assert grounds["dark", "print"][0] == [255, 255, 255]
    assert grounds["light", ""][1] == grounds["dark", "print"][1] != grounds["dark", ""][1]
