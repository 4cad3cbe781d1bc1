"""One device per operation, and the one exception

"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!" Sooner or later
everyone reads it. PyTorch never moves an operand for you: that copy is slow, and you should see it in the code. So the
tensors of one operation must be on one device, and you say which one moves, with `.to`.

Arithmetic has one exception. A tensor without dimensions (`x.dim()` is 0), on the *CPU*, stands for a plain number:
`x * torch.tensor(2.0)` works wherever `x` is, and the result is where `x` is. A vector of one element is a vector. A
0-dim tensor on the GPU is no plain number: beside a CPU vector it is an error, because reading it would have to wait
for the GPU. Only where all tensors are such numbers is the CPU itself their device. (Beside arithmetic, some
operations are made for two devices: `a.copy_(b)`, and `x[ids]` with ids on the CPU. `F.embedding` is not.)

`common_device` puts this rule into words: which device would `a + b` run on? Only devices count there, not shapes. In
the other two, the result must be computed where the first tensor is: the big one stays, the small one moves.

You need no GPU for this: `meta` stands in for it. By itself `meta` is careless (`cpu @ meta` returns garbage without
an error), so the tests run your code under a mode that raises CUDA's error where CUDA would.

About 30 minutes. Before it: one_per_row, which_device, move_a_batch.

https://docs.pytorch.org/docs/stable/notes/cuda.html
"""

import contextlib
import re

import torch

from dojo import under_test
from dojo.kit import OneDevicePerOp, check_tensor, explain, raises, unchanged


def common_device(*tensors: torch.Tensor) -> torch.device:
    """The device on which these tensors (one or more, of any shapes) can meet in one arithmetic operation.

    0-dim CPU tensors go along with any device; if there are no others, it is the CPU. RuntimeError if two devices are
    left, `cuda:0` and `cuda:1` for example.
    """
    raise NotImplementedError("return the one device, or raise RuntimeError")


