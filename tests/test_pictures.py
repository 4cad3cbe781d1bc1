"""Pictures of one's own run: the numbers first, then what is written."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dojo.authoring.pictures import MOVING, SHOWN
from dojo.kata.files import find_katas
from dojo.kata.seam import import_solution
from dojo.kata.source import has_picture
from dojo.kit import pictures, training
from dojo.kit.pictures import Picture

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ("mnist_98", "tiny_gpt")  # trains a net for long


@functools.cache
def drawn(key: str) -> Picture:
    """The picture of a kata's reference."""
    reference = import_solution(ROOT / "reference" / f"{key}.py")
    return reference.picture(reference)


def frames(picture: Picture) -> list:
    """What moves, frame by frame, as Pillow images."""
    return pictures._frames(picture.drawing)


# ── a picture of each kata that has one ──


def test_line_2x_plus_2():
    numbers = drawn("13_training/01_line_2x_plus_2").numbers
    assert abs(numbers["w"][-1] - 2) < 0.05
    assert abs(numbers["b"][-1] - 2) < 0.05
    assert numbers["loss"][-1] < 1e-3 * numbers["loss"][0]
    assert numbers["diverges"][-1] > 1000 * numbers["diverges"][0]


def test_init():
    numbers = drawn("09_modules/10_init").numbers
    end = {name: values[-1] for name, values in numbers["spread"].items()}
    assert all(len(values) == 21 for values in numbers["spread"].values())
    assert 0.05 < end["init_"] < 1, "He's start keeps inputs apart"
    assert end["torch's own start"] < 1e-7
    assert abs(end["init_, times 1.5"] / end["init_"] / 1.5**20 - 1) < 1e-6, "ReLU passes a factor on: without biases"
    assert abs(end["init_, times 0.7"] / end["init_"] / 0.7**20 - 1) < 1e-6
    rows = numbers["outputs"]["torch's own start"]
    assert (rows.max(0).values - rows.min(0).values).max() < 1e-6


def test_dropout():
    picture = drawn("09_modules/06_dropout")
    numbers = picture.numbers
    x, train = numbers["x"], numbers["train"]
    assert ((train == 0) | ((train - 2 * x).abs() < 1e-5)).all(), "with p = 0.5 a number is dropped, or doubled"
    assert 0.45 < numbers["zeros"] < 0.55
    assert (numbers["eval"] == x).all()
    assert abs(numbers["means"].mean() - x.mean()) < 0.03
    assert (numbers["mean"] - x).abs().mean() < 0.15 * x.mean(), "the mean of many calls is x again"
    shown = frames(picture)
    assert shown[0].tobytes() != shown[-1].tobytes()


def test_batchnorm():
    picture = drawn("09_modules/07_batchnorm")
    numbers = picture.numbers
    assert (numbers["running_mean"][0], numbers["running_var"][0]) == (0, 1)
    off = [abs(mean - 6) for mean in numbers["running_mean"]]
    assert off[10] < 0.5 * off[0]
    assert off[-1] < 0.3
    assert abs(numbers["running_var"][-1] - 4) < 1
    mean, std = numbers["eval_mean_std"][0]
    assert abs(mean - 6) < 0.2, "a new layer changes nothing in eval"
    assert abs(std - 2) < 0.2
    mean, std = numbers["eval_mean_std"][-1]
    assert abs(mean) < 0.2
    assert abs(std - 1) < 0.2
    for shares in (numbers["before"], numbers["train"], *numbers["eval"]):
        assert 0.97 < sum(shares) < 1.001, "nearly all is inside what is drawn"
    shown = frames(picture)
    assert shown[0].tobytes() != shown[-1].tobytes()


def test_attention_masks():
    numbers = drawn("09_modules/13_attention_masks").numbers
    keep = numbers["keep"]
    assert keep.sum() == 21
    assert (numbers["to_mha_mask"] == ~keep).all(), "the two conventions are opposites"
    for name in ("weights", "mha_weights"):
        assert ((numbers[name] == 0) == ~keep).all(), "no query looks at a later key"
        assert (numbers[name].sum(-1) - 1).abs().max() < 1e-5
    assert numbers["padding_mask"].sum(1).tolist() == [3, 0, 2]
    assert not numbers["mha_weights_padding"][:, 3:].any()
    assert (numbers["mha_weights_padding"][:, :3] > 0).all()


