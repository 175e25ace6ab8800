"""Traced operators: what a graph of them may leave out, whose memory they write,
and the calls that have them write into given buffers."""

import functools
import operator
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Graph, Node

aten = torch.ops.aten
# Their calls through torch.<name> cost half.
PLAIN = ("add", "addcmul", "lerp", "mul", "neg", "sigmoid", "sub", "sum", "tanh")
LARGE = 1000  # numbers from which an operator's work outweighs its call
JOINING = (aten.cat.default, aten.stack.default)
Call = Callable[[], object]


def simplify(graph: Graph) -> None:
    """Takes out what changes nothing: aliases, and products with 1."""
    for node in list(graph.nodes):
        if node.op == "call_function" and (
            node.target in (aten.alias.default, aten.detach.default)
            or node.target is aten.mul.Scalar
            and node.args[1] == 1
        ):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and not is_in_place(node):
            graph.erase_node(node)


def is_view(node: Node) -> bool:
    return node.target is operator.getitem or getattr(node.target, "is_view", False)


def is_in_place(node: Node) -> bool:
    return node.op == "call_function" and node.target is not operator.getitem and node.target._schema.name.endswith("_")


def base(node: Node) -> Node:
    """Whose memory a node's value lies in."""
    while node.op == "call_function" and (is_view(node) or is_in_place(node)):
        node = node.args[0]
    return node


def pieces(node: Node, whole: Tensor) -> list[Tensor]:
    """Where the parts that an operator joins lie in the whole."""
    parts, dim = node.args[0], (node.args[1] if len(node.args) > 1 else 0)
    return (
        whole.unbind(dim)
        if node.target is aten.stack.default
        else whole.split([part.meta["val"].shape[dim] for part in parts], dim)
    )


def writing(node: Node, arguments: tuple, options: dict, out: Tensor) -> list[Call]:
    """The calls that put an operator's result into `out`."""
    if node.target in JOINING:
        # The other parts were written there.
        return [
            functools.partial(there.copy_, part)
            for there, part in zip(pieces(node, out), arguments[0], strict=True)
            if there.data_ptr() != part.data_ptr()
        ]
    if (
        node.target is aten.tanh.default
        and out.dtype == torch.float32
        and out.device.type == "cpu"
        and out.numel() > LARGE
    ):
        # tanh(a) = 2 s(2 a) - 1: of many numbers torch's tanh takes six times as long as its s.
        return [
            functools.partial(torch.add, arguments[0], arguments[0], out=out),
            functools.partial(torch.sigmoid, out, out=out),
            functools.partial(torch.add, torch.tensor(-1.0), out, alpha=2, out=out),
        ]
    if node.target is aten.empty_like.default:
        return []
    if node.target in (aten.addmm.default, aten.mm.default) and len(out) == 1:
        *added, operand, matrix = arguments  # one row: a product with a vector, at half the cost
        function, added = (torch.addmv, [one.expand(1, out.shape[1])[0] for one in added]) if added else (torch.mv, [])
        return [functools.partial(function, *added, matrix.contiguous().t(), operand[0], out=out[0])]
    function, name = out_form(node.target)
    if function is None:
        return [lambda: out.copy_(node.target(*arguments, **options))]
    return [functools.partial(function, *arguments, **options, **{name: out})]


@functools.cache
def out_form(target) -> tuple[Callable | None, str]:
    """The form of an operator that writes into a tensor, if it has one, and what it calls that tensor."""

    def takes(schema):
        return [(one.name, str(one.type)) for one in schema.arguments if not one.is_out]

    for name in target.overloadpacket.overloads():
        form = getattr(target.overloadpacket, name)
        outs = [one.name for one in form._schema.arguments if one.is_out]
        if len(outs) == 1 and takes(form._schema) == takes(target._schema):
            plain = target.overloadpacket.__name__
            return (getattr(torch, plain), "out") if plain in PLAIN else (form, outs[0])
    return None, ""
