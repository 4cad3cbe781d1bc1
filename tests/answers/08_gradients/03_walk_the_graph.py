"""Answers that people give to walk_the_graph, right ones and wrong ones."""

import re
from collections import deque

import torch

from dojo import Mistake


def _names_by_stack(t):
    names, seen, todo = [], set(), [t.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "AccumulateGrad" not in node.name():
            names.append(re.sub(r"\d+$", "", node.name()))
        todo.extend(below for below, _ in reversed(node.next_functions))
    return names


def _leaves_by_stack(t):
    found, seen, todo = [], set(), [t.grad_fn]
    if t.grad_fn is None and t.requires_grad:
        found.append(t)
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)
        todo.extend(below for below, _ in node.next_functions)
    return found


def _edge_walk(t):
    if not t.requires_grad:
        return []
    start = torch.autograd.graph.get_gradient_edge(t).node
    seen, queue = {start: None}, deque([start])
    while queue:
        for below, _ in queue.popleft().next_functions:
            if below is not None and below not in seen:
                seen[below] = None
                queue.append(below)
    return list(seen)


def _names_by_edge(t):
    names = [type(node).__name__ for node in _edge_walk(t)]
    return [name.rstrip("0123456789") for name in names if name != "AccumulateGrad"]


def _leaves_by_edge(t):
    return list({node.variable for node in _edge_walk(t) if hasattr(node, "variable")})


def _names_level_by_level(t):
    names, level, seen = [], {t.grad_fn} - {None}, set()
    while level:
        seen |= level
        names += [re.sub(r"\d+$", "", n.name()) for n in level if not hasattr(n, "variable")]
        level = {b for n in level for b, _ in n.next_functions if b is not None} - seen
    return names


def _recursive_leaves(node, seen):
    if node in seen:
        return []
    seen.add(node)
    if hasattr(node, "variable"):
        return [node.variable]
    return [leaf for b, _ in node.next_functions if b is not None for leaf in _recursive_leaves(b, seen)]


def _follow_the_first(t):
    node = t.grad_fn
    if node is None:
        return [t] if t.requires_grad else []
    while type(node).__name__ != "AccumulateGrad":
        (node, _), *_ = node.next_functions
    return [node.variable]


def _in_list(t):
    found = []
    for leaf in [*_leaves_by_stack(t)]:
        if not any((leaf == other).all() for other in found):
            found.append(leaf)
    return found


def _paths(t):
    todo, found = [t.grad_fn], set()
    if t.is_leaf and t.requires_grad:
        return [t]
    while todo:
        node = todo.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            found.add(node.variable)
        todo += [b for b, _ in node.next_functions]
    return list(found)


def _names_by_name(t):
    return [re.sub(r"\d", "", n.name()) for n in _edge_walk(t) if n.name() != "AccumulateGrad"]


def _depth_first(t, wanted):
    """Pre-order with a stack of iterators; a dict keeps the nodes alive."""
    seen, todo = {}, [iter([(t.grad_fn, 0)])]
    while todo:
        node, _ = next(todo[-1], (todo, 0))
        if node is todo:
            todo.pop()
        elif node is not None and id(node) not in seen:
            seen[id(node)] = node
            todo.append(iter(node.next_functions))
    return [node for node in seen.values() if (type(node).__name__ == "AccumulateGrad") == wanted]


def _names_cut_at_backward(t):
    return [type(node).__name__.rpartition("Backward")[0] + "Backward" for node in _depth_first(t, False)]


def _leaves_depth_first(t):
    return [t] * t.requires_grad if t.grad_fn is None else [node.variable for node in _depth_first(t, True)]


def _names_of_pairs(t):
    seen, todo, names = {(None, 0)}, [(t.grad_fn, 0)], []
    while todo:
        pair = todo.pop()
        if pair in seen:
            continue
        seen.add(pair)
        todo += reversed(pair[0].next_functions)
        if "AccumulateGrad" not in pair[0].name():
            names.append(re.sub("[0-9]+$", "", pair[0].name()))
    return names


RIGHT = [
    {"op_names": _names_cut_at_backward, "leaves": _leaves_depth_first},
    {"op_names": _names_by_stack, "leaves": _leaves_by_stack},
    {"op_names": _names_by_edge, "leaves": _leaves_by_edge},
    {"op_names": _names_level_by_level},
]

WRONG = [
    Mistake("a node with two outputs is one node", caught_by="", op_names=_names_of_pairs),
    Mistake(
        "a digit inside a name belongs to it",
        caught_by="",
        op_names=lambda t: [name.translate(str.maketrans("", "", "0123456789")) for name in _names_by_edge(t)],
    ),
    Mistake(
        "nothing to cut off",
        caught_by="",
        op_names=lambda t: [type(n).__name__[:-1] for n in _edge_walk(t) if type(n).__name__ != "AccumulateGrad"],
    ),
    Mistake("from the result backwards there are", caught_by="", op_names=lambda t: sorted(_names_by_edge(t))),
    Mistake("from the result backwards there are", caught_by="", op_names=lambda t: sorted(_names_by_edge(t), key=len)),
    Mistake(
        "tell them apart by identity",
        caught_by="",
        leaves=lambda t: list({tuple(leaf.flatten().tolist()): leaf for leaf in _leaves_by_stack(t)}.values()),
    ),
    Mistake(
        "may be another than 0",
        caught_by="",
        op_names=lambda t: [
            type(n).__name__.replace("0", "") for n in _edge_walk(t) if type(n).__name__ != "AccumulateGrad"
        ],
    ),
    Mistake("reaches no leaf: not even itself", caught_by="", leaves=lambda t: _leaves_by_stack(t) or [t]),
    Mistake(
        "graphs are deeper than the Python stack",
        caught_by="",
        leaves=lambda t: _recursive_leaves(t.grad_fn, set()) if t.grad_fn else _leaves_by_stack(t),
    ),
    Mistake("index 0 of Addmm is the bias' AccumulateGrad", caught_by="", leaves=_follow_the_first),
    Mistake("compare the values of tensors", caught_by="", leaves=_in_list),
    Mistake("visit a shared node once", caught_by="", leaves=_paths),
    Mistake("many ways lead to a shared leaf", caught_by="", leaves=lambda t: _leaves_by_stack(t) * 2),
    Mistake("AccumulateGrad is no operation", caught_by="", op_names=_names_by_name),
    Mistake(
        "the number at the end of a name is not wanted",
        caught_by="",
        op_names=lambda t: [n + "0" for n in _names_by_edge(t)],
    ),
    Mistake("that is the order of the forward pass", caught_by="", op_names=lambda t: _names_by_stack(t)[::-1]),
    Mistake("your walk did not", caught_by="", leaves=lambda t: _leaves_by_stack(t)[:2]),
]
