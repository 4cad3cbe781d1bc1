"""The trainer of reference/mnist: what it learns, that it can be stopped and resumed, its command line, its processes.

Where MNIST is missing, the stand-in takes its place for what does not depend on the data; the rest is skipped. Most
trainings here are a few steps long; what the recipes promise is `slow`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from dojo.kit import mnist
from dojo.kit.mnist import DOWNLOAD_COMMAND, at_hand
from reference.mnist import checkpoint, data
from reference.mnist.__main__ import INTERRUPTED, main
from reference.mnist.distributed import Team
from reference.mnist.evaluate import Evaluation, evaluate
from reference.mnist.model import DigitNet
from reference.mnist.settings import OPTIMIZERS, RECIPES, SCHEDULES, Settings
from reference.mnist.train import train

ROOT = Path(__file__).resolve().parents[1]
KIND = at_hand()
needs_mnist = pytest.mark.skipif(KIND != "mnist", reason=f"needs MNIST; `{DOWNLOAD_COMMAND}` fetches it")
SHORT = Settings(images=64 * 12)


@pytest.fixture(scope="module")
def splits() -> tuple[data.Split, data.Split]:
    return data.Split(*mnist.load(KIND, train=True)), data.Split(*mnist.load(KIND, train=False))


@pytest.fixture
def small(monkeypatch, splits):
    """The command line on the data at hand, in this process."""
    monkeypatch.setattr(data, "load", lambda root, train: splits[0 if train else 1])


def run(capsys, *options: str) -> dict:
    """The command line with --json in this process; what it printed."""
    assert main([*options, "--json", "--quiet", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"these differ: {different}"


# ── the parts ──


def test_the_net_gives_ten_logits_per_image():
    assert DigitNet((4, 8))(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_prepared_images_have_mean_0_and_spread_1(splits):
    x = data.prepare(splits[0].images)
    assert x.shape == (len(splits[0]), 1, 28, 28)
    if KIND == "mnist":
        assert x.mean().item() == pytest.approx(0, abs=1e-3)
        assert x.std().item() == pytest.approx(1, abs=1e-3)


def test_each_epoch_shows_every_image_once_in_a_new_order():
    seen = torch.cat([data.batch_of_step(step, 7, 50, seed=3) for step in range(15)])  # 105 images: two epochs and 5
    first, second = seen[:50], seen[50:100]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(50))


def test_the_order_depends_on_the_seed_and_the_step_only():
    late = data.batch_of_step(40, 7, 50, seed=3)
    torch.manual_seed(9)
    data.batch_of_step(0, 7, 50, seed=4)
    assert torch.equal(data.batch_of_step(40, 7, 50, seed=3), late)
    assert not torch.equal(data.batch_of_step(40, 7, 50, seed=4), late)


def test_the_processes_share_a_batch_without_rest():
    batch = torch.arange(12)
    parts = [Team(rank, 3).share_of(batch) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert sorted(torch.cat(parts).tolist()) == batch.tolist()


def test_shifting_moves_the_batch_and_cuts_nothing():
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[:, 4:24, 4:24] = 9
    moved = {tuple(data.shifted(images, 1, step, seed=0)[0].nonzero()[0].tolist()) for step in range(60)}
    assert moved == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
    assert data.shifted(images, 0, 1, seed=0) is images


def test_an_evaluation_counts_by_hand():
    labels = torch.tensor([0, 1, 1, 2])
    probabilities = torch.full((4, 10), 0.01)
    for i, (digit, p) in enumerate([(0, 0.9), (1, 0.8), (7, 0.9), (2, 0.7)]):
        probabilities[i, digit] = p
    result = Evaluation(labels, probabilities)
    assert result.accuracy == 0.75
    assert result.confusion.sum() == 4
    assert (result.confusion[1, 1], result.confusion[1, 7]) == (1, 1)
    assert result.worst(2).tolist() == [2, 3]
    assert result.loss == pytest.approx(-(torch.tensor([0.9, 0.8, 0.01, 0.7]).log().mean().item()))


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_mode_and_the_weights(splits, training):
    model = DigitNet((4, 8)).train(training)
    before = weights(model)
    few = data.Split(splits[1].images[:230], splits[1].labels[:230])
    whole, parts = evaluate(model, few), evaluate(model, few, batch_size=100)
    torch.testing.assert_close(whole.probabilities, parts.probabilities, rtol=1e-4, atol=1e-6)
    assert model.training is training
    assert_same_bits(before, weights(model))


# ── training ──


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(splits, optimizer):
    lr = {"Adadelta": 1.0, "SGD": 0.05, "RMSprop": 0.003}.get(optimizer, 0.01)
    done = train(splits[0], replace(SHORT, images=64 * 40, optimizer=optimizer, lr=lr))
    assert done.history[-1]["loss"] < done.history[0]["loss"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_runs_to_its_end(splits, schedule):
    done = train(splits[0], replace(SHORT, schedule=schedule))
    assert done.finished
    last = done.history[-1]["lr"]
    if schedule == "ConstantLR":
        assert last == pytest.approx(SHORT.lr)
    else:
        assert last <= 0.05 * SHORT.lr, "the rate should fall towards the end"


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(splits):
    first, second = train(splits[0], SHORT), train(splits[0], SHORT)
    assert_same_bits(weights(first.model), weights(second.model))
    other = train(splits[0], replace(SHORT, seed=1))
    assert not torch.equal(first.model.conv1.weight, other.model.conv1.weight)


def test_bf16_trains_and_keeps_float32_weights(splits):
    done = train(splits[0], replace(SHORT, precision="bf16"))
    assert {p.dtype for p in done.model.parameters()} == {torch.float32}
    assert done.history[-1]["loss"] < 2.3


def test_channels_last_changes_the_layout_and_hardly_the_numbers(splits):
    last = train(splits[0], replace(SHORT, images=64 * 2, optimizer="SGD", lr=0.01))
    first = train(splits[0], replace(SHORT, images=64 * 2, optimizer="SGD", lr=0.01, channels_last=False))
    assert last.model.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert first.model.conv2.weight.is_contiguous()
    torch.testing.assert_close(last.model.conv2.weight, first.model.conv2.weight, rtol=1e-3, atol=1e-4)


# ── checkpoints ──


def _stop_after(steps: int):
    """A note() that presses Ctrl-C at the entry of that step."""

    def note(entry: dict[str, float]) -> None:
        if entry["step"] >= steps:
            os.kill(os.getpid(), signal.SIGINT)

    return note


@pytest.mark.skipif(os.name == "nt", reason="os.kill(SIGINT) ends the process on Windows")
@pytest.mark.parametrize("schedule", ["OneCycleLR", "CosineAnnealingLR", "StepLR"])
def test_interrupted_and_resumed_is_equal_to_the_bit(splits, tmp_path, schedule):
    settings = replace(SHORT, images=64 * 50, schedule=schedule, shift=1)
    before = signal.getsignal(signal.SIGINT)
    whole = train(splits[0], settings)
    half = train(splits[0], settings, note=_stop_after(20))
    assert (half.step, half.finished) == (20, False)
    assert signal.getsignal(signal.SIGINT) is before
    half.save(tmp_path / "half.pt")
    torch.manual_seed(123)  # nothing of this process may matter
    rest = train(splits[0], settings, resume=checkpoint.load(tmp_path / "half.pt"))
    assert rest.finished
    assert_same_bits(weights(whole.model), weights(rest.model))
    assert [entry["step"] for entry in rest.history] == [20, 40, 50]


def test_a_checkpoint_holds_states_and_numbers_only(splits, tmp_path):
    train(splits[0], SHORT).save(tmp_path / "deep" / "done.pt")
    content = torch.load(tmp_path / "deep" / "done.pt", weights_only=True)
    assert content.keys() == {"format", "settings", "step", "history", "model", "optimizer", "schedule"}
    net = DigitNet(tuple(content["settings"]["channels"]))
    net.load_state_dict(content["model"])
    assert os.listdir(tmp_path / "deep") == ["done.pt"], "the unfinished file stayed behind"


def test_a_checkpoint_that_cannot_be_finished_leaves_the_old_one(splits, tmp_path, monkeypatch):
    done = train(splits[0], SHORT)
    done.save(tmp_path / "kept.pt")
    whole = (tmp_path / "kept.pt").read_bytes()

    def half(content, file):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        done.save(tmp_path / "kept.pt")
    assert (tmp_path / "kept.pt").read_bytes() == whole
    assert os.listdir(tmp_path) == ["kept.pt"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process")
@needs_mnist
@pytest.mark.slow
def test_ctrl_c_on_the_command_line_and_resume_is_equal_to_the_bit(tmp_path):
    """In a process of its own: Ctrl-C, exit 130, a checkpoint; resumed, the end is that of a run without."""
    command = [sys.executable, "-m", "reference.mnist", "--images", str(64 * 200), "--device", "cpu", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    file = tmp_path / "stopped.pt"
    # `note` is called inside the loop: a mark on stderr tells when there is something to interrupt.
    program = (
        "import sys, reference.mnist.__main__ as m\n"
        "m._Progress.note = lambda self, entry: print('step', entry['step'], file=sys.stderr, flush=True)\n"
        f"sys.exit(m.main({[*command[3:], '--checkpoint', str(file)]!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(60) == INTERRUPTED
    assert f"--resume {file}" in rest
    stopped = checkpoint.load(file)
    assert 0 < stopped["step"] < 200
    common = dict(cwd=ROOT, env=environment, check=True, capture_output=True)
    finished = ["--checkpoint", str(tmp_path / "resumed.pt")]
    subprocess.run([*command[:3], "--resume", str(file), "--device", "cpu", "--quiet", *finished], **common)
    subprocess.run([*command, "--checkpoint", str(tmp_path / "whole.pt")], **common)
    resumed, whole = checkpoint.load(tmp_path / "resumed.pt"), checkpoint.load(tmp_path / "whole.pt")
    assert resumed["step"] == whole["step"] == 200
    assert_same_bits(resumed["model"], whole["model"])


# ── the command line ──


def test_the_result_is_json_and_nothing_else(small, capsys):
    said = run(capsys, "--images", "640", "--seed", "3", "--lr", "0.01", "--optimizer", "AdamW")
    assert said["images"] == 640
    assert 0 < said["accuracy"] <= 1
    assert (said["settings"]["seed"], said["settings"]["lr"], said["settings"]["optimizer"]) == (3, 0.01, "AdamW")
    assert said["history"][-1]["step"] == 10


def test_epochs_are_passes_over_the_images(small, capsys):
    said = run(capsys, "--epochs", "0.016", "--batch-size", "96")
    assert said["images"] == 960


def test_the_bar_shows_loss_accuracy_and_rate(small, capsys):
    assert main(["--images", "1280", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    for piece in ("loss", "accuracy", "images/s"):
        assert piece in captured.err
    assert "test images are right" in captured.out


def test_checkpoint_and_resume_on_the_command_line(small, capsys, tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    run(capsys, "--images", "640", "--checkpoint", str(file))
    content = checkpoint.load(file)
    states = {name: content[name] for name in ("model", "optimizer", "schedule")}
    longer = replace(content["settings"], images=1280)
    checkpoint.save(file, longer, 10, content["history"], states)  # as if a run of 20 steps had been stopped
    # The schedule of the short run has ended; only that the rest is made is looked at here.
    monkeypatch.setitem(SCHEDULES, "OneCycleLR", SCHEDULES["ConstantLR"])
    said = run(capsys, "--resume", str(file))
    assert said["images"] == 1280
    assert checkpoint.load(file)["step"] == 10, "without --checkpoint a finished run writes nothing"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--recipe best", "argument --recipe: invalid choice"),
        ("--epochs 0", "argument --epochs: '0' is not a positive number"),
        ("--epochs nan", "argument --epochs: 'nan' is not a positive number"),
        ("--images 1.5", "argument --images: '1.5' is not a positive whole number"),
        ("--images 10 --epochs 1", "not allowed with argument"),
        ("--images 10", "10 images are less than one batch of 64"),
        ("--batch-size -1", "argument --batch-size: '-1' is not"),
        ("--batch-size 1", "argument --batch-size: 1 cannot be shared by 1 process"),
        ("--batch-size 70000 --epochs 2", "is more than the 60,000 training images"),
        ("--lr fast", "argument --lr: 'fast' is not"),
        ("--schedule Sawtooth", "argument --schedule: invalid choice"),
        ("--optimizer adam", "argument --optimizer: invalid choice"),
        ("--seed -1", "argument --seed: '-1' is not a whole number"),
        ("--precision fp8", "argument --precision: invalid choice"),
        ("--device tpu", "argument --device: invalid choice"),
        ("--threads 0", "argument --threads: '0' is not"),
        ("--resume nowhere.pt", "argument --resume: nowhere.pt does not exist"),
        ("--quick", "unrecognized arguments: --quick"),
    ],
)
def test_a_bad_option_is_named(capsys, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(options.split())
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_an_error_not_the_cpu(capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cuda"])
    assert "torch finds no cuda device here" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_named(capsys, tmp_path, content):
    file = tmp_path / "other.pt"
    if content is None:
        torch.save({"weights": torch.zeros(2)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(SystemExit):
        main(["--resume", str(file)])
    assert f"argument --resume: {file}" in capsys.readouterr().err


def test_resume_takes_no_other_settings_and_no_finished_run(splits, capsys, tmp_path):
    done = train(splits[0], SHORT)
    done.save(tmp_path / "done.pt")
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "done.pt")])
    assert "is finished" in capsys.readouterr().err
    states = {name: part.state_dict() for name, part in done.states.items()}
    checkpoint.save(tmp_path / "half.pt", SHORT, 6, [], states)
    for options in (["--lr", "0.5"], ["--recipe", "quick"], ["--epochs", "3"]):
        with pytest.raises(SystemExit):
            main(["--resume", str(tmp_path / "half.pt"), *options])
        assert "not with --resume" in capsys.readouterr().err


def test_no_data_and_no_network_is_a_sentence(capsys, tmp_path):
    assert main(["--data-root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "MNIST is not in" in error
    assert "pytest --kata-download" in error
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_plots_is_a_bad_option(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        main(["--plots", str(tmp_path)])
    assert "needs matplotlib" in capsys.readouterr().err


def test_pictures_are_pngs_of_a_readable_size(small, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    run(capsys, "--images", "1280", "--plots", str(tmp_path / "pictures"))
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["confusion.png", "curves.png", "filters.png", "worst.png"]
    for name in names:
        with Image.open(tmp_path / "pictures" / name) as image:
            assert min(image.size) > 300
            low, high = image.convert("L").getextrema()
            assert high - low > 150, f"{name} is blank"


def test_each_file_that_is_written_is_named_with_what_one_sees_in_it(small, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--plots", str(tmp_path / "pictures"), "--checkpoint", str(tmp_path / "done.pt")]
    assert main(["--images", "1280", "--device", "cpu", "--quiet", *options]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = {Path(line[6:]): after for line, after in pairwise(lines) if line.startswith("wrote ")}
    assert set(told) == {tmp_path / "done.pt", *(tmp_path / "pictures").iterdir()}
    assert all(after.startswith("  ") and len(after.split()) > 5 for after in told.values())
    assert "red wants ink, blue wants none" in told[tmp_path / "pictures" / "filters.png"]


def test_the_picture_of_the_filters_says_what_its_colours_mean(splits):
    pytest.importorskip("matplotlib")
    from reference.mnist.plots import filters

    figure = filters(train(splits[0], SHORT))
    assert "red: ink here makes the filter's answer larger" in figure.get_supxlabel()
    assert figure.axes[-1].get_ylabel() == "weight of a pixel"


@pytest.mark.parametrize("slices", [1, 2, 4])
def test_the_table_times_one_epoch_of_the_official_example_and_no_batch_more(slices):
    """960 of 938 batches: the slices, rounded up, went on into a second epoch."""
    from reference.mnist.table import OfficialEpoch

    official = OfficialEpoch.__new__(OfficialEpoch)
    official.loader = [(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.long))] * 5
    official.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    official.optimizer = torch.optim.SGD(official.net.parameters(), lr=0.1)
    official.batches, official.seconds, official.done = iter(official.loader), 0.0, 0
    for _ in range(6):
        official.go_on(slices)
    assert official.done == 5


@pytest.mark.slow
def test_a_compiled_net_learns_the_same(splits):
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1))
    except Exception as error:
        pytest.skip(f"torch.compile needs a C++ compiler: {str(error).splitlines()[0]}")
    settings = replace(SHORT, images=64 * 3, optimizer="SGD", lr=0.01)
    plain, compiled = train(splits[0], settings), train(splits[0], replace(settings, compile=True))
    for first, second in zip(plain.model.state_dict().values(), compiled.model.state_dict().values(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


# ── several processes ──


def _torchrun(*options: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "reference.mnist", "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@needs_mnist
@pytest.mark.skipif(os.name == "nt", reason="torchrun needs libuv on Windows")
@pytest.mark.slow
def test_two_processes_are_as_good_as_one(tmp_path):
    ended = _torchrun("--json", "--quiet", "--checkpoint", str(tmp_path / "two.pt"))
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)  # one JSON: the second process is silent
    assert (said["processes"], said["images"]) == (2, 12_800)
    assert said["accuracy"] > 0.98
    content = checkpoint.load(tmp_path / "two.pt")
    assert not any(name.startswith("module.") for name in content["model"]), "the wrapper's names are in the checkpoint"


@needs_mnist
@pytest.mark.skipif(os.name == "nt", reason="torchrun needs libuv on Windows")
@pytest.mark.slow
def test_a_batch_that_two_processes_cannot_share_is_a_bad_option():
    ended = _torchrun("--batch-size", "63")
    assert ended.returncode != 0
    assert "63 cannot be shared by 2 processes" in ended.stderr


# ── the promises ──


@needs_mnist
@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "promise"), [("quick", 0.98), ("strong", 0.99)])
def test_a_recipe_keeps_its_promise(splits, recipe, promise):
    """Three seeds here; `python -m reference.mnist.table` measures twenty."""
    for seed in (0, 7, 13):
        done = train(splits[0], replace(RECIPES[recipe], seed=seed))
        assert evaluate(done.model, splits[1]).accuracy > promise
