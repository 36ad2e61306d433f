# SPDX-License-Identifier: MIT OR Apache-2.0
"""What script/mutate breaks: from a source's syntax tree, as solc writes it, to edits of its text."""

import dataclasses
import re

SWAPS = {
    "<": ("<=", ">="),
    "<=": ("<", ">", "=="),
    ">": (">=", "<="),
    ">=": (">", "<", "=="),
    "==": ("!=",),
    "!=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "&&": ("||",),
    "||": ("&&",),
    "+=": ("-=", "="),
    "-=": ("+=",),
    "++": ("--",),
}
YUL_SWAPS = {"lt": "gt", "gt": "lt", "or": "and", "and": "or", "add": "sub", "iszero": ""}


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str
    function: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def name(self) -> str:
        return f"`{self.function}`: `{squeeze(self.before)}` → `{squeeze(self.after)}`"

    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def applied(self, sources: dict) -> dict:
        text = sources[self.file]
        return {**sources, self.file: text[: self.start] + self.after.encode() + text[self.end :]}


def squeeze(text: str) -> str:
    """One line, and a short one: a whole statement is known by its beginning."""
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= 70 else text[:69] + "…"


class Walk:
    """Collects the edits of one source."""

    def __init__(self, file: str, sources: dict, trees: dict):
        self.file, self.text, self.found = file, sources[file], []
        self.enums = {
            f"{node['name']}": [member["name"] for member in node["members"]]
            for tree in trees.values()
            for node in nodes(tree["ast"])
            if node["nodeType"] == "EnumDefinition"
        }
        self.visit(trees[file]["ast"], "(file)")

    def span(self, node):
        start, length, _ = map(int, node["src"].split(":"))
        return start, start + length

    def source(self, node) -> str:
        start, end = self.span(node)
        return self.text[start:end].decode()

    def edit(self, node, function, after):
        start, end = self.span(node)
        line = self.text[:start].count(b"\n") + 1
        if after != self.source(node):
            self.found.append(Mutant(self.file, function, line, start, end, self.source(node), after))

    def visit(self, node, function):
        if isinstance(node, list):
            for child in node:
                self.visit(child, function)
        if not isinstance(node, dict):
            return
        kind = node.get("nodeType")
        if kind in ("FunctionDefinition", "ModifierDefinition"):
            function = node["name"] or node.get("kind", "")
        if kind == "VariableDeclaration" and node.get("constant"):
            function = node["name"]
        edits = getattr(self, f"on_{kind}", None)
        if edits:
            edits(node, function)
        # What is imported, and what names a type, changes nothing that runs.
        if kind in ("ImportDirective", "UsingForDirective", "EventDefinition", "ErrorDefinition", "StructuredDocumentation"):
            return
        for key, child in node.items():
            if key not in ("typeDescriptions", "typeName", "documentation", "overrides", "returnParameters"):
                self.visit(child, function)

    # ------------------------------------------------------------------------------------------------- expressions

    def operator(self, node, function, left, right):
        """Replaces the operator between two operands."""
        middle = self.text[self.span(left)[1] : self.span(right)[0]].decode()
        for other in SWAPS.get(node["operator"], ()):
            self.edit(node, function, self.source(left) + middle.replace(node["operator"], other, 1) + self.source(right))

    def on_BinaryOperation(self, node, function):
        self.operator(node, function, node["leftExpression"], node["rightExpression"])

    def on_Assignment(self, node, function):
        self.operator(node, function, node["leftHandSide"], node["rightHandSide"])

    def on_UnaryOperation(self, node, function):
        if node["operator"] == "!":
            self.edit(node, function, self.source(node["subExpression"]))
        if node["operator"] == "++":
            self.edit(node, function, self.source(node).replace("++", "--"))

    def on_Conditional(self, node, function):
        self.edit(node, function, f"({self.source(node['trueExpression'])})")
        self.edit(node, function, f"({self.source(node['falseExpression'])})")

    def on_Literal(self, node, function):
        if node["kind"] == "bool":
            self.edit(node, function, "false" if node["value"] == "true" else "true")
        elif node["kind"] == "number":
            self.edit(node, function, f"({self.source(node)} + 1)")
        elif node["kind"] in ("string", "hexString") and node["value"] != "":
            literal = self.source(node)
            self.edit(node, function, literal[:-2] + ("1" if literal[-2] == "0" else "0") + literal[-1])

    def on_MemberAccess(self, node, function):
        owner = node["expression"]
        name, member = owner.get("name") or owner.get("memberName"), node["memberName"]
        if name == "msg" and member == "sender":
            self.edit(node, function, "tx.origin")
        members = self.enums.get(name, [])
        if member in members:
            self.edit(node, function, f"{self.source(owner)}.{members[(members.index(member) + 1) % len(members)]}")

    # -------------------------------------------------------------------------------------------------- statements

    def on_IfStatement(self, node, function):
        condition = self.source(node["condition"])
        for after in ("true", "false"):
            self.edit(node["condition"], function, after)
        if node["condition"]["nodeType"] not in ("BinaryOperation", "UnaryOperation"):
            self.edit(node["condition"], function, f"!({condition})")

    def delete(self, node, function):
        # Some nodes end before their semicolon, and an empty block is a statement anywhere.
        start, end = self.span(node)
        semicolon = b";" if self.text[end : end + 1] == b";" else b""
        line = self.text[:start].count(b"\n") + 1
        before = (self.text[start:end] + semicolon).decode()
        self.found.append(Mutant(self.file, function, line, start, end + len(semicolon), before, "{}"))

    on_ExpressionStatement = on_EmitStatement = on_Continue = on_Break = delete

    def on_Return(self, node, function):
        value = node.get("expression")
        if value is None or value.get("kind") == "bool":
            return self.delete(node, function) if value is None else None
        if value["typeDescriptions"]["typeString"] == "bool":
            self.edit(value, function, "true")
            self.edit(value, function, "false")
        elif "address" == value["typeDescriptions"]["typeString"]:
            self.edit(value, function, "address(0)")

    def on_ModifierInvocation(self, node, function):
        if node.get("kind") == "modifierInvocation":
            self.edit(node, function, "")

    # -------------------------------------------------------------------------------------------------------- yul

    def on_YulFunctionCall(self, node, function):
        name = node["functionName"]["name"]
        if name in YUL_SWAPS:
            self.edit(node["functionName"], function, YUL_SWAPS[name])

    def on_YulLiteral(self, node, function):
        if node.get("kind") == "number":
            self.edit(node, function, str(int(node["value"], 0) + 1))

    def on_YulExpressionStatement(self, node, function):
        self.edit(node, function, "")

    def on_YulIf(self, node, function):
        self.edit(node["condition"], function, "0")


def nodes(node):
    if isinstance(node, dict):
        if "nodeType" in node:
            yield node
        for child in node.values():
            yield from nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from nodes(child)


def mutants(file: str, sources: dict, trees: dict) -> list:
    """All edits of one source, in the order of its text, each once."""
    found = {(mutant.start, mutant.end, mutant.after): mutant for mutant in Walk(file, sources, trees).found}
    return sorted(found.values(), key=lambda mutant: (mutant.start, mutant.end))