def matmul_on(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """`x @ w` for x (n, k) and w (k, m), as (n, m) on the device of `x`. `w` may be elsewhere, and stays there.

    Both are left as they are, and gradients reach both, wherever they are.
    """
    raise NotImplementedError("multiply on the device of x")


def lookup(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The rows of `table` (n, d) that `ids` (any shape, int64) name, as ids.shape + (d,), on the device of `table`.

    `ids` may be elsewhere: on the CPU while the table is on a GPU, or the other way round. Both are left as they are.
    """
    raise NotImplementedError("look the rows up on the device of the table")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _OnFirstGPU(torch.Tensor):
    """A tensor that says it is on cuda:0, and meets none of another GPU in an operation."""

    device = torch.device("cuda:0")

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if len({kind.device for kind in types if issubclass(kind, _OnFirstGPU)}) > 1:
            raise RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cuda:1!")
        return super().__torch_function__(func, types, args, kwargs)


class _OnSecondGPU(_OnFirstGPU):
    """A tensor that says it is on cuda:1."""

    device = torch.device("cuda:1")


def _check_device(*tensors, want, says):
    with explain(f"common_device raised, and these tensors can meet: {says}"):
        got = common_device(*tensors)
    assert isinstance(got, torch.device), f"common_device returns a torch.device, it returned {got!r}; {says}"
    assert got == torch.device(want), f"{says}: expected {want}, got {got}"


def _check_on_second_device(function, name, stays, other, want, says):
    """Call the function as on a GPU machine, and say in the lesson's words what went wrong; returns the result."""
    signs = {
        "out of meta": "something left the device of the first tensor: the other one must come, the result stay there",
        "same device|not on the expected device": "the two tensors met on two devices: .to returns a moved tensor, the "
        "one you have stays",
    }
    raised = f"{name} raised where its two tensors are on different devices"
    kept = unchanged(f"{name} must leave its tensors as they are", first=stays, second=other)
    with OneDevicePerOp(), explain(raised, signs), kept:
        try:
            out = function(stays, other)
        except RuntimeError as error:  # NotImplementedError is one
            if function is lookup and "item() cannot be called on meta" in str(error):
                return None  # it reads the ids that it moved one by one: slow, but only meta has nothing to read
            raise
    check_tensor(out, want.to("meta"), says)
    return out


def _check_that_the_other_comes(function, name, stays, other):
    """The first tensor on the CPU, the other one elsewhere: to copy or to read it is right, and only meta refuses."""
    what = f"{name}, its first tensor on the CPU and the second elsewhere"
    with OneDevicePerOp(), explain(f"{what}: raised", {"same device": f"{what}: the two tensors met on two devices"}):
        try:
            out = function(stays, other.to("meta"))
        except RuntimeError as error:
            if re.search("out of meta|cannot be called on meta", str(error)):
                return
            raise
    device = getattr(out, "device", None)
    assert device == stays.device, f"{what}: the result should be on the CPU, it is on {device}"


def test_tensors_on_one_device_have_it_in_common():
    says = "they are all on one device, and only devices count"
    x = torch.ones(2, 3)
    _check_device(x, want="cpu", says=says)
    _check_device(x, torch.ones(4), torch.ones(1), want="cpu", says=says)
    _check_device(x.to("meta"), torch.ones(4, device="meta"), want="meta", says=says)


def test_tensors_on_two_devices_have_none():
    x, y = torch.ones(2, 3), torch.ones(2, 3, device="meta")
    for tensors in [(x, y), (y, x), (x, x, y), (y, x, y)]:
        with raises(RuntimeError, "two of these tensors are on different devices"):
            common_device(*tensors)
    gpu_0, gpu_1 = torch.ones(2).as_subclass(_OnFirstGPU), torch.ones(2).as_subclass(_OnSecondGPU)
    says = "cuda:0 and cuda:1 are two devices: keep the index"
    _check_device(gpu_1, gpu_1, want="cuda:1", says=says)
    with raises(RuntimeError, says):
        common_device(gpu_0, gpu_1)


def test_a_0_dim_cpu_tensor_goes_along_with_any_device():
    number, x = torch.tensor(2.0), torch.ones(3, device="meta")
    says = "a 0-dim CPU tensor is a plain number, it does not decide the device"
    _check_device(x, number, want="meta", says=says)
    _check_device(number, x, want="meta", says=f"{says}, not even as the first one")
    _check_device(number, x.sum(), torch.tensor(3), want="meta", says=says)
    says = "where all are 0-dim CPU tensors, the CPU is their device"
    _check_device(torch.tensor(2.0), torch.tensor(3), want="cpu", says=says)


def test_a_vector_of_one_element_is_no_number():
    x, one = torch.ones(3, device="meta"), torch.ones(1)
    for pair in [(x, one), (one, x), (torch.ones(1, 1), x)]:
        with raises(RuntimeError, "a tensor with one element has a dimension: only a 0-dim CPU tensor goes along"):
            common_device(*pair)


def test_a_0_dim_tensor_of_another_device_does_not_go_along():
    loss, x = torch.tensor(2.0, device="meta"), torch.ones(3)
    gpu_1 = torch.ones(3).as_subclass(_OnSecondGPU)
    for tensors in [(loss, x), (x, loss), (x, torch.tensor(1.0), loss), (loss, gpu_1)]:
        with raises(RuntimeError, "a 0-dim tensor goes along only if it is on the CPU; this one is not"):
            common_device(*tensors)


def test_a_product_is_computed_where_x_is():
    x, w = torch.arange(6.0).view(2, 3).requires_grad_(), torch.arange(12.0).view(3, 4).requires_grad_()
    want = torch.tensor([[20.0, 23, 26, 29], [56, 68, 80, 92]])
    with (
        explain("matmul_on raised where both tensors are on the CPU"),
        unchanged("matmul_on must leave x and w as they are", x=x, w=w),
    ):
        out = matmul_on(x, w)
    check_tensor(out, want, "matmul_on(x, w) is x @ w, with a graph that leads back to both", requires_grad=True)
    grads = torch.autograd.grad(out.sum(), (x, w), allow_unused=True)
    cut = [name for name, grad in zip(("x", "w"), grads, strict=True) if grad is None]
    assert not cut, f"no gradient reaches {cut[0]}: the product was computed from something cut off from it"
    says = "the product belongs on the device of x"
    far = x.detach().to("meta").requires_grad_()
    out = _check_on_second_device(matmul_on, "matmul_on", far, w, want, says)
    for name, tensor in (("x", far), ("w", w)):
        grad = None
        if out.requires_grad:
            with contextlib.suppress(NotImplementedError):  # the way back to w has a copy in it, which meta refuses
                grad = "there"
                (grad,) = torch.autograd.grad(out.sum(), tensor, allow_unused=True, retain_graph=True)
        assert grad is not None, f"no gradient reaches {name} where w has to move: the product was cut off from it"
    _check_that_the_other_comes(matmul_on, "matmul_on", x, w)


def test_an_embedding_is_looked_up_where_the_table_is():
    table, ids = torch.arange(15.0).view(5, 3), torch.tensor([[4, 0, 4, 1], [2, 2, 3, 0]])
    want = torch.stack([torch.stack([table[i] for i in row]) for row in ids.tolist()])
    for index, shape in [((), "(2, 4)"), ((1,), "(4,)"), ((1, 2), "()")]:
        kept = unchanged("lookup must leave its tensors as they are", table=table, ids=ids)
        with explain(f"lookup raised where both tensors are on the CPU, ids of shape {shape}"), kept:
            out = lookup(table, ids[index])
        check_tensor(out, want[index], f"lookup gives the row of the table for every id, ids of shape {shape}")
    says = "the rows belong on the device of the table"
    _check_on_second_device(lookup, "lookup", table.to("meta"), ids, want, says)
    _check_that_the_other_comes(lookup, "lookup", table, ids)
