"""The page in a real browser: Chromium, headless, draws with a mouse and with a finger, and reads the answers.

KATA_SCREENSHOTS=DIR keeps what it saw.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.kit import mnist
from dojo.kit.mnist import DOWNLOAD_COMMAND, at_hand
from reference.mnist.data import Split
from reference.mnist.model import DigitNet
from reference.mnist.page import export
from reference.mnist.page.reader import Reader
from reference.mnist.page.server import PageServer
from reference.mnist.settings import RECIPES, Settings
from reference.mnist.train import train

ROOT = Path(__file__).resolve().parents[1]
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install selenium)")
wait = pytest.importorskip("selenium.webdriver.support.wait")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(at_hand() != "mnist", reason=f"needs MNIST; `{DOWNLOAD_COMMAND}` fetches it"),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs a browser (Debian: apt install chromium chromium-driver)"
    ),
    pytest.mark.xdist_group("page"),  # one browser, one training
    pytest.mark.slow,
]
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # No request to any other host, of the browser's own either.
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps"),
]
NOTHING = "Draw with the mouse or a finger."
PHONE = {"width": 390, "height": 844}


def line(*corners: tuple[float, float], steps: int = 6) -> list[tuple[float, float]]:
    """Points along straight strokes; the paper is 1 x 1."""
    points = [corners[0]]
    for (x, y), (u, v) in itertools.pairwise(corners):
        points += [(x + (u - x) * i / steps, y + (v - y) * i / steps) for i in range(1, steps + 1)]
    return points


DIGITS = {
    1: [line((0.52, 0.2), (0.48, 0.8))],
    7: [line((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))],
    0: [[(0.5 + 0.2 * math.sin(a * math.pi / 12), 0.5 - 0.3 * math.cos(a * math.pi / 12)) for a in range(25)]],
}


@pytest.fixture(scope="module")
def digits() -> Split:
    return Split(*mnist.load("mnist", train=True))


@pytest.fixture(scope="module")
def net(digits) -> DigitNet:
    return train(digits, RECIPES["strong"]).model.eval()


@pytest.fixture(scope="module")
def served(net, digits) -> Iterator[str]:
    with PageServer() as server:
        page = export.served_page("A net of the tests.", digits)
        threading.Thread(target=server.serve, args=(page, Reader(net)), daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.fixture(scope="module")
def file(net, digits, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "digit.html"
    path.write_text(export.static_page(net, "A net of the tests.", digits), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["desktop", "phone"])
def browser(request, tmp_path) -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in [*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900"]:
        options.add_argument(option)
    if request.param == "phone":
        metrics = PHONE | {"pixelRatio": 3.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.kind = request.param
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


def draw(browser, strokes: list[list[tuple[float, float]]]) -> None:
    """Pointer events on the paper: of a finger on the phone, else of a mouse."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    finger = browser.kind == "phone"
    paper = browser.find_element("id", "paper")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", paper)
    box = browser.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width, b.height]", paper
    )
    for stroke in strokes:
        actions = ActionBuilder(browser, PointerInput("touch" if finger else "mouse", "pen"), duration=10)
        hand = actions.pointer_action
        for i, (x, y) in enumerate(stroke):
            hand.move_to_location(round(box[0] + x * box[2]), round(box[1] + y * box[3]))
            if i == 0:
                hand.pointer_down()
        hand.pointer_up()
        actions.perform()


def answer(browser) -> str:
    """The answer to what is on the paper now."""
    browser.execute_async_script(
        """const done = arguments[0];
        const look = () => !busy && Number(document.body.dataset.answered) === version ? done() : setTimeout(look, 5);
        look();"""
    )
    return browser.find_element("tag name", "body").get_attribute("data-answer")


def until(browser, name: str, text: str) -> None:
    """Wait for an element to say that; a tap of a finger becomes a click some time later."""
    wait.WebDriverWait(browser, 10).until(lambda _: browser.find_element("id", name).text == text)


