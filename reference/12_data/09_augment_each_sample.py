"""A random transform draws once per call: reference.

Hint: How many random numbers does a batch of N images need, and what shape must they have to go with (N, C, H, W)?
Hint: `torch.rand`, `Tensor.flip(-1)`, `torch.where`; or the transform on each image, and `torch.stack`.
Hint: A condition of shape (N, 1, 1, 1) chooses, image by image, between the mirrored batch and the given one.

Why: a transform cannot know whether a leading dimension counts images, frames of one film (which must all be flipped
alike), or views of one scene, so it treats the whole input as one thing. `torch.where` makes a new tensor and works on
any device without a loop; boolean indexing on the left side, as in `x[m] = ...`, would write into the caller's batch.
"""

import functools
import random

import numpy as np
import torch

from dojo import Mistake


def random_flip_batch(x: torch.Tensor) -> torch.Tensor:
    chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(chosen, x.flip(-1), x)


def picture(solution):
    from matplotlib.patches import Rectangle

    from dojo.kit import pictures

    letters = {  # none is its own mirror image
        "F": (".###.", ".#...", ".##..", ".#...", ".#..."),
        "J": ("..##.", "...#.", "...#.", ".#.#.", "..#.."),
        "L": (".#...", ".#...", ".#...", ".#...", ".###."),
        "P": (".##..", ".#.#.", ".##..", ".#...", ".#..."),
        "R": (".##..", ".#.#.", ".##..", ".#.#.", ".#..#"),
        "S": ("..##.", ".#...", "..#..", "...#.", ".##.."),
    }
    x = torch.tensor([[[[float(p == "#") for p in line] for line in rows]] for rows in letters.values()])

    def one_draw(x):
        return x.flip(-1) if torch.rand(()) < 0.5 else x

    def calls(flip):
        """Six calls, and which images each has mirrored."""
        torch.manual_seed(0)
        batches = [flip(x.clone()) for _ in range(6)]
        return batches, [[torch.allclose(a, b) for a, b in zip(batch, x.flip(-1))] for batch in batches]

    each, one = calls(solution.random_flip_batch), calls(one_draw)
    figure = pictures.figure(6, 3.6)
    places = figure.subplot_mosaic([["given", "given"], ["each", "one"]], height_ratios=[1, 5])

    def show(place, batches, mirrored, names, title):
        """A batch a row, with a frame around what is mirrored."""
        rows = [torch.cat(list(torch.nn.functional.pad(batch[:, 0], (1, 1, 1, 1))), dim=-1) for batch in batches]
        place.imshow(torch.cat(rows).numpy(), cmap="gray_r")
        for row, column in torch.tensor(mirrored).nonzero().tolist():
            corner = (7 * column - 0.2, 7 * row - 0.2)
            place.add_patch(Rectangle(corner, 6.4, 6.4, fill=False, edgecolor=pictures.ORANGE, linewidth=1.5))
        place.set(xticks=[], yticks=[7 * row + 3 for row in range(len(batches))], yticklabels=names)
        place.tick_params(length=0)
        place.spines[:].set_visible(False)
        place.set_title(title, fontsize=10)

    show(places["given"], [x], [[False] * len(x)], ["x"], "the batch")
    for name, (batches, mirrored), title in [
        ("each", each, "random_flip_batch(x)"),
        ("one", one, "one draw for the whole batch"),
    ]:
        names = [f"call {i}: {sum(row)} of {len(x)}" for i, row in enumerate(mirrored, 1)]
        show(places[name], batches, mirrored, names, title)
        places[name].set_xlabel("framed: mirrored")
    said = {name: ", ".join(str(sum(row)) for row in rows) for name, rows in [("each", each[1]), ("one", one[1])]}
    return pictures.Picture(
        figure,
        f"In six calls random_flip_batch mirrors {said['each']} of {len(x)} images: {len(set(map(tuple, each[1])))} "
        f"different batches. One draw for the whole batch mirrors {said['one']}: all or none.",
        {"each": each[1], "one": one[1]},
    )