def test_rope():
    picture = drawn("18_transformers/04_rope")
    numbers = picture.numbers
    one, *others = numbers["scores"].values()
    assert len(others) == 2
    for other in others:
        assert (one - other).abs().max() < 1e-3, "the score depends on the distance only"
    assert abs(one[0] - 1) < 1e-6, "the largest score is that of the same place"
    assert one[0] == one.max()
    assert (numbers["rounded"][:9] == numbers["rounded"][0]).all(), "4000 to 4008 are one place in bfloat16"
    assert (numbers["rounded"] - one).abs().max() > 0.2
    turned = numbers["turned"].double()
    assert (turned.norm(dim=-1) - 1).abs().max() < 1e-6, "a rotation keeps the length"
    angles = numbers["distance"][:, None] * 10000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    assert (turned - torch.stack([angles.cos(), angles.sin()], -1)).abs().max() < 1e-5
    shown = frames(picture)
    assert shown[0].tobytes() != shown[-1].tobytes()


def test_permute_not_reshape():
    numbers = drawn("02_memory/02_permute_not_reshape").numbers
    moved, relabelled = numbers["to_chw"], numbers["reshape"]
    assert moved.shape == relabelled.shape == (3, 24, 36)
    assert torch.equal(moved.permute(1, 2, 0).flatten(), relabelled.flatten())
    assert numbers["stay"][0] == 24 * 36
    assert numbers["stay"][1] < 24 * 36 / 10


def test_augment_each_sample():
    numbers = drawn("12_data/09_augment_each_sample").numbers
    assert all(sum(row) in (0, len(row)) for row in numbers["one"])
    assert sum(0 < sum(row) < len(row) for row in numbers["each"]) >= 4
    assert len({tuple(row) for row in numbers["each"]}) > len({tuple(row) for row in numbers["one"]})


def test_where_does_not_stop_nan():
    numbers = drawn("03_indexing/05_where_does_not_stop_nan").numbers
    x, (root, quotient) = numbers["places"], numbers["safe_gradients"]
    assert list(numbers["nans"].values()) == [0, int((x <= 0).sum()), 0, 1]
    safe, naive, safe_quotient, naive_quotient = numbers["values"].values()
    assert torch.equal(safe, naive)
    assert torch.equal(safe_quotient, naive_quotient)
    torch.testing.assert_close(root, torch.where(x > 0, 0.5 / x.clamp(min=0.01).sqrt(), 0.0))
    assert quotient[x == 0].item() == 0


def test_mnist_98(monkeypatch, tmp_path):
    """On the digits that stand in for MNIST, with a training that is short."""
    pytest.importorskip("sklearn")
    monkeypatch.setenv("KATA_DATA", str(tmp_path))
    reference = import_solution(ROOT / "reference/13_training/09_mnist_98.py")
    shorter = SimpleNamespace(**vars(reference))
    shorter.train = lambda images, labels, epochs: reference.train(images, labels, epochs=6)
    picture = reference.picture(shorter)
    numbers, counts = picture.numbers, picture.numbers["confusion"]
    assert numbers["kind"] == "stand-in"
    assert "it is not MNIST" in picture.says
    assert numbers["accuracy"] > 0.9
    assert counts.sum() == 360
    assert counts.diagonal().sum().item() / 360 == pytest.approx(numbers["accuracy"])
    assert numbers["filters"].shape == (16, 1, 5, 5)
    assert len(set(numbers["worst"].tolist())) == 12

    shorter.train = lambda images, labels, epochs: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    assert "filters" not in reference.picture(shorter).numbers  # of a net that has no convolution


def test_iris_logistic():
    numbers = drawn("13_training/02_iris_logistic").numbers
    assert numbers["step"][-1] == 500
    assert numbers["right"][-1] >= 99
    p = numbers["p"]
    assert sum(p[:50]) / 50 < 0.2
    assert sum(p[50:]) / 50 > 0.8
    (length,) = numbers["changes"]  # the boundary, at a width of 3 cm
    assert 5.1 < length < 5.5
    assert numbers["along"][0] < 0.01
    assert numbers["along"][-1] > 0.99
    first, *_, last = frames(drawn("13_training/02_iris_logistic"))
    assert first.tobytes() != last.tobytes()


