"""Which parameters does this loss reach?

"These parameters got no gradient" is answered by the graph. `t.grad_fn` is the node of the operation that made t (its
class has the operation's name: `type(node).__name__` is "PowBackward0"), and `node.next_functions` holds one pair
`(node, number)` per input: where that input came from, and which of that operation's outputs it was. A constant (a
target, the 2 in x + 2) has no node: its pair is `(None, 0)`. The walk ends at `AccumulateGrad` nodes; their `.variable`
is the leaf itself. A leaf has no grad_fn.

Two things about the graph bite whoever walks it. It is no chain but a DAG: inputs are in the order of the operation's
arguments, and for a Linear layer, addmm(bias, input, weight), number 0 is the bias and not the layer before; many old
comments have this wrong. It shares nodes too, so 22 steps of y = y*y have 4 million ways down to x. And it is deep: a
loop of 5000 steps makes 5000 nodes under one another, more than Python's stack takes.

What is asked here: the names of the operations behind a tensor, and the leaves that its backward would reach.

About 45 minutes. Before it: leaf_weights.

https://docs.pytorch.org/docs/stable/generated/torch.autograd.graph.Node.next_functions.html
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import explain


def op_names(t: torch.Tensor) -> list[str]:
    """The operations behind `t`, each node once: the one that made `t` comes first, then those behind it.

    Where the graph is a chain, the oldest comes last; branches may be in any order. A name is the node's without the
    number at its end, where it has one: "PowBackward". AccumulateGrad is no operation.
    """
    raise NotImplementedError("walk the nodes from t.grad_fn and list their names")


def leaves(t: torch.Tensor) -> list[torch.Tensor]:
    """The leaves that a backward from `t` would reach: the very tensors, each once, in any order.

    A leaf `t` that requires grad is reached itself; where `t` requires no grad, none is.
    """
    raise NotImplementedError("walk the nodes from t.grad_fn and collect the leaves")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_DEEP = "RecursionError: graphs are deeper than the Python stack, walk with a list of nodes to visit"


class Double(torch.autograd.Function):
    """An operation of our own. Its node is called DoubleBackward: no number at the end."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return 2 * grads[0]


