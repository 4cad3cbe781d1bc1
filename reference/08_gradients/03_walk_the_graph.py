"""Which parameters does this loss reach?: reference.

Hint: Visit each node once, with a list of nodes still to visit and a set of those seen; no recursion.
Hint: From a node follow all of `next_functions`, not only the first; a leaf is the `.variable` of an AccumulateGrad.
Hint: Write one helper that yields nodes; names are `type(node).__name__` without digits, leaves those with `.variable`.

Why: The graph is a DAG of operations, so a walk needs a set of seen nodes (or it takes every path) and a list of its
own instead of Python's stack. The leaf itself has no grad_fn: its AccumulateGrad node hangs below the operations that
used it. The same walk answers the question behind DDP's complaint about unused parameters: those of the model that are
not among the leaves of the loss.
"""

from collections.abc import Iterator

import torch

from dojo import Mistake


def _nodes(t: torch.Tensor) -> Iterator[torch.autograd.graph.Node]:
    """Each node behind `t` once, level by level."""
    level = [t.grad_fn] if t.grad_fn is not None else []
    seen = set(level)
    for node in level:  # the list grows while it is walked
        yield node
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                level.append(below)


def op_names(t: torch.Tensor) -> list[str]:
    return [type(node).__name__.rstrip("0123456789") for node in _nodes(t) if not hasattr(node, "variable")]


def leaves(t: torch.Tensor) -> list[torch.Tensor]:
    if t.is_leaf:
        return [t] if t.requires_grad else []
    return [node.variable for node in _nodes(t) if hasattr(node, "variable")]


def _names_with_digits(t):
    return [type(node).__name__ for node in _nodes(t) if not hasattr(node, "variable")]


def _names_with_the_leaf(t):
    return [type(node).__name__.rstrip("0123456789") for node in _nodes(t)]


def _names_forwards(t):
    return op_names(t)[::-1]


def _names_once(t):
    return list(dict.fromkeys(op_names(t))) if len(op_names(t)) < 5 else op_names(t)