def test_the_weights_of_each_step_are_noted_without_a_change():
    def train(step):
        torch.manual_seed(0)
        net = torch.nn.Linear(2, 1)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            net(torch.ones(4, 2)).square().mean().backward()
            step(net, opt)
        return net

    def by_hand(net, opt):
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad

    net, weights = training.weights_of_each_step(lambda: train(lambda net, opt: opt.step()))
    _, end = training.weights_of_each_step(lambda: train(by_hand))
    assert (len(weights), len(end)) == (4, 1)
    for name, value in net.named_parameters():
        assert value.equal(weights[3][name])
        assert not value.equal(weights[2][name])
        torch.testing.assert_close(end[0][name], value.detach())
        assert not value.equal(weights[0][name])


def test_a_net_without_parameters_is_drawn_as_it_is():
    """Fitted by least squares, it keeps its weights in a buffer."""
    reference = import_solution(ROOT / "reference/13_training/03_bend_the_line.py")

    class Bells(torch.nn.Module):
        def __init__(self, x, y):
            super().__init__()
            self.register_buffer("weights", torch.linalg.lstsq(self.bells(x), y).solution)

        def bells(self, x):
            return torch.exp(-4 * (x - torch.linspace(-3, 3, 20)).square())

        def forward(self, x):
            return self.bells(x) @ self.weights

    picture = reference.picture(SimpleNamespace(make_mlp=reference.make_mlp, fit_curve=Bells))
    assert isinstance(picture.drawing, Figure)
    assert picture.numbers["step"] == [0]
    assert picture.numbers["distance"][0] < 0.1


def test_bend_the_line():
    picture = drawn("13_training/03_bend_the_line")
    numbers = picture.numbers
    assert numbers["step"][-1] == 600
    assert numbers["distance"][0] > numbers["distance"][-1]
    assert numbers["distance"][-1] < 0.1
    assert max(numbers["net"]) > 1
    line, net = torch.tensor(numbers["line"]), torch.tensor(numbers["net"])
    assert line.diff(n=2).abs().max() < 1e-5
    assert net.diff(n=2).abs().max() > 1e-3
    assert "is at 0.51" in picture.says
    first, *_, last = frames(picture)
    assert first.tobytes() != last.tobytes()


def test_learning_curves():
    picture = drawn("13_training/04_learning_curves")
    train, val, at = (picture.numbers[name] for name in ("train", "val", "steps of val"))
    assert len(train) == 400
    assert at == [10.0 * i for i in range(41)]
    assert train[-1] < 0.1 * train[0]
    best = min(val)
    assert best < 0.6 * val[0]
    assert val[-1] > 1.2 * best  # the net has learnt the noise of its points
    assert isinstance(picture.drawing, Figure)
    assert [line.get_label() for line in picture.drawing.axes[0].get_lines()] == ["train", "val"]


def test_schedules_by_formula():
    rates = drawn("11_optimizers/07_schedules_by_formula").numbers
    assert len(rates) == 5
    for name, values in rates.items():
        assert values[0] == 0.1, name
        if "eta_min" not in name:
            assert values == sorted(values, reverse=True), name
            assert values[-1] < 0.01, name
    climbs = rates["CosineAnnealingLR, T 20, eta_min 0.01"]
    assert climbs[20] == min(climbs) == pytest.approx(0.01)
    assert climbs[40] == pytest.approx(0.1)


def test_tiny_gpt():
    """With a training that is short."""
    reference = import_solution(ROOT / "reference/18_transformers/10_tiny_gpt.py")
    shorter = SimpleNamespace(**vars(reference))
    shorter.train = lambda prompts, answers, vocab: reference.train(prompts, answers, vocab, steps=200)
    picture = reference.picture(shorter)
    numbers = picture.numbers
    assert numbers["steps"] == list(range(0, 201, 25))
    assert 2 < numbers["loss"][0] < 2.6, "it begins with a guess"
    assert numbers["loss"][-1] < 0.3
    assert numbers["right"][0] == 0
    assert numbers["right"][-1] > 30
    moved = numbers["moved"]
    assert moved.shape == (6, 11)
    assert moved[:, :6].diagonal().min() > 0.5, "each digit of the answer depends on the digit of the prompt that it is"
    assert numbers["later"] == moved[:, 6:].triu().max() == 0, "and on no later place"
    assert "no place depends on a later one" in picture.says
    assert [prompt.isdigit() and len(answer) == 6 for prompt, answer in numbers["examples"]] == [True] * 3