def keep(browser, name: str) -> None:
    if folder := os.environ.get("KATA_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def complaints(browser) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


@pytest.mark.parametrize("page", ["served", "file"])
def test_a_1_a_7_and_a_0_are_read(browser, page, request):
    browser.get(request.getfixturevalue(page))
    for digit, strokes in DIGITS.items():
        draw(browser, strokes)
        assert answer(browser) == str(digit)
        assert browser.find_element("id", "answer").text.startswith(f"A {digit}")
        keep(browser, f"{page}-{browser.kind}-{digit}")
        browser.find_element("id", "right").click()
        until(browser, "answer", NOTHING)
        keep(browser, f"{page}-{browser.kind}-{digit}-counted")
    until(browser, "tally", "3 of 3 right.")
    assert complaints(browser) == []


def test_undo_clear_and_the_tally(browser, served):
    browser.get(served)
    undo, clear, wrong = (browser.find_element("id", name) for name in ("undo", "clear", "wrong"))
    assert not undo.is_enabled()
    assert not wrong.is_enabled()
    draw(browser, [*DIGITS[1], *DIGITS[0]])
    assert answer(browser) != "1"
    undo.click()
    until(browser, "answer", "A 1.")
    clear.click()
    until(browser, "answer", NOTHING)
    assert not undo.is_enabled()
    draw(browser, DIGITS[7])
    until(browser, "answer", "A 7.")
    wrong.click()
    until(browser, "tally", "0 of 1 right.")


def test_each_answer_is_counted_once(browser, served):
    browser.get(served)
    draw(browser, DIGITS[1])
    answer(browser)
    browser.execute_script("$('right').click(); $('right').click()")  # in one frame
    assert answer(browser) == ""
    until(browser, "tally", "1 of 1 right.")
    draw(browser, DIGITS[7])
    answer(browser)
    browser.execute_script("undo(); $('wrong').click()")  # the drawing that was answered is gone
    answer(browser)
    until(browser, "tally", "1 of 1 right.")


def test_the_answer_to_an_older_drawing_is_not_counted(browser, served):
    browser.get(served)
    draw(browser, DIGITS[1])
    answer(browser)
    disabled = browser.execute_async_script(
        """const done = arguments[0], real = read;
        let calls = 0;
        window.read = (...drawing) => {
          calls += 1;
          if (calls === 1) changed();  // the drawing goes on while this is read
          else { window.read = real; done($("right").disabled && $("wrong").disabled); }
          return real(...drawing);
        };
        changed();"""
    )
    assert disabled, "the answer to the older drawing can be counted"
    answer(browser)
    assert browser.find_element("id", "right").is_enabled()


def test_a_pointer_that_is_lifted_elsewhere_draws_no_more(browser, served):
    """A browser cannot capture a pointer that is gone already, and says nothing of what becomes of it."""
    browser.get(served)
    points, drawing = browser.execute_script(
        """const box = paper.getBoundingClientRect();
        const send = (kind, buttons, x) => paper.dispatchEvent(new PointerEvent(kind, {
          pointerId: 99, buttons, button: kind === "pointerdown" ? 0 : -1, clientX: box.left + x, clientY: box.top + 50,
        }));
        send("pointerdown", 1, 20); send("pointermove", 1, 40); send("pointermove", 0, 60); send("pointermove", 1, 80);
        return [strokes.map((stroke) => stroke.length), drawing];"""
    )
    assert (points, drawing) == ([2], None)
    draw(browser, DIGITS[1])
    assert browser.execute_script("return strokes.length") == 2, "the next pointer draws"
    assert complaints(browser) == []


def test_the_page_fits_its_window(browser, served):
    browser.get(served)
    width = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, "it scrolls to the side"
    sizes = browser.execute_script("return [...document.querySelectorAll('button')].map(b => b.offsetHeight)")
    assert min(sizes) >= 44, "a finger needs that much"


def test_ctrl_c_ends_the_page_and_the_browser_says_so(browser, digits, tmp_path):
    """The real command, and its real end."""
    train(digits, Settings(images=6400)).save(tmp_path / "net.pt")
    command = [sys.executable, "-m", "reference.mnist", "--draw", str(tmp_path / "net.pt"), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline() + process.stderr.readline()
            browser.get(re.findall(r"http://127\.0\.0\.1:\d+/", said)[0])
            draw(browser, DIGITS[1])
            assert answer(browser) == "1"
            process.send_signal(signal.SIGINT)
            assert "The page is closed." in process.stderr.read()
            assert process.wait(10) == 0
        finally:
            process.kill()
    draw(browser, DIGITS[1])
    answer(browser)
    assert "has ended" in browser.find_element("id", "answer").text
