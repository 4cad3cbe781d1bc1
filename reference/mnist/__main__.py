"""The command line: `python -m reference.mnist`, or `torchrun --nproc-per-node N -m reference.mnist`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported. One thread: a second one helps a net this small little, and makes the training many times
# slower as soon as another program uses its core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from dojo.kit.mnist import DataError
from reference.mnist import checkpoint, data, distributed
from reference.mnist.evaluate import Evaluation, evaluate
from reference.mnist.model import DigitNet
from reference.mnist.settings import OPTIMIZERS, PRECISIONS, RECIPES, SCHEDULES, Settings
from reference.mnist.train import Run, train

if TYPE_CHECKING:
    from reference.mnist.page.server import PageServer

INTERRUPTED = 130  # what a shell expects after Ctrl-C
_EPOCH = 60_000
_OF_A_TRAINING = (
    *("recipe", "epochs", "images", "batch_size", "lr", "schedule", "optimizer", "seed", "precision", "compile"),
    *("channels_last", "checkpoint", "resume", "plots", "json"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_page(parser, options)
    resume = _checkpoint_to_resume(parser, options)
    settings = _settings(parser, options, resume)
    device = _device(parser, options.device, settings)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.plots is not None:
        _check_plots(parser, options.plots)
    asked = _checkpoint_to_ask(parser, options)
    try:
        train_split, test_split = (data.load(options.data_root, train=part) for part in (True, False))
        server = _page_server(options)
    except (DataError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    with server or contextlib.nullcontext():
        if asked is not None or options.kata_solutions is not None:
            return _page(parser, options, server, asked, train_split, test_split)
        with distributed.joined(device) as team:
            with _Progress(settings, show=team.leads and not options.quiet) as bar:
                run = train(train_split.to(device), settings, team=team, resume=resume, note=bar.note)
            if not team.leads:
                return 0 if run.finished else INTERRUPTED
            save_to = options.checkpoint or options.resume or Path("mnist-interrupted.pt")
            if options.checkpoint is not None or not run.finished:
                run.save(save_to)
            if options.checkpoint is not None and run.finished:
                print(f"wrote {save_to}\n  the trained net, its optimizer and its schedule", file=sys.stderr)
            if not run.finished:
                print(
                    f"Interrupted after {run.step} of {settings.steps} steps. This goes on from there, and ends as if "
                    f"nothing had happened:\n  python -m reference.mnist --resume {save_to}",
                    file=sys.stderr,
                )
                return INTERRUPTED
            result = evaluate(run.model, test_split.to(device))
        _report(options, run, result, device, team.size)
        if options.plots is not None:
            from reference.mnist.plots import SHOWS, draw

            for path in draw(options.plots, run, test_split, result):
                print(f"wrote {path}\n  {SHOWS[path.stem]}", file=sys.stderr)
        if options.draw is not None or options.export is not None:
            return _page(parser, options, server, run.model, train_split, test_split)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference.mnist",
        description="Train a small convolutional net on MNIST, and measure it on the 10,000 test images.",
        epilog="Several processes: torchrun --nproc-per-node N -m reference.mnist [the same options]",
    )
    add = parser.add_argument
    add(
        "--recipe", choices=RECIPES, help="quick: past 98 %% (default); strong: past 99 %%. The options below change it"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=_positive(float), metavar="N", help="passes over the 60,000; 0.5 is half a pass"
    )
    length.add_argument("--images", type=_positive(int), metavar="N", help="how many images to train on in all")
    add("--batch-size", type=_positive(int), metavar="N", help="of all processes together")
    add("--lr", type=_positive(float), metavar="RATE", help="the highest learning rate of the schedule")
    add("--schedule", choices=SCHEDULES, help="from torch.optim.lr_scheduler")
    add("--optimizer", choices=OPTIMIZERS, help="from torch.optim")
    add("--seed", type=_seed, metavar="N")
    add("--precision", choices=PRECISIONS, help="bf16: autocast; the weights stay float32")
    add("--compile", action=argparse.BooleanOptionalAction, help="torch.compile the net")
    add("--channels-last", action=argparse.BooleanOptionalAction, help="channels last in memory (on by default)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    add("--threads", type=_positive(int), metavar="N", help="threads on the CPU (default: $OMP_NUM_THREADS, or 1)")
    add("--data-root", type=Path, metavar="DIR", help="the folder that holds MNIST/raw (default: as for the katas)")
    add("--checkpoint", type=Path, metavar="FILE", help="where to save at the end, and on Ctrl-C")
    add("--resume", type=Path, metavar="FILE", help="go on from a checkpoint, with its settings")
    add("--plots", type=Path, metavar="DIR", help="write pictures there (needs matplotlib)")
    page = parser.add_argument_group("a page to draw a digit on, which the net reads")
    page.add_argument(
        "--draw",
        nargs="?",
        const=True,
        type=Path,
        metavar="CHECKPOINT",
        help="open the page in the browser; the net of the checkpoint is asked, without one a net that is trained now",
    )
    page.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="write the page as one HTML file, the net in it, and open none; with --draw CHECKPOINT: of that net",
    )
    page.add_argument(
        "--kata-solutions",
        type=Path,
        metavar="DIR",
        help="with --draw: ask the net of your own mnist_98 (and your like_mnist), from DIR; katas, for example",
    )
    page.add_argument("--port", type=_port, default=0, metavar="N", help="the page's port (default: any free one)")
    page.add_argument("--no-browser", dest="browser", action="store_false", help="only say where the page is")
    add("--json", action="store_true", help="print the result as JSON, and nothing else on stdout")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {'whole ' if kind is int else ''}number")
        return value

    return number


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a whole number up to 65535")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2^40")
    return int(text)


def _checkpoint_to_resume(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, Any] | None:
    if options.resume is None:
        return None
    try:
        content = checkpoint.load(options.resume)
    except checkpoint.CheckpointError as error:
        parser.error(f"argument --resume: {error}")
    if content["step"] >= content["settings"].steps:
        parser.error(f"argument --resume: the run in {options.resume} is finished")
    return content


def _check_page(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What the page's options do not go with, or would fail at in the end, is said at the start."""
    if options.kata_solutions is not None:
        if options.draw is not True:
            parser.error("argument --kata-solutions: goes with --draw, and without a checkpoint")
        if options.export is not None:
            parser.error("argument --export: writes nets of this trainer only, not with --kata-solutions")
        _refuse_a_training(parser, options, "not with --kata-solutions, whose own train() trains its net")
    if isinstance(options.draw, Path):
        _refuse_a_training(parser, options, "not with --draw CHECKPOINT, whose net is asked as it is")
    if options.export is not None:
        from reference.mnist.page.command import check_target

        try:
            check_target(options.export)
        except OSError as error:
            parser.error(f"argument --export: {error}")


