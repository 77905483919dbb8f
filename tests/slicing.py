"""The statements of a notebook that some of its cells need, and no others.

Going backwards from those cells, a statement stays when it binds a name that is needed
after it, or changes what such a name holds: `x[0] = 1`, `x.append(1)`, `change(x)`. Not
seen is what only a run shows (a random number that is no longer drawn), and what a function
from elsewhere changes whose value is used.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterable, Iterator, Sequence

from IPython.core.inputtransformer2 import TransformerManager

# Called for what they show or write; and all that begin with `check`.
SHOW = {"print", "show", "display", "save", "save_pretrained"}
# Methods that change their object and whose value is used, too; and all that end in `_`.
CHANGE = {"train", "eval", "pop", "popitem", "setdefault"}
# Methods whose value is the object's own parts.
PARTS = {"parameters", "modules", "children", "values", "items"}
COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}

Names = set[str]


def union(several: Iterable[Names]) -> Names:
    """All names of several sets."""
    return set().union(*several)


def table(node: ast.AST) -> symtable.SymbolTable:
    """The names of some code, as a module."""
    return symtable.symtable(ast.unparse(node), "cell", "exec")


def inside(scope: symtable.SymbolTable, deferred: bool) -> Iterator[Names]:
    """The globals used in the scopes inside one; if `deferred`, only those of functions."""
    for inner in scope.get_children():
        at_once = deferred and inner.get_name() in COMPREHENSIONS
        if not at_once:
            yield {s.get_name() for s in inner.get_symbols() if s.is_global()}
        yield from inside(inner, at_once)


def later(node: ast.AST) -> Names:
    """The globals that code uses only when its functions are called."""
    return union(inside(table(node), True))


def bound(*targets: ast.AST | None) -> Names:
    """The plain names that targets bind."""
    parts = [part for target in targets if target for part in ast.walk(target)]
    return {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}


def flow(block: Sequence[ast.stmt]) -> tuple[Names, Names]:
    """The names that statements, one after the other, need from before; and bind for sure."""
    needs: Names = set()
    surely: Names = set()
    for node in block:
        inner, ends = step(node)
        needs |= inner - surely
        surely |= ends
    return needs, surely


def step(node: ast.stmt) -> tuple[Names, Names]:
    """The same of one statement."""
    match node:
        case ast.For(target=target, iter=value, body=body, orelse=orelse):
            return used(value) | (flow([*body, *orelse])[0] - bound(target)), set()
        case ast.With(items=items, body=body):
            targets = bound(*(item.optional_vars for item in items))
            needs, surely = flow(body)
            return union(used(i.context_expr) for i in items) | (needs - targets), surely | targets
        case ast.If(test=test) | ast.While(test=test):
            return used(test) | flow(node.body)[0] | flow(node.orelse)[0], set()
        case ast.Try():
            caught = [flow(h.body)[0] - {h.name} for h in node.handlers]
            kinds = [used(h.type) for h in node.handlers if h.type]
            after = flow(node.finalbody)[0]
            return flow([*node.body, *node.orelse])[0] | union([*caught, *kinds]) | after, set()
    # A second import of a package adds to the first.
    anew = isinstance(node, (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef))
    return used(node), binds(node) if anew else set()


def used(node: ast.AST) -> Names:
    """The names that code uses, at once or in its functions."""
    own = table(node)
    return union(inside(own, False)) | {
        s.get_name() for s in own.get_symbols() if s.is_referenced()
    }


def binds(node: ast.AST) -> Names:
    """The names that code binds."""
    return {
        s.get_name() for s in table(node).get_symbols()
        if s.is_assigned() or s.is_imported() or s.is_namespace()
    }  # fmt: skip


def owner(node: ast.AST) -> Names:
    """`x` of `x.a[0]`, also where it is imported or a class."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def in_place(method: str) -> bool:
    """Whether a method changes its object, by its name."""
    return method in CHANGE or method.endswith("_")


class Statement:
    """A statement of a module: which names it binds, changes and uses."""

    def __init__(self, node: ast.stmt) -> None:
        self.node, self.code = node, ast.unparse(node)
        self.binds = binds(node)
        self.uses, self.ends = step(node)
        self.is_magic = "get_ipython" in self.uses
        self.changes: Names = set()