def _choose(draw, flip=lambda x: x.flip(-1), after=lambda y: y):
    """where(draw(x), flip(x), x): the mistakes differ in one of them."""

    def wrong(x):
        return after(torch.where(draw(x), flip(x), x))

    return wrong


def _right_draw(x):
    return torch.rand(len(x), 1, 1, 1) < 0.5


def _one_draw(x):
    return x.flip(-1) if torch.rand(()) < 0.5 else x


def _in_place(x):
    m = torch.rand(len(x)) < 0.5
    x[m] = x[m].flip(-1)
    return x


def _view_in_place(x):
    out = x.view_as(x)
    for i in range(len(x)):
        if torch.rand(1) < 0.5:
            out[i] = out[i].flip(-1)
    return out


def _in_place_then_copied(x):
    return _in_place(x).clone()


def _half_of_them(x):
    out = x.clone()
    chosen = torch.randperm(len(x))[: len(x) // 2]
    out[chosen] = x[chosen].flip(-1)
    return out


def _every_second(x):
    out = x.clone()
    start = int(torch.randint(2, ()))
    out[start::2] = x[start::2].flip(-1)
    return out


def _same_for_both_halves(x):
    """Drawn for half of the images, and used twice."""
    draws = torch.rand(len(x) // 2 + len(x) % 2) < 0.5
    return torch.where(draws.repeat(2)[: len(x)].view(-1, 1, 1, 1), x.flip(-1), x)


def _blocks(x):
    """One draw for each four images."""
    draws = (torch.rand(len(x) // 4 + 1) < 0.5).repeat_interleave(4)[: len(x)]
    return torch.where(draws.view(-1, 1, 1, 1), x.flip(-1), x)


def _flipped_or_doubled(x):
    """The flipped images come after the others."""
    m = torch.rand(len(x)) < 0.5
    return torch.cat([x[~m], x[m].flip(-1)])


def _appended(x):
    return torch.cat([x, x[torch.rand(len(x)) < 0.5].flip(-1)])


def _only_the_flipped(x):
    return x[torch.rand(len(x)) < 0.5].flip(-1)


def _seeds_itself(x):
    torch.manual_seed(0)
    return random_flip_batch(x)


@functools.cache
def _once(n):
    return torch.rand(n, 1, 1, 1) < 0.5


def _own_generator(x):
    generator = torch.Generator()
    generator.seed()
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)


def _returns_nothing(x):
    out = x.clone()
    m = torch.rand(len(x)) < 0.5
    out[m] = out[m].flip(-1)


def _first_image_stays(x):
    return torch.cat([x[:1], random_flip_batch(x[1:])])


def _shifted(x):
    return _choose(_right_draw, lambda x: x.roll(x.shape[-1] // 2, -1))(x)


def _swapped_halves(x):
    """Right for two columns only."""
    return _choose(_right_draw, lambda x: torch.cat(x.chunk(2, -1)[::-1], -1))(x)


_EACH = "test_each_image_of_a_batch_has_a_draw_of_its_own"
_HALF = "test_half_of_the_images_are_flipped_in_the_long_run"
_MIRROR = "test_a_flip_mirrors_the_columns_of_every_channel_and_row"
_GIVEN = "test_the_batch_that_was_given_stays_as_it_is"
_SEED = "test_manual_seed_repeats_the_flips"

MISTAKES = [
    Mistake("the whole batch hangs on one draw", caught_by=_EACH, random_flip_batch=_one_draw),
    Mistake("every image is, expected about half", caught_by=_EACH, random_flip_batch=lambda x: x.flip(-1)),
    Mistake("no image ever is, expected about half", caught_by=_EACH, random_flip_batch=lambda x: x),
    Mistake(
        "no image ever is, expected about half",
        caught_by=_EACH,
        random_flip_batch=_choose(lambda x: torch.randint(0, 1, (len(x), 1, 1, 1)).bool()),
    ),
    Mistake("and never (", caught_by=_EACH, random_flip_batch=_same_for_both_halves),
    Mistake("and never (", caught_by=_EACH, random_flip_batch=_every_second),
    Mistake("of 50 batches with a single image, 0 were flipped", caught_by=_EACH, random_flip_batch=_half_of_them),
    Mistake("of 50 batches with a single image, 0 were flipped", caught_by=_EACH, random_flip_batch=_first_image_stays),
    Mistake("the draws are linked", caught_by=_HALF, random_flip_batch=_blocks),
    Mistake(
        "at even odds it is about 1000",
        caught_by=_HALF,
        random_flip_batch=_choose(lambda x: torch.randn(len(x), 1, 1, 1) < 0.5),
    ),
    Mistake(
        "at even odds it is about 1000",
        caught_by=_HALF,
        random_flip_batch=_choose(lambda x: torch.randint(3, (len(x), 1, 1, 1)) == 0),
    ),
    Mistake(
        "it stands on its head",
        caught_by=_MIRROR,
        random_flip_batch=_choose(_right_draw, lambda x: x.flip(-2)),
    ),
    Mistake(
        "it is turned by half a circle",
        caught_by=_MIRROR,
        random_flip_batch=_choose(_right_draw, lambda x: x.rot90(2, (-2, -1))),
    ),
    Mistake(
        "its channels are in reversed order", caught_by=_MIRROR, random_flip_batch=_choose(_right_draw, torch.fliplr)
    ),
    Mistake(
        "some of its channels are mirrored",
        caught_by=_MIRROR,
        random_flip_batch=_choose(lambda x: torch.rand(*x.shape[:2], 1, 1) < 0.5),
    ),
    Mistake(
        "some of its rows are mirrored",
        caught_by=_MIRROR,
        random_flip_batch=_choose(lambda x: torch.rand(len(x), 1, x.shape[2], 1) < 0.5),
    ),
    Mistake(
        "neither itself nor its left-right mirror",
        caught_by=_MIRROR,
        random_flip_batch=_choose(lambda x: torch.rand(x.shape) < 0.5),
    ),
    Mistake("neither itself nor its left-right mirror", caught_by=_MIRROR, random_flip_batch=_shifted),
    Mistake("neither itself nor its left-right mirror", caught_by=_MIRROR, random_flip_batch=_swapped_halves),
    Mistake("came back as torch.float32", caught_by=_MIRROR, random_flip_batch=lambda x: random_flip_batch(x.float())),
    Mistake("at another place", caught_by=_MIRROR, random_flip_batch=_flipped_or_doubled),
    Mistake("came back as (", caught_by=_MIRROR, random_flip_batch=_appended),
    Mistake("came back as (", caught_by=_MIRROR, random_flip_batch=_only_the_flipped),
    Mistake("at another place", caught_by=_MIRROR, random_flip_batch=_choose(_right_draw, lambda x: x.flip(0))),
    Mistake("returns a tensor, got NoneType", caught_by=_MIRROR, random_flip_batch=_returns_nothing),
    Mistake("the batch belongs to the caller", caught_by=_GIVEN, random_flip_batch=_in_place),
    Mistake("the batch belongs to the caller", caught_by=_GIVEN, random_flip_batch=_view_in_place),
    Mistake("the batch belongs to the caller", caught_by=_GIVEN, random_flip_batch=_in_place_then_copied),
    Mistake(
        "that torch's seed does not reach",
        caught_by=_SEED,
        random_flip_batch=lambda x: torch.stack([i.flip(-1) if random.random() < 0.5 else i for i in x]),
    ),
    Mistake(
        "that torch's seed does not reach",
        caught_by=_SEED,
        random_flip_batch=_choose(lambda x: torch.from_numpy(np.random.rand(len(x), 1, 1, 1)) < 0.5),
    ),
    Mistake("that torch's seed does not reach", caught_by=_SEED, random_flip_batch=_own_generator),
    Mistake("flipped the very same of 64 images", caught_by=_SEED, random_flip_batch=_seeds_itself),
    Mistake("flipped the very same of 64 images", caught_by=_SEED, random_flip_batch=_choose(lambda x: _once(len(x)))),
]