# ── what is written ──


def seen(image, axes, x: float, y: float) -> tuple[int, int, int]:
    """The colour at a place of some axes, in a picture of theirs."""
    right, up = axes.transData.transform((x, y))
    return image.convert("RGB").getpixel((round(right), image.height - 1 - round(up)))


def colour(name: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(name[1:]))


def near(got: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(got, wanted, strict=True)) < 30


WITH_PICTURES = [kata.key for kata in find_katas(ROOT / "katas") if has_picture(ROOT / "reference" / f"{kata.key}.py")]


@pytest.mark.parametrize("key", [key for key in WITH_PICTURES if not key.endswith(TRAINED)])
def test_files_are_small_and_readable_at_600_pixels(key, tmp_path):
    files = {path.suffix: path for path in pictures.write(drawn(key), tmp_path, "it")}
    assert files[".json"].stat().st_size < 100_000
    for suffix in {".png", ".gif"} & set(files):
        with Image.open(files[suffix]) as image:
            assert 300 <= max(image.size) <= 600
            assert getattr(image, "n_frames", 1) <= 60
        assert files[suffix].stat().st_size < 400_000
    assert len(drawn(key).says) < 400


@pytest.mark.parametrize("key", [key for key in WITH_PICTURES if not key.endswith(TRAINED)])
def test_titles_and_names_of_axes_are_inside_the_picture(key, tmp_path):
    drawing = drawn(key).drawing
    pictures.write(drawn(key), tmp_path, "it")
    figure = drawing if isinstance(drawing, Figure) else drawing._fig
    for axes in figure.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            place = text.get_window_extent()
            inside = min(*place.min, *(figure.bbox.max - place.max)) > -1
            assert inside or not text.get_text(), f"{text.get_text()!r} is cut off"


def test_the_line_is_where_its_numbers_say(tmp_path):
    picture = drawn("13_training/01_line_2x_plus_2")
    first, *_, last = frames(picture)
    axes = picture.drawing._fig.axes[0]
    numbers = picture.numbers
    for image, i in ((first, 0), (last, -1)):
        line = numbers["w"][i] * 2.5 + numbers["b"][i]
        assert near(seen(image, axes, 2.5, line), colour(pictures.BLUE))
    assert near(seen(first, axes, 2.5, 7), (255, 255, 255)), "the line comes there only by training"


def test_each_side_of_the_boundary_has_its_colour():
    picture = drawn("13_training/02_iris_logistic")
    *_, last = frames(picture)
    axes = picture.drawing._fig.axes[0]
    (length,) = picture.numbers["changes"]
    # Beside the line at a width of 3 cm, which is grey.
    setosa, versicolor = seen(last, axes, length - 0.35, 3.05), seen(last, axes, length + 0.35, 3.05)
    assert setosa[2] > setosa[0], "blue"
    assert versicolor[0] > versicolor[2], "orange"


def test_the_pixels_of_a_shown_image_are_those_of_the_tensor(tmp_path):
    picture = drawn("02_memory/02_permute_not_reshape")
    files = pictures.write(picture, tmp_path, "it")
    right, scrambled = picture.drawing.axes[0], picture.drawing.axes[4]
    with Image.open(files[0]) as image:
        for column, row in ((0, 0), (28, 5), (10, 17), (35, 23)):
            for axes, name in ((right, "to_chw"), (scrambled, "reshape")):
                assert near(seen(image, axes, column, row), tuple(picture.numbers[name][:, row, column].tolist()))


def test_docs_pictures_holds_what_the_command_draws():
    folder = ROOT / "docs/pictures"
    files = {path.name for path in folder.iterdir()}
    assert files == {f"{slug}.{'gif' if slug in MOVING else 'png'}" for slug in SHOWN} | {"README.md"}
    assert all((folder / name).stat().st_size < 400_000 for name in files)
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"^!\[.+\]\((.+)\)$", page, re.MULTILINE) if name not in files] == []
    assert re.findall(r"^## \[(\w+)\]", page, re.MULTILINE) == list(SHOWN)


def test_a_chapters_page_shows_the_pictures_of_its_katas():
    for kata in find_katas(ROOT / "katas"):
        if kata.slug in SHOWN:
            page = (ROOT / "katas" / kata.chapter / "README.md").read_text(encoding="utf-8")
            assert f"../../docs/pictures/{kata.slug}." in page, kata.key