def _refuse_a_training(parser: argparse.ArgumentParser, options: argparse.Namespace, why: str) -> None:
    """Nothing is trained by this trainer: an option that says how would do nothing."""
    for name in _OF_A_TRAINING:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"argument --{name.replace('_', '-')}: {why}")
    if options.device not in ("auto", "cpu"):
        parser.error(f"argument --device: {why}, on the CPU")
    if distributed.team_size() > 1:
        parser.error(f"several processes: {why}")


def _checkpoint_to_ask(parser: argparse.ArgumentParser, options: argparse.Namespace) -> DigitNet | None:
    """The net that `--draw CHECKPOINT` names; None where it names none."""
    if not isinstance(options.draw, Path):
        return None
    from reference.mnist.page.command import net_of_checkpoint

    try:
        return net_of_checkpoint(checkpoint.load(options.draw))
    except checkpoint.CheckpointError as error:
        parser.error(f"argument --draw: {error}")


def _page_server(options: argparse.Namespace) -> PageServer | None:
    """The server of `--draw`, which has its port from now on; None where nothing is served. OSError without a port."""
    if options.draw is None or options.export is not None or not distributed.leads():
        return None
    from reference.mnist.page.server import PageServer

    return PageServer(options.port)


def _page(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    server: PageServer | None,
    net: DigitNet | None,
    train_split: data.Split,
    test_split: data.Split,
) -> int:
    """Write the page, or serve it; the net is that one, or the learner's own. All on the CPU, as are the splits."""
    from reference.mnist.page import command
    from reference.mnist.page.reader import Reader

    try:
        if net is None:
            reader, whose = command.learners_reader(options.kata_solutions, train_split, test_split)
        else:
            reader, whose = Reader(net.cpu()), command.praise(net, test_split)
        if server is not None:
            command.serve(server, reader, whose, train_split, browser=options.browser)
        elif net is not None:
            command.write(options.export, net, whose, train_split)
    except (command.NoNet, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: there is no page.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace, resume: dict[str, Any] | None) -> Settings:
    """The recipe with what the options change; or a checkpoint's settings, which nothing may change."""
    changed: dict[str, Any] = {f.name: getattr(options, f.name, None) for f in fields(Settings)}
    changed = {name: value for name, value in changed.items() if value is not None}
    if options.epochs is not None:
        changed["images"] = round(options.epochs * _EPOCH)
    if resume is not None:
        kept: Settings = resume["settings"]
        other = [name for name, value in changed.items() if value != getattr(kept, name)]
        if options.recipe is not None:
            other.append("recipe")
        if other:
            option = "--" + other[0].replace("_", "-")
            parser.error(f"argument {option}: not with --resume, which goes on with the settings of its checkpoint")
        settings = kept
    else:
        settings = replace(RECIPES[options.recipe or "quick"], **changed)
    if settings.images < settings.batch_size:
        parser.error(f"{settings.images} images are less than one batch of {settings.batch_size}")
    if settings.batch_size > _EPOCH:
        parser.error(f"argument --batch-size: {settings.batch_size} is more than the {_EPOCH:,} training images")
    share, rest = divmod(settings.batch_size, distributed.team_size())
    if rest or share < 2:
        parser.error(
            f"argument --batch-size: {settings.batch_size} cannot be shared by {distributed.team_size()} processes: "
            "all need as many images, and two at least"
        )
    return settings