def _names_of_every_way(t):
    names, todo = [], [t.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and not hasattr(node, "variable"):
            names.append(type(node).__name__.rstrip("0123456789"))
            todo += [below for below, _ in node.next_functions]
    return names


def _names_per_output(t):
    names, seen, todo = [], set(), [(t.grad_fn, 0)] if t.grad_fn else []
    for pair in todo:  # the list grows while it is walked
        if pair[0] is not None and pair not in seen and not hasattr(pair[0], "variable"):
            seen.add(pair)
            names.append(type(pair[0]).__name__.rstrip("0123456789"))
            todo += pair[0].next_functions
    return names


def _names_without_look(t):
    names, node = [], t.grad_fn
    while not hasattr(node, "variable"):
        names.append(type(node).__name__.rstrip("0123456789"))
        node = node.next_functions[0][0]
    return names


def _names_recursive(t):
    names, seen = [], set()

    def visit(node):
        if node is None or node in seen or hasattr(node, "variable"):
            return
        seen.add(node)
        names.append(type(node).__name__.rstrip("0123456789"))
        for below, _ in node.next_functions:
            visit(below)

    visit(t.grad_fn)
    return names


def _first_inputs(t):
    if t.grad_fn is None:
        return leaves(t)
    node = t.grad_fn
    while node.next_functions:
        node = node.next_functions[0][0]
    return [node.variable]


def _recursive(t):
    found, seen = [], set()

    def visit(node):
        if node is None or node in seen:
            return
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        for below, _ in node.next_functions:
            visit(below)

    visit(t.grad_fn)
    return found or leaves(t)


def _no_check_for_none(t):
    found, seen, todo = [], set(), [t.grad_fn] if t.grad_fn else []
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [below for below, _ in node.next_functions]
    return found or leaves(t)


def _stop_at_none(t):
    if t.is_leaf:
        return leaves(t)
    found, seen, todo = [], set(), [t.grad_fn]
    while todo:
        node = todo.pop(0)
        if node is None:
            break
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [below for below, _ in node.next_functions]
    return found


def _two_inputs(t):
    """As if every operation were binary."""
    found, todo = set() if t.grad_fn else set(leaves(t)), {t.grad_fn} - {None}
    while todo:
        found |= {node.variable for node in todo if hasattr(node, "variable")}
        todo = {below for node in todo for below, _ in node.next_functions[:2] if below}
    return list(found)


def _every_way(t):
    found, level = {}, [t.grad_fn] if t.grad_fn else []
    while level:
        found |= {id(node.variable): node.variable for node in level if hasattr(node, "variable")}
        level = [below for node in level for below, _ in node.next_functions if below]
    return list(found.values()) or leaves(t)


def _compared_by_value(t):
    found: list = []
    for leaf in leaves(t):
        if leaf not in found:
            found.append(leaf)
    return found


def _once_per_use(t):
    found = [] if t.grad_fn else leaves(t)
    for node in _nodes(t):
        found += [below.variable for below, _ in node.next_functions if hasattr(below, "variable")]
    return found


def _copies(t):
    return [leaf.detach() for leaf in leaves(t)]


def _only_what_was_walked(t):
    return [node.variable for node in _nodes(t) if hasattr(node, "variable")]


def _always_itself(t):
    return [t] if t.grad_fn is None else leaves(t)


def _nodes_instead(t):
    return [node for node in _nodes(t) if hasattr(node, "variable")]


def _names_without_zero(t):
    return [type(node).__name__.removesuffix("0") for node in _nodes(t) if not hasattr(node, "variable")]


def _equal_is_the_same(t):
    found = []
    for leaf in leaves(t):
        if not any(torch.equal(leaf, other) for other in found):
            found.append(leaf)
    return found


def _names_cut_by_one(t):
    return [type(node).__name__[:-1] for node in _nodes(t) if not hasattr(node, "variable")]


def _names_without_any_digit(t):
    return ["".join(c for c in name if not c.isdigit()) for name in op_names(t)]


def _names_sorted(t):
    return sorted(op_names(t))


def _classes(t):
    return [type(node) for node in _nodes(t) if not hasattr(node, "variable")]


_NAMES = "test_names_come_from_the_result_back_to_the_input"
_LEAF = "test_a_leaf_has_no_operation_behind_it"
_ADDMM = "test_the_first_input_of_addmm_is_the_bias"
_SHARED = "test_a_shared_leaf_is_one_leaf_and_a_name_may_come_twice"
_DEEP = "test_a_graph_may_be_deeper_than_the_python_stack"
_ONCE = "test_a_node_is_visited_once_however_many_ways_lead_there"

MISTAKES = [
    Mistake("a node with two outputs is one node", caught_by=_ONCE, op_names=_names_per_output),
    Mistake("the number at the end of a name is not wanted", caught_by=_NAMES, op_names=_names_with_digits),
    Mistake("may be another than 0", caught_by=_NAMES, op_names=_names_without_zero),
    Mistake("nothing to cut off", caught_by=_NAMES, op_names=_names_cut_by_one),
    Mistake("a digit inside a name belongs to it", caught_by=_NAMES, op_names=_names_without_any_digit),
    Mistake("from the result backwards there are", caught_by=_NAMES, op_names=_names_sorted),
    Mistake("a name is a str", caught_by=_NAMES, op_names=_classes),
    Mistake("tell them apart by identity", caught_by=_SHARED, leaves=_equal_is_the_same),
    Mistake("AccumulateGrad is no operation", caught_by=_NAMES, op_names=_names_with_the_leaf),
    Mistake("that is the order of the forward pass", caught_by=_NAMES, op_names=_names_forwards),
    Mistake("look before you walk", caught_by=_LEAF, op_names=_names_without_look),
    Mistake("your walk did not", caught_by=_LEAF, leaves=_only_what_was_walked),
    Mistake("reaches no leaf: not even itself", caught_by=_LEAF, leaves=_always_itself),
    Mistake("index 0 of Addmm is the bias' AccumulateGrad", caught_by=_ADDMM, leaves=_first_inputs),
    Mistake("a constant operand has no node", caught_by=_ADDMM, leaves=_no_check_for_none),
    Mistake("your walk did not", caught_by=_ADDMM, leaves=_stop_at_none),
    Mistake("your walk did not", caught_by=_ADDMM, leaves=_two_inputs),
    Mistake("one name per node", caught_by=_SHARED, op_names=_names_once),
    Mistake("many ways lead to a shared leaf", caught_by=_SHARED, leaves=_once_per_use),
    Mistake("compare the values of tensors", caught_by=_SHARED, leaves=_compared_by_value),
    Mistake("graphs are deeper than the Python stack", caught_by=_DEEP, leaves=_recursive),
    Mistake("graphs are deeper than the Python stack", caught_by=_DEEP, op_names=_names_recursive),
    Mistake("visit a shared node once", caught_by=_ONCE, op_names=_names_of_every_way),
    Mistake("visit a shared node once", caught_by=_ONCE, leaves=_every_way),
    Mistake("that is not one of", caught_by=_SHARED, leaves=_copies),
    Mistake("leaves are tensors (a node's .variable)", caught_by=_SHARED, leaves=_nodes_instead),
]

KEEP = {"test_a_detached_branch_has_no_edge": "it shows what detach does to the graph that you walk"}
