"""The tensor X-ray: what it shows, and that nothing breaks it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from dojo.kit import check_tensor, shares_memory
from dojo.screen.xray import MOST_LINES, xray


def lines_of(function, width: int = 100) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        function()
    return xray(caught.value, lambda file: file == __file__, width)


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.split()[0] == name)


def test_who_shares_memory_is_told_by_letters():
    def failing():
        a = np.arange(6.0).reshape(2, 3)
        x = torch.from_numpy(a)
        view = x.t()
        copy = x.clone()
        layer = torch.nn.Linear(2, 1)
        assert copy.sum() == view.sum() + layer.weight.numel(), "differ"

    lines = lines_of(failing)
    head = lines[0].split()
    memory = {name: row(lines, name).split()[head.index("mem") + 1] for name in ("x", "view", "copy")}
    assert memory["x"] == memory["view"] != memory["copy"]
    assert row(lines, "a").split()[4] == "numpy"
    assert f" {memory['x']} " in f"{row(lines, 'a')} "
    assert "(1,3)" in row(lines, "view")
    assert "Parameter" in row(lines, "layer.weight")


def test_the_difference_that_matters_is_pointed_at():
    def dtype():
        out = torch.ones(2, dtype=torch.float64)
        check_tensor(out, torch.ones(2), "mistake")

    lines = lines_of(dtype)
    assert row(lines, "out").endswith("<- dtype")
    assert row(lines, "(expected)")

    def memory():
        x = torch.arange(6.0)
        out = x.clone()
        assert shares_memory(out, x), "copied"

    assert row(lines_of(memory), "out").endswith("<- not the memory of x")

    def shared():
        x = torch.arange(6.0)
        out = x[:]
        assert not shares_memory(out, x), "shares"

    assert row(lines_of(shared), "out").endswith("<- the memory of x")


def test_graph_version_and_small_values_are_shown():
    def failing():
        w = torch.ones(2, requires_grad=True)
        y = w * 2
        z = torch.zeros(2)
        z.add_(1)
        assert y.sum() == z.sum() * 3 + w.sum(), "no"

    lines = lines_of(failing, 120)
    assert "leaf, requires grad" in row(lines, "w")
    assert "MulBackward0" in row(lines, "y")
    assert "v1" in row(lines, "z")
    assert "[1, 1]" in row(lines, "z")


class Nasty(torch.Tensor):
    def __repr__(self):
        raise RuntimeError("no repr")

    @classmethod
    def __torch_function__(cls, *args, **kwargs):
        raise RuntimeError("no torch function")


class Liar:
    @property
    def __class__(self):
        raise RuntimeError("no class")


def test_nothing_breaks_it():
    def failing():
        meta = torch.empty(3, device="meta")
        sparse = torch.eye(2).to_sparse()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # beta, says torch
            csr = torch.eye(2).to_sparse_csr()
        empty = torch.empty(0, 3)
        huge = torch.empty(10**6, 10**6, device="meta")
        with torch.inference_mode():
            inference = torch.ones(2)
        freed = torch.ones(3)
        freed.untyped_storage().resize_(0)
        nasty = torch.ones(2).as_subclass(Nasty)
        raise AssertionError("no")
        return meta, sparse, csr, empty, huge, inference, nasty

    lines = lines_of(failing)
    assert "FREED" in row(lines, "freed")
    for name in ("meta", "sparse", "csr", "empty", "huge", "inference", "nasty"):
        assert row(lines, name)

    def strange():
        liar = Liar()
        fake_things = [torch.nn.parameter.UninitializedParameter(), None, liar]
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
        raise AssertionError("no")
        return fake_things, nested

    assert row(lines_of(strange), "nested")


def test_fake_and_transformed_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    def fake():
        with FakeTensorMode():
            x = torch.ones(2, 3)
            raise AssertionError("no")
        return x

    assert row(lines_of(fake), "x")

    def inner(x):
        y = x * 2
        raise AssertionError("no")
        return y

    def mapped():
        torch.func.vmap(inner)(torch.ones(2, 3))

    assert row(lines_of(mapped), "y")


def test_a_lazy_copy_stays_lazy():
    x = torch.ones(4)
    lazy = torch._lazy_clone(x) if hasattr(torch, "_lazy_clone") else x

    def failing():
        clone = lazy
        raise AssertionError("no")
        return clone

    lines_of(failing)
    is_cow = getattr(torch._C, "_is_cow_tensor", None)
    if is_cow is not None and lazy is not x:
        assert is_cow(lazy)


def test_it_has_at_most_ten_lines_and_keeps_to_the_width():
    def failing():
        tensors = {f"name_{i}": torch.ones(2, 3) for i in range(4)}
        a, b, c, d, e, f, g, h, i, j = (torch.ones(2, 3, dtype=torch.float64) for _ in range(10))
        raise AssertionError("no")
        return tensors, a, b, c, d, e, f, g, h, i, j

    for width in (40, 50, 80, 200):
        lines = lines_of(failing, width)
        assert len(lines) <= MOST_LINES
        assert max(map(len, lines)) < width
    assert "more tensors" in lines[-1]


def test_only_what_the_failure_is_about_and_what_shares_its_memory():
    def failing():
        x = torch.arange(6.0)
        out, helper, view = x + 1, torch.ones(3), x[2:]
        if helper.sum() == 3:
            assert out[0] == 0, "a write must show in x"
        return view

    lines = lines_of(failing)
    assert [line.split()[0] for line in lines[1:]] == ["x", "out", "view"]
    head = lines[0].split()
    assert row(lines, "view").split()[head.index("offset") + 1] == "2"


def test_two_tensors_of_one_name_say_whose_they_are():
    def shifted(x):
        x = x + 1
        return x @ x.reshape(1, 1, 1)

    def test_like():
        x = torch.ones(2, 3)
        try:
            shifted(x)
        except RuntimeError as error:
            raise AssertionError("shifted(x) raised") from error

    lines = lines_of(test_like)
    assert any(line.startswith("x in shifted()  (2,3)") for line in lines)
    assert any(line.startswith("x (test)        (2,3)") for line in lines)


def test_the_first_chapter_shows_only_what_it_has_told_of(project):
    project.body("alpha", "return x")
    screen = "\n".join(project.run().outlines)
    assert "shape  dtype    values" in screen
    assert "mem" not in screen


def test_a_matrix_is_shown_whole_or_not_at_all():
    def failing():
        x = torch.full((2, 3), 0.123456789)
        y = torch.ones(2, 3)
        assert x.sum() == y.sum(), "no"

    lines = lines_of(failing, 120)
    assert "0.12" not in row(lines, "x")
    assert row(lines, "y").endswith("[[1, 1, 1], [1, 1, 1]]")


def test_no_tensors_no_lines():
    def failing():
        raise AssertionError("no")

    assert lines_of(failing) == []


def test_the_frames_of_the_learners_own_code_are_seen_through_a_cause():
    def learner():
        hidden = torch.ones(2, 3)
        return hidden @ hidden

    def failing():
        try:
            learner()
        except RuntimeError as error:
            raise AssertionError("explained") from error

    assert row(lines_of(failing), "hidden")


def test_the_verdict_shows_it_and_an_option_turns_it_off(project):
    project.solve("alpha", "beta")
    project.body("gamma", "return x")
    screen = "\n".join(project.run().outlines)
    assert "mem" in screen
    assert screen.count("tensor X-ray") == 0  # shown once, in the verdict
    assert "<- values" in screen
    assert "mem" not in "\n".join(project.run("--kata-no-xray").outlines)
    project.run("katas", "--junitxml=out.xml")
    assert "tensor X-ray" in (project.path / "out.xml").read_text()