def _device(parser: argparse.ArgumentParser, name: str, settings: Settings) -> torch.device:
    cuda = torch.cuda.is_available() and torch.cuda.device_count() > 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        parser.error(f"argument --device: torch finds no {name} device here")
    if name == "mps" and distributed.team_size() > 1:
        parser.error("argument --device: several processes need cpu or cuda")
    if name == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            parser.error(
                f"argument --device: process {local} has no CUDA device; there are {torch.cuda.device_count()}"
            )
        if settings.precision == "bf16" and not torch.cuda.is_bf16_supported():
            parser.error("argument --precision: this CUDA device has no bf16")
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    return torch.device(name)


def _check_plots(parser: argparse.ArgumentParser, folder: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        parser.error("argument --plots: needs matplotlib: pip install matplotlib")
    if folder.exists() and not folder.is_dir():
        parser.error(f"argument --plots: {folder} is a file")


class _Progress:
    """A bar on stderr with loss, accuracy and rate; stdout stays free for the result."""

    def __init__(self, settings: Settings, *, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.settings = settings
        columns = (
            "loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}  {task.fields[rate]:,.0f} images/s"
        )
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %  " + columns),
            console=Console(stderr=True),
            disable=not show,
            auto_refresh=False,  # a thread that draws would share the one core with the training
        )
        start: dict[str, Any] = {"loss": float("nan"), "accuracy": 0.0, "rate": 0.0}
        self.task = self.bar.add_task("training", total=settings.steps, **start)
        self.first: tuple[float, float] | None = None

    def note(self, entry: dict[str, float]) -> None:
        now = self.bar.get_time()
        self.first = self.first or (now, entry["step"])
        images = (entry["step"] - self.first[1]) * self.settings.batch_size
        rate = images / max(now - self.first[0], 1e-9)
        shown: dict[str, Any] = {"loss": entry["loss"], "accuracy": entry["accuracy"], "rate": rate}
        self.bar.update(self.task, completed=entry["step"], refresh=True, **shown)

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def _report(options: argparse.Namespace, run: Run, result: Evaluation, device: torch.device, processes: int) -> None:
    settings = run.settings
    trained = settings.steps * settings.batch_size
    if options.json:
        said = {
            "accuracy": result.accuracy,
            "loss": result.loss,
            "train_seconds": run.seconds,
            "images": trained,
            "device": str(device),
            "processes": processes,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "settings": asdict(settings),
            "history": run.history,
        }
        print(json.dumps(said))
        return
    print(
        f"{result.accuracy:.2%} of the 10,000 test images are right, after {trained:,} training images "
        f"in {run.seconds:.2f} s on {device} (seed {settings.seed})"
    )


if __name__ == "__main__":
    sys.exit(main())
