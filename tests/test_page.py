"""The page to draw a digit on: what its server answers, and what its file computes."""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from dojo.kit import mnist
from dojo.kit.mnist import DOWNLOAD_COMMAND, at_hand
from reference.mnist.data import Split, prepare
from reference.mnist.model import DigitNet
from reference.mnist.page import export
from reference.mnist.page.reader import REFERENCE, Reader, like_mnist_of
from reference.mnist.page.server import PageServer, PortTaken
from reference.mnist.settings import RECIPES, Settings
from reference.mnist.train import train

needs_mnist = pytest.mark.skipif(at_hand() != "mnist", reason=f"needs MNIST; `{DOWNLOAD_COMMAND}` fetches it")
# All in one process: training and browser are begun once.
pytestmark = [needs_mnist, pytest.mark.xdist_group("page")]


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    return Split(*mnist.load("mnist", train=True)), Split(*mnist.load("mnist", train=False))


@pytest.fixture(scope="module")
def net(digits) -> DigitNet:
    return train(digits[0], Settings()).model.eval()


@contextlib.contextmanager
def serving(page: str, reader: Reader) -> Iterator[PageServer]:
    with PageServer() as server:
        threading.Thread(target=server.serve, args=(page, reader), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def server(net, digits) -> Iterator[PageServer]:
    with serving(export.served_page("A net of the tests.", digits[0]), Reader(net)) as server:
        yield server


def like_mnist(drawing: torch.Tensor) -> torch.Tensor:
    return like_mnist_of(REFERENCE)(drawing)


# ── what becomes of a drawing ──


def on_paper(image: torch.Tensor, side: int, thicker: int, random: torch.Generator) -> torch.Tensor:
    """A digit of MNIST as somebody would draw it on 280 x 280: larger, anywhere, with a thicker pen."""
    large = functional.interpolate(image[None, None].float(), (side, side), mode="bilinear", align_corners=False)
    if thicker:
        large = functional.max_pool2d(large, 2 * thicker + 1, 1, thicker)
    paper = torch.zeros(280, 280, dtype=torch.uint8)
    top, left = torch.randint(0, 281 - side, (2,), generator=random).tolist()
    paper[top : top + side, left : left + side] = large[0, 0].round().to(torch.uint8)
    return paper


@pytest.mark.slow
def test_drawn_digits_are_read_as_the_images_that_they_come_from(digits):
    strong = train(digits[0], RECIPES["strong"]).model.eval()
    random = torch.Generator().manual_seed(0)
    images = digits[1].images[:2000]
    sides = torch.randint(140, 281, (len(images),), generator=random).tolist()
    drawn = [on_paper(image, side, i % 4, random) for i, (image, side) in enumerate(zip(images, sides, strict=True))]
    with torch.no_grad():
        before = strong(prepare(images)).argmax(1)
        after = strong(prepare(torch.stack([like_mnist(paper) for paper in drawn]))).argmax(1)
    assert (before == after).double().mean() >= 0.96


def test_images_of_mnist_stay_what_they_are(digits):
    images = digits[1].images[:500]
    same = sum(torch.equal(like_mnist(image), image) for image in images)
    assert same >= 0.99 * len(images)  # those whose longest side is not 20 change


# ── the server ──


def request(server: PageServer, method: str, path: str, body: bytes | str = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response.status, response.read()


def drawing(paper: torch.Tensor, **other: object) -> str:
    height, width = paper.shape
    ink = base64.b64encode(bytes(paper.flatten().tolist())).decode()
    return json.dumps({"width": width, "height": height, "ink": ink} | other)


JSON = {"Content_Type": "application/json"}


def test_the_page_answers_what_the_net_says(server, net, digits):
    paper = torch.zeros(150, 200, dtype=torch.uint8)
    paper[40:68, 100:128] = digits[1].images[0]
    status, body = request(server, "POST", "/read", drawing(paper), **JSON)
    said = json.loads(body)
    assert status == 200
    image = torch.tensor(list(base64.b64decode(said["image"])), dtype=torch.uint8).view(28, 28)
    assert torch.equal(image, like_mnist(paper))
    with torch.no_grad():
        wanted = net(prepare(image[None])).softmax(1)[0]
    torch.testing.assert_close(torch.tensor(said["probabilities"]), wanted, rtol=1e-4, atol=1e-5)


def test_an_empty_paper_has_no_answer(server):
    status, body = request(server, "POST", "/read", drawing(torch.zeros(280, 280, dtype=torch.uint8)), **JSON)
    assert (status, json.loads(body)) == (200, {"image": None})


INK = torch.ones(3, 5, dtype=torch.uint8)
BAD_BODIES = {
    "no JSON": "ink!",
    "not UTF-8": b"\xff\xfe\xfd",
    "a list": "[1, 2]",
    "a number": "7",
    "nothing": "",
    "a part is missing": '{"width": 3, "height": 5}',
    "ink that is no base64": drawing(INK, ink="???"),
    "ink that is no text": drawing(INK, ink=[1] * 15),
    "too little ink": drawing(INK, width=6),
    "a width of 0": drawing(INK, width=0, ink=""),
    "a negative width": drawing(INK, width=-3, height=-5),
    "a width that is no number": drawing(INK, width="3"),
    "a width that is true": drawing(torch.ones(15, 1, dtype=torch.uint8), width=True),
    "a fraction": drawing(INK, width=5.0),
    "a huge width": drawing(INK, width=10**9, ink=""),
    "deeply nested": "[" * 100_000,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_is_no_drawing_is_refused_with_a_sentence(server, body):
    status, said = request(server, "POST", "/read", body, **JSON)
    assert status == 400
    assert json.loads(said)["error"]


REFUSED = {
    "another path": (404, "GET", "/etc/passwd", {}),
    "a path above": (404, "GET", "/../../pyproject.toml", {}),
    "a query": (404, "GET", "/?x=1", {}),
    "a drawing to another path": (404, "POST", "/", JSON),
    "another method": (405, "PUT", "/read", JSON),
    "a form": (415, "POST", "/read", {"Content_Type": "application/x-www-form-urlencoded"}),
    "plain text": (415, "POST", "/read", {"Content_Type": "text/plain"}),
    "a page of another site": (403, "POST", "/read", JSON | {"Origin": "http://example.org"}),
    "a page without an origin": (403, "POST", "/read", JSON | {"Origin": "null"}),
    "another port of this machine": (403, "POST", "/read", JSON | {"Origin": "http://127.0.0.1:1"}),
    "https": (403, "POST", "/read", JSON | {"Host": "127.0.0.1:1", "Origin": "https://127.0.0.1:1"}),
    "an origin that cannot be read": (403, "POST", "/read", JSON | {"Origin": "http://[::1"}),
    "a name that leads here": (403, "GET", "/", {"Host": "example.org"}),
    "a host that cannot be read": (403, "GET", "/", {"Host": "[::1"}),
    "a host with a user": (403, "GET", "/", {"Host": "example.org@127.0.0.1"}),
    "a host with a port that is none": (403, "GET", "/", {"Host": "127.0.0.1:http"}),
    "a length that is no number": (411, "POST", "/read", JSON | {"Content_Length": "many"}),
    "a huge body": (413, "POST", "/read", JSON | {"Content_Length": str(10**8)}),
    "a length of 5,000 digits": (413, "POST", "/read", JSON | {"Content_Length": "9" * 5000}),
}


@pytest.mark.parametrize(("status", "method", "path", "headers"), REFUSED.values(), ids=REFUSED.keys())
def test_other_requests_are_refused_with_a_sentence(server, status, method, path, headers):
    got, said = request(server, method, path, **headers)
    assert got == status
    assert json.loads(said)["error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "localhost:80", "[::1]:5000"])
def test_the_page_answers_to_each_of_its_names(server, host):
    body = drawing(torch.zeros(3, 5, dtype=torch.uint8))
    assert request(server, "GET", "/", Host=host)[0] == 200
    assert request(server, "POST", "/read", body, **JSON, Host=host, Origin=f"http://{host}")[0] == 200


def raw(server: PageServer, text: bytes) -> bytes:
    """All that the server says to these bytes, until it closes the connection."""
    with socket.create_connection(server.server_address[:2], timeout=10) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(65536), b""))


HOST = b"Host: 127.0.0.1\r\n"
NO_REQUESTS = {
    "a method of one's own": (405, b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "without a version": (403, b"GET /\r\n\r\n"),
    "a drawing without a version": (400, b"POST /read\r\n\r\n"),
    "one word": (400, b"GET\r\n\r\n"),
    "four words": (400, b"GET / / HTTP/1.1\r\n\r\n"),
    "a version that is none": (400, b"GET / HTTP/one\r\n\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"),
    "a path without an end": (414, (b"GET /" + b"x" * 65537)[:65537]),
    "a header without an end": (431, b"GET / HTTP/1.1\r\n" + (b"X: " + b"x" * 65537)[:65537]),
    "a hundred headers and one": (431, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101),
}


@pytest.mark.parametrize(("status", "text"), NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_what_is_no_request_is_refused_with_a_sentence_too(server, status, text):
    head, _, said = raw(server, text).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(said)["error"]


BODY = drawing(INK).encode()
LENGTH, CHUNKS = b"Content-Length: %d\r\n" % len(BODY), b"Transfer-Encoding: chunked\r\n"
WITH_A_BODY = {
    "a length": b"GET / HTTP/1.1\r\n" + LENGTH,
    "chunks": b"GET / HTTP/1.1\r\n" + CHUNKS,
    "both": b"POST /read HTTP/1.1\r\nContent-Type: application/json\r\n" + LENGTH + CHUNKS,
}


@pytest.mark.parametrize("begin", WITH_A_BODY.values(), ids=WITH_A_BODY.keys())
def test_a_body_that_nobody_reads_is_no_second_request(server, begin):
    said = raw(server, begin + HOST + b"\r\n" + BODY + b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in said


def test_the_port_is_bound_without_a_name_server(monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("this may take seconds"))
    PageServer().server_close()


def test_after_everything_refused_the_page_is_served(server):
    status, page = request(server, "GET", "/")
    assert status == 200
    assert b"<title>Draw a digit</title>" in page
    assert not re.search(rb"(src|href)=[\"']?(https?:)?//", page), "the page asks another host"


def test_an_error_of_the_net_is_told(net, digits):
    def broken(images):
        raise ValueError("no such thing")

    with serving("", Reader(net, broken)) as server:
        status, said = request(server, "POST", "/read", drawing(INK), **JSON)
    assert (status, json.loads(said)) == (500, {"error": "The net raised ValueError: no such thing"})


def out_of_range(drawing):
    return drawing[999]


NO_IMAGES = {
    "an error": (out_of_range, "like_mnist raised IndexError: "),
    "nothing": (lambda drawing: None, "like_mnist returned NoneType, expected a tensor"),
    "floats": (lambda drawing: torch.zeros(28, 28), "like_mnist returned torch.float32 (28, 28), expected torch.uint8"),
    "its size": (lambda drawing: drawing, "like_mnist returned torch.uint8 (3, 5), expected torch.uint8 (28, 28)"),
}


@pytest.mark.parametrize(("like_mnist", "says"), NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_a_preprocessing_that_makes_no_image_is_told_and_not_as_the_nets(net, like_mnist, says):
    with serving("", Reader(net, like_mnist=like_mnist)) as server:
        status, said = request(server, "POST", "/read", drawing(INK), **JSON)
    assert status == 500
    assert json.loads(said)["error"].startswith(says)


class Says(nn.Module):
    """A net with one answer."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer


NO_ANSWERS = {
    "nan": (torch.full((1, 10), float("nan")), "nan or inf"),
    "inf": (torch.tensor([[0.0] * 9 + [float("inf")]]), "nan or inf"),
    "5 logits": (torch.zeros(1, 5), "has the shape (1, 5), expected (1, 10)"),
    "no batch": (torch.zeros(10), "has the shape (10,), expected (1, 10)"),
}


@pytest.mark.parametrize(("answer", "says"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_an_answer_that_is_no_ten_numbers_is_told(answer, says):
    with serving("", Reader(Says(answer))) as server:
        status, said = request(server, "POST", "/read", drawing(INK), **JSON)
    assert status == 500
    assert says in json.loads(said)["error"]


class OnMps(torch.Tensor):
    """A tensor whose device has no float64."""

    def double(self):
        raise TypeError("the MPS framework doesn't support float64")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_a_device_without_float64_answers():
    reading = Reader(Says(torch.zeros(1, 10).as_subclass(OnMps))).read(b"\xff" * 15, 3, 5)
    assert reading.probabilities == [0.1] * 10


def test_a_closed_reader_has_finished_what_it_read_and_begins_no_more():
    begun, finish, readings = threading.Event(), threading.Event(), []

    def slow(drawing):
        begun.set()
        assert finish.wait(10)
        return like_mnist(drawing)

    reader = Reader(Says(torch.zeros(1, 10)), like_mnist=slow)

    def read():
        readings.append(reader.read(b"\xff" * 15, 3, 5))

    threading.Thread(target=read, daemon=True).start()
    assert begun.wait(10)
    threading.Timer(0.2, finish.set).start()
    reader.close()
    assert finish.is_set(), "it did not wait"
    later = threading.Thread(target=read, daemon=True)
    later.start()
    later.join(0.3)
    assert len(readings) == 1


def test_a_second_page_on_the_same_port_says_so(server):
    with pytest.raises(PortTaken, match="is taken"):
        PageServer(server.server_address[1])


def test_a_port_that_is_not_allowed_is_named(monkeypatch):
    def refuse(server):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(PageServer, "server_bind", refuse)
    with pytest.raises(OSError, match="port 80 cannot be used: Permission denied"):
        PageServer(80)


# ── the file ──


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_file_computes_what_torch_computes(net, digits, tmp_path):
    random = torch.Generator().manual_seed(0)
    images = digits[1].images[:100]
    papers = [on_paper(image, 100 + i, i % 4, random) for i, image in enumerate(images)]
    (tmp_path / "papers").write_bytes(bytes(torch.stack(papers).flatten().tolist()))
    (tmp_path / "images").write_bytes(bytes(images.flatten().tolist()))
    page = export.static_page(net, "", digits[0])
    [script] = re.findall(r'<script id="reader">(.*?)</script>', page, re.DOTALL)
    ask = """
    const fs = require("fs"), papers = fs.readFileSync("papers"), images = fs.readFileSync("images");
    const said = { logits: [], seen: [] };
    for (let i = 0; i < 100; i++) {
      said.logits.push(logits(images.subarray(784 * i, 784 * (i + 1))));
      said.seen.push([...likeMnist(papers.subarray(78400 * i, 78400 * (i + 1)), 280, 280)]);
    }
    console.log(JSON.stringify(said));
    """
    (tmp_path / "ask.js").write_text(script + ask)
    ran = subprocess.run(["node", "ask.js"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(ran.stdout)
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(said["logits"]), net(prepare(images)), rtol=0, atol=1e-3)
    seen = torch.tensor(said["seen"]).view(-1, 28, 28)
    difference = (seen - torch.stack([like_mnist(paper) for paper in papers]).int()).abs().amax((1, 2))
    assert (difference <= 1).all(), difference