class Slicer:
    """Finds what each statement of a notebook changes."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        # Of each function, its parameters, and those of them and of the globals it changes.
        self.functions: dict[str, tuple[list[str], Names]] = {}
        self.imported: Names = set()
        self.later: dict[str, Names] = {}
        aliases: list[tuple[Names, Names]] = []
        for one in statements:
            inner = later(one.node)
            anew = one.binds if isinstance(one.node, (ast.For, ast.With)) else one.ends
            aliases = [(names - anew, held) for names, held in aliases]
            for name in one.binds:
                self.later.setdefault(name, set()).update(inner)
            match one.node:
                case ast.Import() | ast.ImportFrom() | ast.ClassDef():
                    self.imported |= one.binds
                case ast.FunctionDef(name=name, args=given):
                    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                    changes = self.changed(one.node, []) & ({*names, *inner} - self.imported)
                    self.functions[name] = names, changes
                case ast.Expr(
                    value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method))
                ) if method not in SHOW:
                    # The owner may be a package: `torch.manual_seed(0)`.
                    one.changes = self.changed(one.node, aliases) | {name}
                case _:
                    one.changes = self.changed(one.node, aliases)

    def roots(self, *nodes: ast.expr | None) -> Names:
        """The names whose objects expressions lie in: `x` of `x.a[0]` and `x.parameters()`."""
        found: Names = set()
        for node in nodes:
            match node:
                case ast.Name(id=name):
                    found |= {name} - self.imported
                case ast.Attribute() | ast.Subscript() | ast.Starred():
                    found |= self.roots(node.value)
                case ast.Tuple() | ast.List():
                    found |= self.roots(*node.elts)
                case ast.Call(func=ast.Attribute(attr=n)) if n in PARTS or in_place(n):
                    found |= self.roots(node.func.value)
        return found

    def touched(self, call: ast.Call) -> Names:
        """The names whose objects a call may change: a method's object, a function's arguments."""
        match call.func:
            case ast.Attribute(value=value) if self.roots(value):
                return self.roots(value)
        return self.roots(*call.args, *(k.value for k in call.keywords))

    def changed_by(self, name: str, call: ast.Call) -> Names:
        """The names whose objects a call of a function that is known changes."""
        parameters, changes = self.functions[name]
        given = [*zip(parameters, call.args, strict=False)]
        given += [(k.arg, k.value) for k in call.keywords]
        return self.roots(*(value for parameter, value in given if parameter in changes))

    def holds(self, value: ast.expr) -> Names:
        """The names whose objects a value may hold: `AdamW(x.parameters())` holds `x`."""
        match value:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name[:1].isupper():
                return self.roots(*value.args, *(k.value for k in value.keywords))
        return self.roots(value)

    def changed(self, node: ast.AST, aliases: list[tuple[Names, Names]]) -> Names:
        """The names whose objects the code changes; `aliases` gets its other names for them."""
        found: Names = set()
        for part in ast.walk(node):
            match part:
                case ast.Attribute() | ast.Subscript() if not isinstance(part.ctx, ast.Load):
                    found |= self.roots(part) | owner(part)
                case ast.Expr(value=ast.Call(func=ast.Name(id=n) | ast.Attribute(attr=n)) as call):
                    if n not in SHOW and not n.startswith("check"):
                        found |= self.touched(call)
                case ast.Call(func=ast.Attribute(attr=n)) if in_place(n):
                    found |= self.touched(part)
                case ast.Call(func=ast.Name(id=n)) if n in self.functions:
                    found |= self.changed_by(n, part)
                case ast.Name(id=n) if n in self.functions:
                    parameters, changes = self.functions[n]
                    found |= changes - set(parameters)
                case ast.Assign(targets=[target], value=value):
                    aliases.append((bound(target), self.holds(value)))
                case (
                    ast.For(target=target, iter=value)
                    | ast.withitem(optional_vars=ast.expr() as target, context_expr=value)
                ):
                    handed = self.touched(value) if isinstance(value, ast.Call) else set()
                    aliases.append((bound(target), self.holds(value) | handed))
        before = -1
        while len(found) > before:
            before = len(found)
            found |= union(held for names, held in aliases if names & found)
        return found

    def reached(self, names: Names) -> Names:
        """Names, and all that their functions use when they are called."""
        found: Names = set()
        while new := names - found:
            found |= new
            names = union(self.later.get(name, set()) for name in new)
        return found


def parse(cell: str) -> list[Statement]:
    """A cell's statements; IPython's magics become calls."""
    code = TransformerManager().transform_cell(cell)
    return [Statement(node) for node in ast.parse(code).body]


def needed(cells: Sequence[str], wanted: Collection[int]) -> list[str]:
    """For each cell the part that the `wanted` ones, which stay whole, need of it."""
    parsed = [parse(cell) for cell in cells]
    slicer = Slicer(one for statements in parsed for one in statements)
    kept = list(cells)
    names: Names = set()
    for i in reversed(range(len(cells))):
        stay: list[str] = []
        for one in reversed(parsed[i]):
            if i in wanted or one.is_magic or (one.binds | one.changes) & names:
                names = (names - one.ends) | slicer.reached(one.uses)
                stay.insert(0, one.code)
        if i not in wanted:
            kept[i] = "\n".join(stay)
    return kept