class _Net(nn.Module):
    """The small image network of many tutorials, for 16x16 images, and a layer that forward forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16, 12), nn.Linear(12, 8), nn.Linear(8, 5)
        self.unused = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


def _walk(walk: Callable[[torch.Tensor], Any], t: torch.Tensor) -> Any:
    __tracebackhide__ = True
    leaf = "a leaf has grad_fn None, and so has a tensor without a graph: look before you walk"
    signs = {
        "^RecursionError": _DEEP,
        "'NoneType' object has no attr": leaf
        if t.grad_fn is None
        else "None where you expected a node: a constant operand has no node, its pair is (None, 0)",
        "Boolean value of Tensor|size of tensor": "`in` and == compare the values of tensors: which leaf it is, `is` "
        "or id() tells",
    }
    with explain("your walk failed", signs):
        return walk(t)


def _are(got: Any, **named: torch.Tensor) -> None:
    """Fail unless `got` holds just these leaves, each once."""
    __tracebackhide__ = True
    assert isinstance(got, list | tuple), f"expected a list of tensors, got {type(got).__name__}"
    strange = [type(g).__name__ for g in got if not isinstance(g, torch.Tensor)]
    assert not strange, f"leaves are tensors (a node's .variable), you returned {strange[0]}"
    assert named or not got, "a tensor without a graph, that requires no gradient, reaches no leaf: not even itself"
    ids = [id(g) for g in got]
    new = [tuple(g.shape) for g in got if not any(g is leaf for leaf in named.values())]
    assert not new, f"you returned a tensor of shape {new[0]} that is not one of {', '.join(named)} itself"
    missing = [name for name, leaf in named.items() if id(leaf) not in ids]
    alike = [name for name in missing if any(torch.equal(named[name], g) for g in got)]
    assert not alike, (
        f"{', '.join(alike)} is missing: equal values do not make two leaves one, tell them apart by identity"
    )
    assert not missing, f"backward would reach {', '.join(missing)} too, your walk did not"
    twice = [name for name, leaf in named.items() if ids.count(id(leaf)) > 1]
    assert not twice, f"{', '.join(twice)} is there more than once: many ways lead to a shared leaf"


def _names(got: Any) -> list[str]:
    assert isinstance(got, list | tuple), f"expected a list of names, got {type(got).__name__}"
    strange = [type(name).__name__ for name in got if not isinstance(name, str)]
    assert not strange, f"a name is a str, you returned a {strange[0]}"
    return list(got)


def test_names_come_from_the_result_back_to_the_input():
    x = torch.tensor([1.0, 5.0], requires_grad=True)
    names = _names(_walk(op_names, ((x + 2) ** 2).sqrt().sum().exp()))
    want = ["ExpBackward", "SumBackward", "SqrtBackward", "PowBackward", "AddBackward"]
    assert not any("AccumulateGrad" in name for name in names), f"AccumulateGrad is no operation: {names}"
    assert names != [name + "0" for name in want], f"the number at the end of a name is not wanted: {names}"
    assert names != want[::-1], f"that is the order of the forward pass, begin at the result: {names}"
    assert names == want, f"from the result backwards there are {want}, you gave {names}"

    pooled = nn.functional.max_pool2d(x.view(1, 1, 1, 2), 1).sum(dim=1)
    names = _names(_walk(op_names, Double.apply(pooled)))
    assert names[1:2] != ["SumBackward1"], f"the number at the end of a name may be another than 0: {names}"
    assert names[:1] != ["DoubleBackwar"], f"a name may have no number at its end, and nothing to cut off: {names}"
    assert "MaxPoolDWithIndicesBackward" not in names, f"a digit inside a name belongs to it, MaxPool2D: {names}"
    want = ["DoubleBackward", "SumBackward", "MaxPool2DWithIndicesBackward", "ViewBackward"]
    assert names == want, f"from the result backwards there are {want}, you gave {names}"


def test_a_leaf_has_no_operation_behind_it():
    leaf, constant = torch.ones(3, requires_grad=True), torch.ones(3) * 2
    of_leaf, of_constant = _walk(leaves, leaf), _walk(leaves, constant)
    names, no_names = _walk(op_names, leaf), _walk(op_names, constant)
    _are(of_constant)
    _are(of_leaf, leaf=leaf)
    assert _names(names) == [], f"no operation made a leaf, you found {names}"
    assert _names(no_names) == [], f"no operation is recorded for a tensor without a graph, you found {no_names}"


@pytest.mark.myth(
    says="loss.grad_fn.next_functions[0][0] is the last Linear layer, and its next_functions[0][0] the ReLU before it.",
    today="Index 0 of AddmmBackward0 is the AccumulateGrad node of the bias; the ReLU is index 1.",
)
def test_the_first_input_of_addmm_is_the_bias():
    net = _Net()
    loss = nn.functional.mse_loss(net(torch.ones(1, 1, 16, 16)), torch.zeros(1, 5))
    got = _walk(leaves, loss)
    used = {name.replace(".", "_"): p for name, p in net.named_parameters() if not name.startswith("unused")}
    assert isinstance(got, list | tuple), f"expected a list of tensors, got {type(got).__name__}"
    only_bias = len(got) == 1 and got[0] is net.fc3.bias
    assert not only_bias, "index 0 of Addmm is the bias' AccumulateGrad, not the previous layer: follow all inputs"
    _are(got, **used)
    inputs = [type(node).__name__ for node, _ in loss.grad_fn.next_functions[0][0].next_functions]
    assert inputs == ["AccumulateGrad", "ReluBackward0", "TBackward0"], "bias, layer before, weight"


def test_a_shared_leaf_is_one_leaf_and_a_name_may_come_twice():
    a, b = torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
    _are(_walk(leaves, a * b + a * a), a=a, b=b)
    b = torch.ones(3, requires_grad=True)  # and now with equal values
    y = a * b + a * a
    _are(_walk(leaves, y), a=a, b=b)
    names = sorted(name.rstrip("0") for name in _names(_walk(op_names, y)))
    want = ["AddBackward", "MulBackward", "MulBackward"]
    assert names == want, f"one name per node: an addition and two products made y, you found {names}"


def test_a_graph_may_be_deeper_than_the_python_stack():
    x = torch.zeros(1, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    _are(_walk(leaves, y), x=x)
    names = _walk(op_names, y)
    assert len(_names(names)) == 5000, f"5000 additions made y, you found {len(names)}"


def test_a_node_is_visited_once_however_many_ways_lead_there():
    x = torch.ones(1, requires_grad=True)
    y = x
    for step in range(22):
        y = y * y
        if step == 9:
            names = _names(_walk(op_names, y))
            assert len(names) <= 10, f"ten products made y and you found {len(names)}: visit a shared node once"
            assert len(names) == 10, f"ten products made y and you found only {len(names)}"
    left, right = (torch.ones(4, requires_grad=True) * 2).chunk(2)
    names = sorted(name.rstrip("0") for name in _names(_walk(op_names, left * right)))
    want = ["MulBackward", "MulBackward", "SplitBackward"]
    assert names == want, (
        f"two products and one chunk made this, you found {names}: a node with two outputs is one node, the number in "
        "the pair says which output"
    )
    started = time.process_time()
    got = _walk(leaves, y)
    slow = time.process_time() - started > 0.5  # seconds; 22 nodes take less than a thousandth of one
    _are(got, x=x)
    assert not slow, "half a second for 22 nodes: you went all 4 million ways, visit a shared node once"


def test_a_detached_branch_has_no_edge():
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    y = (a * 2).exp().detach() * b
    got, names = _walk(leaves, y), _walk(op_names, y)
    assert not (isinstance(got, list | tuple) and any(g is a for g in got)), (
        "a is behind a detach: no gradient reaches it"
    )
    _are(got, b=b)
    assert len(_names(names)) == 1, f"only the product is in this graph, you found {names}"
